//! What assignments of roles give: permissions for the whole account, and permissions within units.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Code, Refused, Result};
use crate::id::{AccountId, MemberId, RoleId, UnitId};
use crate::permission::{Permission, PermissionSet, SystemRole};

/// The scope of an assignment that covers the whole account.
pub const WHOLE_ACCOUNT: UnitId = UnitId(Uuid::nil());

/// A role, for the whole account or within a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The role.
    pub role_id: RoleId,
    /// The unit, or [`WHOLE_ACCOUNT`].
    pub unit_id: UnitId,
}

impl Assignment {
    /// A role for the whole account.
    pub const fn wide(role_id: RoleId) -> Self {
        Self { role_id, unit_id: WHOLE_ACCOUNT }
    }

    /// The unit it is limited to, if it is.
    pub fn unit(self) -> Option<UnitId> {
        (self.unit_id != WHOLE_ACCOUNT).then_some(self.unit_id)
    }
}

/// Administrative permissions by scope. A scope without permissions is one that has an assignment all the same: its holder belongs
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<UnitId, PermissionSet>);

/// Where somebody holds a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the whole account.
    Everywhere,
    /// In these units only.
    Units(Vec<UnitId>),
    /// Not at all.
    Nowhere,
}

impl Reach {
    /// Whether it takes in something that belongs to these units; what belongs to none is taken in by the whole account only.
    pub fn includes(&self, units: &[UnitId]) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Units(list) => units.iter().any(|unit| list.contains(unit)),
            Self::Nowhere => false,
        }
    }

    /// For statements: whether it is everywhere, and the units otherwise.
    pub fn parts(&self) -> (bool, Vec<Uuid>) {
        match self {
            Self::Everywhere => (true, Vec::new()),
            Self::Units(units) => (false, units.iter().map(|unit| unit.0).collect()),
            Self::Nowhere => (false, Vec::new()),
        }
    }
}

impl Grants {
    /// For the whole account.
    pub fn wide_only(permissions: PermissionSet) -> Self {
        Self(BTreeMap::from([(WHOLE_ACCOUNT, permissions)]))
    }

    /// Adds what an assignment gives. What covers the whole account by its nature gives nothing within a unit.
    pub fn add(&mut self, scope: UnitId, permissions: PermissionSet) {
        let permissions = if scope == WHOLE_ACCOUNT { permissions } else { permissions.within_unit() };
        self.0.entry(scope).or_default().extend(permissions);
    }

    /// Adds all that others give.
    pub fn extend(&mut self, other: &Self) {
        other.scopes().for_each(|(scope, permissions)| self.add(scope, permissions));
    }

    /// What is held for the whole account.
    pub fn wide(&self) -> PermissionSet {
        self.0.get(&WHOLE_ACCOUNT).copied().unwrap_or_default()
    }

    /// Whether any role covers the whole account, were it one without permissions.
    pub fn belongs_everywhere(&self) -> bool {
        self.0.contains_key(&WHOLE_ACCOUNT)
    }

    /// The units that roles are limited to.
    pub fn units(&self) -> impl Iterator<Item = UnitId> {
        self.0.keys().copied().filter(|unit| *unit != WHOLE_ACCOUNT)
    }

    /// All scopes with what is held there by an assignment of that very scope.
    pub fn scopes(&self) -> impl Iterator<Item = (UnitId, PermissionSet)> {
        self.0.iter().map(|(scope, permissions)| (*scope, *permissions))
    }

    /// What is held in a scope: by assignments there, and by those for the whole account.
    pub fn within(&self, scope: UnitId) -> PermissionSet {
        let mut all = self.wide();
        all.extend(self.0.get(&scope).copied().unwrap_or_default());
        all
    }

    /// Where any of these permissions is held.
    pub fn reach(&self, wanted: &[Permission]) -> Reach {
        let any = |permissions: PermissionSet| wanted.iter().any(|permission| permissions.holds(*permission));
        if any(self.wide()) {
            return Reach::Everywhere;
        }
        let units: Vec<UnitId> = self.scopes().filter(|(_, held)| any(*held)).map(|(unit, _)| unit).collect();
        if units.is_empty() { Reach::Nowhere } else { Reach::Units(units) }
    }

    /// What `other` holds somewhere and this does not hold there, each permission once, in the order of the catalogue.
    pub fn missing(&self, other: &Self) -> Vec<Permission> {
        let mut missing = PermissionSet::default();
        for (scope, held) in other.scopes() {
            self.within(scope).missing(held).into_iter().for_each(|permission| missing.insert(permission));
        }
        missing.iter().collect()
    }

    /// Whether all that `other` holds is held here as well, now and later.
    pub fn covers(&self, other: &Self) -> bool {
        other.scopes().all(|(scope, held)| self.within(scope).covers(held))
    }
}

/// What members hold; those without any assignment are in it with nothing. Assignments limited to archived units count for nothing.
pub async fn of_members(
    conn: &mut PgConnection,
    account: AccountId,
    members: &[MemberId],
) -> sqlx::Result<BTreeMap<MemberId, Grants>> {
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT a.member_id AS "member_id: MemberId", a.unit_id AS "unit_id: UnitId", a.role_id = $3 AS "everything!",
                  array_agg(p.permission) FILTER (WHERE p.permission IS NOT NULL) AS keys
           FROM member_role a
           LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
           LEFT JOIN role_permission p ON p.account_id = a.account_id AND p.role_id = a.role_id
           WHERE a.account_id = $1 AND a.member_id = ANY($2) AND u.archived_at IS NULL
           GROUP BY 1, 2, 3"#,
        account.0,
        &ids,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await?;
    let mut held: BTreeMap<MemberId, Grants> = members.iter().map(|member| (*member, Grants::default())).collect();
    for row in rows {
        let set = super::permission_set(row.everything, &row.keys.unwrap_or_default());
        held.entry(row.member_id).or_default().add(row.unit_id, set);
    }
    Ok(held)
}

