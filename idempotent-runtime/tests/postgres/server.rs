//! What the store looks at when it connects.

use std::fs;

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    store::{POSTGRES_SCHEMA, PostgresStore},
};
use idempotent_test_support::PostgresServer;

use crate::common::*;

async fn refused(store: &PostgresStore) -> StoreError {
    store.check().await.expect_err("it is not fit")
}

#[tokio::test]
async fn a_missing_table_is_made_by_migrate_once() {
    let place = Place::empty(&SERVER);
    let store = place.store();
    let error = refused(&store).await;
    assert_eq!(error.kind(), StoreErrorKind::Config);
    for word in [
        "`PostgresStore::migrate`",
        &place.table(),
        "POSTGRES_SCHEMA",
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
    // Whatever is done first says the same.
    let claim = place.store().claim(&key("1"), &request()).await;
    assert_eq!(claim.expect_err("no table").kind(), StoreErrorKind::Config);
    let others: Vec<_> = (0..4).map(|_| place.store()).collect();
    let migrations = others
        .into_iter()
        .map(|other| tokio::spawn(async move { other.migrate().await }));
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.expect("no panic").expect("migrated");
    }
    store.migrate().await.expect("nothing to do");
    first_call(&store, &key("1"), b"42").await;
}

/// A row, changed as in `change`, is not taken for the table.
#[tokio::test]
async fn what_is_not_fit_is_told_with_what_to_do() {
    for (change, words) in [
        (
            "COMMENT ON TABLE {} IS 'idempotent-fn 2'",
            &["version 2", "update this program"][..],
        ),
        (
            "COMMENT ON TABLE {} IS NULL",
            &["not this library's", "with_table"],
        ),
        ("ALTER TABLE {} SET UNLOGGED", &["UNLOGGED", "SET LOGGED"]),
        (
            "DROP VIEW {}_view; ALTER TABLE {} ALTER key TYPE text COLLATE \"en-x-icu\"",
            &["collation", "COLLATE \"C\""],
        ),
    ] {
        let place = Place::new();
        let store = place.store();
        store.check().await.expect("fit");
        SERVER.sql(&change.replace("{}", &place.table()));
        let error = refused(&place.store()).await;
        assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let mut place = Place::new();
    let (schema, table) = (place.schema.clone(), place.table());
    SERVER.sql(&format!("CREATE ROLE {schema} LOGIN"));
    place.user.clone_from(&schema);
    let error = refused(&place.store()).await;
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
    assert!(error.to_string().contains("42501"), "{error}");
    SERVER.sql(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {schema}; GRANT SELECT, UPDATE ON {table} TO {schema}"
    ));
    let error = refused(&place.store()).await;
    assert!(
        error
            .to_string()
            .contains(&format!("GRANT INSERT ON {table}")),
        "{error}"
    );
    SERVER.sql(&format!("GRANT INSERT ON {table} TO {schema}"));
    // Without DELETE nothing is swept, and all else goes on.
    let store = place.store();
    first_call(&store, &key("1"), b"42").await;
    let error = store.sweep().await.expect_err("it may not");
    assert!(error.to_string().contains("DELETE"), "{error}");
    SERVER.sql(&format!("REVOKE UPDATE ON {table} FROM {schema}"));
    let error = store.claim(&key("2"), &request()).await.map(drop);
    let finish = store
        .finish(&key("2"), &done(&request().record(), b"1"))
        .await;
    drop(error);
    assert_eq!(
        finish.expect_err("it may not").kind(),
        StoreErrorKind::Config
    );
}

#[tokio::test]
async fn a_standby_is_refused_for_the_moment() {
    let mut server = PostgresServer::start();
    let place = Place::on(&server);
    let store = place.store();
    store.check().await.expect("a primary");
    server.kill();
    fs::write(server.folder().join("data/standby.signal"), "").expect("writable");
    server.restart();
    let error = answered_at_last(async || match store.claim(&key("1"), &request()).await {
        Err(error) if error.kind() == StoreErrorKind::Refused => Ok(error),
        other => Err(format!("{other:?}")),
    });
    let error = error.await;
    assert!(error.to_string().contains("standby"), "{error}");
    assert!(error.is_transient());
}

/// A server that takes no writes for a while, as in a switch-over.
#[tokio::test]
async fn a_server_without_writes_is_refused_for_the_moment() {
    let mut place = Place::new();
    let schema = place.schema.clone();
    SERVER.sql(&format!(
        "CREATE ROLE {schema} LOGIN SUPERUSER; ALTER ROLE {schema} SET default_transaction_read_only = on"
    ));
    place.user.clone_from(&schema);
    let store = place.store();
    store.check().await.expect("it answers");
    let error = store
        .claim(&key("1"), &request())
        .await
        .expect_err("no writes");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(
        error.is_transient() && error.to_string().contains("25006"),
        "{error}"
    );
    SERVER.sql(&format!(
        "ALTER ROLE {schema} RESET default_transaction_read_only"
    ));
    // The connection has been replaced: it takes the new setting.
    granted(store.claim(&key("1"), &request()).await.expect("claim"));
}

#[test]
fn the_schema_can_be_pasted_into_migrations() {
    let place = Place::empty(&SERVER);
    SERVER.sql(&format!(
        "SET search_path = {}; {POSTGRES_SCHEMA}",
        place.schema
    ));
    let shown = SERVER.sql(&format!(
        "SELECT count(*) FROM {}.idempotent_records_view",
        place.schema
    ));
    assert_eq!(shown, "0");
}
