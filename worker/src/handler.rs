//! What does the work: a handler per kind of job.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use domain::job::{Claimed, JobKind, Verdict};
use domain::outbox;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::collector::{Outcome, judge};

/// Does the work of one kind of job.
pub trait Handler: Send + Sync + 'static {
    /// Loads the subject, decides whether the work is still wanted, acts, records. It is dropped at an await when the kind's
    /// time-out passes, and its outcome is discarded when its claim is no longer the row's.
    fn run(&self, job: Claimed) -> BoxFuture<'static, Verdict>;

    /// Ends a job for good where more hangs on it than its row, in one transaction with that. Answers false when the claim is
    /// somebody else's by now. `None`: burying the row is all there is to do.
    fn bury(&self, _job: Claimed, _code: &'static str) -> Option<BoxFuture<'static, domain::error::Result<bool>>> {
        None
    }
}

impl<F, Fut> Handler for F
where
    F: Fn(Claimed) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    fn run(&self, job: Claimed) -> BoxFuture<'static, Verdict> {
        Box::pin(self(job))
    }
}

/// Writes a verdict in a handler's own transaction, which answers [`Verdict::Settled`] afterwards. False: the claim is somebody
/// else's by now; roll back.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    job: &Claimed,
    kind: JobKind,
    verdict: &Verdict,
) -> sqlx::Result<bool> {
    let key = (job.job_id, job.claim);
    match judge(verdict, kind, job.attempts) {
        Outcome::Settled | Outcome::Done => Ok(!outbox::finish(conn, &[key]).await?.is_empty()),
        Outcome::Left(code, after) => outbox::leave(conn, key, after, code).await,
        Outcome::Waits(code, after) => outbox::wait(conn, key, after, code).await,
        Outcome::Retry(code, after) => outbox::retry(conn, key, after, code).await,
        Outcome::Dead(code) => outbox::bury(conn, key, code).await,
    }
}

/// The handlers of a process.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: HashMap<JobKind, Arc<dyn Handler>>,
}

impl Registry {
    /// Gives a kind its handler, in place of the one it had.
    #[must_use]
    pub fn with(mut self, kind: JobKind, handler: impl Handler) -> Self {
        self.handlers.insert(kind, Arc::new(handler));
        self
    }

    /// The handler of a kind as stored, if both are known.
    pub fn find(&self, kind: &str) -> Option<(JobKind, Arc<dyn Handler>)> {
        let kind = kind.parse().ok()?;
        Some((kind, Arc::clone(self.handlers.get(&kind)?)))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}
