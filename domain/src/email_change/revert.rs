//! The link that the old address has: it keeps a change from being done, or takes it back for a week.

use secrecy::SecretString;

use super::move_login::{Move, move_login};
use super::{REVERTIBLE, State, Stored, cancel, find, lock};
use crate::across;
use crate::actor::Origin;
use crate::change::{self, Change};
use crate::error::{Code, Refused, Result};
use crate::event::EventKind;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};
use crate::password::Passwords;
use crate::{password_reset, rate, user};

pub(super) fn check_revertible(stored: &Stored, now: Timestamp) -> Result<()> {
    let until = stored.changed_at.map_or(stored.expires_at, |at| at + REVERTIBLE);
    let code = match stored.state {
        State::Pending | State::Changed if until > now => return Ok(()),
        State::Pending | State::Changed => Code::TokenExpired,
        State::Cancelled | State::Reverted => Code::TokenUsed,
    };
    Err(Refused::new(code).at("token").into())
}

/// Keeps or restores the old address. Restoring it ends sessions everywhere, and makes the password useless, which somebody else
/// may know: a link to choose another one goes to the old address. Answers CANCELLED or REVERTED.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED; EMAIL_TAKEN when somebody else has the old address by now.
pub async fn revert(db: &Db, passwords: &Passwords, origin: Origin, token: &str) -> Result<State> {
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    rate::hit(db, &mut conn, rate::LINK_NETWORK, &rate::network(origin.network_address), now).await??;
    let found = find(&mut conn, Purpose::LoginEmailRevert, token).await?;
    check_revertible(&found, now)?;
    drop(conn);
    // The hash of a password that nobody knows, as costly to compare as any other.
    let unknown = SecretString::from(Token::random(Purpose::LoginEmailRevert, None).expose());
    let hash = passwords.hash(&unknown).await?;
    let (origin, found, hash) = (&origin, &found, hash.as_str());
    change::persist(|| async move {
        let mut change = Change::begin_identity(db, origin.clone(), None).await?;
        let state = revert_once(&mut change, found, hash).await?;
        change.commit().await?;
        Ok(state)
    })
    .await
}

async fn revert_once(change: &mut Change, found: &Stored, hash: &str) -> Result<State> {
    let now = change.now();
    let stored = lock(change, found).await?;
    check_revertible(&stored, now)?;
    if stored.state == State::Pending {
        cancel::one(change, &stored).await?;
        return Ok(State::Cancelled);
    }
    let current = user::email(change.conn(), stored.user_id).await?;
    let current = current.ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    if current == stored.old_email {
        return Err(Refused::new(Code::TokenUsed).at("token").into());
    }
    finish(change, &stored).await?;
    let places = across::memberships(change.conn(), stored.user_id, now).await?;
    let step = Move {
        user: stored.user_id,
        from: &current,
        to: &stored.old_email,
        kind: EventKind::LoginEmailReverted,
        asked: None,
    };
    move_login(change, &step, &places).await?;
    sqlx::query!(
        "UPDATE user_credential SET password_hash = $2, password_changed_at = $3 WHERE user_id = $1",
        stored.user_id.0,
        hash,
        now,
    )
    .execute(change.conn())
    .await?;
    password_reset::send_link(change, stored.user_id).await?;
    Ok(State::Reverted)
}

/// Takes back this change and those after it, and gives up what waits: whoever holds the later addresses must not take back this.
async fn finish(change: &mut Change, stored: &Stored) -> Result<()> {
    sqlx::query!(
        "UPDATE email_change SET state = 'REVERTED' WHERE user_id = $1 AND state = 'CHANGED' AND changed_at >= $2",
        stored.user_id.0,
        stored.changed_at,
    )
    .execute(change.conn())
    .await?;
    for (account, member) in cancel::of_user(change, stored.user_id).await? {
        change.record_in(account, member, cancel::cancelled_event(member));
    }
    Ok(())
}
