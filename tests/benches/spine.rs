//! Prints jobs a second and the time from commit to start. Needs `DATABASE_URL` and `REDIS_URL`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../support/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::job::{JobKind, Verdict};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;

use self::stage::{Stage, Transport, take};

const JOBS: usize = 20_000;
/// Jobs that come one by one, 100 a second.
const SINGLES: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    for transport in [Transport::Memory, Transport::Redis(7)] {
        let stage = Stage::new(transport).await?;
        let (started, mut jobs) = mpsc::unbounded_channel();
        let registry = Registry::default().with(JobKind::MailInvitation, move |_| {
            let _ = started.send(Instant::now());
            async { Verdict::Done }
        });
        for account in 1..=20 {
            stage.enqueue(JobKind::MailInvitation, Uuid::from_u128(account), JOBS / 20).await?;
        }
        let shutdown = CancellationToken::new();
        let begin = Instant::now();
        let worker = stage.worker(registry, vec![], &shutdown)?;
        take(&mut jobs, JOBS).await?;
        stage.until("finished_at IS NOT NULL", i64::try_from(JOBS)?).await?;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{transport:?}: {JOBS} jobs in {seconds:.2} s, {:.0} a second",
            f64::from(u32::try_from(JOBS)?) / seconds
        );

        let mut waits = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut committed = Vec::new();
        for number in 0..SINGLES {
            ticks.tick().await;
            // Jobs start in the order of their commits, near enough.
            stage.enqueue(JobKind::MailInvitation, Uuid::from_u128(number as u128 % 20 + 1), 1).await?;
            committed.push(Instant::now());
        }
        let starts = take(&mut jobs, SINGLES).await?;
        waits.extend(
            starts.iter().zip(&committed).map(|(start, committed)| start.saturating_duration_since(*committed)),
        );
        waits.sort_unstable();
        println!(
            "{transport:?}: 100 jobs a second, commit to start p50 {:?}, p99 {:?}, max {:?}",
            waits[SINGLES / 2],
            waits[SINGLES * 99 / 100],
            waits[SINGLES - 1]
        );
        shutdown.cancel();
        worker.stopped().await?;
        stage.close().await?;
    }
    Ok(())
}
