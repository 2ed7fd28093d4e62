//! Taking a change back before it is done.

use super::{State, Stored, lock_credential, lock_member};
use crate::actor::Actor;
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId, UserId};

/// Gives up the change that waits: of oneself, wherever it was asked for; of somebody else, what was asked for in this account.
///
/// # Errors
/// NO_PENDING_CHANGE; of somebody else's also NOT_PERMITTED, NOT_FOUND and OWNER_PROTECTED.
pub async fn cancel(change: &mut Change, actor: &Actor, member: Option<MemberId>) -> Result<()> {
    let cancelled = match member.filter(|member| *member != actor.member_id) {
        None => {
            lock_credential(change, actor.user_id).await?;
            change.standing(actor).await?;
            of_user(change, actor.user_id).await?
        }
        Some(member) => {
            lock_member(change, actor, member).await?;
            let account = change.account();
            set_cancelled(change, None, Some((account, member))).await?
        }
    };
    if cancelled.is_empty() {
        return Err(Refused::new(Code::NoPendingChange).at("memberId").into());
    }
    for (account, place) in cancelled {
        let event = cancelled_event(place);
        if account == change.account() { change.record(event) } else { change.record_in(account, place, event) }
    }
    Ok(())
}

/// The event of a change that is not done.
pub(super) fn cancelled_event(member: MemberId) -> NewEvent {
    NewEvent::new(EventKind::LoginEmailChangeCancelled).subject(member.0)
}

/// Gives up everything that waits of a person; the places where it was asked for.
pub(super) async fn of_user(change: &mut Change, user: UserId) -> Result<Vec<(AccountId, MemberId)>> {
    set_cancelled(change, Some(user), None).await
}

/// Gives up one change, by the link in a mail.
pub(super) async fn one(change: &mut Change, stored: &Stored) -> Result<()> {
    set_cancelled(change, Some(stored.user_id), Some((stored.account_id, stored.member_id))).await?;
    change.record_in(stored.account_id, stored.member_id, cancelled_event(stored.member_id));
    Ok(())
}

/// Of what is given: the person's, that of a place, or both.
async fn set_cancelled(
    change: &mut Change,
    user: Option<UserId>,
    place: Option<(AccountId, MemberId)>,
) -> Result<Vec<(AccountId, MemberId)>> {
    let now = change.now();
    let rows = sqlx::query!(
        r#"UPDATE email_change SET state = $1
           WHERE state = 'PENDING' AND expires_at > $2 AND ($3::uuid IS NULL OR user_id = $3)
             AND ($4::uuid IS NULL OR (account_id = $4 AND member_id = $5))
           RETURNING account_id AS "account_id: AccountId", member_id AS "member_id: MemberId""#,
        State::Cancelled.as_str(),
        now,
        user.map(|user| user.0),
        place.map(|(account, _)| account.0),
        place.map(|(_, member)| member.0),
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.account_id, row.member_id)).collect())
}
