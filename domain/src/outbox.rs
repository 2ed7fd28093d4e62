//! The table of jobs. `wake_at` is the only schedule: due, hinted, claimed, to be retried; null once finished or dead.
//!
//! Hints and claims may be lost in a crash of the database (they commit asynchronously): a random claim fences, so the worst is
//! that a job runs again. Outcomes commit like everything else. Rows are locked in one order or not waited for.
//!
//! Whoever ends or holds a job together with what hangs on it ([`hold`], [`hold_dead`], [`finish`], [`retry`], [`bury`],
//! [`bury_claimed`], [`bury_by_operator`]) locks the job's row first, before account, pools, members and their children: the fence comes before
//! the work. It can: everybody else only inserts rows here, as the last thing before the feed, and waits for none of these.
//!
//! [`hint`], [`claim`], [`renew`] and [`lease_relay`] are transactions by themselves: within another they would make it commit
//! asynchronously.

mod burial;
mod operate;
mod replay;

pub use burial::{bury_by_operator, bury_claimed};
pub use operate::{
    Backlog, FINISHED_KEPT, FOREIGN, Standing, Unfinished, Wanted, backlog, count_live, entomb, list, next_wake,
    purge_finished,
};
pub use replay::{Replay, replay};

use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::AccountId;
use crate::infra::telemetry;
use crate::job::{Claimed, JobKind, Lane, NewJob};

/// What the database said.
pub type Result<T> = std::result::Result<T, sqlx::Error>;

/// How long a claim holds without being renewed.
pub const LEASE: SignedDuration = SignedDuration::from_secs(20);

/// How long a hinted job may stay unclaimed before it is hinted again.
pub const HINT_LEASE: SignedDuration = SignedDuration::from_secs(15);

/// A due job that is to be handed to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hinted {
    /// The row.
    pub job_id: Uuid,
    /// Grows with each hint, so that the queue does not take the second for the first.
    pub hint_no: i32,
    /// The account it belongs to; nil for none.
    pub account_id: Uuid,
}

/// Writes jobs, due at once, in the caller's transaction; each continues the trace that the caller is in. Answers how many are new: a job whose like is unfinished is not.
pub async fn insert(conn: &mut PgConnection, jobs: &[NewJob], request_id: Option<&str>) -> Result<u64> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = jobs.iter().map(|_| Uuid::now_v7()).collect();
    let accounts: Vec<Uuid> = jobs.iter().map(|job| job.account_id).collect();
    let lanes: Vec<String> = jobs.iter().map(|job| job.kind.lane().to_string()).collect();
    let kinds: Vec<String> = jobs.iter().map(|job| job.kind.to_string()).collect();
    let payloads: Vec<_> = jobs.iter().map(|job| job.payload.clone()).collect();
    let keys: Vec<String> = jobs.iter().map(|job| job.dedupe_key.clone()).collect();
    let trace_context = telemetry::current().map(|context| context.to_string());
    let written = sqlx::query!(
        r#"INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, request_id, trace_context, wake_at)
           SELECT u.job_id, u.account_id, u.lane, u.kind, u.payload, u.dedupe_key, $7, $8, now()
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::text[])
                AS u (job_id, account_id, lane, kind, payload, dedupe_key)
           ON CONFLICT (account_id, kind, dedupe_key) WHERE wake_at IS NOT NULL DO NOTHING"#,
        &ids,
        &accounts,
        &lanes,
        &kinds,
        &payloads,
        &keys,
        request_id,
        trace_context,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected())
}

/// How many jobs are picked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Jobs at most.
    pub limit: i64,
    /// Jobs of an account that may be hinted and not yet claimed, with those of before: whoever comes behind them in the queue waits
    /// for all of them.
    pub of_account: i64,
}

impl Pick {
    /// So many jobs, be they of one account.
    pub const fn up_to(limit: i64) -> Self {
        Self { limit, of_account: limit }
    }
}

