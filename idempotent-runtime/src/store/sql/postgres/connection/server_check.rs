//! What is asked on a new connection before anything else: whether the server and the table are fit for records.

use tokio_postgres::{Client, Row, types::Type};

use super::super::{error::connecting, parameter::Parameter, statements::CLOCK};
use crate::{
    StoreError, StoreErrorKind,
    store::sql::table::{MARK, SCHEMA_NUMBER, TableName},
};

/// PostgreSQL 14.
const OLDEST: i64 = 140_000;

/// What the server told.
pub(super) struct Told {
    /// `lock_timeout`, by which a pooler that dropped our options is known.
    pub(super) lock_timeout: String,
    pub(super) now: i64,
    /// Acknowledged claims may be forgotten in a crash.
    pub(super) forgets: bool,
    pub(super) may_delete: bool,
    table: Found,
    in_recovery: bool,
    version: i64,
}

/// What stands where the table is to be.
enum Found {
    Nothing,
    Relation {
        is_table: bool,
        comment: Option<String>,
        is_kept: bool,
        collation: Option<String>,
        missing_rights: String,
    },
}

fn question() -> String {
    format!(
        "SELECT current_setting('server_version_num')::bigint, pg_is_in_recovery(), current_setting('lock_timeout'),
                current_setting('synchronous_commit') = 'off', {CLOCK}, c.relkind IN ('r', 'p'),
                obj_description(c.oid, 'pg_class'),
                c.relpersistence = 'p' AND NOT EXISTS (
                    SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class part ON part.oid = t.relid WHERE part.relpersistence <> 'p'),
                (SELECT l.collname::text FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
                 WHERE a.attrelid = c.oid AND a.attname = 'key'),
                concat_ws(', ', CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
                                CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
                                CASE WHEN NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END),
                coalesce(has_table_privilege(c.oid, 'DELETE'), true)
         FROM (SELECT to_regclass($1)) named (oid) LEFT JOIN pg_class c ON c.oid = named.oid"
    )
}

/// Asks, with an unnamed statement: nothing is known yet about what is between here and the server.
pub(super) async fn ask(
    client: &Client,
    table: &TableName,
    server_name: &str,
) -> Result<Told, StoreError> {
    let name = Parameter::Text(table.to_string());
    let rows = client
        .query_typed(&question(), &[(&name, Type::TEXT)])
        .await;
    let rows = rows.map_err(|error| connecting(error, server_name))?;
    let told = rows.first().map(told);
    let told = told.and_then(Result::ok);
    told.ok_or_else(|| {
        let reason = format!("{server_name} does not answer as PostgreSQL does");
        StoreError::new(StoreErrorKind::Config, reason)
    })
}

fn told(row: &Row) -> Result<Told, tokio_postgres::Error> {
    let table = match row.try_get::<_, Option<bool>>(5)? {
        None => Found::Nothing,
        Some(is_table) => Found::Relation {
            is_table,
            comment: row.try_get(6)?,
            is_kept: row.try_get(7)?,
            collation: row.try_get(8)?,
            missing_rights: row.try_get(9)?,
        },
    };
    Ok(Told {
        version: row.try_get(0)?,
        in_recovery: row.try_get(1)?,
        lock_timeout: row.try_get(2)?,
        forgets: row.try_get(3)?,
        now: row.try_get(4)?,
        may_delete: row.try_get(10)?,
        table,
    })
}

impl Told {
    /// Whether the server takes records.
    pub(super) fn check_server(&self, server_name: &str) -> Result<(), StoreError> {
        if self.version < OLDEST {
            let (major, minor) = (self.version / 10_000, self.version / 100 % 100);
            let reason =
                format!("{server_name} is PostgreSQL {major}.{minor}; 14 or later is needed");
            return Err(StoreError::new(StoreErrorKind::Config, reason));
        }
        if self.in_recovery {
            let reason = format!(
                "{server_name} is a standby or recovers, and takes no records; name the primary, or all servers"
            );
            return Err(StoreError::new(StoreErrorKind::Refused, reason).transient());
        }
        Ok(())
    }

    /// Whether the table is there, and ours.
    pub(super) fn check_table(
        &self,
        table: &TableName,
        server_name: &str,
    ) -> Result<(), StoreError> {
        let config = |reason: String| {
            let reason = format!("{server_name} {reason}");
            Err(StoreError::new(StoreErrorKind::Config, reason))
        };
        let Found::Relation {
            is_table,
            comment,
            is_kept,
            collation,
            missing_rights,
        } = &self.table
        else {
            return config(format!(
                "has no table `{table}`: call `PostgresStore::migrate`, or run POSTGRES_SCHEMA"
            ));
        };
        let number = comment
            .as_deref()
            .and_then(|comment| comment.strip_prefix(MARK));
        let number = number.and_then(|number| number.parse::<u32>().ok());
        match number.filter(|_| *is_table) {
            Some(SCHEMA_NUMBER) => {}
            Some(number) if number > SCHEMA_NUMBER => {
                return config(format!(
                    "has a table `{table}` of version {number}, and this is version {SCHEMA_NUMBER}; a later release of idempotent-fn \
                     made it: update this program"
                ));
            }
            _ => {
                return config(format!(
                    "has a `{table}` that is not this library's, or has lost its comment: name another with \
                     `PostgresOptions::with_table`"
                ));
            }
        }
        if !is_kept {
            return config(format!(
                "has an UNLOGGED table `{table}`, which is empty after a crash: ALTER TABLE {table} SET LOGGED"
            ));
        }
        if !matches!(collation.as_deref(), Some("C" | "POSIX" | "ucs_basic")) {
            return config(format!(
                "orders the keys of `{table}` by a collation that may change with the operating system: make the column \
                 `key text COLLATE \"C\"`"
            ));
        }
        if !missing_rights.is_empty() {
            return config(format!(
                "does not let this user use `{table}`: GRANT {missing_rights} ON {table}"
            ));
        }
        Ok(())
    }
}
