//! Memory of idle subscribers.

use anyhow::Result;
use tokio::task::JoinSet;

use super::client::{Follower, found, sign_in};
use super::support::app::Options;
use super::support::process::Fleet;

const ACCOUNTS: usize = 100;
const SESSIONS: usize = 10;
const SOCKETS: usize = 10;

pub(crate) async fn run() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(true, Options { configure, ..Options::default() }).await?;
    fleet.extra.push(("MUSTER_LIMITS_SOCKETS", (SESSIONS * SOCKETS).to_string()));
    let api = fleet.start("api").await?;
    let owners = found(&fleet.app.db, ACCOUNTS, 3).await?;
    // What is made once: connections to the database, the first document, the pools of the allocator.
    let mut first = Vec::new();
    for owner in &owners[..10] {
        first.push(Follower::open(&api.url, &owner.token).await?);
    }
    let before = api.memory()?;
    let mut tasks = JoinSet::new();
    let mut open = 0_u64;
    for owner in &owners {
        for _ in 0..SESSIONS {
            let session = sign_in(&fleet.app.db, &owner.email).await?;
            for _ in 0..SOCKETS - 1 {
                let mut socket = Follower::open(&api.url, &session.token).await?;
                open += 1;
                tasks.spawn(async move { while socket.event().await.is_ok() {} });
            }
        }
    }
    // Every socket was pinged meanwhile.
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let after = api.memory()?;
    anyhow::ensure!(tasks.try_join_next().is_none(), "a socket has ended");
    println!(
        "{open} idle subscribers of {ACCOUNTS} accounts: {:.1} MB more than before ({:.1} MB), {:.1} KB each",
        (after - before) as f64 / 1e6,
        before as f64 / 1e6,
        (after - before) as f64 / 1e3 / open as f64,
    );
    tasks.shutdown().await;
    drop(first);
    api.kill().await?;
    fleet.app.close().await;
    Ok(())
}
