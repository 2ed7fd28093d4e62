//! Who answers for a resource, its archive, and the locks that all changes of resources take: members by id, units, groups, then
//! resources by id.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::TEXT_CHARS;
use crate::actor::{Action, Asker, Reach, inside};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, MemberId, ResourceId, UnitId};
use crate::member::Status;
use crate::profile::text::line;

/// A member whose status does not change while this transaction lasts.
pub(super) struct Person {
    status: Status,
    units: Vec<UnitId>,
}

/// A group that is not changed while this transaction lasts.
pub(super) struct LockedGroup {
    pub(super) archived: bool,
    pub(super) excluded: bool,
}

/// A resource under lock.
pub(super) struct Locked {
    pub(super) external_id: String,
    pub(super) responsible: Option<MemberId>,
    pub(super) unit_id: Option<UnitId>,
    pub(super) open_to_all: bool,
    pub(super) archived: bool,
}

/// Those of some members that there are.
pub(super) async fn lock_people(change: &mut Change, ids: &[Uuid]) -> Result<HashMap<Uuid, Person>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let account = change.account();
    let rows = sqlx::query!(
        r#"SELECT member_id, status AS "status: Status"
           FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR SHARE"#,
        account.0,
        ids,
    )
    .fetch_all(change.conn())
    .await?;
    let mut people: HashMap<Uuid, Person> =
        rows.into_iter().map(|row| (row.member_id, Person { status: row.status, units: Vec::new() })).collect();
    let places = sqlx::query!(
        r#"SELECT member_id, unit_id AS "unit_id: UnitId" FROM member_unit WHERE account_id = $1 AND member_id = ANY($2)"#,
        account.0,
        ids,
    )
    .fetch_all(change.conn())
    .await?;
    for place in places {
        if let Some(person) = people.get_mut(&place.member_id) {
            person.units.push(place.unit_id);
        }
    }
    Ok(people)
}

/// Whether a member may be named by whoever has this reach: somebody outside of it is as if they were not there.
pub(super) fn check_person(
    people: &HashMap<Uuid, Person>,
    reach: &Reach,
    member: MemberId,
    active: bool,
) -> Result<(), Code> {
    match people.get(&member.0) {
        Some(person) if !reach.includes(&person.units) => Err(Code::NotFound),
        Some(person) if active && person.status != Status::Active => Err(Code::WrongStatus),
        Some(_) => Ok(()),
        None => Err(Code::NotFound),
    }
}

/// Those of some units that there are, and whether they are archived.
pub(super) async fn lock_units(change: &mut Change, ids: &[Uuid]) -> Result<HashMap<Uuid, bool>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let account = change.account();
    let rows = sqlx::query!(
        r#"SELECT unit_id, archived_at IS NOT NULL AS "archived!"
           FROM unit WHERE account_id = $1 AND unit_id = ANY($2) ORDER BY unit_id FOR SHARE"#,
        account.0,
        ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.unit_id, row.archived)).collect())
}

/// Those of some groups that there are.
pub(super) async fn lock_groups(change: &mut Change, ids: &[GroupId]) -> Result<HashMap<Uuid, LockedGroup>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let account = change.account();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT group_id, archived_at IS NOT NULL AS "archived!", excluded_from_custom_rates AS excluded
           FROM member_group WHERE account_id = $1 AND group_id = ANY($2) ORDER BY group_id FOR SHARE"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    let group = |archived, excluded| LockedGroup { archived, excluded };
    Ok(rows.into_iter().map(|row| (row.group_id, group(row.archived, row.excluded))).collect())
}

/// Locks a resource, whoever asks.
///
/// # Errors
/// NOT_FOUND.
pub(super) async fn lock(change: &mut Change, resource: ResourceId) -> Result<Locked> {
    let account = change.account();
    let row = sqlx::query_as!(
        Locked,
        r#"SELECT external_id, responsible_member_id AS "responsible: MemberId", unit_id AS "unit_id: UnitId", open_to_all,
                  archived_at IS NOT NULL AS "archived!"
           FROM resource WHERE account_id = $1 AND resource_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        resource.0,
    )
    .fetch_optional(change.conn())
    .await?;
    row.ok_or_else(|| Code::NotFound.into())
}

