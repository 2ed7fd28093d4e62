//! The two links that make a change happen: the new address confirms it, the old one agrees where it must. Whichever comes last
//! does it.

use super::mail::{self, Step};
use super::move_login::{Move, move_login};
use super::{State, Stored, find, lock};
use crate::across;
use crate::actor::Origin;
use crate::change::{self, Change};
use crate::error::{Code, Refused, Result};
use crate::event::EventKind;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::secret::Purpose;
use crate::rate;

/// Confirms the new address. Answers where the change stands then: it may still wait for the old address.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED; EMAIL_TAKEN; REQUESTER_LOST_RIGHTS, WRONG_STATUS, OWNER_PROTECTED, SSO_REQUIRED when what was true when
/// the change was asked for is no longer.
pub async fn confirm(db: &Db, origin: Origin, token: &str) -> Result<State> {
    answer(db, origin, Purpose::LoginEmailConfirm, token).await
}

/// Agrees to the change as the old address. Answers where it stands then: it may still wait for the new address.
///
/// # Errors
/// As [`confirm`].
pub async fn approve(db: &Db, origin: Origin, token: &str) -> Result<State> {
    answer(db, origin, Purpose::LoginEmailApprove, token).await
}

pub(super) fn check_waiting(stored: &Stored, now: Timestamp) -> Result<()> {
    let code = match stored.state {
        State::Pending if stored.expires_at > now => return Ok(()),
        State::Pending => Code::TokenExpired,
        State::Changed => Code::TokenUsed,
        State::Cancelled | State::Reverted => Code::TokenInvalid,
    };
    Err(Refused::new(code).at("token").into())
}

async fn answer(db: &Db, origin: Origin, purpose: Purpose, token: &str) -> Result<State> {
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    rate::hit(db, &mut conn, rate::LINK_NETWORK, &rate::network(origin.network_address), now).await??;
    let found = find(&mut conn, purpose, token).await?;
    drop(conn);
    let (origin, found) = (&origin, &found);
    change::persist(|| async move {
        let mut change = Change::begin_identity(db, origin.clone(), None).await?;
        let state = answer_once(&mut change, purpose, found).await?;
        change.commit().await?;
        Ok(state)
    })
    .await
}

async fn answer_once(change: &mut Change, purpose: Purpose, found: &Stored) -> Result<State> {
    let now = change.now();
    let mut stored = lock(change, found).await?;
    check_waiting(&stored, now)?;
    let first = match purpose {
        Purpose::LoginEmailConfirm => stored.confirmed_at.replace(now).is_none(),
        _ => stored.approved_at.replace(now).is_none(),
    };
    let done = stored.confirmed_at.is_some()
        && (stored.approved_at.is_some() || !mail::must_agree(change.conn(), &stored).await?);
    let state = if done { State::Changed } else { State::Pending };
    sqlx::query!(
        "UPDATE email_change SET confirmed_at = $2, approved_at = $3, state = $4, changed_at = $5 WHERE email_change_id = $1",
        stored.email_change_id.0,
        stored.confirmed_at,
        stored.approved_at,
        state.as_str(),
        done.then_some(now),
    )
    .execute(change.conn())
    .await?;
    if done {
        carry_out(change, &stored).await?;
    } else if first && stored.confirmed_at.is_some() {
        // Also where it was asked before: it may have been told, rather than asked, before the person joined another account.
        mail::tell_old(change, stored.email_change_id, Step::MustAgree);
    }
    Ok(state)
}

async fn carry_out(change: &mut Change, stored: &Stored) -> Result<()> {
    let now = change.now();
    let places = across::memberships(change.conn(), stored.user_id, now).await?;
    // What was asked for somebody who is no longer there is not done.
    if places.iter().all(|place| (place.account_id, place.member_id) != (stored.account_id, stored.member_id)) {
        return Err(Refused::new(Code::TokenInvalid).at("token").into());
    }
    let step = Move {
        user: stored.user_id,
        from: &stored.old_email,
        to: &stored.new_email,
        kind: EventKind::LoginEmailChanged,
        asked: Some(stored),
    };
    move_login(change, &step, &places).await?;
    // What else waits was asked for when another address was the login.
    sqlx::query!(
        "UPDATE email_change SET state = 'CANCELLED' WHERE user_id = $1 AND state = 'PENDING'",
        stored.user_id.0
    )
    .execute(change.conn())
    .await?;
    mail::tell_old(change, stored.email_change_id, Step::Changed);
    Ok(())
}
