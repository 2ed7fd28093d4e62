//! The queue over Redis, by apalis. This is the only file that knows it, and uses it for one thing: to carry ids.
//!
//! What it does not rely on: retries, schedules, results, locks, the vacuum, the monitor (its restarts have no pause and keep the
//! failed worker's counters), and nothing in which the clocks of hosts meet: its push makes every task wait until the clock of
//! whoever fetches it has reached that of whoever pushed it, and its search for orphans takes the living whose clock is slow for
//! dead. A worker that fails, as it does on any fault of Redis and on anything odd in the queue, is
//! replaced by one of another name, and what it had taken is looked through.

mod clean;
mod nudge;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BackendExt as _, BoxDynError, Codec, Data, WorkerBuilder, WorkerBuilderExt as _, WorkerError};
use apalis_redis::{Config, RedisStorage};
use domain::job::Lane;
use domain::outbox::Hinted;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::AsyncCommands as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::nudge::Nudged;
use super::{Arrival, Intake, Queue, QueueError};

/// Hints taken at once, and handed over at once.
const BATCH: usize = 50;

/// Failures in a row, with Redis there and nothing to sweep up, from which on somebody has to look: after some ten seconds. A Redis
/// that is full, or keys of something else under our names.
const ALARMING: u32 = 8;

/// A worker that lived this long does not count as having failed at once.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// Pause before an absent Redis is tried again.
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause before the next worker is started.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Beats that a consumer may miss until the library takes it for dead: a year of them, because it judges by comparing the clocks
/// of hosts. We look ourselves.
const NEVER_ORPHANED: usize = 365 * 24 * 3600 / 5;

/// Puts ids at the end of the list that consumers take from, in the form that the library reads. An id that is there already is
/// left out. KEYS: the tasks' data, the list, the beginning of the keys of their metadata.
const PUSH: &str = "for _, id in ipairs(ARGV) do
  if redis.call('hsetnx', KEYS[1], id, id) == 1 then
    redis.call('hset', KEYS[3] .. ':' .. id, 'attempts', 0, 'max_attempts', 1, 'status', 'Pending')
    redis.call('rpush', KEYS[2], id)
  end
end";

/// A lane's ids in Redis.
#[derive(Debug)]
pub struct RedisQueue {
    lane: Lane,
    config: Config,
    connection: ConnectionManager,
    filled: Arc<Notify>,
}

