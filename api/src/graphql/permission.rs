//! The catalogue of permissions, and why somebody holds one.

use async_graphql::{Context, Enum, ID, Result, SimpleObject};
use domain::access::{self, Obstacle, Question, Source};
use domain::permission::{self, HOST_PREFIX};

use super::context::{ContextExt as _, parse_id};
use super::error::{ErrorCode, failed, top_level};

/// Something that a role can allow.
#[derive(SimpleObject, Clone, Debug)]
pub struct Permission {
    /// `area.action`; those that the host product declared begin with `app.`.
    key: String,
    /// What it allows, as a sentence.
    description: String,
    /// Whether the host product declared it.
    is_host: bool,
    /// Whether it covers the whole account and so grants nothing within a unit.
    account_wide: bool,
    /// Whether only the account's owner holds it, without any role.
    owner_only: bool,
    /// Keys without which no role may hold it.
    prerequisites: Vec<String>,
}

impl From<permission::Declared> for Permission {
    fn from(declared: permission::Declared) -> Self {
        Self {
            is_host: declared.key.starts_with(HOST_PREFIX),
            key: declared.key,
            description: declared.description,
            account_wide: declared.account_wide,
            owner_only: declared.owner_only,
            prerequisites: declared.prerequisites,
        }
    }
}

/// Reads the catalogue.
pub async fn read(ctx: &Context<'_>) -> Result<Vec<Permission>> {
    ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let all = permission::read(&mut conn).await.map_err(failed)?;
    Ok(all.into_iter().map(Permission::from).collect())
}

/// How something is granted.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessSourceKind {
    /// By a role, for the whole account or within a unit.
    Role,
    /// Because the account is theirs.
    Ownership,
    /// The resource is open to everybody in the account.
    OpenToAll,
    /// They are responsible for the resource.
    Responsible,
    /// The resource is open to them by name.
    Direct,
    /// The resource is open to a group they are in.
    Group,
}

/// Something that grants a permission or opens a resource.
#[derive(SimpleObject, Clone, Debug)]
pub struct AccessSource {
    /// How.
    kind: AccessSourceKind,
    /// The role, if it is one.
    role_id: Option<ID>,
    /// The group, if it is one.
    group_id: Option<ID>,
    /// Name of the role or the group.
    name: Option<String>,
    /// The unit that the role is limited to.
    unit_id: Option<ID>,
    /// Name of the unit.
    unit_name: Option<String>,
}

impl From<Source> for AccessSource {
    fn from(source: Source) -> Self {
        let plain = |kind| Self { kind, role_id: None, group_id: None, name: None, unit_id: None, unit_name: None };
        match source {
            Source::Role { role_id, name, unit } => Self {
                role_id: Some(role_id.to_string().into()),
                name: Some(name),
                unit_id: unit.as_ref().map(|(id, _)| id.to_string().into()),
                unit_name: unit.map(|(_, name)| name),
                ..plain(AccessSourceKind::Role)
            },
            Source::Group { group_id, name } => {
                Self { group_id: Some(group_id.to_string().into()), name: Some(name), ..plain(AccessSourceKind::Group) }
            }
            Source::Ownership => plain(AccessSourceKind::Ownership),
            Source::OpenToAll => plain(AccessSourceKind::OpenToAll),
            Source::Responsible => plain(AccessSourceKind::Responsible),
            Source::Direct => plain(AccessSourceKind::Direct),
        }
    }
}

/// What stands in the way.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessObstacleCode {
    /// The member is not active.
    MemberNotActive,
    /// The membership begins on a later day.
    NotYetValid,
    /// The membership's last day is over.
    ValidityOver,
    /// No role of theirs holds the permission.
    NoRole,
    /// Only the account's owner holds the permission.
    OwnerOnly,
    /// A role of theirs is limited to a unit that the resource does not belong to.
    OtherUnit,
    /// A role of theirs is limited to a unit that is archived.
    UnitArchived,
    /// A role of theirs is limited to a unit, and the permission covers the whole account.
    AccountWide,
    /// The resource is not open to them.
    ResourceNotOpen,
    /// The resource is archived.
    ResourceArchived,
}

