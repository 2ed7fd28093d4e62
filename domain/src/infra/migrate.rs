//! The database's schema: what is applied, what is pending, and applying it.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use secrecy::ExposeSecret as _;
use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};

use super::config::Config;
use crate::permission;

/// Held while migrations are looked at and applied; `mustermi` in ASCII. The library's own lock is taken later, and given back
/// only when all went well.
const LOCK: i64 = 0x6d75_7374_6572_6d69;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// One migration of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Date and time it was written, as `YYYYMMDDHHMMSS`.
    pub version: i64,
    /// What it does.
    pub description: String,
}

/// Why the schema is not what this program needs.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program has migrated the database.
    #[error(
        "the database is at migration {database} and this muster knows migrations up to {known}: run a newer muster"
    )]
    Newer {
        /// Newest migration applied to the database.
        database: i64,
        /// Newest migration of this program.
        known: i64,
    },
    /// Migrations are not applied yet.
    #[error("{} migration(s) are pending, the first is {} ({}): run `muster migrate`", .0.len(), .0[0].version, .0[0].description)]
    Pending(Vec<Migration>),
    /// The schema is current, and the catalogue of permissions is not.
    #[error("permissions of this muster are missing in the database's catalogue: run `muster migrate`")]
    Catalogue,
    /// A migration was applied in another form than this program has it.
    #[error(
        "migration {0} was applied in another form than this muster has: the program and the database are of different builds"
    )]
    Changed(i64),
    /// The database refused a migration.
    #[error("migration {version} failed: {message}")]
    Refused {
        /// The migration.
        version: i64,
        /// The database's message, and its hint.
        message: String,
    },
    /// The database cannot be reached or refused something else.
    #[error("{}", describe(.0))]
    Database(#[from] sqlx::Error),
}

/// A connection for work on the schema: as the connecting role, without time limits.
pub async fn connect(config: &Config) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(config.database_url.expose_secret())?.application_name("muster migrate");
    let mut connection = options.connect().await?;
    connection
        .execute(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                 SET client_min_messages = warning",
        )
        .await?;
    Ok(connection)
}

/// The migrations of this program that the database does not have, oldest first.
///
/// # Errors
/// [`MigrateError::Newer`] if the database has one that this program does not know.
pub async fn pending(connection: &mut PgConnection) -> Result<Vec<Migration>, MigrateError> {
    let applied = applied(connection).await?;
    let known = MIGRATIONS.iter().map(|migration| migration.version);
    let newest_known = known.clone().max().expect("the program has migrations");
    let known: BTreeSet<i64> = known.collect();
    if let Some(database) = applied.difference(&known).max() {
        return Err(MigrateError::Newer { database: *database, known: newest_known });
    }
    let missing = MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version));
    Ok(missing
        .map(|migration| Migration { version: migration.version, description: migration.description.to_string() })
        .collect())
}

/// Refuses a database that is not exactly at this program's schema, or does not know its permissions.
pub async fn require_current(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let pending = pending(connection).await?;
    if !pending.is_empty() {
        return Err(MigrateError::Pending(pending));
    }
    if permission::is_catalogue_written(connection).await? { Ok(()) } else { Err(MigrateError::Catalogue) }
}

/// Applies what is pending and returns it; the catalogue of permissions is written every time, because it changes without a
/// migration. Any number of programs may do so at once: an advisory lock lets one through, and the
/// others find nothing to do. Each migration is a transaction of its own. After an error the connection is to be dropped.
pub async fn apply(connection: &mut PgConnection) -> Result<Vec<Migration>, MigrateError> {
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    let applied = apply_locked(connection).await?;
    permission::write_catalogue(connection).await?;
    // After a failure the lock goes with the connection.
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut *connection).await?;
    Ok(applied)
}

async fn apply_locked(connection: &mut PgConnection) -> Result<Vec<Migration>, MigrateError> {
    let pending = pending(connection).await?;
    match MIGRATIONS.run(&mut *connection).await {
        Ok(()) => Ok(pending),
        Err(SqlxMigrateError::VersionMissing(database)) => {
            let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
            Err(MigrateError::Newer { database, known })
        }
        Err(SqlxMigrateError::VersionMismatch(version)) => Err(MigrateError::Changed(version)),
        Err(SqlxMigrateError::ExecuteMigration(error, version)) => {
            Err(MigrateError::Refused { version, message: describe(&error) })
        }
        Err(SqlxMigrateError::Execute(error)) => Err(error.into()),
        Err(other) => Err(sqlx::Error::from(other).into()),
    }
}

async fn applied(connection: &mut PgConnection) -> Result<BTreeSet<i64>, sqlx::Error> {
    // The table is absent before the first migration, so this is not a checked query.
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(connection).await?;
    Ok(versions.into_iter().collect())
}

/// What went wrong with the database, in one line, with the hint the database gave.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refusal) => {
            let hint = refusal.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::hint);
            hint.map_or_else(|| refusal.message().to_owned(), |hint| format!("{}. {hint}", refusal.message()))
        }
        sqlx::Error::Io(error) => format!("cannot connect to the database: {error}"),
        other => other.to_string(),
    }
}
