//! Why somebody may, or may not, do something: which roles, assignments, units and groups grant it, or what is missing.

use sqlx::PgConnection;

use crate::actor::{Action, Actor, Target};
use crate::error::{Code, Result};
use crate::id::{AccountId, GroupId, MemberId, ResourceId, RoleId, UnitId};
use crate::infra::clock::Date;
use crate::member::Status;
use crate::permission::{Declared, HOST_PREFIX, Permission, SystemRole, read as permissions};

/// Something that grants a permission, or opens a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An assignment of a role: for the whole account, or within a unit.
    Role {
        /// The role.
        role_id: RoleId,
        /// Its name.
        name: String,
        /// The unit it is limited to, with its name.
        unit: Option<(UnitId, String)>,
    },
    /// The account is theirs.
    Ownership,
    /// The resource is open to everybody in the account.
    OpenToAll,
    /// They are responsible for the resource.
    Responsible,
    /// The resource is open to them by name.
    Direct,
    /// The resource is open to a group they are in.
    Group {
        /// The group.
        group_id: GroupId,
        /// Its name.
        name: String,
    },
}

/// Something that would have to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The member is not active.
    NotActive(Status),
    /// The membership begins on a later day.
    NotYetValid(Date),
    /// The membership's last day is over.
    ValidityOver(Date),
    /// No role of theirs holds the permission; these do.
    NoRole(Vec<String>),
    /// Only the owner holds the permission, and they are not.
    OwnerOnly,
    /// A role of theirs is limited to a unit that the resource does not belong to.
    OtherUnit(String),
    /// A role of theirs is limited to a unit that is archived.
    UnitArchived(String),
    /// A role of theirs is limited to a unit, and the permission covers the whole account.
    AccountWide(String),
    /// The resource is not open to them; it is to these groups.
    NotOpen(Vec<String>),
    /// The resource is archived.
    ResourceArchived,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Whether they may.
    pub granted: bool,
    /// What grants the permission.
    pub permission: Vec<Source>,
    /// What opens the resource; empty without one.
    pub resource: Vec<Source>,
    /// What stands in the way; empty if they may.
    pub obstacles: Vec<Obstacle>,
}

/// What is known of a resource and of somebody's way to it.
#[expect(clippy::struct_excessive_bools, reason = "columns of a row")]
struct Way {
    unit_id: Option<UnitId>,
    archived: bool,
    open_to_all: bool,
    responsible: bool,
    direct: bool,
    group_ids: Vec<GroupId>,
    group_names: Vec<String>,
    others: Vec<String>,
}

impl Way {
    fn sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        if self.archived {
            return sources;
        }
        let flags = [
            (self.open_to_all, Source::OpenToAll),
            (self.responsible, Source::Responsible),
            (self.direct, Source::Direct),
        ];
        sources.extend(flags.into_iter().filter(|(holds, _)| *holds).map(|(_, source)| source));
        let groups = self.group_ids.iter().zip(&self.group_names);
        sources.extend(groups.map(|(id, name)| Source::Group { group_id: *id, name: name.clone() }));
        sources
    }
}

async fn way(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    resource: ResourceId,
) -> sqlx::Result<Option<Way>> {
    sqlx::query_as!(
        Way,
        r#"SELECT r.unit_id AS "unit_id: UnitId", r.archived_at IS NOT NULL AS "archived!", r.open_to_all,
                  coalesce(r.responsible_member_id = $2, false) AS "responsible!",
                  EXISTS (SELECT FROM resource_member m WHERE m.account_id = r.account_id AND m.resource_id = r.resource_id
                          AND m.member_id = $2) AS "direct!",
                  ARRAY(SELECT g.group_id FROM resource_group o JOIN member_group g USING (account_id, group_id)
                            JOIN group_member m USING (account_id, group_id)
                        WHERE o.account_id = r.account_id AND o.resource_id = r.resource_id AND m.member_id = $2
                          AND g.archived_at IS NULL ORDER BY g.name, g.group_id) AS "group_ids!: Vec<GroupId>",
                  ARRAY(SELECT g.name FROM resource_group o JOIN member_group g USING (account_id, group_id)
                            JOIN group_member m USING (account_id, group_id)
                        WHERE o.account_id = r.account_id AND o.resource_id = r.resource_id AND m.member_id = $2
                          AND g.archived_at IS NULL ORDER BY g.name, g.group_id) AS "group_names!",
                  ARRAY(SELECT g.name FROM resource_group o JOIN member_group g USING (account_id, group_id)
                        WHERE o.account_id = r.account_id AND o.resource_id = r.resource_id AND g.archived_at IS NULL
                        ORDER BY g.name LIMIT 20) AS "others!"
           FROM resource r WHERE r.account_id = $1 AND r.resource_id = $3"#,
        account.0,
        member.0,
        resource.0,
    )
    .fetch_optional(conn)
    .await
}

