//! Makes this package the runtime as the checker sees it: see `idempotent-runtime/src/sync.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=idempotent_shuttle");
    // The runtime's other features are not there.
    println!("cargo::rustc-check-cfg=cfg(feature, values(any()))");
}
