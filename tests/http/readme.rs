//! README's requests to `examples/axum_service.rs`, with curl, have the answers that stand there.

use std::{path::Path, process::Command};

use crate::support::serve;

#[allow(dead_code, reason = "its `main` is not the test's")]
#[path = "../../examples/axum_service.rs"]
mod axum_service;

/// What README shows: commands, and below each but the first its output.
fn shown() -> Option<Vec<(String, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (_, block) = readme.split_once("```console\n")?;
    let (block, _) = block.split_once("```")?;
    let commands = block.split("$ ").skip(1).map(|part| {
        let (command, output) = part.split_once('\n').unwrap();
        (command.to_owned(), output.trim_end().to_owned())
    });
    Some(commands.collect())
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap()) else {
        return false;
    };
    let mut end = "";
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        (rest, end) = (after, piece);
    }
    rest.is_empty() || text.ends_with(end) && end.len() > 1
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_the_answers_that_readme_shows() {
    let server = serve(axum_service::app()).await;
    let shown = shown().expect("a block of commands");
    let (definition, _) = &shown[0];
    let address = server.address.to_string();
    let definition = definition.replace("localhost:3000", &address);
    assert!(definition.contains(&address), "{definition}");
    assert!(shown.len() >= 6, "{shown:?}");
    for (command, expected) in &shown[1..] {
        let script = format!("{definition}\n{command}");
        let run = move || Command::new("bash").arg("-c").arg(script).output();
        let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(
            is_like(answer.trim_end(), expected),
            "{command}\n{answer}\n{expected}"
        );
    }
}
