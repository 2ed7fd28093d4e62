//! Connections to PostgreSQL, and what every write through them shares.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::billing::Defaults;
use crate::id::AccountId;
use crate::infra::clock::{Clock, Timestamp};
use crate::infra::config::Config;
use crate::infra::email_address;
use crate::infra::secret::TokenKey;
use crate::infra::wake::Waker;
use crate::session::RightsCache;

/// Write transactions of one account that a process has open at once; the rest queue here and not on a connection.
const WRITERS_PER_ACCOUNT: usize = 2;

/// Callers that wait for such a place at most. Each of them holds one of the places of all requests meanwhile: more would leave
/// too few to other accounts.
const WAITING_PER_ACCOUNT: usize = 8;

/// How long a caller stands behind those, so that a short burst is worked off: others come by soon enough.
const BURST: Duration = Duration::from_millis(100);

/// A connection that says nothing for so long is dead: a statement would have been cancelled by now.
const SILENCE: Duration = Duration::from_secs(6);

/// How long a few statements may take, with the wait for a connection.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// How long an idle connection is taken to be whole.
const TRUSTED_FOR: Duration = Duration::from_millis(500);

/// How long anybody waits for a connection: with what comes before and after it, less than the 2 s in which a request is refused.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1500);

/// The database as the API or the worker sees it.
#[derive(Clone, Debug)]
pub struct Db {
    /// Its connections.
    pub pool: PgPool,
    /// Business time.
    pub clock: Clock,
    /// Told after each commit.
    pub waker: Waker,
    /// From which tokens are derived.
    pub key: Arc<TokenKey>,
    /// Whether quantities are limited: off for load tests only.
    pub rate_limits: bool,
    /// Free-mail domains that the operator allows in every account, lower-cased and in their ASCII form.
    pub allowed_personal_domains: Arc<[String]>,
    /// What accounts pay with, unless they or the operator say otherwise.
    pub billing: Arc<Defaults>,
    /// What members may do, by the version it was read at.
    pub(crate) rights: Arc<RightsCache>,
    writers: Arc<Mutex<HashMap<AccountId, Weak<Writers>>>>,
    /// Whether writers are refused when too many wait already.
    hasty: bool,
}

/// Who writes in an account.
#[derive(Debug)]
struct Writers {
    writing: Arc<Semaphore>,
    /// One for each that is here: writing, or waiting.
    present: Arc<Semaphore>,
}

impl Default for Writers {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { writing: places(WRITERS_PER_ACCOUNT), present: places(WRITERS_PER_ACCOUNT + WAITING_PER_ACCOUNT) }
    }
}

/// A place to write in an account. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _writing: OwnedSemaphorePermit,
    _present: Option<OwnedSemaphorePermit>,
    /// As long as anybody is here, whoever comes meets them.
    _writers: Arc<Writers>,
}

impl Db {
    /// From connections that [`connect`] made.
    pub fn new(pool: PgPool, clock: Clock, waker: Waker, key: Arc<TokenKey>) -> Self {
        Self {
            pool,
            clock,
            waker,
            key,
            rate_limits: true,
            allowed_personal_domains: Arc::default(),
            billing: Arc::default(),
            rights: Arc::default(),
            writers: Arc::default(),
            hasty: false,
        }
    }

    /// Opens the connections that a process's API or worker uses.
    pub async fn open(config: &Config, waker: Waker, key: Arc<TokenKey>) -> sqlx::Result<Self> {
        let pool = connect(&config.database_url, config.database_connections).await?;
        Ok(Self::new(pool, Clock::default(), waker, key).with_settings(config))
    }

    /// The same database with what rules take from the settings.
    #[must_use]
    pub fn with_settings(self, config: &Config) -> Self {
        let allowed = config.mail.allowed_personal_domains.iter();
        // The setting's form is checked when it is read.
        let allowed = allowed.filter_map(|domain| email_address::normalise_domain(domain).ok());
        Self {
            rate_limits: config.limits.rate_limits,
            allowed_personal_domains: allowed.map(Cow::into_owned).collect(),
            billing: Arc::new(config.billing.clone()),
            ..self
        }
    }

    /// The same database over connections of its own, made when they are needed: for work that must not wait behind others, nor they
    /// behind it.
    #[must_use]
    pub fn with_own_connections(&self, connections: u32) -> Self {
        let options = self.pool.options().clone().max_connections(connections);
        let pool = options.connect_lazy_with((*self.pool.connect_options()).clone());
        Self { pool, writers: Arc::default(), ..self.clone() }
    }

