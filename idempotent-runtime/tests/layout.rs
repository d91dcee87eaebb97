//! Imports go down: a module of the runtime uses only modules of lower layers. So there is no cycle
//! either.

use std::{collections::HashMap, fs, path::Path};

/// From the lowest to the highest. A module uses itself and those before it.
const LAYERS: &str = "sync backoff runtime_check policy codec fingerprint key record error events \
                      store default_store context operation call tx http client lib";

/// Calls `visit` with each source file but tests: its path from `src`, and its code without
/// comments and tests.
fn each_file(src: &Path, directory: &Path, visit: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            each_file(src, &path, visit);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = text.lines().map(|line| line.split("//").next().unwrap());
            let code = lines.collect::<Vec<_>>().join(" ");
            visit(path.strip_prefix(src).unwrap(), &code);
        }
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// How high a module stands.
fn layer(module: &str) -> Option<usize> {
    LAYERS
        .split(' ')
        .filter(|it| !it.is_empty())
        .position(|it| it == module)
}

/// The names that follow `crate::`, also those in its braces.
fn used(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut is_start) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => is_start = true,
                c if is_start && !c.is_whitespace() => {
                    names.push(word(&group[at..]));
                    is_start = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn imports_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What stands at the root was exported from a module: there it belongs.
    let root = fs::read_to_string(src.join("lib.rs")).unwrap();
    let root = root.replace("pub(crate) use ", "pub use ");
    let mut homes = HashMap::new();
    for export in root.split("pub use ").skip(1) {
        let (module, names) = export.split(';').next().unwrap().split_once("::").unwrap();
        let names = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        homes.extend(names.map(|name| (name, module)));
    }
    let mut checked = 0;
    each_file(&src, &src, &mut |path, code| {
        let module = path.iter().next().unwrap().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        let own = layer(module).unwrap_or_else(|| panic!("`{module}` has no layer"));
        // `tests/races` is a scheduler around it all.
        for name in used(code).into_iter().filter(|name| *name != "races") {
            let home = layer(name).or_else(|| layer(homes.get(name)?));
            let home = home.unwrap_or_else(|| panic!("{}: where is `{name}`?", path.display()));
            assert!(
                home <= own,
                "{} uses `{name}`, which is above it",
                path.display()
            );
            checked += 1;
        }
    });
    assert!(checked > 200, "{checked}");
}
