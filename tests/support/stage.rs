//! A database of its own for each test, a corner of Redis, and handlers that can be watched and held up.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::wake::Waker;
use domain::job::{JobKind, NewJob};
use domain::outbox;
use domain::sweep::Sweep;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::{Parts, Registry, Worker};

/// Nothing here takes this long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// What carries the hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Memory,
    /// Redis, in the database of this number.
    Redis(u8),
}

/// A database, and the settings of workers over it.
pub(crate) struct Stage {
    pub(crate) pool: PgPool,
    pub(crate) config: Config,
    pub(crate) waker: Waker,
    pub(crate) clock: Clock,
    name: String,
    server: PgConnectOptions,
    stop: CancellationToken,
}

impl Stage {
    pub(crate) async fn new(transport: Transport) -> Result<Self> {
        let server: PgConnectOptions = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?.parse()?;
        let name = format!("spine_{}", Uuid::new_v4().simple());
        let mut conn = PgConnection::connect_with(&server).await?;
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await?;
        let pool = PgPoolOptions::new().max_connections(10).connect_with(server.clone().database(&name)).await?;
        sqlx::migrate!("../migrations").run(&pool).await?;
        let redis = match transport {
            Transport::Memory => None,
            Transport::Redis(number) => {
                let url = std::env::var("REDIS_URL").context("REDIS_URL is set by ./dev test")?;
                // The server without the number of its database.
                let (scheme, rest) = url.split_once("://").context("REDIS_URL is no URL")?;
                let server = rest.split('/').next().unwrap_or(rest);
                Some(format!("{scheme}://{server}/{number}"))
            }
        };
        let config = config(redis, name.clone());
        let stop = CancellationToken::new();
        let waker = match &config.redis_url {
            Some(url) => Waker::connect(url, &config.redis_prefix, &stop)?,
            None => Waker::local(),
        };
        Ok(Self { pool, config, waker, clock: Clock::movable(), name, server, stop })
    }

    /// Starts a worker that ends with `shutdown`.
    pub(crate) fn worker(
        &self,
        registry: Registry,
        sweeps: Vec<Sweep>,
        shutdown: &CancellationToken,
    ) -> Result<Worker> {
        let parts =
            Parts { pool: self.pool.clone(), clock: self.clock.clone(), registry, sweeps, waker: self.waker.clone() };
        Ok(Worker::start(parts, &self.config, shutdown)?)
    }

    /// Commits `count` jobs of an account and wakes the worker.
    pub(crate) async fn enqueue(&self, kind: JobKind, account_id: Uuid, count: usize) -> Result<()> {
        let jobs: Vec<_> = (0..count)
            .map(|number| NewJob {
                account_id,
                kind,
                payload: serde_json::json!({ "number": number }),
                dedupe_key: Uuid::new_v4().to_string(),
            })
            .collect();
        let mut conn = self.pool.acquire().await?;
        let written = outbox::insert(&mut conn, &jobs, Some("req_test")).await?;
        assert_eq!(written, u64::try_from(count)?);
        self.waker.work_due(kind.lane());
        Ok(())
    }

    /// How many rows fulfil a condition.
    pub(crate) async fn count(&self, condition: &str) -> Result<i64> {
        let statement = AssertSqlSafe(format!("SELECT count(*) FROM outbox WHERE {condition}"));
        Ok(sqlx::query_scalar(statement).fetch_one(&self.pool).await?)
    }

    /// Waits until `count` rows fulfil a condition.
    pub(crate) async fn until(&self, condition: &str, count: i64) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.count(condition).await?;
            if found == count {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{found} instead of {count} jobs with {condition}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Deletes the database.
    pub(crate) async fn close(self) -> Result<()> {
        self.stop.cancel();
        self.pool.close().await;
        let mut conn = PgConnection::connect_with(&self.server).await?;
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).execute(&mut conn).await?;
        Ok(())
    }
}

/// Takes the next `count` of a channel.
pub(crate) async fn take<T>(receiver: &mut mpsc::UnboundedReceiver<T>, count: usize) -> Result<Vec<T>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let next = tokio::time::timeout(PATIENCE, receiver.recv()).await;
        let next = next.with_context(|| format!("{} of {count} came", all.len()))?;
        all.push(next.context("the channel is closed")?);
    }
    Ok(all)
}

fn config(redis_url: Option<String>, redis_prefix: String) -> Config {
    let mut config = Config::defaults("postgres://unused");
    config.redis_url = redis_url.map(Into::into);
    config.redis_prefix = redis_prefix;
    config
}
