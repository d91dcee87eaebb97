//! The table: its schema, and a check of what is there under its name.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{
    connection::Database,
    error::{Stage, explain},
};
use crate::{
    StoreError, StoreErrorKind,
    store::sql::table::{MARK, SCHEMA_NUMBER, TABLE},
};

/// SQL for the number whose hex digits are at these positions of `h`. SQLite cannot parse hex
/// itself.
macro_rules! hex {
    ($($digit:literal)+) => {
        concat!("0" $(, " << 4 | instr('123456789ABCDEF', substr(h, ", $digit, ", 1))")+)
    };
}

/// The table of a [`SqliteStore`](super::SqliteStore), to paste into your own migrations. By
/// default the store creates it
/// ([`with_table_creation`](super::SqliteOptions::with_table_creation)). Keep the comment in it,
/// which has the table's version.
///
/// The view is for people. It shows the fields of the record's bytes, with times in UTC.
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
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

/// What exists under the table's name.
enum Found {
    Nothing,
    Ours(u32),
    Foreign,
}

/// Creates the table if there is none and `creates` is set. Otherwise checks what is there, and
/// returns an error if it is not the table. It takes the lock for writing, so it also checks that
/// this process may write.
pub(super) fn prepare(
    connection: &mut Connection,
    database: &Database,
    creates: bool,
) -> Result<(), StoreError> {
    let failed = |error| explain(error, &database.name, Stage::Before);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = transaction.map_err(failed)?;
    let table = &database.table.name;
    match find(&transaction, table).map_err(failed)? {
        Found::Ours(SCHEMA_NUMBER) => {}
        Found::Nothing if creates => {
            let schema = SQLITE_SCHEMA.replace(TABLE, table);
            transaction.execute_batch(&schema).map_err(failed)?;
        }
        Found::Nothing => {
            let reason = format!(
                "has no table `{table}`: call `SqliteStore::migrate`, or run SQLITE_SCHEMA"
            );
            return Err(config(database, &reason));
        }
        Found::Foreign => {
            let reason = format!(
                "has a `{table}` that is not this library's: name another with `SqliteOptions::with_table`"
            );
            return Err(config(database, &reason));
        }
        Found::Ours(number) => return Err(config(database, &other_version(table, number))),
    }
    let committed = transaction.commit();
    committed.map_err(|error| explain(error, &database.name, Stage::Commit))
}

fn other_version(table: &str, number: u32) -> String {
    let what_to_do = if number > SCHEMA_NUMBER {
        "a later release of idempotent-fn made it: update this program"
    } else {
        "no release of idempotent-fn made it: name another table with `SqliteOptions::with_table`"
    };
    format!(
        "has a table `{table}` of version {number}, and this is version {SCHEMA_NUMBER}; {what_to_do}"
    )
}

fn config(database: &Database, reason: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Config,
        format!("{} {reason}", database.name),
    )
}

/// Looks up what exists under the table's name. SQLite keeps the text of the statement that created
/// a table, with its comments.
fn find(connection: &Connection, table: &str) -> rusqlite::Result<Found> {
    let made_by = connection.query_row(
        "SELECT type, sql FROM sqlite_schema WHERE lower(name) = lower(?1)",
        [table],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)),
    );
    let Some((kind, text)) = made_by.optional()? else {
        return Ok(Found::Nothing);
    };
    let number = text
        .as_deref()
        .and_then(version)
        .filter(|_| kind == "table");
    Ok(number.map_or(Found::Foreign, Found::Ours))
}

fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(MARK)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_this_version_and_can_be_run_twice() {
        assert_eq!(version(SQLITE_SCHEMA), Some(SCHEMA_NUMBER));
        let connection = Connection::open_in_memory().expect("memory");
        assert!(matches!(find(&connection, TABLE), Ok(Found::Nothing)));
        for _ in 0..2 {
            connection.execute_batch(SQLITE_SCHEMA).expect("the schema");
            assert!(matches!(find(&connection, TABLE), Ok(Found::Ours(1))));
        }
        let view = find(&connection, "idempotent_records_view");
        assert!(matches!(view, Ok(Found::Foreign)));
    }
}
