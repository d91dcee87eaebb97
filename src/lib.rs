#![doc = include_str!("../README.md")]
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `memory` (default) | [`store::MemoryStore`], records in this process |
//! | `sqlite` | [`store::SqliteStore`], records in one file; it brings its own `SQLite` |
//! | `sqlite-system` | the same with the `SQLite` of the system, 3.37 or later |
//! | `postgres` | [`store::PostgresStore`], records in a table of PostgreSQL, 14 or later |
//! | `postgres-tls` | `sslmode=require`, by rustls (with `postgres`) |
//! | `redis` | [`store::RedisStore`], records in one Redis or Valkey server |
//! | `redis-cluster` | Redis Cluster (with `redis`) |
//! | `redis-sentinel` | servers found by Sentinels (with `redis`) |
//! | `redis-tls` | `rediss://` URLs, by rustls (with `redis`) |
//! | `tx-sqlx-postgres`, `tx-sqlx-sqlite` | `in_tx` with sqlx 0.9, which needs Rust 1.94; the second brings its own `SQLite` |
//! | `tx-tokio-postgres`, `tx-rusqlite` | `in_tx` with those libraries |
//! | `http` | [`http`], the `Idempotency-Key` header for any Tower service |
//! | `axum` | `http`, and axum's: the key as an extractor, `Json` as a result, errors as responses |
//! | `reqwest` | [`client`], a client that keeps its key and retries |
//! | `json` | [`codec::Json`], a codec that people can read |
//! | `tracing` | a span for each call, an event for each turn it takes |
//! | `conformance` | [`store::conformance`], the suite that every store passes |

#![cfg_attr(docsrs, feature(doc_cfg))]
// The table above leads to items that only some features have.
#![cfg_attr(
    not(all(
        feature = "conformance",
        feature = "http",
        feature = "json",
        feature = "memory",
        feature = "postgres",
        feature = "redis",
        feature = "reqwest",
        feature = "sqlite-system"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]

pub use idempotent_macros::idempotent;
#[doc(inline)]
pub use idempotent_runtime::{
    Error, Execution, Observation, Observed, OnCrash, OnErr, Operation, RerunOrFail, STORE_ENV_VAR,
    SharedStore, Store, StoreError, StoreErrorKind, codec, current, drain, error, fingerprint,
    install, key, observe, operation, operation_at, operation_with_codec, record, store,
    try_current, tx, with_store,
};

#[cfg(feature = "http")]
#[doc(inline)]
pub use idempotent_runtime::http;

#[cfg(feature = "reqwest")]
#[doc(inline)]
pub use idempotent_runtime::client;

#[cfg(feature = "conformance")]
#[doc(inline)]
pub use idempotent_runtime::conformance_tests;

/// The guide's examples run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUIDE.md")]
struct Guide;
