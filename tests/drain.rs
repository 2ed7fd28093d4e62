//! Many jobs that are due at once: they come through Redis a few at a time, and all of them are done.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use domain::id::UserId;
use domain::job::{JobKind, NewJob};
use domain::outbox;
use serde_json::json;
use uuid::Uuid;

use crate::support::app::Options;
use crate::support::process::Fleet;

/// Ids that may be in Redis at once.
const OUTSTANDING: usize = 500;

/// Nothing stands still for so long.
const PATIENCE: Duration = Duration::from_mins(1);

fn jobs() -> usize {
    if std::env::var_os("MUSTER_TEST_FULL").is_some() { 100_000 } else { 10_000 }
}

/// A notice to somebody who does not exist any more: there is nothing to send.
fn idle_job(number: usize) -> NewJob {
    NewJob {
        account_id: Uuid::from_u128(number as u128 % 50 + 1),
        kind: JobKind::MailPasswordChanged,
        payload: json!({ "userId": UserId::new(), "changedAt": "2026-01-01T00:00:00Z" }),
        dedupe_key: number.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_due_jobs_drain_through_a_redis_that_holds_few_of_them() -> Result<()> {
    let mut fleet = Fleet::new(true, Options::default()).await?;
    fleet.extra.push(("MUSTER_WORKER_OUTSTANDING", OUTSTANDING.to_string()));
    let all = (0..jobs()).map(idle_job).collect::<Vec<_>>();
    for some in all.chunks(5_000) {
        let mut conn = fleet.app.db.pool.acquire().await?;
        outbox::insert(&mut conn, some, None).await?;
    }
    let (url, prefix) = fleet.redis().context("it has a Redis")?;
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let queue = format!("{prefix}:queue:interactive");
    let begin = Instant::now();
    let workers = vec![fleet.start("worker").await?, fleet.start("worker").await?];
    let (mut deepest, mut left, mut moved) = (0_usize, i64::try_from(jobs())?, Instant::now());
    while left > 0 {
        // Twenty looks at Redis for one at the table.
        for _ in 0..20 {
            let (active, scheduled): (usize, usize) = redis::pipe()
                .llen(format!("{queue}:active"))
                .zcard(format!("{queue}:scheduled"))
                .query_async(&mut redis)
                .await?;
            deepest = deepest.max(active + scheduled);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let now = fleet.app.jobs("finished_at IS NULL").await?;
        if now < left {
            (left, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "{left} jobs are not done: {}", workers[0].log());
    }
    let seconds = begin.elapsed().as_secs_f64();
    let memory = workers[0].memory()?.max(workers[1].memory()?) / 1_000_000;
    println!(
        "{} jobs done in {seconds:.1} s by two workers of at most {memory} MB; at most {deepest} ids in Redis (limit {OUTSTANDING})",
        jobs()
    );
    assert!(deepest > 0, "nothing was seen in Redis");
    assert!(deepest <= OUTSTANDING, "{deepest} ids in Redis");
    fleet.finish(workers).await
}
