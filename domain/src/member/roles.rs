//! Which roles members have: given to one or to many at once.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::place::{MAX_ROLES, distinct};
use super::status::{Locked, lock_many};
use crate::actor::{Action, Actor, Assignment, Grants, Standing, Target, of_assignments};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{MemberId, RoleId};
use crate::invitation::ErrorPolicy;
use crate::permission::{PermissionSet, SystemRole};

/// What is done with the roles that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Members have them besides those they have.
    Add,
    /// Members no longer have them.
    Remove,
    /// Members have these and no others.
    Set,
}

/// Whose roles are as asked for now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assigned {
    /// Those, in the order asked for.
    pub members: Vec<MemberId>,
    /// The others, by `memberIds.<index>`.
    pub refused: Vec<Refused>,
}

/// Roles of a member that change.
struct Differing {
    member: MemberId,
    before: Vec<Assignment>,
    after: Vec<Assignment>,
}

/// Gives members roles, takes them away, or sets them. Whoever may assign within units only gives and takes nothing beyond those.
///
/// # Errors
/// For all NOT_PERMITTED, NOT_FOUND and ARCHIVED at `roleIds` and `unitRoles`, TOO_MANY, ROLE_REQUIRED. Per member NOT_FOUND, NOT_PERMITTED
/// naming what the actor lacks to touch them, OWNER_PROTECTED, ROLE_REQUIRED, TOO_MANY; with [`ErrorPolicy::AllOrNothing`] these end
/// the whole.
pub async fn assign_roles(
    change: &mut Change,
    actor: &Actor,
    members: &[MemberId],
    (mode, assignments): (Mode, &[Assignment]),
    policy: ErrorPolicy,
) -> Result<Assigned> {
    actor.may(Action::AssignRoles, Target::Anywhere)?;
    let named = distinct(assignments);
    match named.len() {
        0 => return Err(Refused::new(Code::RoleRequired).at("roleIds").into()),
        1..=MAX_ROLES => {}
        _ => return Err(Refused::new(Code::TooMany).at("roleIds").into()),
    }
    let locked = lock_many(change, members).await?;
    let account = change.account();
    let standing = change.standing(actor).await?;
    let given = of_assignments(change.conn(), account, &named).await?;
    may_name(&standing, mode, &named, &given)?;
    let (mut assigned, mut differing) = (Assigned { members: Vec::new(), refused: Vec::new() }, Vec::new());
    for (index, member) in members.iter().enumerate() {
        match judge(&standing, *member, locked.get(member), (mode, &named)) {
            Ok(one) => {
                assigned.members.push(*member);
                differing.extend(one.filter(|one| differing_before(&differing, one.member)));
            }
            Err(Error::Refused(list)) => {
                assigned.refused.extend(list.into_iter().map(|refused| refused.at(index).at("memberIds")));
            }
            Err(other) => return Err(other),
        }
    }
    if policy == ErrorPolicy::AllOrNothing && !assigned.refused.is_empty() {
        return Err(Error::Refused(assigned.refused));
    }
    write(change, &standing, &differing).await?;
    Ok(assigned)
}

/// Whether a member is not in the list yet: the same one may be named twice.
fn differing_before(list: &[Differing], member: MemberId) -> bool {
    list.iter().all(|one| one.member != member)
}

/// The roles that are named must be the actor's to give; to take them away, in scopes that are theirs.
fn may_name(standing: &Standing, mode: Mode, named: &[Assignment], given: &Grants) -> Result<()> {
    let field = if named.iter().any(|one| one.unit().is_some()) { "unitRoles" } else { "roleIds" };
    let scopes = scopes(named);
    let target = if mode == Mode::Remove { Target::Grant(&scopes) } else { Target::Grant(given) };
    standing.may(Action::AssignRoles, target).at(field)
}

/// The scopes of assignments, without what they give there.
fn scopes(assignments: &[Assignment]) -> Grants {
    let mut scopes = Grants::default();
    for one in assignments {
        scopes.add(one.unit_id, PermissionSet::default());
    }
    scopes
}

