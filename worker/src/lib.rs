//! Runs jobs and sweeps. Any number of processes may; the database decides who does what.

mod collector;
pub mod gateway;
mod handler;
pub mod job;
pub mod mail;
pub mod queue;
mod relay;
pub mod schedule;
pub mod seal;
pub mod statement;
pub mod sweeps;

use std::sync::Arc;
use std::time::Duration;

use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::wake::{Wake, Waker, Wakes};
use domain::job::Lane;
use domain::sweep::Sweep;
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use handler::{Handler, Registry};
use queue::{MemoryQueue, Queue, QueueError, RedisQueue};

/// Connections kept for claims, leases and outcomes, so that handlers which use up the pool cannot hold those up.
pub const OWN_CONNECTIONS: u32 = 4;

/// The worker does not start, or ended though nobody stopped it. No outage does that.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The address of Redis is none.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A part of the worker panicked.
    #[error("a part of the worker panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its connections are used by the schedule's sweeps; jobs are claimed and finished over a few of the worker's own with equal
    /// settings.
    pub pool: PgPool,
    /// Business time.
    pub clock: Clock,
    /// Who does the work of which kind.
    pub registry: Registry,
    /// Scheduled work.
    pub sweeps: Vec<Sweep>,
    /// Tells this process and others of ids in the queue, and this process of jobs.
    pub waker: Waker,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    tasks: JoinSet<()>,
    queue_pool: PgPool,
    shutdown: CancellationToken,
}

/// What the parts of a lane wait for.
#[derive(Clone, Default)]
struct Bells {
    due: Arc<Notify>,
    queued: Arc<Notify>,
}

impl Worker {
    /// Starts relays, collectors and the schedule. On `shutdown` nothing new is begun, what was not started is given back, and what
    /// runs has `config.http.shutdown_seconds` to end.
    pub fn start(parts: Parts, config: &Config, shutdown: &CancellationToken) -> Result<Self, WorkerError> {
        let shutdown = shutdown.child_token();
        let own = parts.pool.options().clone().min_connections(0).max_connections(OWN_CONNECTIONS);
        let own = own.connect_lazy_with((*parts.pool.connect_options()).clone());
        let grace = Duration::from_secs(config.http.shutdown_seconds);
        let registry = Arc::new(parts.registry);
        let bells: [Bells; 3] = std::array::from_fn(|_| Bells::default());
        let queue_pool = own.clone();
        let mut tasks = JoinSet::new();
        for (lane, bells) in Lane::ALL.into_iter().zip(&bells) {
            let queue: Arc<dyn Queue> = match &config.redis_url {
                Some(url) => Arc::new(RedisQueue::new(url, &config.redis_prefix, lane, Arc::clone(&bells.queued))?),
                None => Arc::new(MemoryQueue::default()),
            };
            let relay = relay::Relay::new(relay::Parts {
                lane,
                pool: own.clone(),
                queue: Arc::clone(&queue),
                waker: parts.waker.clone(),
                due: Arc::clone(&bells.due),
                slots: config.worker.concurrency,
                outstanding: config.worker.outstanding,
            });
            let slots = config.worker.concurrency.max(1);
            let collector = collector::Parts { lane, pool: own.clone(), registry: Arc::clone(&registry), slots, grace };
            let (intake, arrivals) = mpsc::channel(collector::BATCH);
            tasks.spawn(relay.run(shutdown.clone()));
            tasks.spawn(collector::Collector::run(collector, arrivals, shutdown.clone()));
            let stop = shutdown.clone();
            tasks.spawn(async move { queue.consume(intake, stop).await });
        }
        tasks.spawn(seal::run(parts.pool.clone(), shutdown.clone()));
        let schedule = schedule::Schedule { pool: own, clock: parts.clock, sweeps: parts.sweeps };
        tasks.spawn(schedule.run(shutdown.clone(), grace));
        let (stop, wakes) = (shutdown.clone(), parts.waker.subscribe());
        tasks.spawn(async move {
            stop.run_until_cancelled(ring(wakes, bells)).await;
        });
        Ok(Self { tasks, queue_pool, shutdown })
    }

    /// The connections over which jobs are claimed, renewed and finished.
    pub fn queue_pool(&self) -> &PgPool {
        &self.queue_pool
    }

    /// Ends once everything has stopped. The first fault stops the rest and is answered.
    pub async fn stopped(mut self) -> Result<(), WorkerError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(panicked) = ended {
                self.shutdown.cancel();
                outcome = outcome.and(Err(panicked.into()));
            }
        }
        outcome
    }
}

/// Passes wake-ups on to the lanes.
async fn ring(mut wakes: Wakes, bells: [Bells; 3]) {
    loop {
        let wake = wakes.next().await;
        for (lane, bells) in Lane::ALL.into_iter().zip(&bells) {
            if wake == Wake::WorkDue(lane) || wake == Wake::Missed {
                bells.due.notify_one();
            }
            if wake == Wake::Queued(lane) || wake == Wake::Missed {
                bells.queued.notify_one();
            }
        }
    }
}