/// An assignment of a role that holds the permission.
struct Assigned {
    role_id: RoleId,
    name: String,
    unit_id: Option<UnitId>,
    unit_name: Option<String>,
    unit_archived: bool,
}

async fn assigned(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    key: &str,
) -> sqlx::Result<Vec<Assigned>> {
    sqlx::query_as!(
        Assigned,
        r#"SELECT r.role_id AS "role_id: RoleId", r.name, a.unit_ref AS "unit_id: UnitId", u.name AS "unit_name?",
                  u.archived_at IS NOT NULL AS "unit_archived!"
           FROM member_role a JOIN role r USING (account_id, role_id)
           LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
           WHERE a.account_id = $1 AND a.member_id = $2
             AND (a.role_id = $4 OR EXISTS (SELECT FROM role_permission p WHERE p.account_id = a.account_id
                                            AND p.role_id = a.role_id AND p.permission = $3))
           ORDER BY a.unit_ref NULLS FIRST, r.name"#,
        account.0,
        member.0,
        key,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await
}

/// The permission with this key.
///
/// # Errors
/// UNKNOWN_PERMISSION.
async fn declared(conn: &mut PgConnection, key: &str) -> Result<Declared> {
    let found = permissions(conn).await?.into_iter().find(|permission| permission.key == key);
    found.ok_or_else(|| Code::UnknownPermission.into())
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub member: MemberId,
    /// Key of the permission.
    pub permission: &'a str,
    /// On what; none for the permission as such.
    pub resource: Option<ResourceId>,
}

/// Explains what a member may do. Everybody may ask it of themselves, readers of members of those they may see. With a resource, a
/// permission of the host product needs a way to the resource besides, an administrative one only the scope that the resource is in.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND for a member or a resource, UNKNOWN_PERMISSION.
pub async fn explain(conn: &mut PgConnection, actor: &Actor, question: Question<'_>) -> Result<Explanation> {
    let (account, member) = (actor.account_id, question.member);
    if member != actor.member_id {
        actor.may(Action::ReadMembers, Target::Anywhere)?;
    }
    let Place { status, owner, not_before, not_after } = place(conn, actor, member).await?;
    let permission = declared(conn, question.permission).await?;
    let way = match question.resource {
        Some(resource) => Some(way(conn, account, member, resource).await?.ok_or(Code::NotFound)?),
        None => None,
    };
    let mut obstacles = Vec::new();
    if status != Status::Active {
        obstacles.push(Obstacle::NotActive(status));
    }
    obstacles.extend(not_before.map(Obstacle::NotYetValid));
    obstacles.extend(not_after.map(Obstacle::ValidityOver));
    let sources = if permission.owner_only {
        if !owner {
            obstacles.push(Obstacle::OwnerOnly);
        }
        Vec::from_iter(owner.then_some(Source::Ownership))
    } else {
        let assigned = assigned(conn, account, member, question.permission).await?;
        let (sources, mut aside) = sort(assigned, &permission, way.as_ref());
        if sources.is_empty() {
            if aside.is_empty() {
                aside.push(Obstacle::NoRole(roles_with(conn, account, question.permission).await?));
            }
            obstacles.append(&mut aside);
        }
        sources
    };
    let resource = way.as_ref().map(Way::sources).unwrap_or_default();
    if let Some(way) = way.filter(|_| permission.key.starts_with(HOST_PREFIX) && resource.is_empty()) {
        obstacles.push(if way.archived { Obstacle::ResourceArchived } else { Obstacle::NotOpen(way.others) });
    }
    Ok(Explanation { granted: obstacles.is_empty(), permission: sources, resource, obstacles })
}

/// Assignments that count, and why the others do not.
fn sort(assigned: Vec<Assigned>, permission: &Declared, way: Option<&Way>) -> (Vec<Source>, Vec<Obstacle>) {
    let (mut sources, mut obstacles) = (Vec::new(), Vec::new());
    for one in assigned {
        let unit = one.unit_id.zip(one.unit_name);
        let aside = unit.as_ref().and_then(|(id, name)| match way {
            _ if one.unit_archived => Some(Obstacle::UnitArchived(name.clone())),
            _ if permission.account_wide => Some(Obstacle::AccountWide(name.clone())),
            Some(way) if way.unit_id != Some(*id) => Some(Obstacle::OtherUnit(name.clone())),
            _ => None,
        });
        match aside {
            Some(obstacle) => obstacles.push(obstacle),
            None => sources.push(Source::Role { role_id: one.role_id, name: one.name, unit }),
        }
    }
    (sources, obstacles)
}

/// Where a member stands.
struct Place {
    status: Status,
    owner: bool,
    /// The first day, if it is yet to come.
    not_before: Option<Date>,
    /// The last day, if it is over.
    not_after: Option<Date>,
}

/// Status, ownership and validity of a member whom the actor may see in full.
async fn place(conn: &mut PgConnection, actor: &Actor, member: MemberId) -> Result<Place> {
    let row = sqlx::query!(
        r#"SELECT m.status AS "status: Status", o.member_id IS NOT NULL AS "owner!",
                  ARRAY(SELECT unit_id FROM member_unit u WHERE u.account_id = m.account_id AND u.member_id = m.member_id)
                      AS "units!: Vec<UnitId>",
                  CASE WHEN m.valid_from > ($3::timestamptz AT TIME ZONE a.time_zone)::date THEN m.valid_from END AS "not_before: Date",
                  CASE WHEN m.valid_until < ($3::timestamptz AT TIME ZONE a.time_zone)::date THEN m.valid_until END AS "not_after: Date"
           FROM member m JOIN account a USING (account_id) LEFT JOIN account_owner o USING (account_id, member_id)
           WHERE m.account_id = $1 AND m.member_id = $2"#,
        actor.account_id.0,
        member.0,
        actor.now,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Code::NotFound)?;
    if member != actor.member_id && !actor.reach(Action::ReadMembers).includes(&row.units) {
        return Err(Code::NotFound.into());
    }
    Ok(Place { status: row.status, owner: row.owner, not_before: row.not_before, not_after: row.not_after })
}

/// Names of roles that hold a permission.
async fn roles_with(conn: &mut PgConnection, account: AccountId, key: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT r.name FROM role r
         WHERE r.account_id = $1 AND r.archived_at IS NULL
           AND (r.role_id = $3 OR EXISTS (SELECT FROM role_permission p WHERE p.account_id = r.account_id
                                          AND p.role_id = r.role_id AND p.permission = $2))
         ORDER BY r.name LIMIT 20",
        account.0,
        key,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await
}

/// Whether the actor may: in the whole account, in a unit, or on a resource. What does not exist they may not.
pub async fn can(
    conn: &mut PgConnection,
    actor: &Actor,
    key: &str,
    (unit, resource): (Option<UnitId>, Option<ResourceId>),
) -> Result<bool> {
    let host = key.starts_with(HOST_PREFIX);
    let scope = match resource {
        None => unit,
        Some(resource) => match way(conn, actor.account_id, actor.member_id, resource).await? {
            None => return Ok(false),
            Some(way) if host && way.sources().is_empty() => return Ok(false),
            Some(way) if unit.is_some() && way.unit_id != unit => return Ok(false),
            Some(way) => way.unit_id,
        },
    };
    Ok(if host {
        actor.rights.host.holds(key, scope)
    } else {
        let held = scope.map_or_else(|| actor.rights.grants.wide(), |unit| actor.rights.grants.within(unit));
        Permission::from_key(key).is_some_and(|permission| held.holds(permission))
    })
}
