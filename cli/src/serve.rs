//! `muster serve`, `muster api`, `muster worker`: the processes that stay.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use api::health::{self, Health};
use api::server::Server;
use api::state::State;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files;
use domain::infra::keys;
use domain::infra::migrate;
use domain::infra::wake::Waker;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::Worker;

use crate::start::Start;

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

pub(crate) async fn run(role: Role, config: Config) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config);
    ensure!(
        role == Role::Both || config.redis_url.is_some(),
        "API and worker are processes of their own only with Redis: set REDIS_URL, or run `muster serve`"
    );
    let stop = stop_on_signal()?;
    let mut start = Start::new(&stop);
    let current = async || migrate::require_current(&mut migrate::connect(&config).await?).await;
    if start.open(current).await?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let key = Arc::new(keys::load(&config)?);
    let waker = match &config.redis_url {
        Some(url) => Waker::connect(url, &config.redis_prefix, &stop)?,
        None => Waker::local(),
    };
    let open = async || {
        let open = async || Db::open(&config, waker.clone(), Arc::clone(&key)).await;
        let for_api = if role == Role::Worker { None } else { Some(open().await?) };
        let for_worker = if role == Role::Api { None } else { Some(open().await?) };
        Ok((for_api, for_worker))
    };
    let Some((for_api, for_worker)) = start.open(open).await? else { return Ok(ExitCode::SUCCESS) };
    let files = files::open(&config)?;
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if let Some(db) = for_api {
        let listener = listen(config.http.listen, "http.listen").await?;
        let server = Server::new(State::new(db, Arc::clone(&config), files.clone()));
        let stop = stop.clone();
        parts.spawn(async move { Ok(server.serve(listener, stop).await?) });
    }
    if let Some(db) = for_worker {
        if let (Role::Worker, Some(address)) = (role, config.worker.listen) {
            let listener = listen(address, "worker.listen").await?;
            let health = Health::new(db.clone(), Arc::clone(&config));
            let stop = stop.clone();
            parts.spawn(async move { Ok(health::serve(health, listener, stop).await?) });
        }
        let registry = worker::job::registry(&db, &config, &files, &stop)?;
        let sweeps = worker::sweeps::all(&db, &files, config.retention);
        let own = worker::Parts { pool: db.pool.clone(), clock: db.clock.clone(), registry, sweeps, waker };
        let worker = Worker::start(own, &config, &stop)?;
        parts.spawn(async move { Ok(worker.stopped().await?) });
    }
    let mut outcome = Ok(ExitCode::SUCCESS);
    while let Some(ended) = parts.join_next().await {
        // One part that ends ends the others: a process does all of its work or stops.
        stop.cancel();
        if let Err(error) = ended? {
            outcome = Err(error);
        }
    }
    outcome
}

async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}: choose another {setting}"))?;
    tracing::info!(http.listen = %listener.local_addr()?, "serving");
    Ok(listener)
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
