//! Compile time: 200 annotated functions, 200 plain ones, and 200 of `cached`'s.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::sample::{Row, Table, quantile};

const FUNCTIONS: usize = 200;
const ROUNDS: usize = 5;

const HEAD: &str = "
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Receipt { pub id: u64, pub text: String }
#[derive(Debug)]
pub struct Failed;
impl From<idempotent_fn::Error> for Failed { fn from(_: idempotent_fn::Error) -> Self { Self } }
";

/// The table, and how many crates a default build has.
pub fn compile() -> Option<(Table, String)> {
    let cargo = std::env::var("CARGO").ok()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("idempotent-bench-{}", std::process::id()));
    let subjects = [
        ("200 plain functions", ""),
        ("200 of ours", "#[idempotent_fn::idempotent(key = order)]\n"),
        (
            "200 of cached's",
            "#[cached::macros::cached(ttl_secs = 86_400, sync_writes = \"by_key\")]\n",
        ),
        (
            "200 of cached's concurrent",
            "#[cached::macros::concurrent_cached(ttl_secs = 86_400)]\n",
        ),
    ];
    let sources: Vec<PathBuf> = subjects
        .iter()
        .enumerate()
        .map(|(index, (_, attribute))| {
            let path = folder.join(format!("src/bin/subject{index}.rs"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
            fs::write(&path, source(attribute)).expect("room");
            path
        })
        .collect();
    fs::write(folder.join("Cargo.toml"), manifest(root)).expect("room");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("room");
    let build = |index: usize| {
        let subject = format!("subject{index}");
        let mut command = Command::new(&cargo);
        command.args([
            "build",
            "--quiet",
            "--ignore-rust-version",
            "--bin",
            &subject,
        ]);
        command.current_dir(&folder).env("CARGO_INCREMENTAL", "0");
        let start = Instant::now();
        assert!(
            command.status().expect("cargo").success(),
            "{subject} does not compile"
        );
        start.elapsed().as_secs_f64()
    };
    for index in 0..subjects.len() {
        build(index);
    }
    let mut samples = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (index, path) in sources.iter().enumerate() {
            let text = fs::read_to_string(path).expect("written above");
            fs::write(path, text + "\n").expect("room");
            samples[index].push(build(index) * 1_000.0 / FUNCTIONS as f64);
        }
    }
    let crates = |package: &str| {
        let mut command = Command::new(&cargo);
        command.args([
            "tree",
            "--prefix",
            "none",
            "-e",
            "normal",
            "--no-dedupe",
            "-p",
            package,
        ]);
        let text = command.current_dir(&folder).output().expect("cargo").stdout;
        let text = String::from_utf8(text).expect("text");
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let crates = format!(
        "Crates in a default build (its own included): idempotent-fn {}, `cached` (with `async`) {}.",
        crates("idempotent-fn"),
        crates("cached")
    );
    let _ = fs::remove_dir_all(&folder);
    let base = quantile(samples[0].clone(), 0.5);
    let rows = subjects.iter().zip(samples).map(|((name, _), own)| Row {
        name: (*name).to_owned(),
        figure: quantile(own.clone(), 0.5),
        quartiles: (quantile(own.clone(), 0.25), quantile(own.clone(), 0.75)),
        ratio: quantile(own, 0.5) / base,
        without: "",
    });
    let table = Table {
        id: "compile",
        title: "Compile time per function (debug build of a crate of 200)".to_owned(),
        unit: "ms",
        of: "median",
        rows: rows.collect(),
    };
    Some((table, crates))
}

fn manifest(root: &Path) -> String {
    format!(
        "[package]\nname = \"subjects\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         idempotent-fn = {{ path = {:?} }}\ncached = {{ version = \"4.1\", features = [\"async\"] }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\n\
         tokio = {{ version = \"1\", features = [\"rt\", \"time\"] }}\n",
        root.join("..")
    )
}

/// `main` calls every function, so that each is compiled whole.
fn source(attribute: &str) -> String {
    let mut text = HEAD.to_owned();
    let mut calls = String::new();
    for index in 0..FUNCTIONS {
        let _ = write!(
            text,
            "{attribute}pub async fn charge_{index}(order: u64) -> Result<Receipt, Failed> {{\n    \
             tokio::task::yield_now().await;\n    Ok(Receipt {{ id: order + {index}, text: order.to_string() }})\n}}\n"
        );
        let _ = writeln!(calls, "    let _ = charge_{index}(1).await;");
    }
    let _ = write!(
        text,
        "fn main() {{\n    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();\n    \
         runtime.block_on(async {{\n{calls}    }});\n}}\n"
    );
    // `cached` asks its errors to be cloned.
    text.replace("#[derive(Debug)]", "#[derive(Clone, Debug)]")
}
