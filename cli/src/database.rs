//! The database for commands that an operator runs.

use std::sync::Arc;

use domain::error::Error;
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::{self, Db};
use domain::infra::migrate;
use domain::infra::secret::TokenKey;
use domain::infra::wake::Waker;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

/// Connections of one command.
const CONNECTIONS: u32 = 4;

/// A connection as the connecting role, without time limits.
pub(crate) async fn connect(config: &Config) -> anyhow::Result<PgConnection> {
    migrate::connect(config).await.map_err(|error| anyhow::anyhow!(migrate::describe(&error)))
}

/// The same, to a database that is exactly at this program's schema.
pub(crate) async fn connect_current(config: &Config) -> anyhow::Result<PgConnection> {
    let mut database = connect(config).await?;
    migrate::require_current(&mut database).await?;
    Ok(database)
}

/// The database as the service sees it, at this program's schema. With Redis, running processes hear of what is committed: call
/// [`Waker::flush`] before the command ends.
pub(crate) async fn open(config: &Config, key: TokenKey, clock: Clock) -> anyhow::Result<Db> {
    drop(connect_current(config).await?);
    let pool = db::connect(&config.database_url, CONNECTIONS).await;
    let pool = pool.map_err(|error| anyhow::anyhow!(migrate::describe(&error)))?;
    let waker = match &config.redis_url {
        Some(url) => Waker::connect(url, &config.redis_prefix, &CancellationToken::new())?,
        None => Waker::local(),
    };
    Ok(Db::new(pool, clock, waker, Arc::new(key)))
}

/// What a rule answered, for an operator to read.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::Refused(list) => {
            let sentences: Vec<String> = list.iter().map(domain::error::Refused::message).collect();
            anyhow::anyhow!(sentences.join(" "))
        }
        Error::Database(error) => anyhow::anyhow!(migrate::describe(&error)),
        other => other.into(),
    }
}
