//! `muster serve`, `muster api`, `muster worker`: the processes that stay.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use api::exposition;
use api::health::{self, Health};
use api::server::Server;
use api::state::State;
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files;
use domain::infra::keys;
use domain::infra::metrics::{Look, Pool};
use domain::infra::migrate;
use domain::infra::secret::TokenKey;
use domain::infra::wake::Waker;
use rustix::process::{Resource, getrlimit, setrlimit};
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

/// What the parts of a process stand on.
struct Opened {
    key: Arc<TokenKey>,
    waker: Waker,
    for_api: Option<Db>,
    for_worker: Option<Db>,
}

/// Opens the database, as soon as it is there; nothing if the process is told to stop before.
async fn open(role: Role, config: &Config, stop: &CancellationToken) -> anyhow::Result<Option<Opened>> {
    let mut start = Start::new(stop);
    let current = async || migrate::require_current(&mut migrate::connect(config).await?).await;
    if start.open(current).await?.is_none() {
        return Ok(None);
    }
    let key = Arc::new(keys::load(config)?);
    let waker = match &config.redis_url {
        Some(url) => Waker::connect(url, &config.redis_prefix, stop)?,
        None => Waker::local(),
    };
    let both = async || {
        let one = async || Db::open(config, waker.clone(), Arc::clone(&key)).await;
        let for_api = if role == Role::Worker { None } else { Some(one().await?) };
        let for_worker = if role == Role::Api { None } else { Some(one().await?) };
        Ok((for_api, for_worker))
    };
    let opened = start.open(both).await?;
    Ok(opened.map(|(for_api, for_worker)| Opened { key, waker, for_api, for_worker }))
}

pub(crate) async fn run(role: Role, config: Config) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config);
    ensure!(
        role == Role::Both || config.redis_url.is_some(),
        "API and worker are processes of their own only with Redis: set REDIS_URL, or run `muster serve`"
    );
    let stop = stop_on_signal()?;
    let Some(Opened { key, waker, for_api, for_worker }) = open(role, &config, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let files = files::open(&config)?;
    let scrapes = match config.metrics.listen {
        Some(address) => Some(bind(address, "metrics.listen").await?),
        None => None,
    };
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut pools = Vec::new();
    if let Some(db) = for_api {
        allow_open_files();
        pools.push(Pool { name: "api", pool: db.pool.clone() });
        let listener = listen(config.http.listen, "http.listen").await?;
        let state = State::new(db, Arc::clone(&config), files.clone());
        pools.push(Pool { name: "live", pool: state.live.pool().clone() });
        let server = Server::new(state);
        let stop = stop.clone();
        parts.spawn(async move {
            server.serve(listener, stop).await;
            Ok(())
        });
    }
    if let Some(db) = for_worker {
        pools.push(Pool { name: "worker", pool: db.pool.clone() });
        if let (Role::Worker, Some(address)) = (role, config.worker.listen) {
            let listener = listen(address, "worker.listen").await?;
            let health = Health::new(db.clone(), Arc::clone(&config));
            let stop = stop.clone();
            parts.spawn(async move { Ok(health::serve(health, listener, stop).await?) });
        }
        let registry = worker::job::registry(&db, &config, &files, &stop)?;
        let sweeps = worker::sweeps::all(&db, &files, config.retention);
        let own =
            worker::Parts { pool: db.pool.clone(), clock: db.clock.clone(), registry, sweeps, waker: waker.clone() };
        let worker = Worker::start(own, &config, &stop)?;
        pools.push(Pool { name: "queue", pool: worker.queue_pool().clone() });
        parts.spawn(async move { Ok(worker.stopped().await?) });
    }
    if let Some(listener) = scrapes {
        let like = pools.first().expect("every role opens connections").pool.clone();
        // Which sweeps there are hangs on the program only, so that a process without a worker tells of their lag as well.
        let sweeps =
            worker::sweeps::all(&Db::new(like.clone(), Clock::default(), waker, key), &files, config.retention);
        tracing::info!(metrics.listen = %listener.local_addr()?, "serving");
        let (look, stop) = (Look::new(pools, &like, &sweeps), stop.clone());
        parts.spawn(async move { Ok(exposition::serve(look, listener, stop).await?) });
    }
    ended(parts, &stop).await
}

/// One part that ends ends the others: a process does all of its work or stops.
async fn ended(mut parts: JoinSet<anyhow::Result<()>>, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let mut outcome = Ok(ExitCode::SUCCESS);
    while let Some(ended) = parts.join_next().await {
        stop.cancel();
        if let Err(error) = ended? {
            outcome = Err(error);
        }
    }
    outcome
}

/// Raises the number of files the process may have open as far as it may: each connection is one, and shells allow 1,024.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = bind(address, setting).await?;
    tracing::info!(http.listen = %listener.local_addr()?, "serving");
    Ok(listener)
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}: choose another {setting}"))
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
