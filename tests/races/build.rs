//! The runtime's own sources, with their locks, atomics, map, channels and time exchanged for those that the checker
//! schedules; and mutants of them, which the checker has to catch.

use std::{env, fs, path::Path};

const SOURCES: &str = "../../idempotent-runtime/src";

/// A file of the runtime, or a mutant of it: its name here, the source, what is taken away, and what stands there then.
const FILES: &[(&str, &str, &str, &str)] = &[
    ("flight.rs", "call/single_flight.rs", "", ""),
    (
        "flight_unguarded.rs",
        "call/single_flight.rs",
        "fn drop(&mut self) {\n        self.end(Landing::Free);\n    }",
        "fn drop(&mut self) {}",
    ),
    (
        "flight_any.rs",
        "call/single_flight.rs",
        ".remove_if(key, |_, current| Arc::ptr_eq(current, flight))",
        ".remove_if(key, |_, current| Arc::ptr_eq(current, flight) || true)",
    ),
    (
        "flight_late.rs",
        "call/single_flight.rs",
        "changed).await",
        "{ drop(changed); self.flight.changed.notified() }).await",
    ),
    ("topics.rs", "store/notify.rs", "", ""),
    (
        "topics_hasty.rs",
        "store/notify.rs",
        ".is_some_and(|sender| sender.receiver_count() == 0)",
        ".is_some()",
    ),
    ("memory.rs", "store/memory/mod.rs", "", ""),
    (
        "memory_forgetful.rs",
        "store/memory/mod.rs",
        "|packed: &Packed| packed.gone() <= now",
        "|_: &Packed| true",
    ),
    (
        "memory_crowded.rs",
        "store/memory/mod.rs",
        ".fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)\n            .is_ok()",
        ".load(Ordering::Relaxed) < self.max_records && { self.len.fetch_add(1, Ordering::Relaxed); let _ = more; true }",
    ),
    ("expiry.rs", "store/memory/expiry.rs", "", ""),
    ("list.rs", "store/memory/list.rs", "", ""),
    ("layout.rs", "store/memory/layout.rs", "", ""),
    ("table.rs", "store/memory/table.rs", "", ""),
    ("deadline.rs", "store/near/deadline.rs", "", ""),
    ("near.rs", "store/near/cache.rs", "", ""),
    (
        "near_hasty.rs",
        "store/near/cache.rs",
        "if shard.epoch == epoch {",
        "if shard.epoch == epoch || true {",
    ),
    (
        "near_lax.rs",
        "store/near/cache.rs",
        "shard.epoch += 1;",
        "",
    ),
];

fn main() {
    let out = env::var("OUT_DIR").expect("cargo says where");
    for (name, source, taken, put) in FILES {
        let path = Path::new(SOURCES).join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("a source of the runtime");
        assert!(
            text.contains(taken),
            "{name}: {source} has no `{taken}` any more; find the mutant's new place"
        );
        let text = exchanged(&text.replacen(taken, put, 1));
        fs::write(Path::new(&out).join(name), text).expect("written");
    }
}

fn exchanged(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let text = text
        .replace("#[cfg(test)]\nmod layout_tests;\n", "")
        .replace("#[cfg(test)]\nmod tests;\n", "")
        .replace("mod clock;\n", "use crate::shim::clock;\n")
        .replace("pub use clock::ManualClock;", "use clock::ManualClock;")
        .replace("use std::", "use crate::shim::std::")
        .replace("use tokio::", "use crate::shim::tokio::")
        .replace("use dashmap::", "use crate::shim::dashmap::");
    assert!(
        !text.contains(" std::sync"),
        "a lock that the checker would not see"
    );
    let text = ["expiry", "layout", "list", "table"]
        .iter()
        .fold(text, |text, part| {
            let part_here =
                format!("mod {part} {{ include!(concat!(env!(\"OUT_DIR\"), \"/{part}.rs\")); }}");
            text.replace(&format!("mod {part};"), &part_here)
        });
    // From outside of its crate, no match on these is exhaustive.
    let text = text
        .replace("State::Lost => 3,", "_ => 3,")
        .replace("Some(OutcomeRef::NotRecorded(_)) =>", "Some(_) =>");
    // Each variant has an attempt of its own.
    text.replace("context::Attempt, ", "").replace(
        "use crate::{StoreError, fingerprint",
        "use super::execution::Attempt;\nuse crate::{StoreError, fingerprint",
    )
}
