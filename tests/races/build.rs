//! Compiles the runtime's sources for the scheduler of these tests: see
//! `idempotent-runtime/src/sync.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=idempotent_shuttle");
    // The runtime's other features are not there.
    println!("cargo::rustc-check-cfg=cfg(feature, values(any()))");
}
