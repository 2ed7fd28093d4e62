//! The invitations of an import that were made without a mail, sent together later: a batch per transaction.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{FailureCode, Step};
use crate::actor::{Action, Actor, Author, Origin, Target};
use crate::change::{Change, Kind, is_transient, pause_after};
use crate::error::{Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, ImportId, InvitationId, MemberId};
use crate::infra::db::Db;
use crate::invitation;
use crate::job::{Claimed, JobKind, NewJob};
use crate::outbox;

/// Invitations of a transaction.
const BATCH: i64 = 200;
/// Tries of a transaction that lost against another one.
const ATTEMPTS: u32 = 10;

/// What a job of [`JobKind::SendImportInvitations`] carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendPayload {
    /// The import.
    pub import_id: ImportId,
    /// Who asked, and is answerable for what the invitations grant from then on.
    pub member_id: MemberId,
}

/// Has the worker send the invitations of an import that were never sent.
///
/// # Errors
/// `NOT_PERMITTED`; `NOT_FOUND` and `IMPORT_RUNNING` at `memberImportId`.
pub async fn send_invitations(change: &mut Change, actor: &Actor, id: ImportId) -> Result<ImportId> {
    actor.may(Action::Invite, Target::Account)?;
    actor.may(Action::ReadImports, Target::Account)?;
    let account = change.account();
    let ended = sqlx::query_scalar!(
        r#"SELECT finished_at IS NOT NULL AS "ended!" FROM member_import WHERE account_id = $1 AND import_id = $2"#,
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::Invite, Target::Account)?;
    standing.may(Action::ReadImports, Target::Account)?;
    match ended {
        None => return Err(Refused::new(Code::NotFound).at("memberImportId").into()),
        Some(false) => return Err(Refused::new(Code::ImportRunning).at("memberImportId").into()),
        Some(true) => {}
    }
    let payload = SendPayload { import_id: id, member_id: actor.member_id };
    change.record(NewEvent::new(EventKind::ImportInvitationsSent).subject(id.0).detail(json!({ "import": id })));
    change.enqueue(NewJob {
        account_id: account.0,
        kind: JobKind::SendImportInvitations,
        payload: serde_json::to_value(payload).expect("plain data"),
        // Whoever asks next is not kept from it by somebody who may not any more.
        dedupe_key: format!("{id}:{}", actor.member_id),
    });
    Ok(id)
}

/// The sending of a claimed job.
pub struct Sending {
    db: Db,
    account: AccountId,
    payload: SendPayload,
    job: (uuid::Uuid, uuid::Uuid),
    request_id: Option<String>,
    /// Up to this row everything that can be sent was.
    row: i32,
}

impl Sending {
    /// From the first row on: what was sent before is not sent again.
    pub fn new(db: Db, job: &Claimed, payload: SendPayload) -> Self {
        let (account, request_id) = (AccountId(job.account_id), job.request_id.clone());
        Self { db, account, payload, job: (job.job_id, job.claim), request_id, row: 0 }
    }

    /// Sends a batch, again if it lost against another transaction.
    pub async fn step(&mut self) -> Result<Step> {
        for attempt in 1..=ATTEMPTS {
            match self.try_step().await {
                Err(error) if is_transient(&error) => tokio::time::sleep(pause_after(attempt)).await,
                done_or_final => return done_or_final,
            }
        }
        Err(Error::Busy)
    }

    async fn try_step(&mut self) -> Result<Step> {
        let Some(mut change) = self.begin(Kind::Asked, Author::Member(self.payload.member_id)).await? else {
            return Ok(Step::Nothing);
        };
        let due = self.due(&mut change).await?;
        let Some((last, _)) = due.last().copied() else {
            drop(change);
            return self.end(None).await;
        };
        let ids: Vec<InvitationId> = due.into_iter().map(|(_, id)| id).collect();
        match send(change, self.payload.member_id, &ids).await {
            Err(Error::Refused(reasons)) => {
                let read_only = reasons.iter().any(|refused| refused.code == Code::AccountReadOnly);
                let why = if read_only { FailureCode::AccountReadOnly } else { FailureCode::NotPermitted };
                return self.end(Some(why)).await;
            }
            other => other?,
        }
        self.row = last;
        Ok(Step::Going)
    }

    /// None: somebody else has the job by now.
    async fn begin(&self, kind: Kind, author: Author) -> Result<Option<Change>> {
        let origin = Origin { author, request_id: self.request_id.clone(), network_address: None };
        let mut change = Change::begin(&self.db, self.account, kind, origin, None).await?;
        Ok(outbox::hold(change.conn(), self.job).await?.then_some(change))
    }

    /// Tells how many were not sent: because of a limit on mails, or `why` nothing more was. Also in an account that is read-only by now.
    async fn end(&self, why: Option<FailureCode>) -> Result<Step> {
        let Some(mut change) = self.begin(Kind::System, Author::System).await? else { return Ok(Step::Nothing) };
        let import = self.payload.import_id;
        let left = sqlx::query_scalar!(
            r#"SELECT count(*)::int AS "left!" FROM member_import_row r
               JOIN invitation i ON i.account_id = r.account_id AND i.member_id = r.member_id
               WHERE r.account_id = $1 AND r.import_id = $2 AND r.outcome = 'INVITED' AND i.finished_at IS NULL
                 AND i.state = 'NOT_SENT'"#,
            self.account.0,
            import.0,
        )
        .fetch_one(change.conn())
        .await?;
        let detail = json!({ "import": import, "notSent": left, "errorCode": why.map(FailureCode::as_str) });
        change.record(NewEvent::new(EventKind::ImportInvitationsFinished).subject(import.0).detail(detail));
        outbox::finish(change.conn(), &[self.job]).await?;
        change.commit().await?;
        Ok(Step::Ended)
    }

    async fn due(&self, change: &mut Change) -> Result<Vec<(i32, InvitationId)>> {
        let rows = sqlx::query!(
            r#"SELECT r.row_no, i.invitation_id AS "invitation_id: InvitationId" FROM member_import_row r
               JOIN invitation i ON i.account_id = r.account_id AND i.member_id = r.member_id
               WHERE r.account_id = $1 AND r.import_id = $2 AND r.row_no > $3 AND r.outcome = 'INVITED'
                 AND i.finished_at IS NULL AND i.state = 'NOT_SENT'
               ORDER BY r.row_no LIMIT $4"#,
            self.account.0,
            self.payload.import_id.0,
            self.row,
            BATCH,
        )
        .fetch_all(change.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.row_no, row.invitation_id)).collect())
    }
}

async fn send(mut change: Change, member: MemberId, ids: &[InvitationId]) -> Result<()> {
    invitation::send_for(&mut change, member, ids).await?;
    change.commit().await
}
