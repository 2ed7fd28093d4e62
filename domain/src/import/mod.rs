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
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::id::{ImportId, UploadId};
use crate::job::{JobKind, NewJob};
use crate::upload;

mod batch;
pub mod column;
pub mod duplicates;
mod end;
mod failure;
pub mod file;
mod list;
mod raw;
pub mod report;
pub mod row;
mod run;

pub use end::{Reopened, abandon, abandon_stranded, forget_values, reopen};
pub use failure::{Failure, FailureCode, UnknownFailure};
pub use list::{IMPORTS, MemberImport, Outcome, Progress, ROWS, RowOutcome, list, read_many, rows};
pub use run::{Run, Step};

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
}

impl State {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
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

/// Starts an import of the file that was put to an upload. People become invited members: with a mail if
/// `send_welcome_email`, otherwise without.
///
/// # Errors
/// `NOT_PERMITTED`; `NOT_FOUND`, `UPLOAD_NOT_READY`, `UPLOAD_USED`, `UPLOAD_EXPIRED` at `uploadId`.
pub async fn create(
    change: &mut Change,
    actor: &Actor,
    upload_id: UploadId,
    send_welcome_email: bool,
) -> Result<ImportId> {
    actor.may(Action::Import, Target::Account)?;
    let size = upload::take(change, upload_id).await?;
    change.standing(actor).await?.may(Action::Import, Target::Account)?;
    let (account, now, id) = (change.account(), change.now(), ImportId::new());
    sqlx::query!(
        "INSERT INTO member_import (account_id, import_id, upload_id, created_by, send_welcome_email, state, size_bytes, created_at)
         VALUES ($1, $2, $3, $4, $5, 'QUEUED', $6, $7)",
        account.0,
        id.0,
        upload_id.0,
        actor.member_id.0,
        send_welcome_email,
        size,
        now,
    )
    .execute(change.conn())
    .await?;
    change.record(
        NewEvent::new(EventKind::ImportStarted)
            .subject(id.0)
            .detail(json!({ "import": id, "sendWelcomeEmail": send_welcome_email })),
    );
    change.enqueue(NewJob {
        account_id: account.0,
        kind: JobKind::ImportMembers,
        payload: serde_json::to_value(Payload { import_id: id }).expect("plain data"),
        dedupe_key: id.to_string(),
    });
    Ok(id)
}
