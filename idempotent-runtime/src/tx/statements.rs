//! The statements, for each database and table.
//!
//! Each answers with the four columns of a [`Row`](super::Row). What its numbers mean stands in [`session`](super::session).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use once_cell::sync::Lazy;

use super::{Dialect, Table};
use crate::{StoreError, store::sql::table::TableName};

/// The texts of the statements on one table. They live for ever, as a library that prepares statements wants it; a program
/// names its tables in its code.
pub(super) struct Statements {
    /// Fails where no transaction is begun; for SQLite, where one is.
    pub(super) probe: &'static str,
    /// Writes a first record where there is none.
    pub(super) insert: &'static str,
    /// The same without waiting for another transaction that has the key.
    pub(super) insert_at_once: &'static str,
    pub(super) read: &'static str,
    /// Replaces a record that was read.
    pub(super) swap: &'static str,
    /// Replaces the record that this transaction has written.
    pub(super) finish: &'static str,
    pub(super) delete: &'static str,
}

type Known = HashMap<(Dialect, Table), &'static Statements>;

static KNOWN: Lazy<Mutex<Known>> = Lazy::new(Mutex::default);

impl Statements {
    pub(super) fn of(dialect: Dialect, table: Table) -> Result<&'static Self, StoreError> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statements) = known.get(&(dialect, table)) {
            return Ok(statements);
        }
        TableName::parse(table.name)?;
        let statements: &'static Self = Box::leak(Box::new(match dialect {
            Dialect::Postgres => Self::postgres(table.name),
            Dialect::Sqlite => Self::sqlite(table.name),
        }));
        known.insert((dialect, table), statements);
        Ok(statements)
    }

    fn sqlite(table: &str) -> Self {
        let swap = text(format!(
            "UPDATE {table} SET record = ?2, renewed = ?4, expires = ?5 WHERE key = ?1 AND record = ?3 AND renewed = ?6 \
             RETURNING NULL AS record, renewed, expires, renewed AS now"
        ));
        let finish = text(format!(
            "UPDATE {table} SET record = ?2, renewed = ?4, expires = ?5 WHERE key = ?1 AND record = ?3 \
             RETURNING NULL AS record, renewed, expires, renewed AS now"
        ));
        let insert = text(format!(
            "INSERT INTO {table} (key, record, renewed, expires) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING \
             RETURNING NULL AS record, renewed, expires, renewed AS now"
        ));
        Self {
            probe: "BEGIN",
            insert,
            insert_at_once: insert,
            read: text(format!(
                "SELECT record, renewed, expires, NULL AS now FROM {table} WHERE key = ?1"
            )),
            swap,
            finish,
            delete: text(format!(
                "DELETE FROM {table} WHERE key = ?1 AND record = ?2 RETURNING NULL AS record, 0 AS renewed, 0 AS expires, 0 AS now"
            )),
        }
    }

    fn postgres(table: &str) -> Self {
        let fill = |text_of: &str| {
            let filled = text_of
                .replace("CLOCK", CLOCK)
                .replace("BOUND", BOUND)
                .replace("TABLE_NAME", table);
            text(filled)
        };
        Self {
            probe: fill("LOCK TABLE TABLE_NAME IN ACCESS SHARE MODE"),
            insert: fill(INSERT),
            insert_at_once: fill(INSERT_AT_ONCE),
            read: fill(
                "SELECT record, renewed, expires, CLOCK AS now FROM TABLE_NAME WHERE key = $1",
            ),
            swap: fill(SWAP),
            finish: fill(FINISH),
            delete: fill(
                "DELETE FROM TABLE_NAME WHERE key = $1 AND record = $2 \
                 AND pg_current_xact_id()::text::bigint = $3::bigint \
                 RETURNING NULL::bytea AS record, 0::bigint AS renewed, 0::bigint AS expires, 0::bigint AS now",
            ),
        }
    }
}

fn text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// The server's time in µs since 1970: of this moment, and not of the statement's or transaction's beginning.
const CLOCK: &str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// Sets `lock_timeout` to the smaller of $3 ms and the caller's own, in which 0 is none, and keeps what it was. What waits for
/// a lock must take its input from here.
const BOUND: &str = "SELECT current_setting('lock_timeout') AS old, set_config('lock_timeout', \
    CASE WHEN current_setting('lock_timeout') = '0' THEN $3::bigint \
    ELSE least($3::bigint, (extract(epoch from current_setting('lock_timeout')::interval) * 1000)::bigint) END::text, \
    true) AS bound";

