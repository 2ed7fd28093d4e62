//! What administrators do to a member's status and roles.

use std::collections::HashSet;

use serde_json::json;
use uuid::Uuid;

use super::Status;
use crate::actor::{Action, Actor, Standing, Target, granted_by, permission_set};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{MemberId, RoleId};
use crate::invitation;
use crate::license::{self, Wanted};
use crate::permission::{PermissionSet, SystemRole};
use crate::session;

/// Roles a member may have.
pub(crate) const MAX_ROLES: usize = 20;

/// A member under lock.
struct Locked {
    status: Status,
    prior_status: Option<Status>,
    owner: bool,
    permissions: PermissionSet,
    roles: Vec<Uuid>,
}

/// Locks a member whose status or roles are about to change, and asks whether the actor may.
async fn lock(change: &mut Change, actor: &Actor, member: MemberId, action: Action) -> Result<(Locked, Standing)> {
    // Who may nowhere do such a thing learns nothing from the look-up.
    actor.may(action, Target::Account)?;
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT status AS "status: Status", prior_status AS "prior_status: Status"
           FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE"#,
        account.0,
        member.0,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or_else(|| Refused::new(Code::NotFound).at("memberId"))?;
    // In a statement of its own: within the one that waits for the lock it would show what was before the wait.
    let held = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM account_owner WHERE account_id = $1 AND member_id = $2) AS "owner!",
                  ARRAY(SELECT role_id FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id) AS "roles!",
                  ARRAY(SELECT DISTINCT p.permission FROM member_role a JOIN role_permission p USING (account_id, role_id)
                        WHERE a.account_id = $1 AND a.member_id = $2) AS "keys!""#,
        account.0,
        member.0,
    )
    .fetch_one(change.conn())
    .await?;
    let everything = held.roles.contains(&SystemRole::Administrator.id().0);
    let locked = Locked {
        status: row.status,
        prior_status: row.prior_status,
        owner: held.owner,
        permissions: permission_set(everything, &held.keys),
        roles: held.roles,
    };
    let standing = change.standing(actor).await?;
    let target = Target::Member { member_id: member, owner: locked.owner, permissions: locked.permissions };
    standing.may(action, target).at("memberId")?;
    Ok((locked, standing))
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
    actor.may(Action::Deactivate, Target::Account)?;
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
    actor.may(Action::Deactivate, Target::Account)?;
    license::lock(change).await?;
    let (locked, _) = lock(change, actor, member, Action::Deactivate).await?;
    let (Status::Deactivated, Some(prior)) = (locked.status, locked.prior_status) else { return wrong_status() };
    license::take(change, Wanted::All(1)).await?;
    let prior_of_that = (prior == Status::Suspended).then_some(Status::Active);
    set_status(change, member, &locked, prior, prior_of_that, EventKind::MemberReactivated).await?;
    license::allocate(change, &[member], false).await
}

/// Sets which roles a member has.
///
/// # Errors
/// ROLE_REQUIRED, TOO_MANY, NOT_FOUND at `roleIds`; NOT_PERMITTED naming what the actor lacks to grant them, or to touch
/// somebody who holds more; OWNER_PROTECTED.
pub async fn assign_roles(change: &mut Change, actor: &Actor, member: MemberId, roles: &[RoleId]) -> Result<()> {
    let wanted = distinct(roles).at("roleIds")?;
    let (locked, standing) = lock(change, actor, member, Action::AssignRoles).await?;
    let account = change.account();
    let granted = granted_by(change.conn(), account, roles).await?;
    standing.may(Action::AssignRoles, Target::Grant(granted)).at("roleIds")?;
    if locked.owner && !wanted.contains(&SystemRole::Administrator.id()) {
        return Err(Refused::new(Code::OwnerProtected).at("roleIds").into());
    }
    let mut ids: Vec<Uuid> = wanted.iter().map(|role| role.0).collect();
    ids.sort_unstable();
    if ids == locked.roles {
        return Ok(());
    }
    let now = change.now();
    // From now on the actor is answerable for what an open invitation of theirs grants.
    sqlx::query!(
        "WITH gone AS (DELETE FROM member_role WHERE account_id = $1 AND member_id = $2 AND role_id <> ALL($3)),
         answerable AS (UPDATE invitation SET invited_by = $5 WHERE account_id = $1 AND member_id = $2 AND finished_at IS NULL)
         INSERT INTO member_role (account_id, member_id, role_id, assigned_at) SELECT $1, $2, unnest($3), $4 ON CONFLICT DO NOTHING",
        account.0,
        member.0,
        &ids,
        now,
        actor.member_id.0,
    )
    .execute(change.conn())
    .await?;
    change.rights_changed();
    let before: Vec<RoleId> = locked.roles.into_iter().map(RoleId).collect();
    change.record(
        NewEvent::new(EventKind::MemberRolesChanged)
            .subject(member.0)
            .detail(json!({ "before": before, "after": wanted })),
    );
    Ok(())
}

/// Each role once, in the order asked for.
pub(crate) fn distinct(roles: &[RoleId]) -> Result<Vec<RoleId>> {
    let mut seen = HashSet::new();
    let distinct: Vec<RoleId> = roles.iter().copied().filter(|role| seen.insert(*role)).collect();
    match distinct.len() {
        0 => Err(Code::RoleRequired.into()),
        1..=MAX_ROLES => Ok(distinct),
        _ => Err(Code::TooMany.into()),
    }
}