/// What becomes of a member; none if nothing does.
fn judge(
    standing: &Standing,
    member: MemberId,
    locked: Option<&Locked>,
    (mode, named): (Mode, &[Assignment]),
) -> Result<Option<Differing>> {
    let locked = locked.ok_or(Code::NotFound)?;
    let target = Target::Member { member_id: member, owner: locked.owner, units: &locked.units, held: &locked.held };
    standing.may(Action::AssignRoles, target)?;
    let before = &locked.assignments;
    let mut after: Vec<Assignment> = match mode {
        Mode::Set => named.to_vec(),
        Mode::Add => distinct(&[before.as_slice(), named].concat()),
        Mode::Remove => before.iter().copied().filter(|one| !named.contains(one)).collect(),
    };
    after.sort_unstable();
    if after == *before {
        return Ok(None);
    }
    let taken: Vec<Assignment> = before.iter().copied().filter(|one| !after.contains(one)).collect();
    standing.may(Action::AssignRoles, Target::Grant(&scopes(&taken)))?;
    let owned = locked.owner && !after.contains(&Assignment::wide(SystemRole::Administrator.id()));
    match after.len() {
        _ if owned => Err(Code::OwnerProtected.into()),
        0 => Err(Code::RoleRequired.into()),
        1..=MAX_ROLES => Ok(Some(Differing { member, before: before.clone(), after })),
        _ => Err(Code::TooMany.into()),
    }
}

/// Writes what differs, of all members in one statement.
async fn write(change: &mut Change, standing: &Standing, differing: &[Differing]) -> Result<()> {
    if differing.is_empty() {
        return Ok(());
    }
    let (account, now) = (change.account(), change.now());
    let members: Vec<Uuid> = differing.iter().map(|one| one.member.0).collect();
    let all = differing.iter().flat_map(|one| one.after.iter().map(|assignment| (one.member.0, *assignment)));
    let (owners, assignments): (Vec<Uuid>, Vec<Assignment>) = all.unzip();
    let (roles, units) = columns(&assignments);
    // From now on the actor is answerable for what open invitations of theirs grant.
    sqlx::query!(
        "WITH wanted AS (SELECT * FROM unnest($3::uuid[], $4::uuid[], $5::uuid[]) w(member_id, role_id, unit_id)),
              gone AS (DELETE FROM member_role a WHERE a.account_id = $1 AND a.member_id = ANY($2)
                       AND (a.member_id, a.role_id, a.unit_id) NOT IN (SELECT * FROM wanted)),
              answerable AS (UPDATE invitation SET invited_by = $7
                             WHERE account_id = $1 AND member_id = ANY($2) AND finished_at IS NULL)
         INSERT INTO member_role (account_id, member_id, role_id, unit_id, assigned_at)
         SELECT $1, member_id, role_id, unit_id, $6 FROM wanted ON CONFLICT DO NOTHING",
        account.0,
        &members,
        &owners,
        &roles,
        &units,
        now,
        standing.member_id.0,
    )
    .execute(change.conn())
    .await?;
    change.rights_changed();
    for one in differing {
        let detail = json!({ "before": ids(&one.before), "after": ids(&one.after),
                             "unitRoles": { "before": limited(&one.before), "after": limited(&one.after) } });
        change.record(NewEvent::new(EventKind::MemberRolesChanged).subject(one.member.0).detail(detail));
    }
    Ok(())
}

/// Roles for the whole account.
fn ids(assignments: &[Assignment]) -> Vec<RoleId> {
    assignments.iter().filter(|one| one.unit().is_none()).map(|one| one.role_id).collect()
}

/// Roles within units.
fn limited(assignments: &[Assignment]) -> Vec<Assignment> {
    assignments.iter().copied().filter(|one| one.unit().is_some()).collect()
}

/// Assignments as columns for a statement.
pub(crate) fn columns(assignments: &[Assignment]) -> (Vec<Uuid>, Vec<Uuid>) {
    assignments.iter().map(|one| (one.role_id.0, one.unit_id.0)).unzip()
}
