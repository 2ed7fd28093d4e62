//! Writes that jobs are done, as many together as have ended meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use domain::infra::db::answered;
use domain::infra::fault::fail_point;
use domain::infra::{metrics, telemetry};
use domain::outbox;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tracing::Span;
use uuid::Uuid;

/// Most jobs finished by one statement.
const BATCH: usize = 200;

/// Pauses between tries; after the last the claims lapse and the jobs run again.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// A job that was done.
pub(super) struct Finished {
    /// Its id and claim.
    pub(super) key: (Uuid, Uuid),
    /// As stored.
    pub(super) kind: String,
    /// What its end is logged in.
    pub(super) span: Span,
}

/// Finishes jobs until nobody can send any.
pub(super) async fn run(pool: PgPool, mut finishes: mpsc::Receiver<Finished>) {
    let mut batch = Vec::with_capacity(BATCH);
    while finishes.recv_many(&mut batch, BATCH).await > 0 {
        let keys: Vec<_> = batch.iter().map(|finished| finished.key).collect();
        let written = write(&pool, &keys).await;
        for finished in batch.drain(..) {
            tell(&finished, &written);
        }
    }
}

fn tell(finished: &Finished, written: &sqlx::Result<HashSet<Uuid>>) {
    let outcome = match written {
        Ok(ids) if ids.contains(&finished.key.0) => "done",
        Ok(_) => "superseded",
        Err(_) => "unwritten",
    };
    metrics::job_ended(&finished.kind, outcome);
    telemetry::attribute(&finished.span, "job.outcome", outcome);
    finished.span.in_scope(|| match written {
        Err(error) => tracing::error!(%error, outcome, "job ended; its claim lapses"),
        Ok(_) if outcome == "superseded" => tracing::warn!(outcome, "job ended"),
        Ok(_) => tracing::info!(outcome, "job ended"),
    });
}

async fn write(pool: &PgPool, keys: &[(Uuid, Uuid)]) -> sqlx::Result<HashSet<Uuid>> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let finished = async {
            fail_point!("finish.before_write");
            let finished = outbox::finish(&mut *pool.acquire().await?, keys).await?;
            fail_point!("finish.after_write");
            Ok::<_, sqlx::Error>(finished)
        };
        match (answered(finished).await, pauses.next()) {
            (Ok(ids), _) => return Ok(ids.into_iter().collect()),
            (Err(error), None) => return Err(error),
            (Err(_), Some(pause)) => tokio::time::sleep(pause).await,
        }
    }
}
