//! Changing the address that somebody signs in with. It is asked for in one account, by the person or by somebody who manages
//! members there; the new address confirms it; and where somebody else asked and the person is in another account as well, the old
//! address must agree. Until then the old one works. A change is an identity act: it moves the person's places in all accounts, ends
//! sessions everywhere, and is an event in each account. For a week the old address can take it back.

use jiff::SignedDuration;
use sqlx::PgConnection;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::id::{AccountId, EmailChangeId, MemberId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};
use crate::member::{Status, status};

mod answer;
mod cancel;
mod mail;
mod move_login;
mod pending;
mod request;
mod revert;

pub use answer::{approve, confirm};
pub use cancel::cancel;
pub use mail::{Letter, Notice, confirmation_mail, notice_mail};
pub use pending::{Pending, of_members};
pub use request::{Request, request};
pub use revert::revert;

/// How long a change waits for its confirmation.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// How long the old address can take a change back.
pub const REVERTIBLE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long it is known that an address was changed: for whoever still tries the old one.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Where a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Not everybody who must has agreed.
    Pending,
    /// Done.
    Changed,
    /// Given up before it was done.
    Cancelled,
    /// Done, and taken back.
    Reverted,
}

impl State {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Changed => "CHANGED",
            Self::Cancelled => "CANCELLED",
            Self::Reverted => "REVERTED",
        }
    }
}

/// A change as it is stored.
struct Stored {
    email_change_id: EmailChangeId,
    user_id: UserId,
    account_id: AccountId,
    member_id: MemberId,
    requested_by: MemberId,
    old_email: String,
    new_email: String,
    state: State,
    expires_at: Timestamp,
    confirmed_at: Option<Timestamp>,
    approved_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
}

impl Stored {
    /// Whether the person asked for it, rather than somebody who manages members.
    fn own(&self) -> bool {
        self.requested_by == self.member_id
    }
}

async fn read(conn: &mut PgConnection, id: EmailChangeId) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"SELECT email_change_id AS "email_change_id: EmailChangeId", user_id AS "user_id: UserId",
                  account_id AS "account_id: AccountId", member_id AS "member_id: MemberId", requested_by AS "requested_by: MemberId",
                  old_email, new_email, state AS "state: State", expires_at, confirmed_at, approved_at, changed_at
           FROM email_change WHERE email_change_id = $1"#,
        id.0,
    )
    .fetch_optional(conn)
    .await
}

/// What a link leads to.
async fn find(conn: &mut PgConnection, purpose: Purpose, token: &str) -> Result<Stored> {
    let invalid = || Refused::new(Code::TokenInvalid).at("token");
    let hash = Token::parse(purpose, token).ok_or_else(invalid)?.hash();
    // The purpose is part of what is hashed, so no token is found under another one.
    let id = sqlx::query_scalar!(
        r#"SELECT email_change_id AS "id: EmailChangeId" FROM email_change
           WHERE confirm_hash = $1 OR approve_hash = $1 OR revert_hash = $1"#,
        hash,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(invalid)?;
    Ok(read(conn, id).await?.ok_or_else(invalid)?)
}

/// Locks the person's credential, which everything that changes a login takes first, and reads the change as it is then.
async fn lock(change: &mut Change, found: &Stored) -> Result<Stored> {
    lock_credential(change, found.user_id).await?;
    let id = found.email_change_id;
    sqlx::query!("SELECT 1 AS one FROM email_change WHERE email_change_id = $1 FOR UPDATE", id.0)
        .fetch_optional(change.conn())
        .await?;
    // In a statement of its own: within the one that waits for the lock it would show what was before the wait.
    let stored = read(change.conn(), id).await?;
    Ok(stored.ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?)
}

async fn lock_credential(change: &mut Change, user: UserId) -> Result<()> {
    sqlx::query!("SELECT 1 AS one FROM user_credential WHERE user_id = $1 FOR UPDATE", user.0)
        .fetch_optional(change.conn())
        .await?;
    Ok(())
}

/// Locks a member whose address somebody else changes, and their login if they have one: the credential comes before members in the
/// order of locks. Asks whether the actor may.
async fn lock_member(change: &mut Change, actor: &Actor, member: MemberId) -> Result<(Option<UserId>, Status)> {
    actor.may(Action::ChangeEmail, Target::Anywhere)?;
    let before = login_of(change, member).await?;
    if let Some(user) = before {
        lock_credential(change, user).await?;
    }
    let (locked, _) = status::lock(change, actor, member, Action::ChangeEmail).await?;
    let user = login_of(change, member).await?;
    if user == before { Ok((user, locked.status)) } else { Err(Error::Stale) }
}

async fn login_of(change: &mut Change, member: MemberId) -> sqlx::Result<Option<UserId>> {
    let account = change.account();
    let user = sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id: UserId" FROM member WHERE account_id = $1 AND member_id = $2"#,
        account.0,
        member.0,
    );
    Ok(user.fetch_optional(change.conn()).await?.flatten())
}

/// The secret of a link: the same each time its mail is sent.
fn token(db: &Db, purpose: Purpose, id: EmailChangeId) -> Token {
    db.key.derive(purpose, None, id.0, 1)
}

/// What a link shows before anything is done by it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The address until now.
    pub old_email: String,
    /// The address from then on.
    pub new_email: String,
    /// Where the change stands.
    pub state: State,
}

/// What the link to confirm shows.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED.
pub async fn confirmation_by_token(db: &Db, token: &str) -> Result<Preview> {
    waiting(db, Purpose::LoginEmailConfirm, token).await
}

/// What the link to agree shows.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED.
pub async fn approval_by_token(db: &Db, token: &str) -> Result<Preview> {
    waiting(db, Purpose::LoginEmailApprove, token).await
}

async fn waiting(db: &Db, purpose: Purpose, token: &str) -> Result<Preview> {
    let mut conn = db.pool.acquire().await?;
    let found = find(&mut conn, purpose, token).await?;
    answer::check_waiting(&found, db.now_on(&mut conn).await?)?;
    Ok(found.into())
}

/// What the link to keep or take back the old address shows.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED.
pub async fn reversal_by_token(db: &Db, token: &str) -> Result<Preview> {
    let mut conn = db.pool.acquire().await?;
    let found = find(&mut conn, Purpose::LoginEmailRevert, token).await?;
    revert::check_revertible(&found, db.now_on(&mut conn).await?)?;
    Ok(found.into())
}

impl From<Stored> for Preview {
    fn from(stored: Stored) -> Self {
        Self { old_email: stored.old_email, new_email: stored.new_email, state: stored.state }
    }
}
