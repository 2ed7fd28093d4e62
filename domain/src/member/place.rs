//! Where somebody belongs: their roles, units and groups. An invitation or an import gives all of them at once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use uuid::Uuid;

use crate::actor::{Action, Assignment, Grants, Reach, Standing, Target, of_assignments};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result};
use crate::id::{GroupId, MemberId, RoleId, UnitId};
use crate::permission::PermissionSet;

/// Roles a member may have, each of them for the whole account or a unit.
pub(crate) const MAX_ROLES: usize = 20;
/// Units, and groups, that can be named at once for one person.
const MAX_PLACES: usize = 100;

/// What somebody is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Roles: those for the whole account first, then those limited to units.
    pub assignments: Vec<Assignment>,
    /// Units they belong to.
    pub units: Vec<UnitId>,
    /// Groups they are in.
    pub groups: Vec<GroupId>,
}

impl Place {
    /// Roles for the whole account and nothing else.
    pub fn with_roles(roles: impl IntoIterator<Item = RoleId>) -> Self {
        Self { assignments: roles.into_iter().map(Assignment::wide).collect(), ..Self::default() }
    }

    /// Each role, unit and group once, in the order asked for.
    ///
    /// # Errors
    /// ROLE_REQUIRED and TOO_MANY, at `roleIds`, `unitIds`, `groupIds`.
    pub(crate) fn distinct(&self) -> Result<Self> {
        let place = Self {
            assignments: distinct(&self.assignments),
            units: distinct(&self.units),
            groups: distinct(&self.groups),
        };
        let refuse = |code, field: &str| Err(Refused::new(code).at(field).into());
        match (place.assignments.len(), place.units.len(), place.groups.len()) {
            (0, ..) => refuse(Code::RoleRequired, "roleIds"),
            (roles, ..) if roles > MAX_ROLES => refuse(Code::TooMany, "roleIds"),
            (_, units, _) if units > MAX_PLACES => refuse(Code::TooMany, "unitIds"),
            (.., groups) if groups > MAX_PLACES => refuse(Code::TooMany, "groupIds"),
            _ => Ok(place),
        }
    }

    /// The ids of the roles for the whole account.
    pub(crate) fn roles(&self) -> Vec<RoleId> {
        self.assignments.iter().filter(|one| one.unit().is_none()).map(|one| one.role_id).collect()
    }

    /// The roles within units.
    pub(crate) fn limited(&self) -> Vec<Assignment> {
        self.assignments.iter().copied().filter(|one| one.unit().is_some()).collect()
    }
}

pub(crate) fn distinct<T: Copy + Eq + Hash>(all: &[T]) -> Vec<T> {
    let mut seen = HashSet::new();
    all.iter().copied().filter(|one| seen.insert(*one)).collect()
}

/// Whether somebody may be given a place by an action: everything in it exists, and is the actor's to give. Whoever acts within
/// units only must say which of them the person belongs to.
///
/// # Errors
/// NOT_FOUND, ARCHIVED, NOT_PERMITTED, UNIT_REQUIRED at `roleIds`, `unitRoles`, `unitIds`, `groupIds`.
pub(crate) async fn may_give(
    change: &mut Change,
    standing: &Standing,
    action: Action,
    place: &Place,
) -> Result<Grants> {
    let account = change.account();
    let given = of_assignments(change.conn(), account, &place.assignments).await?;
    let field = if place.assignments.iter().any(|one| one.unit().is_some()) { "unitRoles" } else { "roleIds" };
    standing.may(action, Target::Grant(&given)).at(field)?;
    check_units(change, &place.units).await.at("unitIds")?;
    let mut of_units = Grants::default();
    for unit in &place.units {
        of_units.add(*unit, PermissionSet::default());
    }
    standing.may(action, Target::Grant(&of_units)).at("unitIds")?;
    let limited = matches!(standing.rights.grants.reach(action.permissions()), Reach::Units(_));
    if limited && place.units.is_empty() {
        return Err(Refused::new(Code::UnitRequired).at("unitIds").into());
    }
    if !place.groups.is_empty() {
        standing.may(Action::ManageGroups, Target::Account).at("groupIds")?;
        check_groups(change, &place.groups).await.at("groupIds")?;
    }
    Ok(given)
}