/// Insert first: the unique index is the lock. Read first, and a serializable transaction would have a gap to watch.
/// $1 key, $2 record, $3 the longest wait in ms. One row, always:
/// written here: no record, its time, none, this transaction · there before: record, its times, now · all NULL: it was written
/// while this statement waited, so that its snapshot does not show it.
const INSERT: &str = "\
    WITH b AS MATERIALIZED (BOUND), \
    ins AS (INSERT INTO TABLE_NAME (key, record, renewed, expires) \
        SELECT $1::text, $2::bytea, CLOCK, CLOCK + 604800000000 FROM b WHERE b.bound IS NOT NULL \
        ON CONFLICT (key) DO NOTHING RETURNING CLOCK AS renewed, pg_current_xact_id()::text::bigint AS xid) \
    SELECT x.record, x.renewed, x.expires, x.now, set_config('lock_timeout', b.old, true) FROM b LEFT JOIN ( \
        SELECT NULL::bytea AS record, renewed, NULL::bigint AS expires, xid AS now FROM ins \
        UNION ALL SELECT record, renewed, expires, CLOCK FROM TABLE_NAME WHERE key = $1 AND NOT EXISTS (SELECT FROM ins)) x ON true";

/// The same for those that do not wait: each takes an advisory lock for the key first, and only its owner inserts. Where it
/// was not had, the last column is negative.
const INSERT_AT_ONCE: &str = "\
    WITH l AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(hashtextextended($1::text, 1764000000)) AS got), \
    b AS MATERIALIZED (BOUND FROM l WHERE l.got), \
    ins AS (INSERT INTO TABLE_NAME (key, record, renewed, expires) \
        SELECT $1::text, $2::bytea, CLOCK, CLOCK + 604800000000 FROM b WHERE b.bound IS NOT NULL \
        ON CONFLICT (key) DO NOTHING RETURNING CLOCK AS renewed, pg_current_xact_id()::text::bigint AS xid) \
    SELECT x.record, x.renewed, x.expires, CASE WHEN l.got THEN x.now ELSE -CLOCK END AS now, \
        CASE WHEN l.got THEN set_config('lock_timeout', b.old, true) END \
    FROM l LEFT JOIN b ON true LEFT JOIN ( \
        SELECT NULL::bytea AS record, renewed, NULL::bigint AS expires, xid AS now FROM ins \
        UNION ALL SELECT record, renewed, expires, CLOCK FROM TABLE_NAME WHERE key = $1 AND NOT EXISTS (SELECT FROM ins)) x ON true";

/// $1 key, $2 the new record, $3 the longest wait in ms, $4 the record that was read, $5 its `renewed`, without which an owner that has renewed
/// meanwhile would be taken over. No row, or one of NULLs: it is not there
/// any more.
const SWAP: &str = "\
    WITH b AS MATERIALIZED (BOUND), \
    u AS (UPDATE TABLE_NAME SET record = $2::bytea, renewed = CLOCK, expires = CLOCK + 604800000000 FROM b \
        WHERE key = $1 AND record = $4 AND renewed = $5::bigint AND b.bound IS NOT NULL RETURNING renewed, pg_current_xact_id()::text::bigint AS xid) \
    SELECT NULL::bytea AS record, u.renewed, NULL::bigint AS expires, u.xid AS now, set_config('lock_timeout', b.old, true) FROM b LEFT JOIN u ON true";

/// $1 key, $2 the new record, $3 for how long it is kept and $4 shown, in µs, $5 the record that was written, $6 the
/// transaction that it was written in. The end of a done (68) or failed (70) record is written into its bytes.
const FINISH: &str = "\
    UPDATE TABLE_NAME SET renewed = t.now, expires = t.now + $3::bigint, record = \
        CASE WHEN get_byte($2::bytea, 1) IN (68, 70) THEN overlay($2::bytea PLACING \
            int8send((((t.now + $4::bigint) / 1000 % 65521) << 48) | ((t.now + $4::bigint) / 1000)) FROM 40) ELSE $2::bytea END \
    FROM (SELECT CLOCK AS now OFFSET 0) t \
    WHERE key = $1 AND record = $5 AND pg_current_xact_id()::text::bigint = $6::bigint \
    RETURNING NULL::bytea AS record, renewed, expires, t.now";