/// Makes an active member answer for a resource, or nobody.
///
/// # Errors
/// NOT_PERMITTED; NOT_FOUND and ARCHIVED at `resourceId`; NOT_FOUND, and WRONG_STATUS for somebody who is not active, at `memberId`.
pub async fn assign(change: &mut Change, asker: &Asker, resource: ResourceId, member: Option<MemberId>) -> Result<()> {
    asker.may(Action::ManageResources)?;
    let people = lock_people(change, &member.iter().map(|member| member.0).collect::<Vec<_>>()).await?;
    let locked = lock(change, resource).await.at("resourceId")?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    inside(&reach, locked.unit_id.as_slice()).at("resourceId")?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("resourceId").into());
    }
    if let Some(member) = member {
        check_person(&people, &reach, member, true).map_err(|code| Refused::new(code).at("memberId"))?;
    }
    if locked.responsible == member {
        return Ok(());
    }
    let account = change.account();
    sqlx::query!(
        "UPDATE resource SET responsible_member_id = $3, version = version + 1 WHERE account_id = $1 AND resource_id = $2",
        account.0,
        resource.0,
        member.map(|member| member.0),
    )
    .execute(change.conn())
    .await?;
    record_assigned(change, resource, locked.responsible, member);
    Ok(())
}

/// Archives a resource: nobody has access to it any more, and its name, which may be a person's, is replaced by its external id. Whoever
/// answered for it, to whom it was open and its rates stay for when it comes back.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND.
pub async fn archive(change: &mut Change, asker: &Asker, resource: ResourceId) -> Result<()> {
    let locked = for_archive(change, asker, resource).await?;
    if locked.archived {
        return Ok(());
    }
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE resource SET archived_at = $3, name = external_id, version = version + 1 WHERE account_id = $1 AND resource_id = $2",
        account.0,
        resource.0,
        now,
    )
    .execute(change.conn())
    .await?;
    record(change, EventKind::ResourceArchived, resource, &locked);
    Ok(())
}

/// Takes a resource out of the archive, under a name given anew; without one it is called by its external id. Somebody who answered
/// for it and was deactivated meanwhile does so no more.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND, and what is wrong with the name.
pub async fn unarchive(change: &mut Change, asker: &Asker, resource: ResourceId, name: Option<&str>) -> Result<()> {
    let name = name.map(|name| field("name", line(name, TEXT_CHARS))).transpose()?;
    asker.may(Action::ManageResources)?;
    let people = lock_responsible(change, resource).await?;
    let locked = for_archive(change, asker, resource).await?;
    if !locked.archived {
        return Ok(());
    }
    let stays = |member: &MemberId| {
        people.get(&member.0).is_some_and(|person| matches!(person.status, Status::Active | Status::Suspended))
    };
    let responsible = locked.responsible.filter(stays);
    let account = change.account();
    sqlx::query!(
        "UPDATE resource SET archived_at = NULL, name = coalesce($3, name), responsible_member_id = $4, version = version + 1
         WHERE account_id = $1 AND resource_id = $2",
        account.0,
        resource.0,
        name,
        responsible.map(|member| member.0),
    )
    .execute(change.conn())
    .await?;
    record(change, EventKind::ResourceUnarchived, resource, &locked);
    if responsible != locked.responsible {
        record_assigned(change, resource, locked.responsible, responsible);
    }
    Ok(())
}

/// Locks who answers for a resource: people come before resources. In the archive that cannot change until the resource is locked.
async fn lock_responsible(change: &mut Change, resource: ResourceId) -> Result<HashMap<Uuid, Person>> {
    let account = change.account();
    let responsible = sqlx::query_scalar!(
        "SELECT responsible_member_id FROM resource WHERE account_id = $1 AND resource_id = $2 AND archived_at IS NOT NULL",
        account.0,
        resource.0,
    )
    .fetch_optional(change.conn())
    .await?;
    lock_people(change, responsible.flatten().as_slice()).await
}

async fn for_archive(change: &mut Change, asker: &Asker, resource: ResourceId) -> Result<Locked> {
    asker.may(Action::ManageResources)?;
    let locked = lock(change, resource).await.at("resourceId")?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    inside(&reach, locked.unit_id.as_slice()).at("resourceId")?;
    Ok(locked)
}

fn record_assigned(change: &mut Change, resource: ResourceId, before: Option<MemberId>, after: Option<MemberId>) {
    let detail = json!({ "responsible": { "before": before, "after": after } });
    change.record(NewEvent::new(EventKind::ResourceAssigned).subject(resource.0).detail(detail));
}

fn record(change: &mut Change, kind: EventKind, resource: ResourceId, locked: &Locked) {
    change.record(NewEvent::new(kind).subject(resource.0).detail(json!({ "externalId": locked.external_id })));
}
