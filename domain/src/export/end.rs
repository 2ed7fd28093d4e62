//! How an export ends: with a file, or without one.

use serde_json::json;

use super::{Failure, Kind};
use crate::change::Change;
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::id::ExportId;

/// Leaves the event of an export that ended.
pub(super) fn record(change: &mut Change, id: ExportId, kind: Kind, rows: i32, failure: Option<Failure>) {
    let detail = json!({
        "export": id,
        "kind": kind,
        "state": if failure.is_some() { "FAILED" } else { "FINISHED" },
        "errorCode": failure.map(Failure::as_str),
        "rows": rows,
    });
    change.record(NewEvent::new(EventKind::ExportFinished).subject(id.0).detail(detail));
}

/// Ends an export without a file. False: there is none, or it has ended.
pub(super) async fn fail(change: &mut Change, id: ExportId, failure: Failure) -> Result<bool> {
    let (account, now) = (change.account(), change.now());
    let failed = sqlx::query!(
        r#"UPDATE export SET state = 'FAILED', error_code = $3, finished_at = $4, run = NULL, rows_done = 0
           WHERE account_id = $1 AND export_id = $2 AND finished_at IS NULL RETURNING kind AS "kind: Kind""#,
        account.0,
        id.0,
        failure.as_str(),
        now,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(failed) = failed else { return Ok(false) };
    record(change, id, failed.kind, 0, Some(failure));
    Ok(true)
}

/// Ends an export whose job will not run again: whatever ends such a job for good calls this in the same transaction. False: there is
/// none, or it has ended.
pub async fn abandon(change: &mut Change, id: ExportId) -> Result<bool> {
    fail(change, id, Failure::Abandoned).await
}

/// Lets an export that was given up begin anew, as its job does.
pub async fn reopen(change: &mut Change, id: ExportId) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "UPDATE export SET state = 'QUEUED', error_code = NULL, finished_at = NULL, started_at = NULL
         WHERE account_id = $1 AND export_id = $2 AND error_code = $3",
        account.0,
        id.0,
        Failure::Abandoned.as_str(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