/// Picks due jobs of a lane, as many of each account, and marks them hinted. Accounts after `after` come first, so that a caller
/// that passes the last one served leaves nobody out when there are more accounts than the limit.
pub async fn hint(conn: &mut PgConnection, lane: Lane, pick: Pick, after: Uuid) -> Result<Vec<Hinted>> {
    // The first live row of an account, by the index, is also its next due one: one probe per account.
    sqlx::query_as!(
        Hinted,
        r#"WITH RECURSIVE live AS (
               (SELECT account_id, wake_at FROM outbox
                WHERE lane = $1 AND wake_at IS NOT NULL ORDER BY account_id, wake_at LIMIT 1)
               UNION ALL
               SELECT next.account_id, next.wake_at
               FROM live CROSS JOIN LATERAL (
                   SELECT o.account_id, o.wake_at FROM outbox o
                   WHERE o.lane = $1 AND o.wake_at IS NOT NULL AND o.account_id > live.account_id
                   ORDER BY o.account_id, o.wake_at LIMIT 1) next
           ), due AS MATERIALIZED (
               SELECT account_id FROM live WHERE wake_at <= now() ORDER BY (account_id <= $3), account_id LIMIT $2
           ), pick AS MATERIALIZED (
               SELECT p.job_id
               FROM due CROSS JOIN LATERAL (
                   SELECT o.job_id FROM outbox o
                   WHERE o.lane = $1 AND o.account_id = due.account_id AND o.wake_at <= now()
                   ORDER BY o.wake_at, o.job_id
                   LIMIT least((SELECT greatest(1, $2 / greatest(1, count(*))) FROM due),
                               (SELECT greatest(0, $4 - count(*)) FROM outbox h
                                WHERE h.lane = $1 AND h.account_id = due.account_id AND h.hinted
                                  AND h.wake_at > now() AND h.wake_at <= now() + interval '15 s'))
                   FOR NO KEY UPDATE SKIP LOCKED) p
           )
           UPDATE outbox SET hinted = true, claim = NULL, hint_no = hint_no + 1, wake_at = now() + interval '15 s'
           FROM pick
           WHERE outbox.job_id = pick.job_id AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
           RETURNING outbox.job_id, outbox.hint_no, outbox.account_id"#,
        lane.as_str(),
        pick.limit,
        after,
        pick.of_account,
    )
    .fetch_all(conn)
    .await
}

/// Takes hinted jobs under `claim`. What is not answered was taken, finished or buried by somebody else.
pub async fn claim(conn: &mut PgConnection, ids: &[Uuid], claim: Uuid) -> Result<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        r#"WITH pick AS MATERIALIZED (
               SELECT job_id FROM outbox WHERE job_id = any($1) AND hinted AND claim IS NULL
               FOR NO KEY UPDATE SKIP LOCKED
           )
           UPDATE outbox
           SET claim = $2, hinted = false, attempts = attempts + 1, wake_at = now() + interval '20 s'
           FROM pick
           WHERE outbox.job_id = pick.job_id AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
           RETURNING outbox.job_id, outbox.claim AS "claim!", outbox.account_id, outbox.kind, outbox.payload,
                     outbox.attempts, (outbox.left_since < now() - interval '1 hour') IS TRUE AS "left_long!",
                     outbox.request_id, outbox.trace_context"#,
        ids,
        claim,
    )
    .fetch_all(conn)
    .await
}

/// Prolongs the leases of jobs, each with its claim. A row that is being written this moment is left for the next time.
pub async fn renew(conn: &mut PgConnection, jobs: &[(Uuid, Uuid)]) -> Result<u64> {
    let (ids, claims): (Vec<_>, Vec<_>) = jobs.iter().copied().unzip();
    let renewed = sqlx::query!(
        r#"WITH pick AS MATERIALIZED (
               SELECT o.job_id FROM outbox o
               JOIN unnest($1::uuid[], $2::uuid[]) AS u (job_id, claim) ON o.job_id = u.job_id AND o.claim = u.claim
               FOR NO KEY UPDATE OF o SKIP LOCKED
           )
           UPDATE outbox SET wake_at = now() + interval '20 s' FROM pick
           WHERE outbox.job_id = pick.job_id AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'"#,
        &ids,
        &claims,
    )
    .execute(conn)
    .await?;
    Ok(renewed.rows_affected())
}

/// How long a claim still holds unless it is renewed; `None` when somebody else has the job by now.
pub async fn lease_left(conn: &mut PgConnection, job: (Uuid, Uuid)) -> Result<Option<SignedDuration>> {
    let seconds = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM wake_at - clock_timestamp())::float8 AS "seconds!"
           FROM outbox WHERE job_id = $1 AND claim = $2 AND wake_at IS NOT NULL"#,
        job.0,
        job.1,
    )
    .fetch_optional(conn)
    .await?;
    Ok(seconds.map(SignedDuration::from_secs_f64))
}

