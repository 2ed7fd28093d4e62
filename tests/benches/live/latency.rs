//! From a commit in this process to a subscriber of another process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::actor::Origin;
use domain::change::{Change, Kind};
use domain::event::{EventKind, NewEvent};
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::infra::wake::Waker;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Follower, Owner, found};
use super::spread;
use super::support::app::Options;
use super::support::process::Fleet;

/// Accounts over which the writes are spread, each with a writer of its own, so that commits of an account have an order.
const ACCOUNTS: usize = 4;

pub(crate) async fn run() -> Result<()> {
    for redis in [true, false] {
        let mut fleet = Fleet::new(redis, Options::default()).await?;
        let api = fleet.start(if redis { "api" } else { "serve" }).await?;
        let stop = CancellationToken::new();
        let mut db = fleet.app.db.clone();
        if let Some((url, prefix)) = fleet.redis() {
            db.waker = Waker::connect(&url.into(), prefix, &stop)?;
        }
        let owners = found(&db, ACCOUNTS, 3).await?;
        for (rate, count) in [(1_u32, 20_usize), (100, 1_000), (1_000, 5_000)] {
            let times = follow(&db, &api.url, &owners, rate, count).await?;
            println!(
                "commit to subscriber, {} Redis, {rate} events a second: {}",
                if redis { "with" } else { "without" },
                spread(times)
            );
        }
        stop.cancel();
        api.kill().await?;
        fleet.app.close().await;
    }
    Ok(())
}

async fn follow(db: &Db, url: &str, owners: &[Owner], rate: u32, count: usize) -> Result<Vec<Duration>> {
    let accounts = if rate < 10 { 1 } else { ACCOUNTS };
    let mut tasks = JoinSet::new();
    for owner in &owners[..accounts] {
        let mut socket = Follower::open(url, &owner.token).await?;
        let (db, account) = (db.clone(), owner.account);
        let (each, pause) = (count / accounts, Duration::from_secs(accounts as u64) / rate);
        // The subscription is under way once an event has come.
        probe(&db, account, &mut socket).await?;
        tasks.spawn(async move {
            let reading = tokio::spawn(async move {
                let mut seen = Vec::with_capacity(each);
                while seen.len() < each {
                    socket.event().await?;
                    seen.push(Instant::now());
                }
                anyhow::Ok(seen)
            });
            let committed = write(&db, account, each, pause).await?;
            let seen = reading.await??;
            let late = seen.iter().zip(&committed).map(|(seen, committed)| seen.saturating_duration_since(*committed));
            anyhow::Ok(late.collect::<Vec<_>>())
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}

/// Writes until the socket has heard one, and takes what it hears of the rest.
async fn probe(db: &Db, account: AccountId, socket: &mut Follower) -> Result<()> {
    let done = CancellationToken::new();
    let last = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let (writing, known, writer) = (done.clone(), Arc::clone(&last), db.clone());
    let task = tokio::spawn(async move {
        while !writing.is_cancelled() {
            write(&writer, account, 1, Duration::ZERO).await?;
            let number = sqlx::query_scalar::<_, i64>("SELECT next_seq - 1 FROM account_feed WHERE account_id = $1")
                .bind(account.0)
                .fetch_one(&writer.pool)
                .await?;
            known.store(number, std::sync::atomic::Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        anyhow::Ok(())
    });
    let mut heard = socket.event().await?;
    done.cancel();
    task.await??;
    while heard < last.load(std::sync::atomic::Ordering::SeqCst) {
        heard = socket.event().await?;
    }
    Ok(())
}

/// Commits one event each time, at a steady pace; answers when.
async fn write(db: &Db, account: AccountId, count: usize, pause: Duration) -> Result<Vec<Instant>> {
    let begin = Instant::now();
    let mut committed = Vec::with_capacity(count);
    for number in 0..count {
        tokio::time::sleep_until((begin + pause * u32::try_from(number)?).into()).await;
        let mut change = Change::begin(db, account, Kind::System, Origin::system(), None).await?;
        change.record(NewEvent::new(EventKind::AccountRenamed));
        change.commit().await?;
        committed.push(Instant::now());
    }
    Ok(committed)
}
