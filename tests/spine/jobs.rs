//! Jobs from commit to end, through both queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::job::{Claimed, JobKind, Lane, Verdict};
use domain::outbox::{self, Replay, Wanted};
use futures::StreamExt as _;
use futures::future::ready;
use jiff::SignedDuration;
use redis::AsyncCommands as _;
use secrecy::ExposeSecret as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;
use worker::queue::{Queue as _, RedisQueue};

use crate::support::stage::{Stage, Transport, take};

const DEAD: Wanted = Wanted { dead: true, kind: None };
const KIND: JobKind = JobKind::MailInvitation;

/// Reports each job that starts, and lets it go on when there is a permit.
#[derive(Clone)]
pub(crate) struct Watched {
    started: mpsc::UnboundedSender<Claimed>,
    pub(crate) permits: Arc<Semaphore>,
}

impl Watched {
    /// With `permits` to begin with; each job uses one up.
    pub(crate) fn new(permits: usize) -> (Self, mpsc::UnboundedReceiver<Claimed>) {
        let (started, jobs) = mpsc::unbounded_channel();
        (Self { started, permits: Arc::new(Semaphore::new(permits)) }, jobs)
    }

    /// A registry where this handles a kind.
    pub(crate) fn registry(&self, kind: JobKind) -> Registry {
        let watched = self.clone();
        Registry::default().with(kind, move |job| watched.clone().run(job))
    }

