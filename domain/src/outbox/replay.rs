//! Letting a dead job run again, together with what its end had closed.

use sqlx::PgConnection;
use uuid::Uuid;

use super::FOREIGN;
use crate::actor::Origin;
use crate::change::{Change, Kind};
use crate::error::Result;
use crate::export;
use crate::id::AccountId;
use crate::import::{self, Reopened};
use crate::infra::db::Db;
use crate::job::JobKind;

/// What became of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is due now, with no attempt made.
    Due,
    /// There is no such dead job.
    NotDead,
    /// An equal job is unfinished; this one stays dead.
    Superseded,
    /// It is an import's, whose file was deleted; it stays dead.
    FileGone,
    /// It stands for something foreign that was in the queue; there is nothing to run.
    Foreign,
}

/// What ended with its job.
enum Closed {
    Import(import::Payload),
    Export(export::Payload),
}

/// Makes a dead job due, with no attempt made. An import that was given up with its job goes on where it stopped, an
/// export begins anew.
pub async fn replay(db: &Db, job_id: Uuid) -> Result<Replay> {
    let dead =
        sqlx::query!("SELECT account_id, kind, payload FROM outbox WHERE job_id = $1 AND dead_at IS NOT NULL", job_id)
            .fetch_optional(&db.pool)
            .await?;
    let Some(dead) = dead else { return Ok(Replay::NotDead) };
    if dead.kind == FOREIGN {
        return Ok(Replay::Foreign);
    }
    let closed = match dead.kind.parse() {
        Ok(JobKind::ImportMembers) => serde_json::from_value(dead.payload).ok().map(Closed::Import),
        Ok(JobKind::MakeExport) => serde_json::from_value(dead.payload).ok().map(Closed::Export),
        _ => None,
    };
    let Some(closed) = closed else {
        return Ok(make_due(&mut *db.pool.acquire().await?, job_id).await?);
    };
    let mut change = Change::begin(db, AccountId(dead.account_id), Kind::System, Origin::operator(), None).await?;
    let replayed = make_due(change.conn(), job_id).await?;
    if replayed != Replay::Due {
        return Ok(replayed);
    }
    match closed {
        Closed::Import(import) => {
            if import::reopen(&mut change, import.import_id).await? == Reopened::FileGone {
                return Ok(Replay::FileGone);
            }
        }
        Closed::Export(export) => export::reopen(&mut change, export.export_id).await?,
    }
    change.commit().await?;
    Ok(Replay::Due)
}

/// The row alone.
async fn make_due(conn: &mut PgConnection, job_id: Uuid) -> sqlx::Result<Replay> {
    let row = sqlx::query!(
        r#"WITH equal AS (
               SELECT 1 FROM outbox dead JOIN outbox live USING (account_id, kind, dedupe_key)
               WHERE dead.job_id = $1 AND live.wake_at IS NOT NULL
           ), done AS (
               UPDATE outbox SET wake_at = now(), dead_at = NULL, attempts = 0, last_error_code = NULL, left_since = NULL
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
