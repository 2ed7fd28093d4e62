//! Turns hints into running jobs: claims them together, starts them in turn of their accounts, renews their leases, and writes
//! how they ended.

mod attempt;
mod fair;
mod finish;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::infra::db::answered;
use domain::infra::fault::fail_point;
use domain::job::Lane;
use domain::outbox;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::attempt::{Outcome, judge};

use self::attempt::Attempt;
use self::fair::FairQueue;
use crate::handler::Registry;
use crate::queue::Arrival;

/// Most hints claimed by one statement.
pub(crate) const BATCH: usize = 50;

/// How long the first hint of a batch waits for others.
const GATHER: Duration = Duration::from_millis(5);

/// How often leases are renewed. They last 20 s.
const RENEWAL: Duration = Duration::from_secs(5);

/// What a collector is made of.
pub(crate) struct Parts {
    pub(crate) lane: Lane,
    pub(crate) pool: PgPool,
    pub(crate) registry: Arc<Registry>,
    /// Jobs that run at once.
    pub(crate) slots: usize,
    /// How long running jobs may go on after the shutdown.
    pub(crate) grace: Duration,
}

/// A job that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    claim: Uuid,
    account_id: Uuid,
}

/// Works the hints of a lane.
pub(crate) struct Collector {
    parts: Parts,
    attempt: Arc<Attempt>,
    waiting: FairQueue,
    running: HashMap<Uuid, Running>,
    ended: mpsc::UnboundedReceiver<(Uuid, Uuid)>,
}

impl Collector {
    /// Works `arrivals` until `shutdown`, then waits for what runs and gives the rest back.
    pub(crate) async fn run(parts: Parts, mut arrivals: mpsc::Receiver<Arrival>, shutdown: CancellationToken) {
        let (done, to_finish) = mpsc::channel(1024);
        let writer = tokio::spawn(finish::run(parts.pool.clone(), to_finish));
        let (end, ended) = mpsc::unbounded_channel();
        let attempt = Arc::new(Attempt { pool: parts.pool.clone(), registry: Arc::clone(&parts.registry), done, end });
        let mut collector = Self { parts, attempt, waiting: FairQueue::default(), running: HashMap::new(), ended };
        collector.work(&mut arrivals, &shutdown).await;
        collector.stop(arrivals).await;
        // A job that outlived the grace period still has a sender: its outcome is not waited for.
        let idle = collector.running.is_empty();
        drop(collector);
        if idle {
            let _ = writer.await;
        }
    }

