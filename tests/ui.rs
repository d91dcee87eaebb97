//! One mistake a file in `tests/ui/`, and what the compiler says about it beside it. To accept changes:
//! `TRYBUILD=overwrite cargo test --test ui`.
//!
//! The texts belong to one compiler. None of them quotes the standard library's sources, so that it makes no difference
//! whether those are installed.

const COMPILER: &str = "rustc 1.95.";

#[test]
fn mistakes() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc)
        .arg("--version")
        .output()
        .expect("rustc");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with(COMPILER) {
        println!("skipped: the texts are those of {COMPILER}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