impl RedisQueue {
    /// The queue of a lane. `filled` tells that another process or this one has put something in. Connects when first used.
    pub fn new(url: &SecretString, prefix: &str, lane: Lane, filled: Arc<Notify>) -> Result<Self, QueueError> {
        // Whatever waits longer than this is better begun anew: every caller polls.
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(100))
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(2)));
        let connection = redis::Client::open(url.expose_secret())?.get_connection_manager_lazy(settings)?;
        let config = Config::default()
            .queue(format!("{prefix}:queue:{}", lane.as_str().to_lowercase()))
            .batch_size(BATCH)
            .heartbeat_interval(Duration::from_secs(5))
            .missed_heartbeats(NEVER_ORPHANED)
            .lock_tasks(false)
            .emit_events(false)
            .persist_results(true);
        Ok(Self { lane, config, connection, filled })
    }

    fn storage(&self) -> RedisStorage<String> {
        RedisStorage::new(self.connection.clone()).with_config(self.config.clone())
    }

    async fn work(&self, name: &str, intake: &Intake, shutdown: &CancellationToken) -> Result<(), WorkerError> {
        let stop = shutdown.clone();
        WorkerBuilder::new(name)
            .backend(self.storage().with_codec(PlainText).poll_with_strategy(Nudged::new(Arc::clone(&self.filled))))
            .data(intake.clone())
            .concurrency(BATCH)
            .build(hand_over)
            .run_until(async move {
                stop.cancelled().await;
                Ok::<(), WorkerError>(())
            })
            .await
    }

    /// Ends with `shutdown` only: to end the process would mend nothing that another consumer does not, and take others' work with it.
    async fn supervise(&self, intake: Intake, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            let name = format!("{}-{}", self.lane.as_str().to_lowercase(), Uuid::new_v4());
            let started = Instant::now();
            // Some faults are panics in there.
            let outcome = AssertUnwindSafe(self.work(&name, &intake, &shutdown)).catch_unwind().await;
            if started.elapsed() > HEALTHY_AFTER {
                failures = 0;
            }
            let swept = self.sweep_up(&name, &intake, &shutdown).await;
            if shutdown.is_cancelled() {
                return;
            }
            let last = match outcome {
                Ok(Ok(())) => "it stopped by itself".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            // While Redis is away there is nothing wrong with the queue, and what was swept up does no harm again.
            failures = if swept == Some(0) { failures + 1 } else { 0 };
            if failures < ALARMING {
                tracing::warn!(lane = %self.lane, error = last, "queue consumer failed; starting another");
            } else {
                tracing::error!(lane = %self.lane, failures, error = last, "the queue does not work though Redis answers");
            }
            let pause = MAX_PAUSE.min(Duration::from_millis(50) * 2_u32.pow(failures.min(10)));
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Clears up after the consumer `name`, as soon as Redis is there. Answers how many ids it had in its hands; none if Redis was
    /// away.
    async fn sweep_up(&self, name: &str, intake: &Intake, shutdown: &CancellationToken) -> Option<usize> {
        let mut away = false;
        loop {
            match self.clear(name, intake).await {
                Ok(ids) => return (!away).then_some(ids),
                Err(error) if !away => tracing::warn!(lane = %self.lane, %error, "Redis is away; jobs wait"),
                Err(_) => {}
            }
            away = true;
            shutdown.run_until_cancelled(tokio::time::sleep(AWAY_PAUSE)).await?;
        }
    }
}

impl Queue for RedisQueue {
    fn is_shared(&self) -> bool {
        true
    }

    fn push(&self, hints: Vec<Hinted>) -> BoxFuture<'_, Result<(), QueueError>> {
        Box::pin(async move {
            let mut push = redis::cmd("EVAL");
            push.arg(PUSH).arg(3).arg(self.config.job_data_hash()).arg(self.config.active_jobs_list());
            push.arg(self.config.job_meta_hash());
            for hint in &hints {
                push.arg(encode(hint));
            }
            Ok(push.query_async(&mut self.connection.clone()).await?)
        })
    }

    fn depth(&self) -> BoxFuture<'_, Result<usize, QueueError>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            Ok(connection.llen(self.config.active_jobs_list()).await?)
        })
    }

    fn consume(&self, intake: Intake, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (stop, lost) = (shutdown.clone(), intake.clone());
            let cleaning = async move {
                stop.run_until_cancelled(self.keep_clean(lost)).await;
            };
            tokio::join!(self.supervise(intake, shutdown), cleaning);
        })
    }
}

/// Whatever becomes of the job, the id has done its service: this always ends well.
async fn hand_over(text: String, intake: Data<Intake>) -> Result<(), BoxDynError> {
    // A closed intake means that this process stops; the hint lapses and is given again.
    let _ = intake.send(decode(&text).map_or_else(|| foreign(text.as_bytes()), Arrival::Hint)).await;
    Ok(())
}

/// A task id that was seen before is dropped in silence, hence the number of the hint.
fn encode(hint: &Hinted) -> String {
    format!("{}:{}", hint.job_id, hint.hint_no)
}

fn decode(text: &str) -> Option<Uuid> {
    let (id, number) = text.split_once(':')?;
    number.parse::<i32>().ok()?;
    Uuid::try_parse(id).ok()
}

/// An id for something that has none, the same each time it turns up.
fn foreign(bytes: &[u8]) -> Arrival {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, bytes).hash(&mut hasher);
        hasher.finish()
    };
    Arrival::Foreign(Uuid::from_u64_pair(half(0), half(1)))
}

/// Text as it is. It reads anything, because a payload that cannot be read ends the worker and loses its neighbours.
#[derive(Clone, Copy, Debug)]
struct PlainText;

impl Codec<String> for PlainText {
    type Error = std::convert::Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, text: &String) -> Result<Vec<u8>, Self::Error> {
        Ok(text.clone().into_bytes())
    }

    fn decode(&self, bytes: &Vec<u8>) -> Result<String, Self::Error> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_survives_the_wire_and_garbage_does_not() {
        let hint = Hinted { job_id: Uuid::now_v7(), hint_no: 7, account_id: Uuid::nil() };
        assert_eq!(decode(&encode(&hint)), Some(hint.job_id));
        for garbage in
            ["", ":", "x:1", "\u{0}", "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000:"]
        {
            assert_eq!(decode(garbage), None);
        }
        assert_eq!(foreign(b"a"), foreign(b"a"));
        assert_ne!(foreign(b"a"), foreign(b"b"));
    }
}