/// Units that exist and are not archived.
pub(crate) async fn check_units(change: &mut Change, units: &[UnitId]) -> Result<()> {
    let account = change.account();
    let ids: Vec<Uuid> = units.iter().map(|unit| unit.0).collect();
    // FOR SHARE waits for whoever archives one of them.
    let rows = sqlx::query!(
        r#"SELECT unit_id, archived_at IS NOT NULL AS "archived!" FROM unit
           WHERE account_id = $1 AND unit_id = ANY($2) ORDER BY unit_id FOR SHARE"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    all_usable(&ids, &rows.into_iter().map(|row| (row.unit_id, row.archived)).collect())
}

/// Groups that exist and are not archived.
pub(crate) async fn check_groups(change: &mut Change, groups: &[GroupId]) -> Result<()> {
    let account = change.account();
    let ids: Vec<Uuid> = groups.iter().map(|group| group.0).collect();
    let rows = sqlx::query!(
        r#"SELECT group_id, archived_at IS NOT NULL AS "archived!" FROM member_group
           WHERE account_id = $1 AND group_id = ANY($2) ORDER BY group_id FOR SHARE"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    all_usable(&ids, &rows.into_iter().map(|row| (row.group_id, row.archived)).collect())
}

/// As [`check_groups`], without locking any: one may be archived the moment after.
pub(crate) async fn look_at_groups(change: &mut Change, groups: &[GroupId]) -> Result<()> {
    let account = change.account();
    let ids: Vec<Uuid> = groups.iter().map(|group| group.0).collect();
    let rows = sqlx::query!(
        r#"SELECT group_id, archived_at IS NOT NULL AS "archived!" FROM member_group WHERE account_id = $1 AND group_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    all_usable(&ids, &rows.into_iter().map(|row| (row.group_id, row.archived)).collect())
}

/// NOT_FOUND or ARCHIVED at the first that cannot be used.
fn all_usable(wanted: &[Uuid], known: &HashMap<Uuid, bool>) -> Result<()> {
    for (index, id) in wanted.iter().enumerate() {
        let code = match known.get(id) {
            Some(false) => continue,
            Some(true) => Code::Archived,
            None => Code::NotFound,
        };
        return Err(Refused::new(code).at(index).into());
    }
    Ok(())
}

/// Gives an invited member another place.
pub(crate) async fn replace(change: &mut Change, member: MemberId, place: &Place) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let (roles, role_units) = super::columns(&place.assignments);
    let units: Vec<Uuid> = place.units.iter().map(|unit| unit.0).collect();
    let groups: Vec<Uuid> = place.groups.iter().map(|group| group.0).collect();
    sqlx::query!(
        "WITH roles_gone AS (DELETE FROM member_role WHERE account_id = $1 AND member_id = $2
                             AND (role_id, unit_id) NOT IN (SELECT * FROM unnest($4::uuid[], $5::uuid[]))),
              units_gone AS (DELETE FROM member_unit WHERE account_id = $1 AND member_id = $2 AND unit_id <> ALL($6)),
              groups_gone AS (DELETE FROM group_member WHERE account_id = $1 AND member_id = $2 AND group_id <> ALL($7)),
              units AS (INSERT INTO member_unit (account_id, member_id, unit_id, added_at)
                        SELECT $1, $2, unnest($6::uuid[]), $3 ON CONFLICT DO NOTHING),
              groups AS (INSERT INTO group_member (account_id, member_id, group_id, added_at)
                         SELECT $1, $2, unnest($7::uuid[]), $3 ON CONFLICT DO NOTHING)
         INSERT INTO member_role (account_id, member_id, role_id, unit_id, assigned_at)
         SELECT $1, $2, w.role_id, w.unit_id, $3 FROM unnest($4::uuid[], $5::uuid[]) w(role_id, unit_id) ON CONFLICT DO NOTHING",
        account.0,
        member.0,
        now,
        &roles,
        &role_units,
        &units,
        &groups,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Writes the places of new members, in one statement.
pub(crate) async fn insert(change: &mut Change, places: &[(MemberId, &Place)]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let (mut role_members, mut roles, mut role_units) = (Vec::new(), Vec::new(), Vec::new());
    let (mut unit_members, mut units, mut group_members, mut groups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (member, place) in places {
        for one in &place.assignments {
            role_members.push(member.0);
            roles.push(one.role_id.0);
            role_units.push(one.unit_id.0);
        }
        for unit in &place.units {
            unit_members.push(member.0);
            units.push(unit.0);
        }
        for group in &place.groups {
            group_members.push(member.0);
            groups.push(group.0);
        }
    }
    sqlx::query!(
        "WITH u AS (INSERT INTO member_unit (account_id, member_id, unit_id, added_at)
                    SELECT $1, w.member_id, w.unit_id, $2 FROM unnest($6::uuid[], $7::uuid[]) w(member_id, unit_id)),
              g AS (INSERT INTO group_member (account_id, member_id, group_id, added_at)
                    SELECT $1, w.member_id, w.group_id, $2 FROM unnest($8::uuid[], $9::uuid[]) w(member_id, group_id))
         INSERT INTO member_role (account_id, member_id, role_id, unit_id, assigned_at)
         SELECT $1, w.member_id, w.role_id, w.unit_id, $2
         FROM unnest($3::uuid[], $4::uuid[], $5::uuid[]) w(member_id, role_id, unit_id)",
        account.0,
        now,
        &role_members,
        &roles,
        &role_units,
        &unit_members,
        &units,
        &group_members,
        &groups,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
