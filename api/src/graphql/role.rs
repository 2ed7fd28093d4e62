//! Roles.

use async_graphql::{Context, ID, InputObject, Result, SimpleObject};
use domain::actor::Assignment;
use domain::id::RoleId;
use domain::member;
use domain::permission::SystemRole;
use domain::role;

use super::context::{ContextExt as _, parse_id, parse_ids};
use super::error::failed;

/// A named set of permissions.
#[derive(SimpleObject, Clone, Debug)]
pub struct Role {
    /// Opaque id. System roles have the same in every account.
    pub id: ID,
    /// As people see it.
    name: String,
    /// Key of a system role, like `ADMINISTRATOR`; null for a custom one.
    system_key: Option<String>,
    /// Keys of the permissions it holds.
    permissions: Vec<String>,
}

impl From<role::Role> for Role {
    fn from(role: role::Role) -> Self {
        Self {
            id: role.role_id.to_string().into(),
            name: role.name,
            system_key: role.system_key,
            permissions: role.permissions.iter().map(|permission| permission.key().to_owned()).collect(),
        }
    }
}

/// A role within a unit.
#[derive(InputObject, Clone, Debug)]
pub struct UnitRoleInput {
    /// The role.
    role_id: ID,
    /// The unit it is limited to.
    unit_id: ID,
}

/// Roles for the whole account, then those within units: the order in which refusals name them.
pub fn assignments(wide: &[ID], limited: &[UnitRoleInput]) -> Vec<Assignment> {
    let wide = parse_ids::<RoleId>(wide).into_iter().map(Assignment::wide);
    let limited =
        limited.iter().map(|one| Assignment { role_id: parse_id(&one.role_id), unit_id: parse_id(&one.unit_id) });
    wide.chain(limited).collect()
}

/// A role that a member has.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberRole {
    #[graphql(skip)]
    inner: RoleId,
    /// Id of the role.
    role_id: ID,
    /// As people see it.
    name: String,
    /// Key of a system role; null for a custom one.
    system_key: Option<String>,
    /// The unit it is limited to; null for the whole account.
    unit: Option<MemberUnit>,
}

impl MemberRole {
    /// Whether it is this system role, for the whole account.
    pub fn is_wide(&self, role: SystemRole) -> bool {
        self.inner == role.id() && self.unit.is_none()
    }
}

/// A unit that a member belongs to, or that a role of theirs is limited to.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberUnit {
    /// Id of the unit.
    unit_id: ID,
    /// As people see it.
    name: String,
    /// Whether it is archived: a role that is limited to it gives nothing then.
    is_archived: bool,
}

impl From<member::MemberUnit> for MemberUnit {
    fn from(unit: member::MemberUnit) -> Self {
        Self { unit_id: unit.unit_id.to_string().into(), name: unit.name, is_archived: unit.archived }
    }
}

/// A group that a member is in.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberGroup {
    /// Id of the group.
    group_id: ID,
    /// As people see it.
    name: String,
}

impl From<member::MemberGroup> for MemberGroup {
    fn from(group: member::MemberGroup) -> Self {
        Self { group_id: group.group_id.to_string().into(), name: group.name }
    }
}

impl From<member::MemberRole> for MemberRole {
    fn from(role: member::MemberRole) -> Self {
        Self {
            inner: role.role_id,
            role_id: role.role_id.to_string().into(),
            name: role.name,
            system_key: role.system_key,
            unit: role.unit.map(MemberUnit::from),
        }
    }
}

/// Reads roles of the viewer's account: all, or some by id.
pub async fn read(ctx: &Context<'_>, ids: Option<&[RoleId]>) -> Result<Vec<Role>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let roles = role::read(&mut conn, actor.account_id, ids).await.map_err(failed)?;
    Ok(roles.into_iter().map(Role::from).collect())
}
