//! Runs a rule to its commit: again when somebody's rights changed meanwhile, once when it carries an idempotency key.

use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::{Change, Kind};
use crate::actor::{Actor, Asks};
use crate::error::{Code, Error, Result};
use crate::infra::db::Db;

const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(5);

/// The idempotency key of a mutation.
#[derive(Clone, Debug)]
pub struct Once {
    /// The key, chosen by the client: 1 to 200 characters.
    pub key: String,
    /// The mutation's name.
    pub mutation: String,
    /// Keyed digest of the mutation's input without the idempotency key.
    pub fingerprint: Vec<u8>,
}

/// What a rule did, or had done when the same key came first.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// What the rule returned: ids, never secrets.
    pub outcome: T,
    /// Whether this is the answer to a repetition: then nothing was done now.
    pub replayed: bool,
}

/// Runs `rule` in a transaction of the actor's account and commits it.
///
/// # Errors
/// What the rule refuses; [`Error::Busy`] when it lost against changes of rights five times, or waited too long for a lock.
pub async fn run<A, T, F>(db: &Db, actor: &A, kind: Kind, once: Option<&Once>, rule: F) -> Result<Done<T>>
where
    A: Asks,
    T: Serialize + DeserializeOwned + Send,
    F: for<'c> Fn(&'c mut Change, &'c A) -> BoxFuture<'c, Result<T>> + Sync,
{
    persist(|| attempt_once(db, actor, kind, once, &rule)).await
}

/// Makes a transaction again when it lost against others: its rights changed, it was part of a deadlock, it waited too long for a
/// lock. `attempt` begins and commits it.
///
/// # Errors
/// What the last attempt answered, unless that may pass; [`Error::Busy`] after five attempts, five seconds or two waits for a lock.
pub async fn persist<T, F, Fut>(attempt: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut lock_timeouts = 0;
    for number in 1..=ATTEMPTS {
        let error = match attempt().await {
            Err(error) if is_transient(&error) => error,
            done_or_final => return done_or_final,
        };
        if is_lock_timeout(&error) {
            lock_timeouts += 1;
        }
        let pause = pause_after(number);
        if lock_timeouts > 1 || Instant::now() + pause > deadline {
            break;
        }
        sleep(pause).await;
    }
    Err(Error::Busy)
}

/// Grows with the attempts, and differs between writers that collided.
pub(crate) fn pause_after(attempt: u32) -> Duration {
    Duration::from_millis(u64::from(attempt) * u64::from(2 + jitter()))
}

async fn attempt_once<A, T, F>(db: &Db, actor: &A, kind: Kind, once: Option<&Once>, rule: &F) -> Result<Done<T>>
where
    A: Asks,
    T: Serialize + DeserializeOwned + Send,
    F: for<'c> Fn(&'c mut Change, &'c A) -> BoxFuture<'c, Result<T>> + Sync,
{
    let mut change = Change::begin(db, actor.account(), kind, actor.origin().clone(), Some(actor.now())).await?;
    if let Some(once) = once
        && let Some(outcome) = earlier_outcome(&mut change, actor, once).await?
    {
        return Ok(Done { outcome: decode(outcome)?, replayed: true });
    }
    let outcome = rule(&mut change, actor).await?;
    if let Some(once) = once {
        let stored = serde_json::to_value(&outcome).expect("outcomes are plain data");
        sqlx::query!(
            "UPDATE idempotency_key SET outcome = $4 WHERE account_id = $1 AND member_id = $2 AND idempotency_key = $3",
            actor.account().0,
            actor.keys_of(),
            once.key,
            stored,
        )
        .execute(change.conn())
        .await?;
    }
    change.commit().await?;
    Ok(Done { outcome, replayed: false })
}

/// What a mutation under this key did, if it was done before: for one that must not even look at its input again.
///
/// # Errors
/// IDEMPOTENCY_KEY_REUSED when the key was used for another input.
pub async fn replay<T: DeserializeOwned>(db: &Db, actor: &Actor, once: &Once) -> Result<Option<T>> {
    let mut conn = db.pool.acquire().await?;
    match stored(&mut conn, actor, once).await? {
        Some(outcome) => decode(outcome).map(Some),
        None => Ok(None),
    }
}

fn decode<T: DeserializeOwned>(outcome: Value) -> Result<T> {
    serde_json::from_value(outcome).map_err(|error| Error::Database(sqlx::Error::Decode(error.into())))
}

/// Takes the key, waiting for whoever holds it; what it did when it is already spent.
async fn earlier_outcome(change: &mut Change, actor: &impl Asks, once: &Once) -> Result<Option<Value>> {
    let now = change.now();
    let taken = sqlx::query!(
        "INSERT INTO idempotency_key (account_id, member_id, idempotency_key, mutation, fingerprint, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        actor.account().0,
        actor.keys_of(),
        once.key,
        once.mutation,
        once.fingerprint,
        now,
    )
    .execute(change.conn())
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    // None: the sweep removed it between the two statements.
    let earlier = stored(change.conn(), actor, once).await?;
    earlier.ok_or(Error::Stale).map(Some)
}

async fn stored(conn: &mut PgConnection, actor: &impl Asks, once: &Once) -> Result<Option<Value>> {
    let earlier = sqlx::query!(
        "SELECT mutation, fingerprint, outcome FROM idempotency_key
         WHERE account_id = $1 AND member_id = $2 AND idempotency_key = $3",
        actor.account().0,
        actor.keys_of(),
        once.key,
    )
    .fetch_optional(conn)
    .await?;
    match earlier {
        None => Ok(None),
        Some(earlier) if earlier.mutation != once.mutation || earlier.fingerprint != once.fingerprint => {
            Err(Code::IdempotencyKeyReused.into())
        }
        Some(earlier) => Ok(Some(earlier.outcome.unwrap_or(Value::Null))),
    }
}

/// Whether the same transaction may succeed when it is tried again.
pub(crate) fn is_transient(error: &Error) -> bool {
    const DEADLOCK: &str = "40P01";
    const SERIALIZATION: &str = "40001";
    match error {
        Error::Stale => true,
        Error::Database(_) => {
            is_lock_timeout(error) || has_sqlstate(error, DEADLOCK) || has_sqlstate(error, SERIALIZATION)
        }
        _ => false,
    }
}

/// Whether a value that only one row may have was written by two at once.
pub(crate) fn is_conflict(error: &Error) -> bool {
    const UNIQUE_VIOLATION: &str = "23505";
    has_sqlstate(error, UNIQUE_VIOLATION)
}

fn is_lock_timeout(error: &Error) -> bool {
    has_sqlstate(error, "55P03")
}

fn has_sqlstate(error: &Error, state: &str) -> bool {
    matches!(error, Error::Database(sqlx::Error::Database(e)) if e.code().as_deref() == Some(state))
}

/// Up to 32 ms, so that writers that collided do not collide again.
fn jitter() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("the operating system gives random bytes");
    byte[0] % 32
}
