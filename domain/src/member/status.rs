//! What administrators do to a member's status.

use serde_json::json;

use super::Status;
use crate::actor::{Action, Actor, Assignment, Grants, Standing, Target, of_members};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{MemberId, RoleId, UnitId};
use crate::invitation;
use crate::license::{self, Wanted};
use crate::session;

/// A member under lock.
pub(crate) struct Locked {
    pub status: Status,
    pub prior_status: Option<Status>,
    pub owner: bool,
    /// What they may do.
    pub held: Grants,
    /// The units they belong to.
    pub units: Vec<UnitId>,
    pub assignments: Vec<Assignment>,
}

/// Locks a member who is about to change, and asks whether the actor may do that to them. NOT_FOUND stands at `memberId`, as the
/// other refusals.
pub(crate) async fn lock(
    change: &mut Change,
    actor: &Actor,
    member: MemberId,
    action: Action,
) -> Result<(Locked, Standing)> {
    // Who may nowhere do such a thing learns nothing from the look-up.
    actor.may(action, Target::Anywhere)?;
    let locked = lock_any(change, member).await.at("memberId")?;
    let standing = change.standing(actor).await?;
    let target = Target::Member { member_id: member, owner: locked.owner, units: &locked.units, held: &locked.held };
    standing.may(action, target).at("memberId")?;
    Ok((locked, standing))
}

/// Locks a member, whoever asks.
pub(crate) async fn lock_any(change: &mut Change, member: MemberId) -> Result<Locked> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT status AS "status: Status", prior_status AS "prior_status: Status"
           FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE"#,
        account.0,
        member.0,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or(Code::NotFound)?;
    // In statements of their own: within the one that waits for the lock they would show what was before the wait.
    let place = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM account_owner WHERE account_id = $1 AND member_id = $2) AS "owner!",
                  ARRAY(SELECT unit_id FROM member_unit WHERE account_id = $1 AND member_id = $2) AS "units!: Vec<UnitId>",
                  ARRAY(SELECT role_id FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id, unit_id)
                      AS "roles!: Vec<RoleId>",
                  ARRAY(SELECT unit_id FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id, unit_id)
                      AS "role_units!: Vec<UnitId>""#,
        account.0,
        member.0,
    )
    .fetch_one(change.conn())
    .await?;
    let held = of_members(change.conn(), account, &[member]).await?.remove(&member).unwrap_or_default();
    let assignments = place.roles.into_iter().zip(place.role_units);
    Ok(Locked {
        status: row.status,
        prior_status: row.prior_status,
        owner: place.owner,
        held,
        units: place.units,
        assignments: assignments.map(|(role_id, unit_id)| Assignment { role_id, unit_id }).collect(),
    })
}

async fn set_status(
    change: &mut Change,
    member: MemberId,
    from: &Locked,
    to: Status,
    prior: Option<Status>,
    kind: EventKind,
) -> Result<()> {
    let account = change.account();
    let set = sqlx::query!(
        "UPDATE member SET status = $3, prior_status = $4 WHERE account_id = $1 AND member_id = $2 AND status = $5",
        account.0,
        member.0,
        to.as_str(),
        prior.map(Status::as_str),
        from.status.as_str(),
    )
    .execute(change.conn())
    .await?;
    if set.rows_affected() == 0 {
        return Err(Error::Stale);
    }
    change.rights_changed();
    change.record(NewEvent::new(kind).subject(member.0).detail(json!({ "before": from.status, "after": to })));
    Ok(())
}

fn wrong_status<T>() -> Result<T> {
    Err(Refused::new(Code::WrongStatus).at("memberId").into())
}

/// Shuts a member or an invited person out; the seat is kept.
pub async fn suspend(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    let (locked, _) = lock(change, actor, member, Action::Suspend).await?;
    if !matches!(locked.status, Status::Invited | Status::Active) {
        return wrong_status();
    }
    set_status(change, member, &locked, Status::Suspended, Some(locked.status), EventKind::MemberSuspended).await?;
    session::end_of_members(change, &[member]).await
}

/// Gives a suspended member the status before; a lapsed invitation comes back lapsed, and a mail that was held back is sent.
pub async fn activate(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    let (locked, _) = lock(change, actor, member, Action::Suspend).await?;
    let (Status::Suspended, Some(prior)) = (locked.status, locked.prior_status) else { return wrong_status() };
    set_status(change, member, &locked, prior, None, EventKind::MemberActivated).await?;
    if prior == Status::Invited { invitation::send_held(change, member).await } else { Ok(()) }
}

/// Takes a member out and frees the seat.
pub async fn deactivate(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    actor.may(Action::Deactivate, Target::Anywhere)?;
    license::lock(change).await?;
    let (locked, _) = lock(change, actor, member, Action::Deactivate).await?;
    let joined = match locked.status {
        Status::Active => true,
        Status::Suspended => locked.prior_status == Some(Status::Active),
        Status::Invited | Status::Deactivated => false,
    };
    if !joined {
        return wrong_status();
    }
    set_status(change, member, &locked, Status::Deactivated, Some(locked.status), EventKind::MemberDeactivated).await?;
    license::release(change, &[member]).await?;
    session::end_of_members(change, &[member]).await
}

/// Takes a seat again for a deactivated member and gives them the status before: one who was suspended comes back suspended.
///
/// # Errors
/// SEAT_SHORTAGE, and whatever [`deactivate`] refuses.
pub async fn reactivate(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    actor.may(Action::Deactivate, Target::Anywhere)?;
    license::lock(change).await?;
    let (locked, _) = lock(change, actor, member, Action::Deactivate).await?;
    let (Status::Deactivated, Some(prior)) = (locked.status, locked.prior_status) else { return wrong_status() };
    license::take(change, Wanted::All(1)).await?;
    let prior_of_that = (prior == Status::Suspended).then_some(Status::Active);
    set_status(change, member, &locked, prior, prior_of_that, EventKind::MemberReactivated).await?;
    license::allocate(change, &[member], false).await
}
