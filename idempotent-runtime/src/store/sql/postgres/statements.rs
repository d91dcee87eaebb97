//! The statements on the table, by its name.
//!
//! Each is one autocommitted step; no BEGIN is ever sent. Times are the server's, by `clock_timestamp()`: `now()` is the
//! beginning of the statement, before it waited for a lock.

use tokio_postgres::types::Type;

use super::connection::LISTENED;
use crate::{record::HOLD, store::sql::table::TableName};

/// The server's time, in µs since 1970.
pub(super) const CLOCK: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// One statement's text, and the types of its parameters.
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) types: Vec<Type>,
    /// Its place among those that a connection keeps prepared, if it is one of them.
    pub(super) prepared: Option<usize>,
}

impl Statement {
    pub(super) fn new(text: String, types: &[Type]) -> Self {
        Self {
            text,
            types: types.to_vec(),
            prepared: None,
        }
    }
}

/// All statements on one table. Those of a row answer with up to one row of `record`, `renewed`, `expires`, and the time.
pub(super) struct Statements {
    pub(super) claim: Statement,
    pub(super) finish: Statement,
    pub(super) renew: Statement,
    pub(super) read: Statement,
    pub(super) swap: Statement,
    pub(super) put: Statement,
    pub(super) list: Statement,
    pub(super) await_change: Statement,
    pub(super) notify: Statement,
    pub(super) pages: Statement,
    pub(super) sweep: Statement,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Self {
        let mut all = Self {
            claim: claim(table),
            finish: finish(table),
            renew: renew(table),
            read: read(table),
            swap: swap(table),
            put: put(table),
            list: list(table),
            await_change: await_change(table),
            notify: Statement::new(format!("SELECT pg_notify('{LISTENED}', $1)"), &[Type::TEXT]),
            pages: pages(table),
            sweep: sweep(table),
        };
        let often = [
            &mut all.claim,
            &mut all.finish,
            &mut all.renew,
            &mut all.read,
        ];
        for (place, statement) in often.into_iter().enumerate() {
            statement.prepared = Some(place);
        }
        all
    }

    /// Those that a connection keeps prepared, in their places.
    pub(super) const fn prepared(&self) -> [&Statement; 4] {
        [&self.claim, &self.finish, &self.renew, &self.read]
    }
}

/// `record` as it is written at `t.now`, to be shown until `t.ending` (ms). The server puts the end into a done or failed
/// record's bytes: 40 to 47, with a check in the upper 16 bits.
fn ending(record: &str) -> String {
    format!(
        "CASE WHEN get_byte({record}, 1) IN (68, 70)
              THEN overlay({record} PLACING int8send(((t.ending % 65521) << 48) | t.ending) FROM 40) ELSE {record} END"
    )
}

/// The time, and the end of what is shown for the µs in the parameter `shown`. It is read once in each statement.
fn time(shown: &str) -> String {
    format!(
        "t AS MATERIALIZED (SELECT c.now, least((c.now + {shown}) / 1000, 281474976710655) AS ending
                            FROM (SELECT {CLOCK} AS now OFFSET 0) c)"
    )
}

/// Tells waiters in other processes of the rows in `u`. Only rows that are waited for: a notification takes a lock that
/// all committing transactions of the server share.
fn answer_and_notify() -> String {
    format!(
        "SELECT NULL::bytea, renewed, 0::bigint, renewed, CASE WHEN waited THEN pg_notify('{LISTENED}', $1) END FROM u"
    )
}

/// `$1` key, `$2` the running record with token 0. A row without a record is a grant, whose token is `renewed`. No row at
/// all is no answer: the row in the way is newer than what this statement sees.
///
/// `ON CONFLICT DO UPDATE` would lock the row and write to the log also where it changes nothing.
fn claim(table: &TableName) -> Statement {
    let hold = HOLD.as_micros();
    let text = format!(
        "WITH seen AS MATERIALIZED (SELECT record, renewed, expires FROM {table} WHERE key = $1),
              t    AS MATERIALIZED (SELECT {CLOCK} AS now),
              ins  AS (INSERT INTO {table} (key, record, renewed, expires)
                       SELECT $1, substr($2, 1, 18) || int8send(t.now) || substr($2, 27), t.now, t.now + {hold} FROM t
                       WHERE NOT EXISTS (SELECT FROM seen) ON CONFLICT (key) DO NOTHING RETURNING renewed)
         SELECT record, renewed, expires, t.now FROM seen, t
         UNION ALL SELECT NULL::bytea, renewed, 0::bigint, renewed FROM ins"
    );
    Statement::new(text, &[Type::TEXT, Type::BYTEA])
}

/// `$1` key, `$2` target, `$3` the record as it was granted, `$4` how long to show it, `$5` how long to keep it. A row: done.
fn finish(table: &TableName) -> Statement {
    let (time, ended, answer) = (time("$4"), ending("$2"), answer_and_notify());
    let text = format!(
        "WITH {time},
              u AS (UPDATE {table} SET record = {ended}, renewed = t.now, expires = t.now + $5 FROM t
                    WHERE key = $1 AND record = $3 AND expires > t.now RETURNING renewed, waited)
         {answer}"
    );
    let types = [Type::TEXT, Type::BYTEA, Type::BYTEA, Type::INT8, Type::INT8];
    Statement::new(text, &types)
}