/// What some assignments give together.
///
/// # Errors
/// NOT_FOUND at the position of a role or a unit that does not exist in the account; ARCHIVED at one that is archived.
pub async fn of_assignments(conn: &mut PgConnection, account: AccountId, assignments: &[Assignment]) -> Result<Grants> {
    let roles: Vec<Uuid> = assignments.iter().map(|one| one.role_id.0).collect();
    let units: Vec<Uuid> = assignments.iter().map(|one| one.unit_id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT w.ord AS "ord!", r.role_id IS NOT NULL AS "role_known!", r.archived_at IS NOT NULL AS "role_archived!",
                  w.unit_id = $4 OR u.unit_id IS NOT NULL AS "unit_known!", u.archived_at IS NOT NULL AS "unit_archived!",
                  ARRAY(SELECT p.permission FROM role_permission p WHERE p.account_id = r.account_id AND p.role_id = r.role_id) AS "keys!"
           FROM unnest($2::uuid[], $3::uuid[]) WITH ORDINALITY w(role_id, unit_id, ord)
           LEFT JOIN role r ON r.account_id = $1 AND r.role_id = w.role_id
           LEFT JOIN unit u ON u.account_id = $1 AND u.unit_id = w.unit_id
           ORDER BY w.ord"#,
        account.0,
        &roles,
        &units,
        WHOLE_ACCOUNT.0,
    )
    .fetch_all(conn)
    .await?;
    let mut grants = Grants::default();
    for (index, (row, assignment)) in rows.iter().zip(assignments).enumerate() {
        let refuse = |code, what: &str| Err(refused_assignment(code, assignment, assignments, index, what).into());
        match row {
            row if !row.role_known => return refuse(Code::NotFound, "roleId"),
            row if !row.unit_known => return refuse(Code::NotFound, "unitId"),
            row if row.role_archived => return refuse(Code::Archived, "roleId"),
            row if row.unit_archived => return refuse(Code::Archived, "unitId"),
            row => {
                let everything = assignment.role_id == SystemRole::Administrator.id();
                grants.add(assignment.unit_id, super::permission_set(everything, &row.keys));
            }
        }
    }
    Ok(grants)
}

/// What each of some roles gives where it is assigned for the whole account. Those that are archived or unknown are not in it.
pub async fn of_roles(
    conn: &mut PgConnection,
    account: AccountId,
    roles: &[RoleId],
) -> sqlx::Result<HashMap<RoleId, Grants>> {
    let ids: Vec<Uuid> = roles.iter().map(|role| role.0).collect();
    let rows = sqlx::query!(
        r#"SELECT r.role_id AS "role_id: RoleId", r.role_id = $3 AS "everything!",
                  ARRAY(SELECT p.permission FROM role_permission p WHERE p.account_id = r.account_id AND p.role_id = r.role_id) AS "keys!"
           FROM role r WHERE r.account_id = $1 AND r.role_id = ANY($2) AND r.archived_at IS NULL"#,
        account.0,
        &ids,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await?;
    let given = rows.iter().map(|row| {
        let permissions = super::permission_set(row.everything, &row.keys);
        (row.role_id, Grants::wide_only(permissions))
    });
    Ok(given.collect())
}

/// The place of an assignment in the input: account-wide roles stand in `roleIds`, those limited to units after them in `unitRoles`.
fn refused_assignment(code: Code, of: &Assignment, all: &[Assignment], index: usize, what: &str) -> Refused {
    if of.unit().is_none() {
        return Refused::new(code).at(index).at("roleIds");
    }
    let before = all.iter().filter(|one| one.unit().is_none()).count();
    Refused::new(code).at(what).at(index - before).at("unitRoles")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(permissions: &[Permission]) -> PermissionSet {
        let mut set = PermissionSet::default();
        for permission in permissions {
            set.insert(*permission);
        }
        set
    }

    #[test]
    fn a_unit_is_covered_by_the_account_and_not_the_other_way_round() {
        let unit = UnitId::new();
        let wide = Grants::wide_only(set(&[Permission::MembersRead]));
        let mut limited = Grants::default();
        limited.add(unit, set(&[Permission::MembersRead, Permission::LicensesRead]));
        assert!(wide.covers(&limited), "what is account-wide gives nothing within a unit");
        assert_eq!(limited.missing(&wide), [Permission::MembersRead]);
        assert_eq!(limited.reach(&[Permission::MembersRead]), Reach::Units(vec![unit]));
        assert_eq!(limited.reach(&[Permission::LicensesRead]), Reach::Nowhere);
        assert_eq!(wide.reach(&[Permission::MembersRead]), Reach::Everywhere);
    }

    #[test]
    fn an_administrator_of_a_unit_is_none_of_the_account() {
        let (one, other) = (UnitId::new(), UnitId::new());
        let mut limited = Grants::default();
        limited.add(one, PermissionSet::EVERYTHING);
        let mut greater = limited.clone();
        assert!(limited.covers(&greater));
        greater.add(other, PermissionSet::EVERYTHING);
        assert!(!limited.covers(&greater) && greater.covers(&limited));
        assert!(!limited.covers(&Grants::wide_only(PermissionSet::EVERYTHING)));
        assert!(Grants::wide_only(PermissionSet::EVERYTHING).covers(&greater));
    }
}
