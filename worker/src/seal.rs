//! Seals the events of all accounts, at most five seconds after they were written. One process does; two at once are harmless.

use std::time::Duration;

use domain::event::seal;
use domain::infra::db::answered;
use domain::outbox;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVERY: Duration = Duration::from_secs(2);

/// Seals until `shutdown`.
pub async fn run(pool: PgPool, shutdown: CancellationToken) {
    let holder = Uuid::new_v4();
    let work = async {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = Box::pin(seal_if_leased(&pool, holder)).await {
                tracing::warn!(%error, "events could not be sealed");
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn seal_if_leased(pool: &PgPool, holder: Uuid) -> sqlx::Result<()> {
    let leased = answered(async { outbox::lease_seal(&mut *pool.acquire().await?, holder).await }).await?;
    if leased {
        seal::seal_due(pool).await?;
    }
    Ok(())
}
