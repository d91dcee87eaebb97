//! `docs/WRITING_A_STORE.md` quotes this code and the store over `DynamoDB`. This test compares
//! them, so the page shows only tested code.

use std::{fs, path::Path};

/// Each block of Rust on the page begins with a comment that names its file, and stands there word
/// for word. Lines that are `// …` stand for anything.
#[test]
fn the_page_shows_the_code_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/WRITING_A_STORE.md")).expect("the page");
    let blocks = page.split("```rust\n").skip(1);
    let mut shown = 0;
    for block in blocks {
        let block = block.split("```").next().expect("the block's end");
        let (head, code) = block.split_once('\n').expect("more than its file");
        let name = head.strip_prefix("// ").expect("the file that it is of");
        let source = fs::read_to_string(root.join(name));
        let source = source.unwrap_or_else(|error| panic!("{name}: {error}"));
        for part in code.split("// …\n") {
            let part = unindented(part);
            assert!(!part.is_empty(), "{name}: a part with nothing in it");
            assert!(
                unindented(&source).contains(&part),
                "{name} has no such part any more:\n{part}"
            );
            shown += 1;
        }
    }
    assert!(shown >= 4, "the page shows {shown} parts");
}

/// The text without what is before and after each line.
fn unindented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}
