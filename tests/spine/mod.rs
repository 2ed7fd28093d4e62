//! The job spine on real `PostgreSQL` and Redis: nothing is lost, nobody waits for somebody
//! else's backlog, and nothing odd stops it.

mod jobs;
mod outbox;
mod sweep;
mod wake;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use domain::infra::db::Db;
use domain::infra::secret::TokenKey;
use sqlx::AssertSqlSafe;

use crate::support::stage::Stage;

impl Stage {
    /// The database as rules want it.
    pub(crate) fn db(&self) -> Db {
        Db::new(self.pool.clone(), self.clock.clone(), self.waker.clone(), Arc::new(TokenKey::new(1, [7; 32])))
    }

    /// Runs a statement that the product has not.
    pub(crate) async fn execute(&self, statement: &str) -> Result<u64> {
        Ok(sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&self.pool).await?.rows_affected())
    }

    /// A connection to the Redis of this stage.
    pub(crate) async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        use secrecy::ExposeSecret as _;
        let url = self.config.redis_url.as_ref().context("no Redis here")?;
        Ok(redis::Client::open(url.expose_secret())?.get_multiplexed_async_connection().await?)
    }
}