/// `$1` key, `$2` the record as it was granted. A row: done.
fn renew(table: &TableName) -> Statement {
    let hold = HOLD.as_micros();
    let text = format!(
        "WITH t AS MATERIALIZED (SELECT {CLOCK} AS now)
         UPDATE {table} SET renewed = t.now, expires = t.now + {hold} FROM t
         WHERE key = $1 AND record = $2 AND expires > t.now RETURNING NULL::bytea, renewed, 0::bigint, renewed"
    );
    Statement::new(text, &[Type::TEXT, Type::BYTEA])
}

/// `$1` key. Always a row: with the time alone where there is no record.
fn read(table: &TableName) -> Statement {
    let text = format!(
        "SELECT r.record, r.renewed, r.expires, {CLOCK} FROM (SELECT) x LEFT JOIN {table} r ON r.key = $1"
    );
    Statement::new(text, &[Type::TEXT])
}

/// What a decision writes over the row that was read: `$1` key, `$2` record, `$3` how long to show it, `$4` how long to keep
/// it, `$5` the first 18 bytes of what was read, `$6` its `renewed`, `$7` its `expires`. A row: done. Without `renewed`,
/// a lease that was renewed meanwhile would be taken over.
fn swap(table: &TableName) -> Statement {
    let (time, ended, answer) = (time("$3"), ending("$2"), answer_and_notify());
    let text = format!(
        "WITH {time},
              u AS (UPDATE {table} SET record = {ended}, renewed = t.now, expires = t.now + $4 FROM t
                    WHERE key = $1 AND renewed = $6 AND expires = $7 AND substr(record, 1, 18) = $5
                    RETURNING renewed, waited)
         {answer}"
    );
    let types = [
        Type::TEXT,
        Type::BYTEA,
        Type::INT8,
        Type::INT8,
        Type::BYTEA,
        Type::INT8,
        Type::INT8,
    ];
    Statement::new(text, &types)
}

/// The same where no row was read: `$5` is the latest time at which that still counts.
fn put(table: &TableName) -> Statement {
    let (time, ended) = (time("$3"), ending("$2"));
    let text = format!(
        "WITH {time}
         INSERT INTO {table} (key, record, renewed, expires)
         SELECT $1, {ended}, t.now, t.now + $4 FROM t WHERE t.now <= $5
         ON CONFLICT (key) DO NOTHING RETURNING NULL::bytea, renewed, 0::bigint, renewed"
    );
    let types = [Type::TEXT, Type::BYTEA, Type::INT8, Type::INT8, Type::INT8];
    Statement::new(text, &types)
}

/// `$1` after which key, `$2` from which key on, `$3` how many rows, `$4` after how many bytes to end. The last two columns
/// are the time, and how many rows there were without that end.
fn list(table: &TableName) -> Statement {
    let text = format!(
        "SELECT key, record, renewed, expires, {CLOCK}, looked_at
         FROM (SELECT key, record, renewed, expires, count(*) OVER () AS looked_at,
                      sum(octet_length(record)) OVER (ORDER BY key) - octet_length(record) AS before
               FROM (SELECT key, record, renewed, expires FROM {table}
                     WHERE key > $1 AND key >= $2 ORDER BY key LIMIT $3) page) measured
         WHERE before < $4 ORDER BY key"
    );
    Statement::new(text, &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8])
}

/// `$1` key: from now on its changes are notified of. Whether there is such a row.
fn await_change(table: &TableName) -> Statement {
    let text = format!(
        "WITH u AS (UPDATE {table} SET waited = true WHERE key = $1 AND NOT waited)
         SELECT EXISTS (SELECT FROM {table} WHERE key = $1)"
    );
    Statement::new(text, &[Type::TEXT])
}

/// How many pages the table has, or its largest partition.
fn pages(table: &TableName) -> Statement {
    let text = format!(
        "SELECT coalesce(max(pg_relation_size(part)), 0) / current_setting('block_size')::bigint
         FROM (SELECT to_regclass('{table}') UNION SELECT relid FROM pg_partition_tree(to_regclass('{table}'))) all_parts (part)"
    );
    Statement::new(text, &[])
}

/// `$1` and `$2` from which row to which, `$3` whether also beside another process that sweeps. Whether it was done, and how
/// many rows that were. The condition is there twice: places repeat in the partitions of a table.
fn sweep(table: &TableName) -> Statement {
    let text = format!(
        "WITH turn AS MATERIALIZED (SELECT $3 OR pg_try_advisory_xact_lock(hashtextextended('idempotent-fn sweep {table}', 0)) AS mine),
              gone AS (DELETE FROM {table}
                       WHERE (SELECT mine FROM turn) AND ctid = ANY (ARRAY(
                             SELECT ctid FROM {table} WHERE ctid >= $1::text::tid AND ctid < $2::text::tid AND expires < {CLOCK}
                             FOR UPDATE SKIP LOCKED)) AND expires < {CLOCK} RETURNING 1)
         SELECT mine, (SELECT count(*) FROM gone) FROM turn"
    );
    Statement::new(text, &[Type::TEXT, Type::TEXT, Type::BOOL])
}
