//! By TLS: certificates are always verified.

use std::fs;

use idempotent_runtime::{
    StoreError, StoreErrorKind,
    store::{PostgresOptions, PostgresStore},
};
use idempotent_test_support::PostgresServer;

use crate::common::*;

async fn check(options: PostgresOptions, url: &str) -> Result<(), StoreError> {
    let store: PostgresStore = options.open(url).expect("a valid URL");
    store.check().await
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate_and_name_alone() {
    let server = PostgresServer::start_tls();
    let place = Place::on(&server);
    let pem = server.certificates().ca_pem().to_owned();
    let trusting = || place.options().with_tls_root(pem.clone());
    let url = |host: &str, more: &str| {
        format!(
            "postgres://postgres@{host}:{}/postgres?application_name={}{more}",
            place.port, place.schema
        )
    };
    let store = trusting()
        .open(&url("localhost", "&sslmode=verify-full"))
        .expect("a valid URL");
    first_call(&store, &key("1"), b"42").await;
    let encrypted = format!(
        "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl AND a.application_name = '{}'",
        place.schema
    );
    assert_eq!(server.sql(&encrypted), "1");
    check(trusting(), &url("127.0.0.1", "&sslmode=require"))
        .await
        .expect("by its address");
    // Without a word of it too, where the server has it.
    check(trusting(), &url("localhost", ""))
        .await
        .expect("preferred");
    for (options, host, more) in [
        // An authority that nobody knows.
        (place.options(), "localhost", "&sslmode=require"),
        (place.options(), "localhost", ""),
        // Another server's certificate.
        (
            trusting(),
            "db.example",
            "&sslmode=require&hostaddr=127.0.0.1",
        ),
    ] {
        let error = check(options, &url(host, more))
            .await
            .expect_err("not trusted");
        assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
        assert!(error.to_string().contains("TLS"), "{error}");
    }
    check(place.options(), &url("localhost", "&sslmode=disable"))
        .await
        .expect("in the clear");
}

#[tokio::test]
async fn users_log_in_by_certificate_or_by_a_password_bound_to_the_channel() {
    let server = PostgresServer::start_tls();
    let place = Place::on(&server);
    server.sql("CREATE ROLE certified LOGIN SUPERUSER; CREATE ROLE bound LOGIN SUPERUSER PASSWORD 'pass4711'");
    server.set_access(
        "hostssl all certified 127.0.0.1/32 trust clientcert=verify-ca\nhostssl all bound 127.0.0.1/32 scram-sha-256",
    );
    let files = server.certificates();
    let trusting = || place.options().with_tls_root(files.ca_pem());
    let port = place.port;
    let url = format!("postgres://certified@127.0.0.1:{port}/postgres?sslmode=require");
    let refused = answered_at_last(async || match check(trusting(), &url).await {
        Err(error) if error.kind() == StoreErrorKind::Config => Ok(error),
        other => Err(format!("{other:?}")),
    });
    assert!(refused.await.to_string().contains("28000"));
    let [certificate, private] =
        [files.certificate_path(), files.key_path()].map(|path| fs::read(path).expect("a file"));
    check(trusting().with_tls_identity(certificate, private), &url)
        .await
        .expect("certified");

    let url = format!(
        "postgres://bound:pass4711@127.0.0.1:{port}/postgres?sslmode=require&channel_binding=require"
    );
    check(trusting(), &url).await.expect("bound to the channel");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    let place = Place::new();
    let url = format!("{}&sslmode=require", place.url());
    let error = check(place.options(), &url).await.expect_err("it has none");
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
    let error = place
        .options()
        .with_tls_root("nonsense")
        .open(&url)
        .expect_err("no certificate");
    assert_eq!(error.kind(), StoreErrorKind::Config);
}
