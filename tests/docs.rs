//! Checks the documents: their links lead somewhere, and the tests that they name exist.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Where GitHub shows a file of this repository.
const FILES: &str = "https://github.com/idempotent-fn/idempotent-fn/blob/main/";
/// Where it has the bytes of one: a picture.
const BYTES: &str = "https://raw.githubusercontent.com/idempotent-fn/idempotent-fn/main/";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All documents, as paths from the root and their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for directory in ["", "docs", "docs/upstream"] {
        let Ok(entries) = fs::read_dir(root().join(directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = Path::new(directory).join(entry.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path, fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The targets of a document's links and pictures, those in blocks of code left out.
fn targets(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// The name that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn assert_leads_somewhere(document: &Path, target: &str, path: &Path) {
    let from = document.display();
    let (file, fragment) = match path.to_str().unwrap().split_once('#') {
        Some((file, fragment)) => (PathBuf::from(file), Some(fragment)),
        None => (path.to_owned(), None),
    };
    let file = root().join(file);
    assert!(file.exists(), "{from}: nothing is at {target}");
    if let Some(fragment) = fragment {
        let text = fs::read_to_string(&file).unwrap();
        let mut headings = text.lines().filter(|line| line.starts_with('#'));
        assert!(
            headings.any(|heading| anchor(heading) == fragment),
            "{from}: no heading for {target}"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    for (document, text) in documents() {
        for target in targets(&text) {
            let own = target.strip_prefix(FILES);
            if let Some(path) = own.or_else(|| target.strip_prefix(BYTES)) {
                assert_leads_somewhere(&document, target, Path::new(path));
            } else if let Some(fragment) = target.strip_prefix('#') {
                let path = format!("{}#{fragment}", document.display());
                assert_leads_somewhere(&document, target, Path::new(&path));
            } else if !target.contains("://") {
                let path = document.parent().unwrap().join(target);
                assert_leads_somewhere(&document, target, &path);
            }
        }
    }
}

/// README is also the first page of the crate's documentation, and of its page in the registry:
/// only whole addresses lead to the same place from all of them.
#[test]
fn readme_has_whole_links_only() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for target in targets(&readme) {
        assert!(target.starts_with("https://"), "{target}");
    }
}

#[test]
fn readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 160);
}

/// Each name in the last column of a table in `docs/GUARANTEES.md` and `docs/HTTP_DEFECTS.md`, or of
/// the tables of the draft and the contracts in `docs/HTTP.md`, that looks like a test's is one.
#[test]
fn the_tests_that_documents_name_exist() {
    if !root().join("idempotent-runtime").exists() {
        return; // a published package, which has its own tests only
    }
    let mut functions = HashSet::new();
    for directory in ["tests", "idempotent-runtime", "idempotent-macros"] {
        collect_functions(&root().join(directory), &mut functions);
    }
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let http = text("docs/HTTP.md");
    let (_, draft) = http.split_once("## The draft, line by line").unwrap();
    let (draft, contracts) = draft.split_once("## Contracts by name").unwrap();
    let guarantees = text("docs/GUARANTEES.md");
    let defects = text("docs/HTTP_DEFECTS.md");
    let pages = [
        (&*guarantees, 40),
        (draft, 20),
        (contracts, 20),
        (&*defects, 70),
    ];
    for (text, least) in pages {
        let mut named = 0;
        for row in text.lines().filter(|line| line.starts_with('|')) {
            let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
            for name in last.split('`').skip(1).step_by(2) {
                let is_a_name = name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                if is_a_name {
                    assert!(functions.contains(name), "there is no test `{name}`");
                    named += 1;
                }
            }
        }
        assert!(named > least, "{named}");
    }
}

/// Each source file of the runtime and of the attribute is in the map of `docs/ARCHITECTURE.md`,
/// and each file that it names is there.
#[test]
fn the_map_is_whole() {
    if !root().join("idempotent-runtime").exists() {
        return; // a published package
    }
    let mut sources = Vec::new();
    for directory in ["idempotent-runtime/src", "idempotent-macros/src"] {
        collect_sources(&root().join(directory), &mut sources);
    }
    let names: HashSet<_> = sources.iter().map(|path| name_of(path)).collect();
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let words = text.split(|c: char| !c.is_alphanumeric() && !"_./-".contains(c));
    let named: Vec<_> = words.filter(|word| is_source(Path::new(word))).collect();
    let shown: HashSet<_> = named.iter().map(|word| name_of(Path::new(word))).collect();
    for path in &sources {
        let is_test = path.components().any(|part| {
            let part = part.as_os_str().to_str().unwrap().trim_end_matches(".rs");
            matches!(part, "conformance" | "any_order" | "golden" | "hostile")
                || part.ends_with("tests")
        });
        assert!(
            is_test || shown.contains(&name_of(path)),
            "the map lacks {}",
            path.display()
        );
    }
    for word in named {
        let is_there = names.contains(&name_of(Path::new(word)))
            && (!word.contains('/') || sources.iter().any(|path| path.ends_with(word)))
            || root().join(word).exists();
        assert!(is_there, "the map names {word}");
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn is_source(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension == "rs" || extension == "lua")
}

fn collect_sources(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_sources(&path, sources);
        } else if is_source(&path) {
            sources.push(path);
        }
    }
}

/// The names of all functions in the sources below `directory`.
fn collect_functions(directory: &Path, functions: &mut HashSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                collect_functions(&path, functions);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for rest in text.split("fn ").skip(1) {
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                functions.insert(name);
            }
        }
    }
}
