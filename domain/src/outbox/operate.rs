//! What operators see and do of the jobs, and what is thrown away.

use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::infra::clock::Timestamp;
use crate::job::Lane;

/// How long finished jobs are kept.
pub const FINISHED_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A job that will not run again by itself.
#[derive(Clone, Debug)]
pub struct DeadJob {
    /// The row.
    pub job_id: Uuid,
    /// The account it belongs to; nil for none.
    pub account_id: Uuid,
    /// As stored: it may be a kind that this version does not know.
    pub kind: String,
    /// Attempts made.
    pub attempts: i32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it died.
    pub dead_at: Timestamp,
    /// Why it died, in capitals.
    pub code: Option<String>,
}

/// What became of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is due now, with no attempt made.
    Due,
    /// There is no such dead job.
    NotDead,
    /// An equal job is unfinished; this one stays dead.
    Superseded,
}

/// The newest dead jobs first.
pub async fn list_dead(conn: &mut PgConnection, limit: i64) -> Result<Vec<DeadJob>> {
    sqlx::query_as!(
        DeadJob,
        r#"SELECT job_id, account_id, kind, attempts, created_at, dead_at AS "dead_at!", last_error_code AS code
           FROM outbox WHERE dead_at IS NOT NULL ORDER BY dead_at DESC, job_id LIMIT $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Makes a dead job due, with no attempt made.
pub async fn replay(conn: &mut PgConnection, job_id: Uuid) -> Result<Replay> {
    let row = sqlx::query!(
        r#"WITH equal AS (
               SELECT 1 FROM outbox dead JOIN outbox live USING (account_id, kind, dedupe_key)
               WHERE dead.job_id = $1 AND live.wake_at IS NOT NULL
           ), done AS (
               UPDATE outbox SET wake_at = now(), dead_at = NULL, attempts = 0, last_error_code = NULL
               WHERE job_id = $1 AND dead_at IS NOT NULL AND NOT EXISTS (TABLE equal)
               RETURNING job_id
           )
           SELECT EXISTS (TABLE done) AS "due!", EXISTS (SELECT 1 FROM outbox WHERE job_id = $1 AND dead_at IS NOT NULL) AS "dead!""#,
        job_id,
    )
    .fetch_one(conn)
    .await;
    match row {
        Ok(row) if row.due => Ok(Replay::Due),
        Ok(row) if row.dead => Ok(Replay::Superseded),
        Ok(_) => Ok(Replay::NotDead),
        // An equal job was written this moment.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Replay::Superseded),
        Err(error) => Err(error),
    }
}

/// Writes a dead job for something in the queue that belongs to no row, so that operators see it. The same `job_id` is written once.
pub async fn entomb(conn: &mut PgConnection, job_id: Uuid, lane: Lane, code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, dead_at, last_error_code)
           VALUES ($1, '00000000-0000-0000-0000-000000000000', $2, 'queue.foreign', '{}', '', now(), $3)
           ON CONFLICT (job_id) DO NOTHING"#,
        job_id,
        lane.as_str(),
        code,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Unfinished jobs of a lane: due, hinted, claimed or waiting for another attempt.
pub async fn count_live(conn: &mut PgConnection, lane: Lane) -> Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM outbox WHERE lane = $1 AND wake_at IS NOT NULL"#,
        lane.as_str()
    )
    .fetch_one(conn)
    .await
}

/// When the next unfinished job of any lane is due.
pub async fn next_wake(conn: &mut PgConnection) -> Result<Option<Timestamp>> {
    sqlx::query_scalar!("SELECT min(wake_at) FROM outbox WHERE wake_at IS NOT NULL").fetch_one(conn).await
}

/// Deletes at most `limit` jobs that were finished [`FINISHED_KEPT`] before `now`. Dead ones stay.
pub async fn purge_finished(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        r#"DELETE FROM outbox WHERE job_id IN (
               SELECT job_id FROM outbox WHERE finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)"#,
        now - FINISHED_KEPT,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
