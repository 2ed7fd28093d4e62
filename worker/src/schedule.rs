//! Runs sweeps when their ticks come. Every worker looks; the row of a tick decides who runs it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use domain::infra::clock::{Clock, Timestamp};
use domain::infra::db::answered;
use domain::infra::fault::fail_point;
use domain::infra::metrics;
use domain::outbox;
use domain::sweep::{self, Sweep, Tick};
use futures::FutureExt as _;
use jiff::SignedDuration;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often ticks are looked for.
const POLL: Duration = Duration::from_secs(1);

/// How soon a tick that another process has is looked at again: it may abandon it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often a running tick's claim is renewed. It lasts 60 s.
const RENEWAL: Duration = Duration::from_secs(15);

/// Rows deleted by one statement.
const PURGE: i64 = 5_000;

/// The sweeps of the job tables themselves.
pub fn housekeeping(pool: &PgPool) -> Vec<Sweep> {
    let (jobs, ticks) = (pool.clone(), pool.clone());
    vec![
        Sweep::new("jobs.purge", SignedDuration::from_hours(1), move |now| {
            let pool = jobs.clone();
            async move { purge_jobs(&pool, now).await.map_err(|error| log_fault(&error)) }
        }),
        Sweep::new("sweeps.purge", SignedDuration::from_hours(24), move |now| {
            let pool = ticks.clone();
            async move {
                let purged = async { sweep::purge_ticks(&mut *pool.acquire().await?, now).await };
                purged.await.map(saturate).map_err(|error| log_fault(&error))
            }
        }),
    ]
}

async fn purge_jobs(pool: &PgPool, now: Timestamp) -> sqlx::Result<i32> {
    let mut all = 0;
    loop {
        let purged = outbox::purge_finished(&mut *pool.acquire().await?, now, PURGE).await?;
        all += purged;
        if purged < PURGE.unsigned_abs() {
            return Ok(saturate(all));
        }
    }
}

fn saturate(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn log_fault(error: &sqlx::Error) -> &'static str {
    tracing::error!(%error, "sweep failed");
    "DATABASE"
}

/// What a sweep run by hand came to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such sweep.
    #[error("there is no sweep of this name")]
    Unknown,
    /// It failed; why, in capitals.
    #[error("the sweep failed: {0}")]
    Failed(&'static str),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Runs a sweep now, as if it were `at` (otherwise: now), whether or not that time was swept before. Answers how many things it
/// acted on.
pub async fn run_now(
    pool: &PgPool,
    clock: &Clock,
    sweeps: &[Sweep],
    name: &str,
    at: Option<Timestamp>,
) -> Result<i32, RunError> {
    let sweep = sweeps.iter().find(|sweep| sweep.name == name).ok_or(RunError::Unknown)?;
    let mut conn = pool.acquire().await?;
    let now = match at {
        Some(at) => at,
        None => clock.business(sweep::database_now(&mut conn).await?),
    };
    let claim = Uuid::new_v4();
    sweep::claim_by_operator(&mut conn, name, now, claim).await?;
    drop(conn);
    let run = Run { pool: pool.clone(), sweep: sweep.clone(), tick: now, now, claim };
    run.make().await?.map_err(RunError::Failed)
}

/// Runs sweeps for one process.
pub(crate) struct Schedule {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) sweeps: Vec<Sweep>,
}

impl Schedule {
    /// Runs what comes due until `shutdown`, then waits at most `grace` for what runs.
    pub(crate) async fn run(self, shutdown: CancellationToken, grace: Duration) {
        // The tick of each sweep that needs no look before the given time.
        let mut seen: HashMap<&'static str, (Timestamp, Option<Instant>)> = HashMap::new();
        let mut runs = JoinSet::new();
        let mut failing = false;
        while !shutdown.is_cancelled() {
            let looked = answered(self.look(&mut seen, &mut runs)).await;
            if let (Err(error), false) = (&looked, failing) {
                tracing::warn!(%error, "sweeps are not run");
            }
            failing = looked.is_err();
            while runs.try_join_next().is_some() {}
            shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await;
        }
        let _ = tokio::time::timeout(grace, async { while runs.join_next().await.is_some() {} }).await;
    }

    async fn look(
        &self,
        seen: &mut HashMap<&'static str, (Timestamp, Option<Instant>)>,
        runs: &mut JoinSet<()>,
    ) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        let now = self.clock.business(sweep::database_now(&mut conn).await?);
        for sweep in &self.sweeps {
            let tick = sweep.tick(now);
            let known = seen
                .get(sweep.name)
                .is_some_and(|(last, look_at)| *last == tick && look_at.is_none_or(|look_at| look_at > Instant::now()));
            if known {
                continue;
            }
            let claim = Uuid::new_v4();
            let state = sweep::claim(&mut conn, sweep.name, tick, claim).await?;
            // One that this process runs may fail, and is then taken again.
            let look_at = (state != Tick::Finished).then(|| Instant::now() + LOOK_AGAIN);
            seen.insert(sweep.name, (tick, look_at));
            if state == Tick::Mine {
                let run = Run { pool: self.pool.clone(), sweep: sweep.clone(), tick, now, claim };
                runs.spawn(async move {
                    if let Err(error) = run.make().await {
                        tracing::error!(%error, "the outcome of a sweep was not written; its claim lapses");
                    }
                });
            }
        }
        Ok(())
    }
}

/// One run of a sweep, under a claim of its tick.
struct Run {
    pool: PgPool,
    sweep: Sweep,
    tick: Timestamp,
    now: Timestamp,
    claim: Uuid,
}

impl Run {
    async fn make(&self) -> sqlx::Result<Result<i32, &'static str>> {
        let name = self.sweep.name;
        let started = Instant::now();
        let work = AssertUnwindSafe(async { (self.sweep.run)(self.now).await }).catch_unwind();
        fail_point!("sweep.after_claim");
        let outcome = tokio::select! {
            outcome = work => outcome.unwrap_or(Err("PANIC")),
            never = self.keep_renewing() => never,
        };
        fail_point!("sweep.before_record");
        let record =
            async { sweep::record(&mut *self.pool.acquire().await?, name, self.tick, self.claim, outcome).await };
        let written = answered(record).await?;
        metrics::sweep_ended(name, outcome.is_ok(), started.elapsed());
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok(0) => tracing::debug!(sweep.name = name, millis, written, "sweep ended"),
            Ok(acted_on) => {
                tracing::info!(sweep.name = name, acted_on, millis, written, "sweep ended");
            }
            Err(code) => tracing::error!(sweep.name = name, code, millis, written, "sweep failed"),
        }
        Ok(outcome)
    }

    async fn keep_renewing<T>(&self) -> T {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let renewed =
                async { sweep::renew(&mut *self.pool.acquire().await?, self.sweep.name, self.tick, self.claim).await };
            if let Err(error) = answered(renewed).await {
                tracing::warn!(sweep.name = self.sweep.name, %error, "claim of a sweep not renewed");
            }
        }
    }
}
