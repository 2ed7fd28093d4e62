//! The job spine on real PostgreSQL and Redis: nothing is lost, nobody waits for somebody else's backlog, and nothing odd stops it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use domain::infra::clock::Timestamp;
use domain::job::{Claimed, JobKind, Lane, NewJob, Verdict};
use domain::outbox::{self, Replay};
use domain::sweep::{self, Sweep, Tick};
use jiff::SignedDuration;
use redis::AsyncCommands as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;
use worker::schedule::{self, RunError};

use self::support::{Stage, Transport, Watched, take};

const KIND: JobKind = JobKind::MailInvitation;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_redis_heals() -> Result<()> {
    let stage = Stage::new(Transport::Redis(8)).await?;
    let (watched, mut jobs) = Watched::new(0);
    let shutdown = CancellationToken::new();
    let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
    stage.enqueue(KIND, Uuid::nil(), 300).await?;
    take(&mut jobs, 16).await?;
    let mut connection = stage.redis().await?;
    let _: () = redis::cmd("FLUSHDB").query_async(&mut connection).await?;
    watched.permits.add_permits(1000);
    stage.until("finished_at IS NOT NULL", 300).await?;
    assert_eq!(take(&mut jobs, 284).await?.len(), 284);
    assert!(jobs.is_empty(), "each job ran once");
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
    let dead = outbox::list_dead(&mut *stage.pool.acquire().await?, 10).await?;
    assert!(dead.iter().all(|job| job.kind == "queue.foreign"));
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
    let dead = outbox::list_dead(&mut conn, 10).await?;
    assert_eq!((dead.len(), dead[0].attempts, dead[0].code.as_deref()), (1, 2, Some("NEVER")));
    assert_eq!(outbox::replay(&mut conn, Uuid::nil()).await?, Replay::NotDead);
    stage.execute("UPDATE outbox SET request_id = NULL").await?;
    assert_eq!(outbox::replay(&mut conn, dead[0].job_id).await?, Replay::Due);
    drop(conn);
    stage.waker.work_due(Lane::Interactive);
    // From no attempts: not yet, then (no longer dead) done.
    stage.until("finished_at IS NOT NULL AND attempts = 2", 1).await?;
    shutdown.cancel();
    worker.stopped().await?;
    stage.close().await
}