/// Something that would have to change.
#[derive(SimpleObject, Clone, Debug)]
pub struct AccessObstacle {
    /// What, for programs.
    code: AccessObstacleCode,
    /// What, and what would help, for people, in English.
    message: String,
}

impl From<Obstacle> for AccessObstacle {
    fn from(obstacle: Obstacle) -> Self {
        use AccessObstacleCode as Code;
        let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let (code, message) = match obstacle {
            Obstacle::NotActive(status) => {
                (Code::MemberNotActive, format!("The member is {}.", status.as_str().to_lowercase()))
            }
            Obstacle::NotYetValid(from) => (Code::NotYetValid, format!("The membership begins on {}.", from.0)),
            Obstacle::ValidityOver(until) => (Code::ValidityOver, format!("The membership ended with {}.", until.0)),
            Obstacle::NoRole(roles) => {
                (Code::NoRole, format!("No role of theirs holds the permission. Roles that do: {}.", list(roles)))
            }
            Obstacle::OwnerOnly => (Code::OwnerOnly, "Only the account's owner holds the permission.".to_owned()),
            Obstacle::OtherUnit(unit) => (
                Code::OtherUnit,
                format!("Their role is limited to {unit}, and the resource does not belong to that unit."),
            ),
            Obstacle::UnitArchived(unit) => {
                (Code::UnitArchived, format!("Their role is limited to {unit}, which is archived."))
            }
            Obstacle::AccountWide(unit) => (
                Code::AccountWide,
                format!("Their role is limited to {unit}, and the permission covers the whole account."),
            ),
            Obstacle::NotOpen(groups) => (
                Code::ResourceNotOpen,
                format!("The resource is not open to them. Groups it is open to: {}.", list(groups)),
            ),
            Obstacle::ResourceArchived => (Code::ResourceArchived, "The resource is archived.".to_owned()),
        };
        Self { code, message }
    }
}

/// Why somebody may, or may not, do something.
#[derive(SimpleObject, Clone, Debug)]
pub struct AccessExplanation {
    /// Whether they may; without a resource: anywhere.
    granted: bool,
    /// What grants the permission, in the scope that is asked about.
    permission_sources: Vec<AccessSource>,
    /// What opens the resource to them; empty if none was named. A permission of the host product needs this besides.
    resource_sources: Vec<AccessSource>,
    /// What is missing; empty if they may.
    missing: Vec<AccessObstacle>,
}

/// Explains what a member may do; none for a member or a resource that the viewer may not know of.
pub async fn explain(
    ctx: &Context<'_>,
    member: &ID,
    key: &str,
    resource: Option<&ID>,
) -> Result<Option<AccessExplanation>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let question = Question { member: parse_id(member), permission: key, resource: resource.map(parse_id) };
    let explained = match access::explain(&mut conn, actor, question).await {
        Ok(explained) => explained,
        Err(error) => return unless_absent(error),
    };
    let sources = |sources: Vec<Source>| sources.into_iter().map(AccessSource::from).collect();
    Ok(Some(AccessExplanation {
        granted: explained.granted,
        permission_sources: sources(explained.permission),
        resource_sources: sources(explained.resource),
        missing: explained.obstacles.into_iter().map(AccessObstacle::from).collect(),
    }))
}

/// Null for what is not there; an unknown permission is the client's fault.
fn unless_absent<T>(error: domain::error::Error) -> Result<Option<T>> {
    use domain::error::{Code, Error};
    match &error {
        Error::Refused(list) if list.iter().any(|refused| refused.code == Code::NotFound) => Ok(None),
        Error::Refused(list) if list.iter().any(|refused| refused.code == Code::UnknownPermission) => {
            Err(ErrorCode::BadUserInput.error(Code::UnknownPermission.sentence()))
        }
        _ => Err(top_level(error)),
    }
}
