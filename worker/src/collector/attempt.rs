//! One attempt at a job, in a task of its own: nothing that happens to others ends it, and nothing in it ends others.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::infra::db::answered;
use domain::infra::fault::fail_point;
use domain::infra::{metrics, telemetry};
use domain::job::{Claimed, JobKind, Verdict, back_off};
use domain::outbox;
use futures::FutureExt as _;
use jiff::SignedDuration;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::finish::Finished;
use crate::handler::Registry;

/// How long a job of a kind that this version does not know is left for a newer one, which may be starting right now. If none has
/// come after an hour, the job is dead.
const UNKNOWN_KIND_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// What an attempt needs.
pub(super) struct Attempt {
    pub(super) pool: PgPool,
    pub(super) registry: Arc<Registry>,
    pub(super) done: mpsc::Sender<Finished>,
    pub(super) end: mpsc::UnboundedSender<(Uuid, Uuid)>,
}

/// What is written of an attempt by the one who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it is written already.
    Settled,
    /// It is finished.
    Done,
    /// Why it failed, and the pause until the next.
    Retry(&'static str, SignedDuration),
    /// What has to end first, and the pause until it is looked at again.
    Waits(&'static str, SignedDuration),
    /// Why another process has to make it, and when that may take it.
    Left(&'static str, SignedDuration),
    /// Why there is no next.
    Dead(&'static str),
}

impl Attempt {
    /// Runs the job, writes how it ended, and tells the collector.
    pub(super) async fn make(self: Arc<Self>, job: Claimed) {
        // At the level of errors, so that no filter takes the ids from a line that it lets through.
        let span = tracing::error_span!(
            "job",
            job.id = %job.job_id,
            job.kind = job.kind,
            account.id = %job.account_id,
            request.id = job.request_id,
        );
        telemetry::continue_from(&span, job.trace_context.as_deref());
        let (job_id, claim) = (job.job_id, job.claim);
        // A panic in here would keep the slot for ever.
        let made = AssertUnwindSafe(self.run(job).instrument(span)).catch_unwind().await;
        if made.is_err() {
            tracing::error!(job.id = %job_id, "the outcome of a job was not written; its claim lapses");
        }
        let _ = self.end.send((job_id, claim));
    }

    async fn run(&self, job: Claimed) {
        let key = (job.job_id, job.claim);
        let (attempts, kind, started) = (job.attempts, job.kind.clone(), Instant::now());
        let outcome = self.handle(job.clone()).await;
        metrics::job_took(&kind, started.elapsed());
        if outcome == Outcome::Done {
            let finished = Finished { key, kind, span: Span::current() };
            let _ = self.done.send(finished).await;
            return;
        }
        let written = self.write(job, outcome).await;
        tell(outcome, &written, attempts, &kind);
    }

    /// Writes an outcome that the collector is not asked to write. False: the claim is somebody else's by now.
    async fn write(&self, job: Claimed, outcome: Outcome) -> domain::error::Result<bool> {
        let key = (job.job_id, job.claim);
        if outcome != Outcome::Settled {
            fail_point!("attempt.before_outcome");
        }
        match outcome {
            Outcome::Settled | Outcome::Done => Ok(true),
            Outcome::Retry(code, after) => Ok(self.retry(key, after, code).await?),
            Outcome::Waits(code, after) => Ok(self.wait(key, after, code).await?),
            Outcome::Left(code, after) => Ok(self.leave(key, after, code).await?),
            Outcome::Dead(code) => self.bury(job, code).await,
        }
    }

    async fn handle(&self, job: Claimed) -> Outcome {
        let (attempts, job_id, claim) = (job.attempts, job.job_id, job.claim);
        let Some((kind, handler)) = self.registry.find(&job.kind) else {
            return unknown_kind(&job);
        };
        if attempts > kind.max_attempts() {
            // It ended the process, or lost its lease, each time.
            return Outcome::Dead("ATTEMPTS_SPENT");
        }
        let limit = Duration::try_from(kind.time_out()).expect("time-outs are positive");
        // Called within, so that a panic before the first await is caught as well.
        let run = AssertUnwindSafe(async { handler.run(job).await }).catch_unwind();
        let verdict = match tokio::time::timeout(limit, run).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_panic)) => Verdict::Retry { code: "PANIC", after: None },
            Err(_elapsed) => Verdict::Retry { code: "TIMEOUT", after: None },
        };
        let attempts = match verdict {
            Verdict::Retry { .. } => self.counted((job_id, claim)).await.unwrap_or(attempts),
            _ => attempts,
        };
        judge(&verdict, kind, attempts)
    }

    /// How many attempts count by now: fewer than when the job was claimed if it got on meanwhile.
    async fn counted(&self, key: (Uuid, Uuid)) -> Option<i32> {
        let counted = answered(async { outbox::attempts(&mut *self.pool.acquire().await?, key).await }).await;
        counted.ok().flatten()
    }

    async fn retry(&self, key: (Uuid, Uuid), after: SignedDuration, code: &str) -> sqlx::Result<bool> {
        answered(async { outbox::retry(&mut *self.pool.acquire().await?, key, after, code).await }).await
    }

    async fn wait(&self, key: (Uuid, Uuid), after: SignedDuration, code: &str) -> sqlx::Result<bool> {
        answered(async { outbox::wait(&mut *self.pool.acquire().await?, key, after, code).await }).await
    }

    async fn leave(&self, key: (Uuid, Uuid), after: SignedDuration, code: &str) -> sqlx::Result<bool> {
        answered(async { outbox::leave(&mut *self.pool.acquire().await?, key, after, code).await }).await
    }

    async fn bury(&self, job: Claimed, code: &'static str) -> domain::error::Result<bool> {
        let key = (job.job_id, job.claim);
        let handler = self.registry.find(&job.kind);
        if let Some(buried) = handler.and_then(|(_, handler)| handler.bury(job, code)) {
            return buried.await;
        }
        Ok(answered(async { outbox::bury(&mut *self.pool.acquire().await?, key, code).await }).await?)
    }
}

