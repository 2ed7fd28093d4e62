//! Roles.

use async_graphql::{ComplexObject, Context, ID, InputObject, Result, SimpleObject};
use domain::actor::{Action, Actor, Assignment, Reach, Target};
use domain::error::Code;
use domain::id::RoleId;
use domain::member;
use domain::permission::SystemRole;
use domain::role;

use super::context::{ContextExt as _, parse_id, parse_ids};
use super::error::failed;
use super::loader::UsageOf;
use super::scalar::DateTime;
use super::verdict::Verdict;

pub mod assign;
pub mod manage;

/// A named set of permissions.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Role {
    #[graphql(skip)]
    inner: RoleId,
    /// Opaque id. System roles have the same in every account.
    pub id: ID,
    /// As people see it.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// Key of a system role, like `ADMINISTRATOR`; null for a custom one.
    system_key: Option<String>,
    /// Keys of the permissions it holds, in the order of the query `permissions`.
    permissions: Vec<String>,
    /// Grows with each change, for `expectedVersion`.
    version: i32,
    /// Since when it can no longer be given; null for one that can.
    archived_at: Option<DateTime>,
}

impl From<role::Role> for Role {
    fn from(role: role::Role) -> Self {
        Self {
            inner: role.role_id,
            id: role.role_id.to_string().into(),
            name: role.name,
            description: role.description,
            system_key: role.system_key,
            permissions: role.permissions,
            version: role.version,
            archived_at: role.archived_at.map(Into::into),
        }
    }
}

#[ComplexObject]
impl Role {
    /// Where it is used; null without `members.read` for the whole account.
    async fn usage(&self, ctx: &Context<'_>) -> Option<Result<RoleUsage>> {
        if ctx.viewer()?.reach(Action::ReadMembers) != Reach::Everywhere {
            return None;
        }
        let loaded =
            async { ctx.loader()?.load_one(UsageOf(self.inner)).await.map_err(|e| super::loader::top_level(&e)) };
        let loaded = loaded.await.map(Option::unwrap_or_default);
        Some(loaded.map(|usage| RoleUsage {
            members_count: count(usage.members),
            invitations_count: count(usage.invitations),
        }))
    }

    /// Whether the viewer may change and archive it.
    async fn viewer_can_manage(&self, ctx: &Context<'_>) -> Option<Verdict> {
        let actor = ctx.viewer()?;
        Some(match self.system_key {
            Some(_) if actor.can(Action::ManageRoles) => Verdict::no(Code::SystemRole),
            _ => self.comparison(actor, Action::ManageRoles),
        })
    }

    /// Whether the viewer may give it to members, for the whole account.
    async fn viewer_can_assign(&self, ctx: &Context<'_>) -> Option<Verdict> {
        let actor = ctx.viewer()?;
        let archived = self.archived_at.is_some() && actor.can(Action::AssignRoles);
        Some(if archived { Verdict::no(Code::Archived) } else { self.comparison(actor, Action::AssignRoles) })
    }
}

impl Role {
    /// The rule that nobody gives what they do not hold.
    fn comparison(&self, actor: &Actor, action: Action) -> Verdict {
        let given = role::grants(self.inner, &self.permissions);
        actor.may(action, Target::Grant(&given)).into()
    }
}

/// How much a role is used.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct RoleUsage {
    /// Members who have it.
    members_count: i32,
    /// Open invitations that will give it.
    invitations_count: i32,
}

/// A count as GraphQL has it.
pub(super) fn count(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
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

/// Reads roles of the viewer's account, by name.
pub async fn read(ctx: &Context<'_>, filter: role::Filter<'_>) -> Result<Vec<Role>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let roles = role::read(&mut conn, actor.account_id, filter).await.map_err(failed)?;
    Ok(roles.into_iter().map(Role::from).collect())
}

/// Reads roles by id for `nodes`.
pub async fn read_many(ctx: &Context<'_>, ids: &[RoleId]) -> Result<Vec<Role>> {
    read(ctx, role::Filter { ids: Some(ids), archived: None }).await
}
