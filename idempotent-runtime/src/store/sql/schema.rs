//! The tables, as text for migrations: also for those who have no store, but call within transactions.

/// The table of a [`PostgresStore`](crate::store::PostgresStore), to paste into your own migrations, or made by
/// [`PostgresStore::migrate`](crate::store::PostgresStore::migrate). `search_path` chooses its schema. Keep the comment: it has the
/// table's version.
///
/// The view is for people: what is in the record's bytes.
pub const POSTGRES_SCHEMA: &str = r#"CREATE TABLE idempotent_records (
    key     text COLLATE "C" PRIMARY KEY, -- "C": its order never changes with an operating system
    record  bytea   NOT NULL,
    renewed bigint  NOT NULL, -- microseconds since 1970: granted, renewed or ended
    expires bigint  NOT NULL, -- microseconds since 1970: from then on as if it were not there
    waited  boolean NOT NULL DEFAULT false -- another process waits for it
);
COMMENT ON TABLE idempotent_records IS 'idempotent-fn 1';

CREATE VIEW idempotent_records_view AS
SELECT key,
       CASE get_byte(record, 1) WHEN 82 THEN 'running' WHEN 68 THEN 'done' WHEN 70 THEN 'failed' WHEN 76 THEN 'lost' END AS state,
       ('x' || encode(substr(record, 19, 8), 'hex'))::bit(64)::bigint AS token,
       ('x' || encode(substr(record, 27, 4), 'hex'))::bit(32)::bigint AS lease_ms,
       ('x' || encode(substr(record, 32, 4), 'hex'))::bit(32)::bigint AS attempts,
       to_timestamp(renewed / 1e6) AS renewed,
       CASE WHEN get_byte(record, 1) IN (68, 70)
            THEN to_timestamp(('x' || encode(substr(record, 42, 6), 'hex'))::bit(48)::bigint / 1e3)
            ELSE to_timestamp(expires / 1e6) END AS expires,
       CASE get_byte(record, 1) WHEN 68
            THEN length(record) - 64 - 8 * (get_byte(record, 30) & 2) - (get_byte(record, 30) & 16) END AS result_bytes
FROM idempotent_records
WHERE length(record) >= 64;
"#;

/// SQL for the number whose hex digits are at these positions of `h`. SQLite cannot parse hex
/// itself.
macro_rules! hex {
    ($($digit:literal)+) => {
        concat!("0" $(, " << 4 | instr('123456789ABCDEF', substr(h, ", $digit, ", 1))")+)
    };
}

/// The table of a [`SqliteStore`](crate::store::SqliteStore), to paste into your own migrations. By
/// default the store creates it
/// ([`with_table_creation`](crate::store::SqliteOptions::with_table_creation)). Keep the comment in it,
/// which has the table's version.
///
/// The view is for people. It shows the fields of the record's bytes, with times in UTC.
pub const SQLITE_SCHEMA: &str = concat!(
    "CREATE TABLE IF NOT EXISTS idempotent_records ( -- idempotent-fn 1
    key     TEXT PRIMARY KEY NOT NULL,
    renewed INTEGER NOT NULL, -- microseconds since 1970: granted, renewed or ended
    expires INTEGER NOT NULL, -- microseconds since 1970: from then on as if it were not there
    record  BLOB NOT NULL
) STRICT;

CREATE VIEW IF NOT EXISTS idempotent_records_view AS
SELECT key, state, token, lease_ms, attempts,
       strftime('%Y-%m-%d %H:%M:%f', renewed / 1e6, 'unixepoch') AS renewed,
       strftime('%Y-%m-%d %H:%M:%f', CASE WHEN shown_until = 0 THEN expires / 1e6 ELSE shown_until / 1e3 END, 'unixepoch') AS expires,
       CASE state WHEN 'done' THEN length - 64 - 8 * (flags & 2) - (flags & 16) END AS result_bytes
FROM (SELECT key, renewed, expires, length,
             CASE substr(h, 3, 2) WHEN '52' THEN 'running' WHEN '44' THEN 'done' WHEN '46' THEN 'failed' WHEN '4C' THEN 'lost' END AS state,
             ",
    hex!(39 40 41 42 43 44 45 46 47 48 49 50 51 52),
    " AS token,
             ",
    hex!(53 54 55 56 57 58 59 60),
    " AS lease_ms,
             ",
    hex!(61 62),
    " AS flags,
             ",
    hex!(63 64 65 66 67 68 69 70),
    " AS attempts,
             ",
    hex!(83 84 85 86 87 88 89 90 91 92 93 94),
    " AS shown_until
      FROM (SELECT key, renewed, expires, length(record) AS length, hex(substr(record, 1, 64)) AS h FROM idempotent_records));
"
);