fn unknown_kind(job: &Claimed) -> Outcome {
    const CODE: &str = "UNKNOWN_KIND";
    if job.left_long { Outcome::Dead(CODE) } else { Outcome::Left(CODE, UNKNOWN_KIND_PAUSE) }
}

/// Says how an attempt ended that the collector is not asked to write.
fn tell(outcome: Outcome, written: &domain::error::Result<bool>, attempts: i32, kind: &str) {
    let word = match (outcome, written) {
        (_, Err(_)) => "unwritten",
        (_, Ok(false)) => "superseded",
        (Outcome::Done, _) => "done",
        (Outcome::Settled, _) => "settled",
        (Outcome::Retry(..), _) => "retry",
        (Outcome::Waits(..), _) => "waits",
        (Outcome::Left(..), _) => "left",
        (Outcome::Dead(_), _) => "dead",
    };
    metrics::job_ended(kind, word);
    telemetry::attribute(&Span::current(), "job.outcome", word);
    match (outcome, written) {
        (_, Err(error)) => tracing::error!(%error, outcome = word, attempts, "job ended; its claim lapses"),
        (_, Ok(false)) => tracing::warn!(outcome = word, attempts, "job ended"),
        (Outcome::Retry(code, after) | Outcome::Left(code, after), _) => {
            tracing::warn!(outcome = word, code, attempts, after_seconds = after.as_secs(), "job ended");
        }
        (Outcome::Dead(code), _) => tracing::error!(outcome = word, code, attempts, "job ended"),
        (Outcome::Settled | Outcome::Done | Outcome::Waits(..), _) => {
            tracing::info!(outcome = word, attempts, "job ended");
        }
    }
}

/// The last attempt's retry is a death; any other comes after the kind's back-off unless the verdict says when.
pub(crate) fn judge(verdict: &Verdict, kind: JobKind, attempts: i32) -> Outcome {
    match *verdict {
        Verdict::Settled => Outcome::Settled,
        Verdict::Done => Outcome::Done,
        Verdict::Dead { code } => Outcome::Dead(code),
        Verdict::Wait { code, after } => Outcome::Waits(code, after),
        Verdict::Retry { code, .. } if attempts >= kind.max_attempts() => Outcome::Dead(code),
        Verdict::Retry { code, after } => Outcome::Retry(code, after.unwrap_or_else(|| back_off(attempts, jitter()))),
    }
}

/// Between 0 and 1. Nothing secret hangs on it: an id's random bits do.
fn jitter() -> f64 {
    let [.., low, high] = *Uuid::new_v4().as_bytes();
    f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_retry_is_a_death() {
        let kind = JobKind::MailInvitation;
        let retry = || Verdict::Retry { code: "X", after: Some(SignedDuration::from_secs(1)) };
        assert_eq!(judge(&retry(), kind, 1), Outcome::Retry("X", SignedDuration::from_secs(1)));
        assert_eq!(judge(&retry(), kind, kind.max_attempts()), Outcome::Dead("X"));
        assert_eq!(judge(&Verdict::Done, kind, kind.max_attempts()), Outcome::Done);
    }

    #[test]
    fn who_waits_for_something_else_waits_as_long_as_that_takes() {
        let (kind, after) = (JobKind::EraseUpload, SignedDuration::from_secs(5));
        assert_eq!(judge(&Verdict::Wait { code: "X", after }, kind, kind.max_attempts()), Outcome::Waits("X", after));
    }
}
