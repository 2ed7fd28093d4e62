//! Import of members from a CSV file.
//!
//! [`mod@file`] reads records in bounded memory and can go on where another process stopped; [`row`] says what is wrong
//! with a record, or what it asks for; [`report`] writes the rejected records back, so that they can be mended and
//! uploaded again.
//!
//! [`create`] makes an import of an upload, and a [`Run`] works it in the worker, a batch of rows per transaction.
//!
//! An import looks through the file once with [`file::survey`], which finds every fault that refuses it as a whole. Then
//! it takes records from a [`file::MemberFile`] and gives each to [`row::check_row`]. After a record it stores the
//! record's row + 1 and `end`. To go on, it opens the file for its header, puts the stored numbers into the
//! [`file::Resume`] of that, resumes a source that stands there, and gets the addresses before it from
//! [`duplicates::SeenAddresses::before`].

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{ImportId, UploadId};
use crate::job::{JobKind, NewJob};
use crate::{rate, upload};

mod apply;
mod batch;
mod batches;
pub mod column;
pub mod duplicates;
pub mod encoding;
mod end;
mod existing;
mod failed;
mod failure;
mod fate;
pub mod file;
#[cfg(test)]
mod fuzz;
mod invitations;
pub mod link;
mod list;
mod look;
mod names;
mod options;
mod raw;
mod relied;
pub mod report;
pub mod row;
mod run;
mod shortage;
pub mod summary;
pub mod template;
mod write;

pub(crate) use batch::address_digest;
pub use end::{Reopened, abandon, abandon_stranded, forget_values, reopen};
pub use failed::{failed_rows, has_file};
pub use failure::{Failure, FailureCode, UnknownFailure};
pub use invitations::{SendPayload, Sending, send_invitations};
pub use list::{
    IMPORTS, MemberImport, Outcome, Progress, ROWS, RowFilter, RowOutcome, Seats, Stage, list, read_many, rows,
};
pub use options::Options;
pub use run::{Run, Step};
pub use shortage::Shortage;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, Serialize, Deserialize)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// The worker did not look at the file yet.
    Queued,
    /// The file as a whole is good; rows are being imported.
    Running,
    /// Every row was imported or rejected.
    Finished,
    /// Something ended it early; the rows before stay.
    Failed,
    /// Somebody ended it early; the rows before stay.
    Canceled,
}

impl State {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// What a job of [`JobKind::ImportMembers`] carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// The import.
    pub import_id: ImportId,
}

/// Starts an import of the file that was put to an upload. A dry run leaves the upload to be imported.
///
/// # Errors
/// `NOT_PERMITTED`; `RATE_LIMITED`; `NOT_FOUND`, `UPLOAD_NOT_READY`, `UPLOAD_USED`, `UPLOAD_EXPIRED` at `uploadId`; what is wrong with the defaults, at
/// `defaultRoleIds` and `defaultGroupIds`.
pub async fn create(change: &mut Change, actor: &Actor, upload_id: UploadId, options: &Options) -> Result<ImportId> {
    actor.may(Action::Import, Target::Account)?;
    let size = upload::take(change, upload_id).await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::Import, Target::Account)?;
    options.check(change, &standing).await?;
    let (db, now) = (change.db().clone(), change.now());
    rate::hit(&db, change.conn(), rate::IMPORT_ACCOUNT, &actor.account_id.to_string(), now).await??;
    let (account, id) = (change.account(), ImportId::new());
    insert(change, actor, (id, upload_id, size), options).await?;
    let mut detail = options.detail();
    detail["import"] = json!(id);
    change.record(NewEvent::new(EventKind::ImportStarted).subject(id.0).detail(detail));
    change.enqueue(NewJob {
        account_id: account.0,
        kind: JobKind::ImportMembers,
        payload: serde_json::to_value(Payload { import_id: id }).expect("plain data"),
        dedupe_key: id.to_string(),
    });
    Ok(id)
}

async fn insert(
    change: &mut Change,
    actor: &Actor,
    (id, upload_id, size): (ImportId, UploadId, i64),
    options: &Options,
) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "INSERT INTO member_import (account_id, import_id, upload_id, created_by, send_welcome_email, state, size_bytes, created_at,
                                    dry_run, update_existing, require_seats, all_or_nothing, default_roles, default_groups, applied)
         VALUES ($1, $2, $3, $4, $5, 'QUEUED', $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        account.0,
        id.0,
        upload_id.0,
        actor.member_id.0,
        options.send_welcome_email,
        size,
        now,
        options.dry_run,
        options.update_existing,
        options.require_seats,
        options.all_or_nothing(),
        &options.raw_roles(),
        &options.raw_groups(),
        options.at_once(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Asks an import to end. It does so between two batches of rows; those that took effect stay. One that has not begun does nothing.
///
/// # Errors
/// `NOT_PERMITTED`; `NOT_FOUND` and `IMPORT_ENDED` at `memberImportId`.
pub async fn cancel(change: &mut Change, actor: &Actor, id: ImportId) -> Result<ImportId> {
    actor.may(Action::Import, Target::Account)?;
    let (account, now) = (change.account(), change.now());
    let refused = |code| Refused::new(code).at("memberImportId");
    let row = sqlx::query!(
        r#"SELECT finished_at IS NOT NULL OR applied AND (all_or_nothing OR rows_done = rows_total) IS TRUE AS "ended!",
                  cancel_requested_at IS NOT NULL AS "asked!"
           FROM member_import WHERE account_id = $1 AND import_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    change.standing(actor).await?.may(Action::Import, Target::Account)?;
    let row = row.ok_or_else(|| refused(Code::NotFound))?;
    if row.ended {
        return Err(refused(Code::ImportEnded).into());
    }
    if !row.asked {
        sqlx::query!(
            "UPDATE member_import SET cancel_requested_at = $3 WHERE account_id = $1 AND import_id = $2",
            account.0,
            id.0,
            now,
        )
        .execute(change.conn())
        .await?;
        change.record(NewEvent::new(EventKind::ImportCanceled).subject(id.0).detail(json!({ "import": id })));
    }
    Ok(id)
}