    async fn run(self, job: Claimed) -> Verdict {
        let _ = self.started.send(job);
        self.permits.acquire().await.expect("never closed").forget();
        Verdict::Done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_account_does_not_delay_the_first_job_of_another() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        let (busy, late) = (Uuid::from_u128(1), Uuid::from_u128(2));
        stage.enqueue(KIND, busy, 10_000).await?;
        let (started, mut jobs) = mpsc::unbounded_channel();
        let registry = Registry::default().with(KIND, move |job: Claimed| {
            let _ = started.send(job.account_id);
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Verdict::Done
            }
        });
        let shutdown = CancellationToken::new();
        let worker = stage.worker(registry, vec![], &shutdown)?;
        take(&mut jobs, 1000).await?;
        stage.enqueue(KIND, late, 1).await?;
        let before = jobs.len();
        let mut position = 0;
        while take(&mut jobs, 1).await?[0] != late {
            position += 1;
        }
        assert!(position - before < 2_000, "{transport:?}: {position} jobs first, {before} of them at once");
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_jobs_of_one_account_delay_the_first_of_another_by_two_rounds_at_most() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        let (busy, late) = (Uuid::from_u128(1), Uuid::from_u128(2));
        stage.enqueue(KIND, busy, 10_000).await?;
        let (started, mut jobs) = mpsc::unbounded_channel();
        let registry = Registry::default().with(KIND, move |job: Claimed| {
            let _ = started.send(job.account_id);
            async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Verdict::Done
            }
        });
        let shutdown = CancellationToken::new();
        let worker = stage.worker(registry, vec![], &shutdown)?;
        // By then whatever is on the way of jobs is full of those of the one.
        take(&mut jobs, 200).await?;
        stage.enqueue(KIND, late, 1).await?;
        let before = jobs.len();
        let mut position = 0;
        while take(&mut jobs, 1).await?[0] != late {
            position += 1;
        }
        let rounds = (position - before).div_ceil(stage.config.worker.concurrency);
        println!("{transport:?}: {position} jobs first, {before} of them at once");
        assert!(rounds <= 2, "{transport:?}: {position} jobs first, {before} of them at once");
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_thousand_due_jobs_drain_through_a_shallow_queue() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        stage.enqueue(KIND, Uuid::nil(), 9_500).await?;
        let deepest = Arc::new(AtomicUsize::new(0));
        let mut registry = Registry::default().with(KIND, |_| async { Verdict::Done });
        if transport != Transport::Memory {
            let (connection, deep) = (stage.redis().await?, Arc::clone(&deepest));
            let queue = format!("{}:queue:interactive", stage.config.redis_prefix);
            registry = registry.with(KIND, move |_| {
                let (mut connection, deep, queue) = (connection.clone(), Arc::clone(&deep), queue.clone());
                async move {
                    let depth: (usize, usize) = redis::pipe()
                        .llen(format!("{queue}:active"))
                        .zcard(format!("{queue}:scheduled"))
                        .query_async(&mut connection)
                        .await
                        .expect("Redis is there");
                    deep.fetch_max(depth.0 + depth.1, Ordering::Relaxed);
                    Verdict::Done
                }
            });
        }
        let shutdown = CancellationToken::new();
        let worker = stage.worker(registry, vec![], &shutdown)?;
        stage.until("finished_at IS NOT NULL AND attempts = 1", 9_500).await?;
        assert!(deepest.load(Ordering::Relaxed) <= stage.config.worker.outstanding);
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_id_in_the_queue_waits_for_no_clock() -> Result<()> {
    let stage = Stage::new(Transport::Redis(9)).await?;
    stage.enqueue(KIND, Uuid::nil(), 3).await?;
    let url = stage.config.redis_url.clone().context("it has one")?;
    let queue = RedisQueue::new(&url, &stage.config.redis_prefix, KIND.lane(), Arc::default())?;
    let hints =
        outbox::hint(&mut *stage.pool.acquire().await?, KIND.lane(), outbox::Pick::up_to(10), Uuid::nil()).await?;
    queue.push(hints.clone()).await?;
    queue.push(hints).await?;
    assert_eq!(queue.depth().await?, 3);
    // Whatever is in there has a time, by the clock of the host that put it in; others' clocks may be hours behind.
    let scheduled = format!("{}:queue:interactive:scheduled", stage.config.redis_prefix);
    let scheduled: i64 = stage.redis().await?.zcard(scheduled).await?;
    assert_eq!(scheduled, 0);
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_redis_heals() -> Result<()> {
    let stage = Stage::new(Transport::Redis(8)).await?;
    let (watched, mut jobs) = Watched::new(0);
    let shutdown = CancellationToken::new();
    let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
    for account in 0..30 {
        stage.enqueue(KIND, Uuid::from_u128(account), 20).await?;
    }
    let mut connection = stage.redis().await?;
    // With all hands full and no more than 150 ids on their way to them, the rest piles up in Redis.
    let queue = format!("{}:queue:interactive", stage.config.redis_prefix);
    loop {
        let hinted = stage.count("hinted").await?;
        let scheduled: i64 = connection.zcard(format!("{queue}:scheduled")).await?;
        let active: i64 = connection.llen(format!("{queue}:active")).await?;
        if hinted >= 170 && scheduled + active >= 20 && stage.count("claim IS NOT NULL").await? >= 32 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _: () = redis::cmd("FLUSHDB").query_async(&mut connection).await?;
    watched.permits.add_permits(1000);
    stage.until("finished_at IS NOT NULL AND attempts = 1", 600).await?;
    assert_eq!(take(&mut jobs, 600).await?.len(), 600);
    assert!(jobs.is_empty(), "each job ran once");
    assert!(stage.count("hint_no > 1").await? > 0, "some were hinted again");
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_the_queue_ends_dead_and_stops_nothing() -> Result<()> {
    let stage = Stage::new(Transport::Redis(7)).await?;
    let nobody = format!("{}:1", Uuid::new_v4());
    // These make the library's fetch fail, with all that is fetched along.
    put(&stage, b"no data", None, true).await?;
    put(&stage, b"no description", Some(b"x"), false).await?;
    put(&stage, &[0xff, 0xfe], Some(b"id is no text"), true).await?;
    stage.enqueue(KIND, Uuid::nil(), 100).await?;
    let shutdown = CancellationToken::new();
    let worker = stage.worker(Registry::default().with(KIND, |_| async { Verdict::Done }), vec![], &shutdown)?;
    stage.until("finished_at IS NOT NULL", 100).await?;
    stage.until("dead_at IS NOT NULL AND last_error_code = 'MALFORMED_HINT'", 3).await?;

    // These reach the handler.
    put(&stage, b"unreadable", Some(&[0xff, 0x00, 0xfe]), true).await?;
    put(&stage, b"a job that is not there", Some(nobody.as_bytes()), true).await?;
    stage.enqueue(KIND, Uuid::nil(), 100).await?;
    stage.until("finished_at IS NOT NULL", 200).await?;
    stage.until("dead_at IS NOT NULL AND last_error_code = 'MALFORMED_HINT'", 4).await?;
    let dead = outbox::list(&mut *stage.pool.acquire().await?, &DEAD, 10).await?;
    assert!(dead.iter().all(|job| job.kind == outbox::FOREIGN));
    for job in &dead {
        assert_eq!(outbox::replay(&stage.db(), job.job_id).await?, Replay::Foreign);
    }
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_claim_of_a_long_job_is_renewed() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let (watched, mut jobs) = Watched::new(0);
    let shutdown = CancellationToken::new();
    let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
    stage.enqueue(KIND, Uuid::nil(), 1).await?;
    let claim = take(&mut jobs, 1).await?[0].claim;
    stage.execute("UPDATE outbox SET wake_at = now() + interval '8 s'").await?;
    stage.until(&format!("claim = '{claim}' AND wake_at > now() + interval '10 s'"), 1).await?;
    watched.permits.add_permits(1);
    stage.until("finished_at IS NOT NULL AND attempts = 1", 1).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_where_one_vanished() -> Result<()> {
    let stage = Stage::new(Transport::Redis(7)).await?;
    let (watched, mut jobs) = Watched::new(1000);
    let vanishing = stage.worker(watched.registry(KIND), vec![], &CancellationToken::new())?;
    stage.enqueue(KIND, Uuid::nil(), 1).await?;
    take(&mut jobs, 1).await?;
    // Its tasks end where they are; the leases of the relays stay.
    drop(vanishing);
    let shutdown = CancellationToken::new();
    let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
    stage.enqueue(KIND, Uuid::nil(), 100).await?;
    stage.until("finished_at IS NOT NULL AND payload ->> 'number' <> '0'", 99).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_does_not_work_is_tried_until_it_does() -> Result<()> {
    let stage = Stage::new(Transport::Redis(7)).await?;
    let queue = format!("{}:queue:interactive", stage.config.redis_prefix);
    let mut redis = stage.redis().await?;
    let _: () = redis.set(format!("{queue}:active"), "no list").await?;
    let monitor = redis::Client::open(stage.config.redis_url.as_ref().unwrap().expose_secret())?;
    let monitor = monitor.get_async_monitor().await?;
    let shutdown = CancellationToken::new();
    let (watched, mut jobs) = Watched::new(1);
    let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
    // Each consumer says once that it is there.
    let registered = format!("\"zadd\" \"{queue}:workers\"");
    let consumers = monitor.into_on_message::<String>().filter(|line| ready(line.contains(&registered)));
    consumers.take(10).count().await;
    let _: () = redis.del(format!("{queue}:active")).await?;
    stage.enqueue(KIND, Uuid::nil(), 1).await?;
    take(&mut jobs, 1).await?;
    stage.until("finished_at IS NOT NULL", 1).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

/// Puts something into the queue by hand.
async fn put(stage: &Stage, id: &[u8], data: Option<&[u8]>, described: bool) -> Result<()> {
    let queue = format!("{}:queue:interactive", stage.config.redis_prefix);
    let mut connection = stage.redis().await?;
    if let Some(data) = data {
        let _: () = connection.hset(format!("{queue}:data"), id, data).await?;
    }
    if described {
        let key = [format!("{queue}:meta:").as_bytes(), id].concat();
        let fields = [("attempts", "0"), ("max_attempts", "25"), ("status", "Pending")];
        let _: () = connection.hset_multiple(key, &fields).await?;
    }
    let _: () = connection.rpush(format!("{queue}:active"), id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_malformed_and_panicking_jobs_hurt_nobody() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        stage.enqueue(KIND, Uuid::nil(), 3).await?;
        stage.execute("UPDATE outbox SET kind = 'mail.carrier_pigeon' WHERE payload ->> 'number' = '0'").await?;
        stage.execute("UPDATE outbox SET payload = '[]' WHERE payload ->> 'number' = '1'").await?;
        stage.enqueue(JobKind::MailSignUp, Uuid::nil(), 2).await?;
        stage.enqueue(JobKind::MailPasswordReset, Uuid::nil(), 1).await?;
        let registry = Registry::default()
            .with(KIND, |job: Claimed| async move {
                #[derive(serde::Deserialize)]
                struct Payload {
                    number: i64,
                }
                match job.read::<Payload>() {
                    Ok(payload) => {
                        assert_eq!(payload.number, 2);
                        Verdict::Done
                    }
                    Err(verdict) => verdict,
                }
            })
            .with(JobKind::MailSignUp, |job: Claimed| -> std::future::Ready<Verdict> {
                panic!("at once, {}", job.attempts)
            });
        let shutdown = CancellationToken::new();
        let worker = stage.worker(registry, vec![], &shutdown)?;
        stage.until("finished_at IS NOT NULL", 1).await?;
        stage.until("dead_at IS NOT NULL AND last_error_code = 'MALFORMED_PAYLOAD'", 1).await?;
        // One of no kind in the catalogue, one without a handler.
        // They are left for a worker that knows them, and the attempt does not count.
        stage
            .until("wake_at > now() AND claim IS NULL AND attempts = 0 AND last_error_code = 'UNKNOWN_KIND'", 2)
            .await?;
        // Nor after 59 minutes. After an hour none has come: they end.
        stage
            .execute(
                "UPDATE outbox SET wake_at = now(), left_since = left_since - interval '59 minutes'
                 WHERE last_error_code = 'UNKNOWN_KIND'",
            )
            .await?;
        stage.waker.work_due(Lane::Interactive);
        stage.until("wake_at > now() AND NOT hinted AND claim IS NULL AND last_error_code = 'UNKNOWN_KIND'", 2).await?;
        stage
            .execute(
                "UPDATE outbox SET wake_at = now(), left_since = left_since - interval '2 minutes'
                 WHERE last_error_code = 'UNKNOWN_KIND'",
            )
            .await?;
        stage.waker.work_due(Lane::Interactive);
        stage.until("dead_at IS NOT NULL AND last_error_code = 'UNKNOWN_KIND'", 2).await?;
        stage.until("wake_at > now() AND claim IS NULL AND attempts = 1 AND last_error_code = 'PANIC'", 2).await?;
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_retried_then_dead_then_replayed() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::from_u128(1), 1).await?;
    let registry = Registry::default().with(KIND, |job: Claimed| async move {
        match job.attempts {
            1 => Verdict::Retry { code: "NOT_YET", after: Some(SignedDuration::from_millis(10)) },
            2 if job.request_id.as_deref() == Some("req_test") => Verdict::Dead { code: "NEVER" },
            _ => Verdict::Done,
        }
    });
    let shutdown = CancellationToken::new();
    let worker = stage.worker(registry, vec![], &shutdown)?;
    stage.until("dead_at IS NOT NULL", 1).await?;
    let mut conn = stage.pool.acquire().await?;
    let dead = outbox::list(&mut conn, &DEAD, 10).await?;
    assert_eq!((dead.len(), dead[0].attempts, dead[0].code.as_deref()), (1, 2, Some("NEVER")));
    assert_eq!(outbox::replay(&stage.db(), Uuid::nil()).await?, Replay::NotDead);
    stage.execute("UPDATE outbox SET request_id = NULL").await?;
    assert_eq!(outbox::replay(&stage.db(), dead[0].job_id).await?, Replay::Due);
    drop(conn);
    stage.waker.work_due(Lane::Interactive);
    // From no attempts: not yet, then (no longer dead) done.
    stage.until("finished_at IS NOT NULL AND attempts = 2", 1).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

/// It failed often, got on, and fails once more: that is its first failure since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_got_on_is_not_given_up_for_what_came_before() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::from_u128(1), 1).await?;
    let most = KIND.max_attempts();
    let spend = "UPDATE outbox SET attempts = $1";
    sqlx::query(spend).bind(most - 1).execute(&stage.pool).await?;
    let pool = stage.pool.clone();
    let registry = Registry::default().with(KIND, move |job: Claimed| {
        let pool = pool.clone();
        async move {
            if job.attempts < most {
                return Verdict::Done;
            }
            outbox::advance(&mut pool.acquire().await.unwrap(), (job.job_id, job.claim)).await.unwrap();
            Verdict::Retry { code: "NOT_YET", after: Some(SignedDuration::from_millis(10)) }
        }
    });
    let shutdown = CancellationToken::new();
    let worker = stage.worker(registry, vec![], &shutdown)?;
    stage.until("finished_at IS NOT NULL AND attempts = 2", 1).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_what_runs_and_gives_back_the_rest() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        let (watched, mut jobs) = Watched::new(0);
        let shutdown = CancellationToken::new();
        let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
        stage.enqueue(KIND, Uuid::nil(), 100).await?;
        stage.enqueue(KIND, Uuid::from_u128(1), 100).await?;
        take(&mut jobs, 16).await?;
        shutdown.cancel();
        let stopped = tokio::spawn(worker.stopped());
        stage.until("claim IS NOT NULL", 16).await?;
        watched.permits.add_permits(16);
        stopped.await??;
        assert_eq!(stage.count("finished_at IS NOT NULL").await?, 16, "{transport:?}");
        assert_eq!(stage.count("claim IS NULL AND attempts = 0 AND wake_at IS NOT NULL").await?, 184, "{transport:?}");

        // The next worker does the rest.
        let shutdown = CancellationToken::new();
        let (watched, _jobs) = Watched::new(1000);
        let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
        stage.until("finished_at IS NOT NULL AND attempts = 1", 200).await?;
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}