    async fn work(&mut self, arrivals: &mut mpsc::Receiver<Arrival>, shutdown: &CancellationToken) {
        let mut renewal = tokio::time::interval_at(Instant::now() + RENEWAL, RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = renewal.tick() => self.renew().await,
                Some(ended) = self.ended.recv() => self.ended(ended),
                arrival = arrivals.recv(), if self.waiting.len() < self.parts.slots => match arrival {
                    Some(first) => self.take(first, arrivals).await,
                    None => return shutdown.cancelled().await,
                },
            }
            self.start();
        }
    }

    /// Gathers what comes with `first` and claims it.
    async fn take(&mut self, first: Arrival, arrivals: &mut mpsc::Receiver<Arrival>) {
        let mut batch = vec![first];
        let gathered = async {
            loop {
                let room = BATCH - batch.len();
                if room == 0 || arrivals.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        // With all hands free, what has come already is batch enough.
        let limit = if self.running.is_empty() { Duration::ZERO } else { GATHER };
        let _ = tokio::time::timeout(limit, gathered).await;
        let (mut hints, mut lost, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for arrival in batch {
            match arrival {
                Arrival::Hint(id) => hints.push(id),
                Arrival::Lost(id) => lost.push(id),
                Arrival::Foreign(id) => foreign.push(id),
            }
        }
        let lane = self.parts.lane;
        if let Err(error) = self.claim(&hints).await {
            tracing::error!(%lane, %error, "hints not claimed; they are given again");
        }
        if let Err(error) = self.set_right(&lost, &foreign).await {
            tracing::error!(%lane, %error, "lost hints not given back; they lapse");
        }
    }

    async fn claim(&mut self, hints: &[Uuid]) -> sqlx::Result<()> {
        if hints.is_empty() {
            return Ok(());
        }
        let mut conn = self.parts.pool.acquire().await?;
        let claimed = answered(outbox::claim(&mut conn, hints, Uuid::new_v4())).await?;
        fail_point!("collector.after_claim");
        for job in claimed {
            self.waiting.push(job);
        }
        Ok(())
    }

    async fn set_right(&self, lost: &[Uuid], foreign: &[Uuid]) -> sqlx::Result<()> {
        if lost.is_empty() && foreign.is_empty() {
            return Ok(());
        }
        let mut conn = self.parts.pool.acquire().await?;
        answered(outbox::unhint(&mut conn, lost)).await?;
        for id in foreign {
            if answered(outbox::entomb(&mut conn, *id, self.parts.lane, "MALFORMED_HINT")).await? {
                tracing::error!(lane = %self.parts.lane, job.id = %id, "something in the queue is no hint; see the dead jobs");
            }
        }
        Ok(())
    }

    fn start(&mut self) {
        let share = share(self.parts.lane, self.parts.slots);
        while self.running.len() < self.parts.slots {
            let running = &self.running;
            let has_hands = |account: Uuid| running.values().filter(|job| job.account_id == account).count() < share;
            let Some(job) = self.waiting.pop(has_hands) else { return };
            self.running.insert(job.job_id, Running { claim: job.claim, account_id: job.account_id });
            tokio::spawn(Arc::clone(&self.attempt).make(job));
        }
    }

    /// Forgets attempts that have ended, each by job and claim: the same job may run under a newer claim by now.
    fn ended(&mut self, first: (Uuid, Uuid)) {
        let mut next = Some(first);
        while let Some((job_id, claim)) = next {
            if self.running.get(&job_id).is_some_and(|running| running.claim == claim) {
                self.running.remove(&job_id);
            }
            next = self.ended.try_recv().ok();
        }
    }

    async fn renew(&self) {
        let held: Vec<_> = self.running.iter().map(|(id, job)| (*id, job.claim)).chain(self.waiting.claims()).collect();
        if held.is_empty() {
            return;
        }
        let renewed = async { outbox::renew(&mut *self.parts.pool.acquire().await?, &held).await };
        if let Err(error) = answered(renewed).await {
            tracing::warn!(lane = %self.parts.lane, %error, "leases not renewed");
        }
    }

    /// Gives back what was not started, and waits for what was.
    async fn stop(&mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        let unstarted: Vec<_> = self.waiting.claims().collect();
        let given_back = async { outbox::put_back(&mut *self.parts.pool.acquire().await?, &unstarted).await };
        if let Err(error) = answered(given_back).await {
            tracing::warn!(lane = %self.parts.lane, %error, "claims not given back; they lapse");
        }
        self.waiting = FairQueue::default();
        let deadline = Instant::now() + self.parts.grace;
        let mut renewal = tokio::time::interval_at(Instant::now() + RENEWAL, RENEWAL);
        let (mut lost, mut arriving) = (Vec::new(), true);
        while arriving || !self.running.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                _ = renewal.tick() => self.renew().await,
                Some(ended) = self.ended.recv() => self.ended(ended),
                arrival = arrivals.recv(), if arriving => match arrival {
                    Some(Arrival::Hint(id) | Arrival::Lost(id)) => lost.push(id),
                    Some(Arrival::Foreign(_)) => {}
                    None => {
                        arriving = false;
                        let _ = self.set_right(&lost, &[]).await;
                    }
                },
            }
        }
        if !self.running.is_empty() {
            tracing::warn!(lane = %self.parts.lane, jobs = self.running.len(), "jobs were cut off by the shutdown");
        }
    }
}

/// Jobs of one account that may run at once: one hand is left to others, and by long jobs half of the hands.
fn share(lane: Lane, slots: usize) -> usize {
    match lane {
        Lane::Interactive | Lane::Money => slots.saturating_sub(1).max(1),
        Lane::Bulk => slots.div_ceil(2),
    }
}
