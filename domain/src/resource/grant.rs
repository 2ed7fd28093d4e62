//! Opening a resource to everybody, to groups and to members, and closing it again.

use serde_json::json;
use uuid::Uuid;

use super::manage::{Locked, LockedGroup, Person, check_person, lock, lock_groups, lock_people};
use crate::actor::{Action, Asker, Reach, inside};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, MemberId, ResourceId};

/// Members to whom one resource can be open by itself; more are a group.
const MAX_MEMBERS: i64 = 1_000;

/// To whom a resource is to be opened or closed.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// To every active member.
    pub everybody: bool,
    /// To groups.
    pub groups: Vec<GroupId>,
    /// To members, invited ones as well: they have access once they are active.
    pub members: Vec<MemberId>,
}

impl Opening {
    fn group_ids(&self) -> Vec<Uuid> {
        self.groups.iter().map(|group| group.0).collect()
    }

    fn member_ids(&self) -> Vec<Uuid> {
        self.members.iter().map(|member| member.0).collect()
    }
}

/// What an opening refers to, under lock.
struct World {
    people: std::collections::HashMap<Uuid, Person>,
    groups: std::collections::HashMap<Uuid, LockedGroup>,
    resource: Locked,
    reach: Reach,
}

/// Opens a resource; to whom it is open already stays.
///
/// # Errors
/// NOT_PERMITTED; NOT_FOUND and ARCHIVED at `resourceId` and `groupIds`; NOT_FOUND at `memberIds`; LIMIT_REACHED for more than 1,000
/// members. Nothing is opened if any of it is refused.
pub async fn grant(change: &mut Change, asker: &Asker, resource: ResourceId, to: &Opening) -> Result<()> {
    let world = lock_all(change, asker, resource, to).await?;
    if world.resource.archived {
        return Err(Refused::new(Code::Archived).at("resourceId").into());
    }
    world.check(to, true)?;
    let (account, now) = (change.account(), change.now());
    let groups = sqlx::query_scalar!(
        r#"INSERT INTO resource_group (account_id, resource_id, group_id, granted_at)
           SELECT $1, $2, u.id, $3 FROM unnest($4::uuid[]) u(id) ON CONFLICT DO NOTHING RETURNING group_id AS "group_id: GroupId""#,
        account.0,
        resource.0,
        now,
        &to.group_ids(),
    )
    .fetch_all(change.conn())
    .await?;
    let members = sqlx::query_scalar!(
        r#"INSERT INTO resource_member (account_id, resource_id, member_id, granted_at)
           SELECT $1, $2, u.id, $3 FROM unnest($4::uuid[]) u(id) ON CONFLICT DO NOTHING RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        resource.0,
        now,
        &to.member_ids(),
    )
    .fetch_all(change.conn())
    .await?;
    check_number(change, resource).await?;
    let everybody = to.everybody && !world.resource.open_to_all;
    finish(change, resource, EventKind::ResourceGranted, Opening { everybody, groups, members }).await
}

/// Closes a resource to those to whom it was opened; to whom it is not open it stays closed. A member may still have access for another
/// reason.
///
/// # Errors
/// NOT_PERMITTED; NOT_FOUND at `resourceId`, `groupIds`, `memberIds`.
pub async fn revoke(change: &mut Change, asker: &Asker, resource: ResourceId, from: &Opening) -> Result<()> {
    let world = lock_all(change, asker, resource, from).await?;
    world.check(from, false)?;
    let account = change.account();
    let groups = sqlx::query_scalar!(
        r#"DELETE FROM resource_group WHERE account_id = $1 AND resource_id = $2 AND group_id = ANY($3)
           RETURNING group_id AS "group_id: GroupId""#,
        account.0,
        resource.0,
        &from.group_ids(),
    )
    .fetch_all(change.conn())
    .await?;
    let members = sqlx::query_scalar!(
        r#"DELETE FROM resource_member WHERE account_id = $1 AND resource_id = $2 AND member_id = ANY($3)
           RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        resource.0,
        &from.member_ids(),
    )
    .fetch_all(change.conn())
    .await?;
    let everybody = from.everybody && world.resource.open_to_all;
    finish(change, resource, EventKind::ResourceRevoked, Opening { everybody, groups, members }).await
}

async fn lock_all(change: &mut Change, asker: &Asker, resource: ResourceId, opening: &Opening) -> Result<World> {
    asker.may(Action::ManageResources)?;
    if !opening.everybody && opening.groups.is_empty() && opening.members.is_empty() {
        return Err(Code::Required.into());
    }
    let people = lock_people(change, &opening.member_ids()).await?;
    let groups = lock_groups(change, &opening.groups).await?;
    let locked = lock(change, resource).await.at("resourceId")?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    inside(&reach, locked.unit_id.as_slice()).at("resourceId")?;
    Ok(World { people, groups, resource: locked, reach })
}

impl World {
    /// Whether there is all of it; an archived group cannot be given anything.
    fn check(&self, opening: &Opening, giving: bool) -> Result<()> {
        let mut refused = Vec::new();
        for (index, group) in opening.groups.iter().enumerate() {
            match self.groups.get(&group.0) {
                None => refused.push(Refused::new(Code::NotFound).at(index).at("groupIds")),
                Some(group) if group.archived && giving => {
                    refused.push(Refused::new(Code::Archived).at(index).at("groupIds"));
                }
                Some(_) => {}
            }
        }
        for (index, member) in opening.members.iter().enumerate() {
            if let Err(code) = check_person(&self.people, &self.reach, *member, false) {
                refused.push(Refused::new(code).at(index).at("memberIds"));
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(Error::Refused(refused)) }
    }
}

/// Under the resource's lock, so that nobody adds to them meanwhile.
async fn check_number(change: &mut Change, resource: ResourceId) -> Result<()> {
    let account = change.account();
    let number = sqlx::query_scalar!(
        r#"SELECT count(*) AS "number!" FROM resource_member WHERE account_id = $1 AND resource_id = $2"#,
        account.0,
        resource.0,
    )
    .fetch_one(change.conn())
    .await?;
    if number > MAX_MEMBERS { Err(Refused::new(Code::LimitReached).at("memberIds").into()) } else { Ok(()) }
}

/// Turns what is to be turned for everybody, and tells what was changed, if anything was.
async fn finish(change: &mut Change, resource: ResourceId, kind: EventKind, done: Opening) -> Result<()> {
    if !done.everybody && done.groups.is_empty() && done.members.is_empty() {
        return Ok(());
    }
    let account = change.account();
    sqlx::query!(
        "UPDATE resource SET open_to_all = CASE WHEN $3 THEN $4 ELSE open_to_all END, version = version + 1
         WHERE account_id = $1 AND resource_id = $2",
        account.0,
        resource.0,
        done.everybody,
        kind == EventKind::ResourceGranted,
    )
    .execute(change.conn())
    .await?;
    let detail = json!({ "everybody": done.everybody, "groups": done.groups, "members": done.members });
    change.record(NewEvent::new(kind).subject(resource.0).detail(detail));
    Ok(())
}
