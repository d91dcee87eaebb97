//! `IDEMPOTENT_STORE=postgres://…`. A process has one environment, so each case runs in its own process.

use std::{env, process::Command};

use idempotent_runtime::{Error, SharedStore, install, operation};
use idempotent_test_support::PostgresServer;

use crate::{common::*, process};

type Answer = Result<u32, Error>;

/// The child.
pub(crate) async fn call() {
    match SharedStore::from_env().await {
        Ok(store) => {
            process::say(&format!("store: {}", store.describe()));
            install(store).expect("the first");
            let call = operation::<Answer, _>("from_env", &[&"1"]);
            let answer = call.run(async {
                process::say("the body runs");
                Ok(1)
            });
            assert_eq!(answer.await.expect("answered"), 1);
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            process::say(&format!("refused: {:?}: {error} {source:?}", error.kind()));
        }
    }
}

/// What a process with this environment says.
fn told(url: &str) -> String {
    let mut program = Command::new(env::current_exe().expect("this program"));
    program.env("IDEMPOTENT_STORE", url);
    let child = process::start_by(&mut program, "from_env", "");
    let output = child.wait_with_output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        !format!("{text}{errors}").contains("4711"),
        "{text}{errors}"
    );
    text
}

#[test]
fn what_the_environment_names_is_connected_to_and_used() {
    let server = &*SERVER;
    let place = Place::empty(server);
    let schema = &place.schema;
    server.sql(&format!(
        "CREATE ROLE {schema} LOGIN PASSWORD 'pass4711';
         ALTER SCHEMA {schema} OWNER TO {schema};
         ALTER ROLE {schema} SET search_path = {schema}"
    ));
    let url = format!(
        "postgres://{schema}:pass4711@127.0.0.1:{}/postgres",
        server.port()
    );
    let text = told(&url);
    assert!(text.contains("refused: Config"), "{text}");
    assert!(text.contains("`PostgresStore::migrate`"), "{text}");
    server.sql(&format!(
        "SET ROLE {schema}; SET search_path = {schema}; {}",
        idempotent_runtime::store::POSTGRES_SCHEMA
    ));
    let first = told(&url);
    assert!(first.contains("store: PostgreSQL at 127.0.0.1"), "{first}");
    assert!(first.contains("the body runs"), "{first}");
    let second = told(&url);
    assert!(!second.contains("the body runs"), "{second}");
}

#[test]
fn what_does_not_let_us_in_is_told_without_the_password() {
    let server = PostgresServer::start();
    let data = server.folder().join("data/pg_hba.conf");
    std::fs::write(
        &data,
        "host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n",
    )
    .expect("writable");
    let folder = server
        .folder()
        .to_str()
        .expect("a path")
        .replace('/', "%2F");
    // By its socket, where no password is asked for.
    let socket = format!("postgres://postgres@{folder}:{}/postgres", server.port());
    let reload = std::process::Command::new("sh")
        .args(["-c", "kill -HUP \"$0\"", &server.id().to_string()])
        .status();
    assert!(reload.expect("there is a shell").success());
    idempotent_test_support::wait_until("it asks for passwords", || {
        told(&format!(
            "postgres://postgres@127.0.0.1:{}/postgres",
            server.port()
        ))
        .contains("password missing")
    });
    let wrong = format!(
        "postgres://postgres:pass4711@127.0.0.1:{}/postgres",
        server.port()
    );
    for (url, word) in [
        (&*wrong, "28P01"),
        (&format!("{socket}?application_name=pass4711"), "migrate"),
        (&format!("{wrong}_other"), "28P01"),
        ("postgres://u:pass4711@127.0.0.1:1/d", "cannot connect"),
        ("postgres://u:pass4711@127.0.0.1:pass4711/d", "no URL"),
    ] {
        let text = told(url);
        assert!(
            text.contains("refused: ") && text.contains(word),
            "{word}: {text}"
        );
    }
}
