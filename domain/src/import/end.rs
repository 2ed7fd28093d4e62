//! The end of an import: what it held and did not need goes back, whatever ended it.

use serde_json::json;
use uuid::Uuid;

use super::{Failure, FailureCode, State};
use crate::across;
use crate::actor::Origin;
use crate::change::{Change, Kind, persist};
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::id::{ImportId, UploadId};
use crate::infra::db::Db;
use crate::infra::metrics;
use crate::job::{JobKind, NewJob};
use crate::{license, outbox};

/// Rows changed by one statement.
const FORGOTTEN_AT_ONCE: i32 = 10_000;

/// How an import ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Every row was dealt with.
    Done,
    /// Something ended it early.
    Failed(Failure),
    /// Somebody ended it early.
    Canceled,
}

impl Ending {
    fn state(&self) -> State {
        match self {
            Self::Done => State::Finished,
            Self::Failed(_) => State::Failed,
            Self::Canceled => State::Canceled,
        }
    }

    /// As it is counted.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::Done => "finished",
            Self::Failed(_) => "failed",
            Self::Canceled => "canceled",
        }
    }

    fn failure(&self) -> Option<&Failure> {
        if let Self::Failed(failure) = self { Some(failure) } else { None }
    }
}

/// Ends an import, gives its seats back, and has its importer told by mail. False: there is none, or it has ended. Locks the pool.
pub(super) async fn close(change: &mut Change, id: ImportId, ending: &Ending) -> Result<bool> {
    let (account, now) = (change.account(), change.now());
    license::lock(change).await?;
    let row = sqlx::query!(
        "SELECT seats_held, rows_total, rows_invited, rows_updated, rows_unchanged, rows_rejected, dry_run, applied FROM member_import
         WHERE account_id = $1 AND import_id = $2 AND finished_at IS NULL FOR NO KEY UPDATE",
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(row) = row else { return Ok(false) };
    license::give_back(change, row.seats_held).await?;
    let (state, failure) = (ending.state(), ending.failure());
    sqlx::query!(
        "UPDATE member_import SET state = $3, error_code = $4, error_message = $5, error_row = $7, finished_at = $6, seats_held = 0
         WHERE account_id = $1 AND import_id = $2",
        account.0,
        id.0,
        state.as_str(),
        failure.map(|failure| failure.code().as_str()),
        failure.map(ToString::to_string),
        now,
        failure.and_then(Failure::row),
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::ImportFinished).subject(id.0).detail(json!({
        "import": id,
        "state": state,
        "errorCode": failure.map(|failure| failure.code().as_str()),
        "rowsTotal": row.rows_total,
        "rowsInvited": row.rows_invited,
        "rowsUpdated": row.rows_updated,
        "rowsUnchanged": row.rows_unchanged,
        "rowsRejected": row.rows_rejected,
        "dryRun": row.dry_run,
        "applied": row.applied,
    })));
    change.enqueue(NewJob {
        account_id: account.0,
        kind: JobKind::MailImportSummary,
        payload: json!({ "importId": id }),
        dedupe_key: id.to_string(),
    });
    Ok(true)
}

/// Ends an import whose job will not run again: whatever ends such a job for good calls this in the same transaction. False:
/// there is none, or it has ended. Locks the pool.
pub async fn abandon(change: &mut Change, id: ImportId) -> Result<bool> {
    close(change, id, &Ending::Failed(Failure::Abandoned)).await
}

/// What became of the wish to let an import go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// It goes on where it stopped, or was never given up.
    Yes,
    /// Its file was deleted.
    FileGone,
}

