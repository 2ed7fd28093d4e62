//! What only a look at scrape time tells: the pools of this process, and what stands in the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Mutex;

use super::{all, count};
use crate::outbox;
use crate::sweep;

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long its answer is good for, so that many scrapers cost no more than one.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// A pool of this process.
#[derive(Clone, Debug)]
pub struct Pool {
    /// `api`, `live`, `worker` or `queue`.
    pub name: &'static str,
    /// Its connections.
    pub pool: PgPool,
}

/// Looks when somebody asks. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Look {
    pools: Arc<[Pool]>,
    own: PgPool,
    sweeps: Arc<[(&'static str, f64)]>,
    seen: Arc<Mutex<Option<Instant>>>,
}

impl Look {
    /// Of these pools, and of the database through one connection of its own: a look must not wait for those it looks at.
    pub fn new(pools: Vec<Pool>, like: &PgPool, sweeps: &[sweep::Sweep]) -> Self {
        let own = like.options().clone().min_connections(0).max_connections(1);
        let own = own.connect_lazy_with((*like.connect_options()).clone());
        let sweeps = sweeps.iter().map(|sweep| (sweep.name, sweep.every.as_secs_f64())).collect();
        Self { pools: pools.into(), own, sweeps, seen: Arc::default() }
    }

    /// Brings what the metrics say up to date; takes a second at most.
    pub async fn refresh(&self) {
        for Pool { name, pool } in &*self.pools {
            let (open, idle) = (pool.size(), pool.num_idle());
            all().pool_connections.set([name, "idle"], count(idle));
            all().pool_connections.set([name, "used"], f64::from(open) - count(idle));
            all().pool_limit.set([name], f64::from(pool.options().get_max_connections()));
        }
        // Whoever comes while somebody looks waits for the outcome.
        let mut seen = self.seen.lock().await;
        if seen.is_some_and(|seen| seen.elapsed() < GOOD_FOR) {
            return;
        }
        let looked = tokio::time::timeout(PATIENCE, self.database()).await;
        let up = matches!(looked, Ok(Ok(())));
        all().database_up.set([], if up { 1.0 } else { 0.0 });
        if up {
            *seen = Some(Instant::now());
        } else {
            *seen = None;
            let metrics = all();
            metrics.jobs_oldest_due.forget();
            metrics.jobs_unfinished.forget();
            metrics.jobs_dead.forget();
            metrics.relay_lag.forget();
            metrics.sweep_lag.forget();
        }
    }

    async fn database(&self) -> sqlx::Result<()> {
        let mut conn = self.own.acquire().await?;
        for lane in outbox::backlog(&mut conn).await? {
            all().jobs_oldest_due.set([lane.lane.as_str()], lane.oldest_due_seconds);
            all().relay_lag.set([lane.lane.as_str()], lane.unhinted_seconds);
            all().jobs_unfinished.set([lane.lane.as_str()], count(lane.unfinished));
            all().jobs_dead.set([lane.lane.as_str()], count(lane.dead));
        }
        for (name, age) in sweep::finished_ages(&mut conn).await? {
            if let Some((name, every)) = self.sweeps.iter().find(|(known, _)| *known == name) {
                all().sweep_lag.set([name], (age - every).max(0.0));
            }
        }
        Ok(())
    }
}