/// How the last attempt of a job failed, in capitals; `None` when it did not.
pub async fn last_error(conn: &mut PgConnection, job_id: Uuid) -> Result<Option<String>> {
    let code = sqlx::query_scalar!("SELECT last_error_code FROM outbox WHERE job_id = $1", job_id);
    Ok(code.fetch_optional(conn).await?.flatten())
}

/// Prolongs the lease of a job in its handler's own transaction, from now and not from when that began, so that until the transaction's end nobody else takes, ends or
/// buries the job. False: somebody else has it; roll back.
pub async fn hold(conn: &mut PgConnection, job: (Uuid, Uuid)) -> Result<bool> {
    let written = sqlx::query!(
        "UPDATE outbox SET wake_at = clock_timestamp() + interval '20 s' WHERE job_id = $1 AND claim = $2",
        job.0,
        job.1,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Counts the attempts of a held job anew, in a transaction with which it gets on: a long job is not given up for being interrupted now
/// and then.
pub async fn advance(conn: &mut PgConnection, job: (Uuid, Uuid)) -> sqlx::Result<()> {
    let counted = sqlx::query!("UPDATE outbox SET attempts = 1 WHERE job_id = $1 AND claim = $2", job.0, job.1);
    counted.execute(conn).await?;
    Ok(())
}

/// How many attempts of a job count by now; `None` when the claim is somebody else's.
pub async fn attempts(conn: &mut PgConnection, job: (Uuid, Uuid)) -> sqlx::Result<Option<i32>> {
    let counted = sqlx::query_scalar!("SELECT attempts FROM outbox WHERE job_id = $1 AND claim = $2", job.0, job.1);
    counted.fetch_optional(conn).await
}

/// Finishes jobs, each under its claim; answers those that still had it. In a handler's own transaction an answer without the job
/// means that somebody else has it: roll back.
pub async fn finish(conn: &mut PgConnection, jobs: &[(Uuid, Uuid)]) -> Result<Vec<Uuid>> {
    let (ids, claims): (Vec<_>, Vec<_>) = jobs.iter().copied().unzip();
    sqlx::query_scalar!(
        r#"WITH pick AS MATERIALIZED (
               SELECT o.job_id FROM outbox o
               JOIN unnest($1::uuid[], $2::uuid[]) AS u (job_id, claim) ON o.job_id = u.job_id AND o.claim = u.claim
               ORDER BY o.job_id FOR NO KEY UPDATE OF o
           )
           UPDATE outbox SET claim = NULL, hinted = false, wake_at = NULL, finished_at = now(), last_error_code = NULL
           FROM pick WHERE outbox.job_id = pick.job_id
           RETURNING outbox.job_id"#,
        &ids,
        &claims,
    )
    .fetch_all(conn)
    .await
}

/// Sets the time of the next attempt. False: the claim is somebody else's by now.
pub async fn retry(conn: &mut PgConnection, job: (Uuid, Uuid), after: SignedDuration, code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE outbox
           SET claim = NULL, hinted = false, wake_at = now() + $3::float8 * interval '1 s', last_error_code = $4,
               left_since = NULL
           WHERE job_id = $1 AND claim = $2"#,
        job.0,
        job.1,
        after.as_secs_f64(),
        code,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Sets the time at which a job looks again whether what it waits for has ended; the attempt does not count, so that it waits as long
/// as that takes. False: the claim is somebody else's by now.
pub async fn wait(conn: &mut PgConnection, job: (Uuid, Uuid), after: SignedDuration, code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE outbox
           SET claim = NULL, hinted = false, attempts = attempts - 1, wake_at = now() + $3::float8 * interval '1 s',
               last_error_code = $4, left_since = NULL
           WHERE job_id = $1 AND claim = $2"#,
        job.0,
        job.1,
        after.as_secs_f64(),
        code,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Locks the jobs of a kind and a key that did not finish, so that none is replayed until the transaction ends. Answers whether none
/// of them will run: they are dead, or there is none.
pub async fn hold_dead(conn: &mut PgConnection, account: AccountId, kind: JobKind, key: &str) -> Result<bool> {
    let live = sqlx::query_scalar!(
        r#"SELECT wake_at IS NOT NULL AS "live!" FROM outbox
           WHERE account_id = $1 AND kind = $2 AND dedupe_key = $3 AND (wake_at IS NOT NULL OR dead_at IS NOT NULL)
           ORDER BY job_id FOR NO KEY UPDATE"#,
        account.0,
        kind.as_str(),
        key,
    )
    .fetch_all(conn)
    .await?;
    Ok(!live.contains(&true))
}

/// Ends a job for good, its row alone. False: the claim is somebody else's by now.
pub async fn bury(conn: &mut PgConnection, job: (Uuid, Uuid), code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE outbox SET claim = NULL, hinted = false, wake_at = NULL, dead_at = now(), last_error_code = $3
           WHERE job_id = $1 AND claim = $2"#,
        job.0,
        job.1,
        code,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Leaves a claimed job that this process cannot work to others, some time from now; the attempt does not count. Who claims it when
/// it has been left like that for an hour is told so, by [`Claimed::left_long`]. False: the claim is somebody else's by now.
pub async fn leave(conn: &mut PgConnection, job: (Uuid, Uuid), after: SignedDuration, code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE outbox
           SET claim = NULL, hinted = false, attempts = attempts - 1, wake_at = now() + $3::float8 * interval '1 s',
               last_error_code = $4, left_since = coalesce(left_since, now())
           WHERE job_id = $1 AND claim = $2"#,
        job.0,
        job.1,
        after.as_secs_f64(),
        code,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Makes claimed jobs that were not started due again at once; the attempt does not count.
pub async fn put_back(conn: &mut PgConnection, jobs: &[(Uuid, Uuid)]) -> Result<u64> {
    let (ids, claims): (Vec<_>, Vec<_>) = jobs.iter().copied().unzip();
    let written = sqlx::query!(
        r#"WITH pick AS MATERIALIZED (
               SELECT o.job_id FROM outbox o
               JOIN unnest($1::uuid[], $2::uuid[]) AS u (job_id, claim) ON o.job_id = u.job_id AND o.claim = u.claim
               ORDER BY o.job_id FOR NO KEY UPDATE OF o
           )
           UPDATE outbox SET claim = NULL, hinted = false, attempts = attempts - 1, wake_at = now()
           FROM pick WHERE outbox.job_id = pick.job_id"#,
        &ids,
        &claims,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected())
}

/// Makes hinted jobs whose hint got lost due again at once.
pub async fn unhint(conn: &mut PgConnection, ids: &[Uuid]) -> Result<u64> {
    let written = sqlx::query!(
        r#"WITH pick AS MATERIALIZED (
               SELECT job_id FROM outbox WHERE job_id = any($1) AND hinted AND claim IS NULL
               FOR NO KEY UPDATE SKIP LOCKED
           )
           UPDATE outbox SET hinted = false, wake_at = now() FROM pick WHERE outbox.job_id = pick.job_id"#,
        ids,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected())
}

/// Takes or keeps the lease of a lane's relay for 5 s. False: another process has it.
pub async fn lease_relay(conn: &mut PgConnection, lane: Lane, holder: Uuid) -> Result<bool> {
    lease(conn, lane.as_str(), holder).await
}

/// Takes or keeps the lease of whoever seals events, for 5 s. False: another process has it.
pub async fn lease_seal(conn: &mut PgConnection, holder: Uuid) -> Result<bool> {
    lease(conn, "SEAL", holder).await
}

async fn lease(conn: &mut PgConnection, name: &str, holder: Uuid) -> Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE relay SET holder = $2, until = now() + interval '5 s'
           WHERE lane = $1 AND (holder = $2 OR until < now())
             AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'"#,
        name,
        holder,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Gives the lease of a lane's relay up, so that another process takes over at once.
pub async fn release_relay(conn: &mut PgConnection, lane: Lane, holder: Uuid) -> Result<()> {
    sqlx::query!(
        "UPDATE relay SET holder = NULL, until = '-infinity' WHERE lane = $1 AND holder = $2",
        lane.as_str(),
        holder,
    )
    .execute(conn)
    .await?;
    Ok(())
}