/// Lets an import that was given up go on where it stopped; it takes its seats again as it goes.
pub async fn reopen(change: &mut Change, id: ImportId) -> Result<Reopened> {
    let account = change.account();
    let given_up = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM upload u WHERE u.account_id = i.account_id AND u.upload_id = i.upload_id
                          AND u.object_key IS NOT NULL) AS "file!"
           FROM member_import i WHERE account_id = $1 AND import_id = $2 AND error_code = $3 FOR NO KEY UPDATE OF i"#,
        account.0,
        id.0,
        FailureCode::Abandoned.as_str(),
    )
    .fetch_optional(change.conn())
    .await?;
    match given_up {
        None => return Ok(Reopened::Yes),
        Some(import) if !import.file => return Ok(Reopened::FileGone),
        Some(_) => {}
    }
    sqlx::query!(
        "UPDATE member_import SET state = CASE WHEN started_at IS NULL THEN 'QUEUED' ELSE 'RUNNING' END,
                error_code = NULL, error_message = NULL, error_row = NULL, finished_at = NULL,
                seats_counted = NULL
         WHERE account_id = $1 AND import_id = $2",
        account.0,
        id.0,
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::ImportReopened).subject(id.0).detail(json!({ "import": id })));
    Ok(Reopened::Yes)
}

/// Ends imports whose jobs are dead or gone all the same. Returns how many. One that fails keeps no other one waiting.
pub async fn abandon_stranded(db: &Db) -> Result<usize> {
    let (mut abandoned, mut failure) = (0, None);
    for (account, import) in across::stranded_imports(&db.pool).await? {
        let attempt = || async move {
            let mut change = Change::begin(db, account, Kind::System, Origin::system(), None).await?;
            // It may have been replayed since the list was made; from here on it is not.
            let dead = outbox::hold_dead(change.conn(), account, JobKind::ImportMembers, &import.to_string()).await?;
            let ended = dead && abandon(&mut change, import).await?;
            change.commit().await?;
            Ok(ended)
        };
        match persist(attempt).await {
            Ok(true) => {
                abandoned += 1;
                metrics::import_ended("failed");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, account.id = %account, "an import without a job was not ended");
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(abandoned), Err)
}

/// Removes the rejected values from the reports of an upload's imports, and the names of ignored columns; what was wrong stays. Of a dry
/// run only the counts stay.
pub async fn forget_values(change: &mut Change, upload: UploadId) -> Result<()> {
    let account = change.account();
    let names = sqlx::query!(
        "UPDATE member_import SET ignored_columns = '{}' WHERE account_id = $1 AND upload_id = $2 AND ignored_columns <> '{}'",
        account.0,
        upload.0,
    );
    names.execute(change.conn()).await?;
    let reports = sqlx::query!(
        r#"SELECT i.import_id, i.dry_run, (SELECT max(r.row_no) FROM member_import_row r
                                WHERE r.account_id = i.account_id AND r.import_id = i.import_id) AS last_row
           FROM member_import i WHERE i.account_id = $1 AND i.upload_id = $2 ORDER BY i.import_id"#,
        account.0,
        upload.0,
    )
    .fetch_all(change.conn())
    .await?;
    for report in reports {
        if let Some(last) = report.last_row {
            forget_values_of(change, report.import_id, report.dry_run, last).await?;
        }
    }
    Ok(())
}

async fn forget_values_of(change: &mut Change, import: Uuid, dry_run: bool, last: i32) -> Result<()> {
    let account = change.account();
    for from in (0..=last).step_by(usize::try_from(FORGOTTEN_AT_ONCE).expect("positive")) {
        if dry_run {
            let rows = sqlx::query!(
                "DELETE FROM member_import_row WHERE account_id = $1 AND import_id = $2 AND row_no >= $3 AND row_no < $3 + $4",
                account.0,
                import,
                from,
                FORGOTTEN_AT_ONCE,
            );
            rows.execute(change.conn()).await?;
            continue;
        }
        sqlx::query!(
            r#"UPDATE member_import_row
               SET email_digest = NULL,
                   faults = (SELECT coalesce(jsonb_agg(f.fault || '{"value": null}' ORDER BY f.place), '[]')
                             FROM jsonb_array_elements(faults) WITH ORDINALITY f(fault, place))
               WHERE account_id = $1 AND import_id = $2 AND row_no >= $3 AND row_no < $3 + $4 AND outcome = 'REJECTED'"#,
            account.0,
            import,
            from,
            FORGOTTEN_AT_ONCE,
        )
        .execute(change.conn())
        .await?;
    }
    Ok(())
}
