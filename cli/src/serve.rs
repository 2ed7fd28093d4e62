//! `muster serve`, `muster api`, `muster worker`: the processes that stay.

use std::process::ExitCode;

use anyhow::{bail, ensure};
use domain::infra::config::Config;
use domain::infra::keys;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::database;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// API and worker.
    Both,
    /// API only.
    Api,
    /// Worker only.
    Worker,
}

pub(crate) async fn run(role: Role, config: &Config) -> anyhow::Result<ExitCode> {
    ensure!(
        role == Role::Both || config.redis_url.is_some(),
        "API and worker are processes of their own only with Redis: set REDIS_URL, or run `muster serve`"
    );
    drop(database::connect_current(config).await?);
    let _key = keys::load(config)?;
    let _stop = stop_on_signal()?;
    bail!("{role:?} is not part of this build")
}

/// A token that is cancelled by the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if cancelled.is_cancelled() {
                tracing::warn!("stopping at once: signalled again");
                std::process::exit(1);
            }
            tracing::info!("stopping: finishing what is running");
            cancelled.cancel();
        }
    });
    Ok(stop)
}
