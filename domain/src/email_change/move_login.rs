//! The identity act: a login and all the places of its person get another address.

use serde_json::json;

use super::Stored;
use crate::across::{self, Membership};
use crate::actor::{Action, Target};
use crate::change::{Change, is_conflict};
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{InvitationId, MemberId, UserId};
use crate::member::{Status, status};
use crate::{invitation, license, sso};

/// What is to be done.
pub(super) struct Move<'a> {
    pub user: UserId,
    pub from: &'a str,
    pub to: &'a str,
    /// The event it is in each account.
    pub kind: EventKind,
    /// The change that was asked for: what allowed it is looked at again.
    pub asked: Option<&'a Stored>,
}

/// Moves a login. The credential must be locked, and `places` read after that.
///
/// # Errors
/// EMAIL_TAKEN when somebody else has the address by now; [`Error::Stale`] when somebody is about to.
pub(super) async fn move_login(change: &mut Change, step: &Move<'_>, places: &[Membership]) -> Result<()> {
    let now = change.now();
    let taken = sqlx::query!("SELECT 1 AS one FROM app_user WHERE email = $1 AND user_id <> $2", step.to, step.user.0);
    if taken.fetch_optional(change.conn()).await?.is_some() {
        return Err(Refused::new(Code::EmailTaken).at("token").into());
    }
    let moved = sqlx::query!("UPDATE app_user SET email = $2 WHERE user_id = $1", step.user.0, step.to);
    moved.execute(change.conn()).await.map_err(|error| stale_if_taken(error.into()))?;
    sqlx::query!("UPDATE user_credential SET email_changed_at = $2 WHERE user_id = $1", step.user.0, now)
        .execute(change.conn())
        .await?;
    // Links to a new password that went to the old address.
    sqlx::query!("UPDATE password_reset SET used_at = $2 WHERE user_id = $1 AND used_at IS NULL", step.user.0, now)
        .execute(change.conn())
        .await?;
    for place in places {
        change.enter(place.account_id);
        move_place(change, step, place).await?;
        change.record_in(
            place.account_id,
            place.member_id,
            NewEvent::new(step.kind)
                .subject(place.member_id.0)
                .personal(json!({ "emailBefore": step.from, "emailAfter": step.to })),
        );
    }
    for account in across::end_sessions(change.conn(), step.user, None).await? {
        change.rights_changed_in(account);
    }
    if let Some(asked) = step.asked {
        // Whose rights were looked at belongs to that account.
        change.enter(asked.account_id);
    }
    Ok(())
}

/// The person's place in the account that the change has entered. An invitation to the address there is settled: they are a member.
async fn move_place(change: &mut Change, step: &Move<'_>, place: &Membership) -> Result<()> {
    let account = change.account();
    let invited = sqlx::query!(
        r#"SELECT m.member_id AS "member_id: MemberId", i.invitation_id AS "invitation_id: InvitationId"
           FROM member m JOIN invitation i USING (account_id, member_id)
           WHERE m.account_id = $1 AND m.email = $2 AND i.finished_at IS NULL"#,
        account.0,
        step.to,
    )
    .fetch_optional(change.conn())
    .await?;
    if let Some(invited) = invited {
        license::lock(change).await?;
        invitation::settle(change, invited.invitation_id, invited.member_id, place.member_id).await?;
    }
    if let Some(asked) = step.asked.filter(|asked| asked.account_id == account) {
        still_allowed(change, asked).await?;
    }
    let moved = sqlx::query!(
        "UPDATE member SET email = $4 WHERE account_id = $1 AND member_id = $2 AND user_id = $3",
        account.0,
        place.member_id.0,
        step.user.0,
        step.to,
    );
    let moved = moved.execute(change.conn()).await.map_err(|error| stale_if_taken(error.into()))?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// Whoever asked must still be allowed to.
async fn still_allowed(change: &mut Change, asked: &Stored) -> Result<()> {
    let locked = status::lock_any(change, asked.member_id).await?;
    if asked.own() {
        return sso::check_own_change(change.conn(), asked.account_id, asked.member_id).await.at("token");
    }
    let target =
        Target::Member { member_id: asked.member_id, owner: locked.owner, units: &locked.units, held: &locked.held };
    let allowed = match change.standing_of(asked.requested_by).await? {
        Some(standing) => standing.may(Action::ChangeEmail, target),
        None => Err(Code::RequesterLostRights.into()),
    };
    let code = match allowed {
        Ok(()) if matches!(locked.status, Status::Active | Status::Suspended) => return Ok(()),
        Ok(()) => Code::WrongStatus,
        Err(Error::Refused(_)) => Code::RequesterLostRights,
        Err(other) => return Err(other),
    };
    Err(Refused::new(code).at("token").into())
}

/// Somebody else takes the address at this moment: looked at again, it is theirs.
fn stale_if_taken(error: Error) -> Error {
    if is_conflict(&error) { Error::Stale } else { error }
}