    /// The same database for callers, who are refused rather than kept waiting behind many others of their account.
    #[must_use]
    pub fn for_callers(self) -> Self {
        Self { writers: Arc::default(), hasty: true, ..self }
    }

    /// Waits for one of the account's places to write; nothing when too many callers wait for one already.
    pub(crate) async fn writer(&self, account: AccountId) -> Option<Place> {
        let writers = self.writers_of(account);
        let present = if self.hasty {
            let waited = tokio::time::timeout(BURST, Arc::clone(&writers.present).acquire_owned()).await;
            Some(waited.ok()?.expect("the semaphore is never closed"))
        } else {
            None
        };
        let writing = Arc::clone(&writers.writing).acquire_owned().await.expect("the semaphore is never closed");
        Some(Place { _writing: writing, _present: present, _writers: writers })
    }

    fn writers_of(&self, account: AccountId) -> Arc<Writers> {
        let mut all = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&account).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            all.retain(|_, writers| writers.strong_count() > 0);
            let writers = Arc::default();
            all.insert(account, Arc::downgrade(&writers));
            writers
        })
    }

    /// A connection of its own, outside of the pool, on which nothing is cut off for taking long: for reading much at once. It acts
    /// as the same role as all others.
    pub(crate) async fn unhurried(&self) -> sqlx::Result<PgConnection> {
        let mut conn = PgConnection::connect_with(&self.pool.connect_options()).await?;
        let settings = sqlx::raw_sql("SET ROLE muster_runtime; SET TIME ZONE 'UTC'");
        settings.execute(&mut conn).await?;
        Ok(conn)
    }

    /// Begins a transaction, in a task of its own. Dropped while `BEGIN` is under way, sqlx 0.9.0 gives the connection back to the
    /// pool inside a transaction that nobody ends: it counts the transaction, and so rolls it back, only after the answer.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { pool.begin().await }).await;
        begun.unwrap_or_else(|error| Err(sqlx::Error::Io(std::io::Error::other(error))))
    }

    /// Business time now, from the database's clock.
    pub async fn now(&self) -> sqlx::Result<Timestamp> {
        self.now_on(&mut *self.pool.acquire().await?).await
    }

    /// [`Db::now`] over a connection that the caller holds; in a transaction, when it began.
    pub async fn now_on(&self, conn: &mut PgConnection) -> sqlx::Result<Timestamp> {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(conn).await?;
        Ok(self.clock.business(now))
    }
}

/// Gives up what a loop asks of the database when no answer comes: over a connection that is cut off without a word it would wait
/// until the operating system notices, which takes many minutes.
pub async fn answered<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(ANSWER_LIMIT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether the database cannot be reached, is starting or is stopping: whoever waits may find it there.
pub fn is_away(error: &sqlx::Error) -> bool {
    use sqlx::Error as Sql;
    match error {
        Sql::Io(_) | Sql::PoolTimedOut | Sql::PoolClosed | Sql::WorkerCrashed | Sql::Tls(_) | Sql::Protocol(_) => true,
        // Class 57P: shutdown, crash, cannot connect now. Class 08: connection exception. 53300: too many connections.
        _ => error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|state| state.starts_with("57P") || state.starts_with("08") || state == "53300"),
    }
}

/// Opens the connections of the API or of the worker. Each acts as the role `muster_runtime`, which cannot rewrite history,
/// and gives up rather than hang.
pub async fn connect(url: &SecretString, connections: u32) -> sqlx::Result<PgPool> {
    connect_within(url, connections, ACQUIRE_TIMEOUT).await
}

/// The same, where somebody waits longer for a connection before they are told that there is none.
pub async fn connect_within(url: &SecretString, connections: u32, patience: Duration) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url.expose_secret())?.application_name("muster");
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        // A ping doubles the cost of a short query, so a connection in constant use shows by itself that it broke. One that was
        // left alone for a while may have outlived its server.
        .test_before_acquire(false)
        // Read by `telemetry::waits`, and by nobody else.
        .acquire_time_level(log::LevelFilter::Trace)
        .before_acquire(|conn, was| {
            Box::pin(async move {
                if was.idle_for > TRUSTED_FOR {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|conn, _| {
            Box::pin(async move {
                // What was left in the middle of a statement is waited for, as the pool itself does, but not for ever.
                let answered = tokio::time::timeout(SILENCE, conn.flush()).await;
                answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
            })
        })
        .after_connect(|conn, _| {
            Box::pin(async move {
                sqlx::raw_sql(
                    "SET ROLE muster_runtime; SET lock_timeout = '2s'; SET statement_timeout = '5s';
                     SET idle_in_transaction_session_timeout = '10s'; SET TIME ZONE 'UTC'",
                )
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await
}
