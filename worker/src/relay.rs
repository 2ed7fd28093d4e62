//! Brings due jobs to the queue: fairly between accounts, never more than can be worked on soon, and again what got lost there.

mod window;

use std::sync::Arc;
use std::time::Duration;

use domain::infra::db::answered;
use domain::infra::fault::fail_point;
use domain::infra::metrics;
use domain::infra::wake::Waker;
use domain::job::Lane;
use domain::outbox::{self, Pick};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::window::Window;
use crate::queue::{Queue, QueueError};

/// Due jobs are looked for at least this often.
const POLL: Duration = Duration::from_secs(1);

/// Pause before a full queue is filled up.
const REFILL: Duration = Duration::from_millis(50);

/// How often the lease is renewed, or tried for. It lasts 5 s.
const LEASE_RENEWAL: Duration = Duration::from_secs(1);

/// What a relay is made of.
pub(crate) struct Parts {
    pub(crate) lane: Lane,
    pub(crate) pool: PgPool,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) waker: Waker,
    /// Tells that jobs of the lane were written.
    pub(crate) due: Arc<Notify>,
    /// Jobs of the lane that run at once in this process.
    pub(crate) slots: usize,
    /// Most ids that may be in the queue.
    pub(crate) outstanding: usize,
}

/// Fills the queue of a lane.
pub(crate) struct Relay {
    parts: Parts,
    holder: Uuid,
    held: bool,
    asked: Option<Instant>,
    window: Window,
    last_account: Uuid,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// What filling the queue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    /// Nothing else is due, or another process fills the queue.
    All,
    /// There is no room for more.
    Full,
    /// Nothing else is due, or all that is due belongs to accounts that have enough on its way.
    Crowded,
}

impl Relay {
    pub(crate) fn new(parts: Parts) -> Self {
        let window = Window::new(parts.slots * 2, parts.outstanding);
        Self { parts, holder: Uuid::new_v4(), held: false, asked: None, window, last_account: Uuid::nil() }
    }

    /// Fills the queue until `shutdown`, then leaves the lane to another process. Faults are logged when they begin.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        while !shutdown.is_cancelled() {
            let filled = self.fill().await;
            let pause = match &filled {
                Ok(Filled::Full | Filled::Crowded) => REFILL,
                Ok(Filled::All) | Err(_) => POLL,
            };
            match &filled {
                Err(_) if failing => metrics::relay_failed(self.parts.lane),
                Err(error) => {
                    metrics::relay_failed(self.parts.lane);
                    tracing::warn!(lane = %self.parts.lane, %error, "jobs are not relayed");
                }
                Ok(_) if failing => {
                    tracing::info!(lane = %self.parts.lane, "jobs are relayed again");
                }
                _ => {}
            }
            failing = filled.is_err();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.parts.due.notified(), if filled.is_ok_and(|filled| filled != Filled::Full) => {}
            }
        }
        if self.held {
            // Otherwise the lease lapses in a few seconds.
            let _ = self.release().await;
        }
    }

    async fn fill(&mut self) -> Result<Filled, RelayError> {
        loop {
            if !self.leads().await? {
                metrics::relay_looked(self.parts.lane, None);
                return Ok(Filled::All);
            }
            let depth = self.parts.queue.depth().await?;
            metrics::relay_looked(self.parts.lane, Some(depth));
            let room = self.window.room(Instant::now(), depth);
            if room == 0 {
                return Ok(Filled::Full);
            }
            if self.hint(room).await? == 0 {
                let crowded = self.window.is_crowded(Instant::now());
                return Ok(if crowded { Filled::Crowded } else { Filled::All });
            }
        }
    }

    async fn leads(&mut self) -> sqlx::Result<bool> {
        if !self.parts.queue.is_shared() {
            return Ok(true);
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= LEASE_RENEWAL) {
            let mut conn = self.parts.pool.acquire().await?;
            self.held = answered(outbox::lease_relay(&mut conn, self.parts.lane, self.holder)).await?;
            self.asked = Some(Instant::now());
        }
        Ok(self.held)
    }

    async fn release(&self) -> sqlx::Result<()> {
        let mut conn = self.parts.pool.acquire().await?;
        outbox::release_relay(&mut conn, self.parts.lane, self.holder).await
    }

    async fn hint(&mut self, room: usize) -> Result<usize, RelayError> {
        let mut conn = self.parts.pool.acquire().await?;
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let pick = Pick { limit: number(room), of_account: number(self.window.of_account()) };
        let mut hints = answered(outbox::hint(&mut conn, self.parts.lane, pick, self.last_account)).await?;
        drop(conn);
        let Some(last) = hints.iter().map(|hint| hint.account_id).max() else {
            return Ok(0);
        };
        fail_point!("relay.after_hint");
        self.last_account = last;
        interleave(&mut hints);
        let ids: Vec<_> = hints.iter().map(|hint| hint.job_id).collect();
        if let Err(error) = self.parts.queue.push(hints).await {
            let mut conn = self.parts.pool.acquire().await?;
            answered(outbox::unhint(&mut conn, &ids)).await?;
            return Err(error.into());
        }
        fail_point!("relay.after_push");
        self.window.pushed(Instant::now(), ids.len());
        metrics::relay_handed_over(self.parts.lane, ids.len());
        self.parts.waker.queued(self.parts.lane);
        Ok(ids.len())
    }
}

/// Orders hints by their place within their account, so that everybody's first comes before anybody's second.
fn interleave(hints: &mut [outbox::Hinted]) {
    hints.sort_by_key(|hint| (hint.account_id, hint.job_id));
    let mut places = std::collections::HashMap::new();
    let mut account = (Uuid::nil(), 0_usize);
    for hint in &*hints {
        account = if account.0 == hint.account_id { (account.0, account.1 + 1) } else { (hint.account_id, 0) };
        places.insert(hint.job_id, account.1);
    }
    hints.sort_by_key(|hint| places.get(&hint.job_id).copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybodys_first_comes_before_anybodys_second() {
        let hint = |account: u128, job: u128| outbox::Hinted {
            job_id: Uuid::from_u128(job),
            hint_no: 1,
            account_id: Uuid::from_u128(account),
        };
        let mut hints = [hint(1, 11), hint(1, 12), hint(1, 13), hint(2, 21), hint(3, 31), hint(3, 32)];
        interleave(&mut hints);
        assert_eq!(hints.map(|hint| hint.job_id.as_u128()), [11, 21, 31, 12, 32, 13]);
    }
}
