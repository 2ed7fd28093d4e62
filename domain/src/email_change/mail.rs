//! What the mails of a change say. Whether the old address is told of the change or must agree to it is looked at when its mail is
//! sent, not when the change is asked for.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{REVERTIBLE, State, Stored, read, token};
use crate::across;
use crate::change::Change;
use crate::id::EmailChangeId;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};
use crate::job::{JobKind, NewJob};

/// Why the old address gets a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A change was asked for.
    Requested = 1,
    /// It has to agree, which nobody knew when the change was asked for.
    MustAgree = 2,
    /// The change is done.
    Changed = 3,
}

/// Leaves the mail to the new address to the worker.
pub(super) fn ask_confirmation(change: &mut Change, id: EmailChangeId) {
    change.enqueue(NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailLoginEmailConfirm,
        payload: json!({ "emailChangeId": id }),
        dedupe_key: id.to_string(),
    });
}

/// Leaves a mail to the old address to the worker.
pub(super) fn tell_old(change: &mut Change, id: EmailChangeId, step: Step) {
    let step = step as i32;
    change.enqueue(NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailLoginEmailNotice,
        payload: json!({ "emailChangeId": id, "step": step }),
        dedupe_key: format!("{id}:{step}"),
    });
}

/// Whether the old address must agree: somebody else asked, and the person has a place in another account.
pub(super) async fn must_agree(conn: &mut PgConnection, stored: &Stored) -> sqlx::Result<bool> {
    Ok(!stored.own() && across::accounts_of(conn, stored.user_id).await? > 1)
}

/// A mail with a link.
pub struct Letter {
    /// To whom.
    pub email: String,
    /// The account it was asked for in.
    pub account_name: String,
    /// The address to be.
    pub new_email: String,
    /// Until when the link can be used.
    pub expires_at: Timestamp,
    /// The link's secret.
    pub token: Token,
}

/// What the old address is told.
pub enum Notice {
    /// A change was asked for; the link keeps the old address.
    Requested(Letter),
    /// A change was asked for and is not done unless the link is used.
    MustAgree(Letter),
    /// The address was changed then; the link takes it back.
    Changed(Letter, Timestamp),
}

async fn account_name(conn: &mut PgConnection, stored: &Stored) -> sqlx::Result<String> {
    let name = sqlx::query_scalar!("SELECT name FROM account WHERE account_id = $1", stored.account_id.0);
    Ok(name.fetch_optional(conn).await?.unwrap_or_default())
}

/// Reads what the mail to the new address needs now; `None` when it is no longer wanted.
pub async fn confirmation_mail(
    db: &Db,
    conn: &mut PgConnection,
    id: EmailChangeId,
    now: Timestamp,
) -> sqlx::Result<Option<Letter>> {
    let wanted =
        |stored: &Stored| stored.state == State::Pending && stored.confirmed_at.is_none() && stored.expires_at > now;
    let Some(stored) = read(conn, id).await?.filter(wanted) else { return Ok(None) };
    Ok(Some(Letter {
        account_name: account_name(conn, &stored).await?,
        email: stored.new_email.clone(),
        new_email: stored.new_email,
        expires_at: stored.expires_at,
        token: token(db, Purpose::LoginEmailConfirm, id),
    }))
}

/// Reads what a mail to the old address says now; `None` when it is no longer wanted.
pub async fn notice_mail(
    db: &Db,
    conn: &mut PgConnection,
    id: EmailChangeId,
    step: i32,
    now: Timestamp,
) -> sqlx::Result<Option<Notice>> {
    let Some(stored) = read(conn, id).await? else { return Ok(None) };
    let told_last = step == Step::Changed as i32;
    let wanted = match stored.state {
        State::Pending => !told_last && stored.expires_at > now,
        State::Changed => told_last,
        State::Cancelled | State::Reverted => false,
    };
    if !wanted {
        return Ok(None);
    }
    let letter = |account_name, purpose, expires_at| Letter {
        email: stored.old_email.clone(),
        account_name,
        new_email: stored.new_email.clone(),
        expires_at,
        token: token(db, purpose, id),
    };
    let account_name = account_name(conn, &stored).await?;
    if let Some(at) = stored.changed_at {
        return Ok(Some(Notice::Changed(letter(account_name, Purpose::LoginEmailRevert, at + REVERTIBLE), at)));
    }
    Ok(Some(if must_agree(conn, &stored).await? {
        Notice::MustAgree(letter(account_name, Purpose::LoginEmailApprove, stored.expires_at))
    } else {
        Notice::Requested(letter(account_name, Purpose::LoginEmailRevert, stored.expires_at))
    }))
}
