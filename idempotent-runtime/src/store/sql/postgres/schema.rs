//! The table, and how it is made.

use super::statements::Statement;
use crate::store::sql::table::{TABLE, TableName};

pub use crate::store::sql::schema::POSTGRES_SCHEMA;

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