#[tokio::test]
async fn an_equal_job_is_written_once_and_supersedes_a_dead_one() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let mut conn = stage.pool.acquire().await?;
    let job = NewJob {
        account_id: Uuid::nil(),
        kind: KIND,
        payload: serde_json::json!({}),
        dedupe_key: "invitation 1 generation 1".to_owned(),
    };
    assert_eq!(outbox::insert(&mut conn, &[job.clone(), job.clone()], None).await?, 1);
    assert_eq!(outbox::insert(&mut conn, std::slice::from_ref(&job), None).await?, 0);
    let id: Uuid = sqlx::query_scalar("SELECT job_id FROM outbox").fetch_one(&mut *conn).await?;
    assert!(outbox::bury_by_operator(&mut conn, id).await?);
    assert!(!outbox::bury_by_operator(&mut conn, id).await?);
    assert_eq!(outbox::insert(&mut conn, &[job], None).await?, 1);
    assert_eq!(outbox::replay(&mut conn, id).await?, Replay::Superseded);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn an_outcome_under_a_lapsed_claim_is_discarded() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::nil(), 1).await?;
    let mut conn = stage.pool.acquire().await?;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let hints = outbox::hint(&mut conn, Lane::Interactive, 10, Uuid::nil()).await?;
    let ids = [hints[0].job_id];
    assert_eq!(outbox::claim(&mut conn, &ids, first).await?.len(), 1);
    assert_eq!(outbox::claim(&mut conn, &ids, second).await?.len(), 0, "held");
    assert_eq!(outbox::hint(&mut conn, Lane::Interactive, 10, Uuid::nil()).await?.len(), 0, "held");
    assert_eq!(outbox::renew(&mut conn, &[(ids[0], first), (ids[0], second)]).await?, 1);
    // The lease passes.
    stage.execute("UPDATE outbox SET wake_at = now()").await?;
    assert_eq!(outbox::hint(&mut conn, Lane::Interactive, 10, Uuid::nil()).await?[0].hint_no, 2);
    let again = outbox::claim(&mut conn, &ids, second).await?;
    assert_eq!(again[0].attempts, 2);
    let stale = (ids[0], first);
    assert!(!outbox::retry(&mut conn, stale, SignedDuration::ZERO, "X").await?);
    assert!(!outbox::bury(&mut conn, stale, "X").await?);
    assert_eq!(outbox::renew(&mut conn, &[stale]).await?, 0);
    assert_eq!(outbox::put_back(&mut conn, &[stale]).await?, 0);
    assert!(outbox::finish(&mut conn, &[stale]).await?.is_empty());
    assert_eq!(outbox::finish(&mut conn, &[(ids[0], second), stale]).await?, ids);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn accounts_share_a_hint_and_take_turns_when_there_are_many() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    for account in 1..=6 {
        stage.enqueue(KIND, Uuid::from_u128(account), if account == 1 { 100 } else { 1 }).await?;
    }
    let mut conn = stage.pool.acquire().await?;
    let accounts = |hints: Vec<outbox::Hinted>| {
        let mut accounts: Vec<_> = hints.iter().map(|hint| hint.account_id.as_u128()).collect();
        accounts.sort_unstable();
        accounts
    };
    let first = outbox::hint(&mut conn, Lane::Interactive, 3, Uuid::from_u128(4)).await?;
    assert_eq!(accounts(first), [1, 5, 6], "those after the last one served come first");
    let second = outbox::hint(&mut conn, Lane::Interactive, 12, Uuid::from_u128(1)).await?;
    assert_eq!(accounts(second), [1, 1, 1, 2, 3, 4]);
    drop(conn);
    stage.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_what_runs_and_gives_back_the_rest() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        let (watched, mut jobs) = Watched::new(0);
        let shutdown = CancellationToken::new();
        let worker = stage.worker(watched.registry(KIND), vec![], &shutdown)?;
        stage.enqueue(KIND, Uuid::nil(), 200).await?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_fires_once_over_three_workers_and_catches_up_with_the_latest_tick() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let (fired, mut runs) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let every = SignedDuration::from_hours(6);
    let sweep = Sweep::new("test.sweep", every, move |now| {
        let _ = fired.send(now);
        async { Ok(3) }
    });
    let workers: Vec<_> =
        (0..3).map(|_| stage.worker(Registry::default(), vec![sweep.clone()], &shutdown)).collect::<Result<_>>()?;
    let first = take(&mut runs, 1).await?[0];
    stage.clock.advance(every * 5);
    let second = take(&mut runs, 1).await?[0];
    assert!(second >= first + every * 4);
    // Every worker has looked at the tick by the time that it answers the next one.
    stage.clock.advance(every);
    take(&mut runs, 1).await?;
    shutdown.cancel();
    for worker in workers {
        worker.stopped().await?;
    }
    assert!(runs.is_empty(), "one run a tick, and none for those in the downtime");
    let mut conn = stage.pool.acquire().await?;
    let last = sweep::last_runs(&mut conn).await?;
    let last = last.iter().find(|last| last.sweep == "test.sweep").expect("it ran");
    assert_eq!((last.acted_on, last.code.as_deref(), last.finished_at.is_some()), (Some(3), None, true));
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn an_abandoned_tick_is_taken_over_and_a_failed_one_stays_open() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let mut conn = stage.pool.acquire().await?;
    let tick = sweep::database_now(&mut conn).await?;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(sweep::claim(&mut conn, "x", tick, first).await?, Tick::Mine);
    assert_eq!(sweep::claim(&mut conn, "x", tick, second).await?, Tick::Running);
    // The lease passes.
    stage.execute("UPDATE sweep_tick SET lease_until = now() - interval '1 s'").await?;
    assert_eq!(sweep::claim(&mut conn, "x", tick, second).await?, Tick::Mine);
    assert!(!sweep::renew(&mut conn, "x", tick, first).await?);
    assert!(!sweep::record(&mut conn, "x", tick, first, Ok(1)).await?);
    assert!(sweep::record(&mut conn, "x", tick, second, Err("NO_LUCK")).await?);
    assert_eq!(sweep::claim(&mut conn, "x", tick, first).await?, Tick::Running, "later");
    stage.execute("UPDATE sweep_tick SET lease_until = now() - interval '1 s'").await?;
    assert_eq!(sweep::claim(&mut conn, "x", tick, first).await?, Tick::Mine);
    assert!(sweep::record(&mut conn, "x", tick, first, Ok(1)).await?);
    assert_eq!(sweep::claim(&mut conn, "x", tick, second).await?, Tick::Finished);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn an_operator_runs_a_sweep_at_a_time_of_choice() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let at = Timestamp("2031-05-06T07:08:09Z".parse()?);
    let sweeps =
        [
            Sweep::new("good", SignedDuration::from_hours(1), move |now| async move {
                if now == at { Ok(7) } else { Ok(0) }
            }),
            Sweep::new("bad", SignedDuration::from_hours(1), |_| async { Err("NO_LUCK") }),
            Sweep::new("ugly", SignedDuration::from_hours(1), |_| async { panic!("it does") }),
        ];
    let run = |name: &'static str, at| schedule::run_now(&stage.pool, &stage.clock, &sweeps, name, at);
    assert_eq!(run("good", Some(at)).await?, 7);
    assert_eq!(run("good", Some(at)).await?, 7, "again");
    assert_eq!(run("good", None).await?, 0);
    assert!(matches!(run("bad", None).await, Err(RunError::Failed("NO_LUCK"))));
    assert!(matches!(run("ugly", None).await, Err(RunError::Failed("PANIC"))));
    assert!(matches!(run("none", None).await, Err(RunError::Unknown)));
    stage.close().await
}

#[tokio::test]
async fn old_rows_are_purged_and_dead_ones_kept() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::nil(), 3).await?;
    let mut conn = stage.pool.acquire().await?;
    let hints = outbox::hint(&mut conn, Lane::Interactive, 2, Uuid::nil()).await?;
    let claim = Uuid::new_v4();
    outbox::claim(&mut conn, &[hints[0].job_id, hints[1].job_id], claim).await?;
    outbox::finish(&mut conn, &[(hints[0].job_id, claim)]).await?;
    assert!(outbox::bury(&mut conn, (hints[1].job_id, claim), "X").await?);
    let now = sweep::database_now(&mut conn).await?;
    let week = outbox::FINISHED_KEPT;
    assert_eq!(outbox::purge_finished(&mut conn, now + week - SignedDuration::from_secs(60), 10).await?, 0);
    assert_eq!(outbox::purge_finished(&mut conn, now + week + SignedDuration::from_secs(60), 10).await?, 1);
    drop(conn);
    assert_eq!(stage.count("true").await?, 2);
    stage.close().await
}
