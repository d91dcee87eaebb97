//! Each file in `tests/ui/` has one mistake, with the compiler's message beside it. To accept
//! changes: `TRYBUILD=overwrite cargo test --all-features --test ui`.
//!
//! The messages belong to one compiler version. None quotes the standard library's sources, which
//! need not be installed. On another compiler each mistake must still be an error, with our own
//! text where the attribute reports it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const COMPILER: &str = "rustc 1.95.";
const MISTAKES: &str = "tests/ui";
/// Where another compiler's texts are written.
const ELSEWHERE: &str = "target/ui";

#[test]
fn compile_errors() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = String::from_utf8_lossy(&version.expect("rustc").stdout).into_owned();
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail(format!("{MISTAKES}/*.rs"));
    } else {
        println!("the texts are those of {COMPILER}x, this is {version}");
        in_our_words();
    }
}

/// What [`compile_errors`] does on another compiler, on this one.
#[test]
#[ignore = "as long as the other one, and on the compiler of the texts no more than it"]
fn compile_errors_on_another_compiler() {
    in_our_words();
}

/// Has the compiler write its own texts, for [`in_our_words`].
#[test]
#[ignore = "a part of the others"]
fn write() {
    trybuild::TestCases::new().compile_fail(format!("{ELSEWHERE}/*.rs"));
}

/// Each mistake is one on this compiler too, and what it says has our text in it.
fn in_our_words() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let elsewhere = manifest.join(ELSEWHERE);
    let _ = fs::remove_dir_all(&elsewhere);
    fs::create_dir_all(&elsewhere).expect("a folder for the texts");
    let cases = cases(&manifest.join(MISTAKES));
    for case in &cases {
        fs::copy(case, elsewhere.join(case.file_name().expect("a file"))).expect("a copy");
    }
    let written = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "write", "--ignored"])
        .env("TRYBUILD", "overwrite")
        .current_dir(manifest)
        .output()
        .expect("this test again");
    let (mut others, mut missing) = (Vec::new(), Vec::new());
    for case in &cases {
        let name = case
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let golden = fs::read_to_string(case.with_extension("stderr")).expect("a text");
        let written = elsewhere.join(format!("{name}.stderr"));
        match (fs::read_to_string(written), ours(&golden)) {
            (Ok(text), Some(ours)) if !text.contains(ours) => {
                missing.push(format!("{name}: not `{ours}` but\n{text}"));
            }
            (Ok(_), Some(_)) => {}
            (Ok(_), None) => others.push(name),
            (Err(_), _) => missing.push(format!("{name}: it compiles")),
        }
    }
    println!("not compared: what stands below our texts, and the compiler's own: {others:?}");
    assert!(
        others.len() * 4 < cases.len(),
        "few texts are the compiler's own: {others:?}"
    );
    assert!(
        missing.is_empty(),
        "{}\n{}",
        missing.join("\n"),
        String::from_utf8_lossy(&written.stdout)
    );
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the mistakes");
    let mut cases: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    cases.sort();
    assert!(cases.len() > 79, "{} mistakes", cases.len());
    cases
}

/// The message, where it is ours: the attribute's own errors have no code, and what a trait's bound
/// says is under E0277.
fn ours(golden: &str) -> Option<&str> {
    let first = golden.lines().next()?;
    let message = first
        .strip_prefix("error: ")
        .or_else(|| first.strip_prefix("error[E0277]: "))?;
    let is_rustcs =
        message.contains("cannot be sent between threads") || message.contains("lifetime");
    (!is_rustcs).then_some(message)
}
