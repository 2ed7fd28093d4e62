//! A connection for commands that an operator runs.

use domain::infra::config::Config;
use domain::infra::migrate;
use sqlx::PgConnection;

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
