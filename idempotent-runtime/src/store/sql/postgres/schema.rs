//! The table, and how it is made.

use super::statements::Statement;
use crate::store::sql::table::{TABLE, TableName};

/// The table of a [`PostgresStore`](super::PostgresStore), to paste into your own migrations, or made by
/// [`PostgresStore::migrate`](super::PostgresStore::migrate). `search_path` chooses its schema. Keep the comment: it has the
/// table's version.
///
/// The view is for people: what is in the record's bytes.
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
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

/// What two processes that make the table at the same time take turns by.
const LOCK: i64 = 0x6964_656d_706f_7465;

/// Makes table and view, unless the table is there. One statement, and so one transaction.
pub(super) fn creation(table: &TableName) -> Statement {
    let schema = POSTGRES_SCHEMA.replace(TABLE, &table.to_string());
    let text = format!(
        "DO $idempotent$ BEGIN
         PERFORM pg_advisory_xact_lock({LOCK});
         IF to_regclass('{table}') IS NULL THEN
         {schema}
         END IF;
         END $idempotent$"
    );
    Statement::new(text, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::table::{MARK, SCHEMA_NUMBER};

    #[test]
    fn the_schema_has_this_version() {
        let comment = format!("COMMENT ON TABLE {TABLE} IS '{MARK}{SCHEMA_NUMBER}';");
        assert!(POSTGRES_SCHEMA.contains(&comment));
    }
}
