//! Scheduled work.

use anyhow::Result;
use domain::infra::clock::Timestamp;
use domain::sweep::{self, Sweep, Tick};
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;
use worker::schedule::{self, RunError};

use crate::support::stage::{Stage, Transport, take};

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
