//! What operators see and do of the jobs, and what is thrown away.

use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::infra::clock::Timestamp;
use crate::job::Lane;

/// How long finished jobs are kept.
pub const FINISHED_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The kind of what stands for something in the queue that belongs to no row. It is no job, and never runs.
pub const FOREIGN: &str = "queue.foreign";

/// Where a job that is not finished stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Standing {
    /// Waits for a worker.
    Due,
    /// A worker has it.
    Running,
    /// Waits for the time of its next attempt.
    Waiting,
    /// Will not run again by itself.
    Dead,
}

impl Standing {
    /// As operators see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "DUE",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Dead => "DEAD",
        }
    }
}

/// A job that is not finished.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// The row.
    pub job_id: Uuid,
    /// The account it belongs to; nil for none.
    pub account_id: Uuid,
    /// As stored: it may be a kind that this version does not know.
    pub kind: String,
    /// Where it stands.
    pub standing: Standing,
    /// Attempts made.
    pub attempts: i32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it died, is tried next, or is taken from a worker that has gone silent.
    pub at: Timestamp,
    /// How the last attempt failed, in capitals.
    pub code: Option<String>,
}

/// Which jobs are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only dead ones.
    pub dead: bool,
    /// Only of this kind.
    pub kind: Option<String>,
}

/// Jobs that are not finished, the oldest first.
pub async fn list(conn: &mut PgConnection, wanted: &Wanted, limit: i64) -> Result<Vec<Unfinished>> {
    // Two indexes, one per branch: finished jobs are many, and are not looked at.
    sqlx::query_as!(
        Unfinished,
        r#"WITH unfinished AS (
               SELECT job_id, account_id, kind, attempts, created_at, wake_at AS at, last_error_code,
                      CASE WHEN wake_at <= now() OR hinted THEN 'DUE' WHEN claim IS NOT NULL THEN 'RUNNING' ELSE 'WAITING' END
                          AS standing
               FROM outbox WHERE wake_at IS NOT NULL AND NOT $1
               UNION ALL
               SELECT job_id, account_id, kind, attempts, created_at, dead_at, last_error_code, 'DEAD'
               FROM outbox WHERE dead_at IS NOT NULL)
           SELECT job_id AS "job_id!", account_id AS "account_id!", kind AS "kind!", standing AS "standing!: Standing",
                  attempts AS "attempts!", created_at AS "created_at!", at AS "at!", last_error_code AS code
           FROM unfinished WHERE $2::text IS NULL OR kind = $2
           ORDER BY created_at, job_id LIMIT $3"#,
        wanted.dead,
        wanted.kind,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Writes a dead job for something in the queue that belongs to no row, so that operators see it. The same `job_id` is written once.
pub async fn entomb(conn: &mut PgConnection, job_id: Uuid, lane: Lane, code: &str) -> Result<bool> {
    let written = sqlx::query!(
        r#"INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, dead_at, last_error_code)
           VALUES ($1, '00000000-0000-0000-0000-000000000000', $2, $4, '{}', '', now(), $3)
           ON CONFLICT (job_id) DO NOTHING"#,
        job_id,
        lane.as_str(),
        code,
        FOREIGN,
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

/// What waits in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// The lane.
    pub lane: Lane,
    /// How long the oldest job that should run has waited to be started; 0 if none waits.
    pub oldest_due_seconds: f64,
    /// How long the oldest due job has waited to be handed to the queue; 0 if none waits.
    pub unhinted_seconds: f64,
    /// Jobs that are neither finished nor dead.
    pub unfinished: usize,
    /// Jobs that will not run again by themselves.
    pub dead: usize,
}

/// What waits, for each lane. A first attempt waits from the job's beginning, a later one from its time, whether or not the job
/// was handed to the queue meanwhile; a claimed job waits from the end of its lease.
pub async fn backlog(conn: &mut PgConnection) -> Result<Vec<Backlog>> {
    let rows = sqlx::query!(
        r#"WITH live AS (
               SELECT lane, wake_at, hinted,
                      CASE WHEN claim IS NULL AND attempts = 0 THEN created_at
                           WHEN hinted THEN wake_at - interval '15 s' ELSE wake_at END AS waits_since
               FROM outbox WHERE wake_at IS NOT NULL)
           SELECT l.lane AS "lane!", count(live.lane) AS "unfinished!",
                  coalesce(extract(epoch FROM now() - min(waits_since) FILTER (WHERE waits_since <= now())), 0)::float8 AS "due!",
                  coalesce(extract(epoch FROM now() - min(wake_at) FILTER (WHERE wake_at <= now() AND NOT hinted)), 0)::float8
                      AS "unhinted!",
                  (SELECT count(*) FROM outbox o WHERE o.dead_at IS NOT NULL AND o.lane = l.lane) AS "dead!"
           FROM unnest($1::text[]) l(lane) LEFT JOIN live USING (lane) GROUP BY l.lane"#,
        &Lane::ALL.map(|lane| lane.as_str().to_owned()),
    )
    .fetch_all(conn)
    .await?;
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    let lanes = rows.into_iter().filter_map(|row| {
        let (lane, unfinished, dead) = (row.lane.parse().ok()?, count(row.unfinished), count(row.dead));
        Some(Backlog { lane, oldest_due_seconds: row.due, unhinted_seconds: row.unhinted, unfinished, dead })
    });
    Ok(lanes.collect())
}
