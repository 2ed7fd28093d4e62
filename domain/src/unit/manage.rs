//! What administrators do to units. Archiving one takes away what is limited to it, at once.

use serde_json::json;
use uuid::Uuid;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{MemberId, UnitId};
use crate::member::place::{self, distinct};
use crate::profile;

/// A unit to make.
#[derive(Clone, Debug, Default)]
pub struct NewUnit {
    /// 1 to 100 characters, different from those of the other units.
    pub name: String,
    /// At most 500 characters.
    pub description: Option<String>,
}

/// What of a unit is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The version that was read, so that nobody's change is overwritten unseen.
    pub expected_version: Option<i32>,
    /// A new name.
    pub name: Option<String>,
    /// A new description; empty clears it.
    pub description: Option<String>,
}

/// A unit under lock.
struct Locked {
    name: String,
    description: Option<String>,
    version: i32,
    archived: bool,
}

/// Makes a unit.
///
/// # Errors
/// NOT_PERMITTED, NAME_TAKEN, LIMIT_REACHED, and what is wrong with a text.
pub async fn create(change: &mut Change, actor: &Actor, new: &NewUnit, limit: usize) -> Result<UnitId> {
    actor.may(Action::ManageUnits, Target::Account)?;
    let name = field("name", profile::title(&new.name))?;
    let text = new.description.as_deref().unwrap_or_default();
    let description = field("description", profile::optional(text, profile::message))?;
    lock_units(change).await?;
    change.standing(actor).await?.may(Action::ManageUnits, Target::Account)?;
    check_room(change, &name, None, limit).await.at("name")?;
    let (account, now, unit) = (change.account(), change.now(), UnitId::new());
    sqlx::query!(
        "INSERT INTO unit (account_id, unit_id, name, description, created_at) VALUES ($1, $2, $3, $4, $5)",
        account.0,
        unit.0,
        name,
        description,
        now,
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::UnitCreated).subject(unit.0).detail(json!({ "name": name })));
    Ok(unit)
}

/// Changes a unit's name or description.
///
/// # Errors
/// NOT_FOUND, ARCHIVED, VERSION_CONFLICT, and whatever [`create`] refuses.
pub async fn update(change: &mut Change, actor: &Actor, unit: UnitId, update: &Update) -> Result<()> {
    actor.may(Action::ManageUnits, Target::Account)?;
    lock_units(change).await?;
    let locked = lock(change, unit).await?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("unitId").into());
    }
    if update.expected_version.is_some_and(|expected| expected != locked.version) {
        return Err(Refused::new(Code::VersionConflict).at("expectedVersion").into());
    }
    change.standing(actor).await?.may(Action::ManageUnits, Target::Account)?;
    let name = update.name.as_deref().map(|name| field("name", profile::title(name))).transpose()?;
    let name = name.unwrap_or_else(|| locked.name.clone());
    let description = match &update.description {
        Some(text) => field("description", profile::optional(text, profile::message))?,
        None => locked.description.clone(),
    };
    if (&name, &description) == (&locked.name, &locked.description) {
        return Ok(());
    }
    check_room(change, &name, Some(unit), usize::MAX).await.at("name")?;
    let account = change.account();
    sqlx::query!(
        "UPDATE unit SET name = $3, description = $4, version = version + 1 WHERE account_id = $1 AND unit_id = $2",
        account.0,
        unit.0,
        name,
        description,
    )
    .execute(change.conn())
    .await?;
    let detail = json!({ "name": { "before": locked.name, "after": name } });
    change.record(NewEvent::new(EventKind::UnitUpdated).subject(unit.0).detail(detail));
    Ok(())
}

/// Archives a unit: what roles are limited to it grants nothing from now on, and nobody can be put into it.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND.
pub async fn archive(change: &mut Change, actor: &Actor, unit: UnitId) -> Result<()> {
    set_archived(change, actor, unit, true, usize::MAX).await
}

/// Takes a unit out of the archive: what roles are limited to it grants again.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND, NAME_TAKEN, LIMIT_REACHED.
pub async fn unarchive(change: &mut Change, actor: &Actor, unit: UnitId, limit: usize) -> Result<()> {
    set_archived(change, actor, unit, false, limit).await
}

async fn set_archived(change: &mut Change, actor: &Actor, unit: UnitId, archived: bool, limit: usize) -> Result<()> {
    actor.may(Action::ManageUnits, Target::Account)?;
    lock_units(change).await?;
    let locked = lock(change, unit).await?;
    change.standing(actor).await?.may(Action::ManageUnits, Target::Account)?;
    if locked.archived == archived {
        return Ok(());
    }
    if !archived {
        check_room(change, &locked.name, Some(unit), limit).await.at("unitId")?;
    }
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE unit SET archived_at = CASE WHEN $3 THEN $4::timestamptz END, version = version + 1
         WHERE account_id = $1 AND unit_id = $2",
        account.0,
        unit.0,
        archived,
        now,
    )
    .execute(change.conn())
    .await?;
    change.rights_changed();
    let kind = if archived { EventKind::UnitArchived } else { EventKind::UnitUnarchived };
    change.record(NewEvent::new(kind).subject(unit.0).detail(json!({ "name": locked.name })));
    Ok(())
}

/// Puts members into a unit; those who are in it stay.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND at `unitId` or `memberIds`, ARCHIVED.
pub async fn add_members(change: &mut Change, actor: &Actor, unit: UnitId, members: &[MemberId]) -> Result<()> {
    let ids = lock_both(change, actor, unit, members).await?;
    place::check_units(change, &[unit]).await.map_err(|_| Refused::new(Code::Archived).at("unitId"))?;
    let (account, now) = (change.account(), change.now());
    let added = sqlx::query_scalar!(
        r#"INSERT INTO member_unit (account_id, member_id, unit_id, added_at)
           SELECT $1, u.member_id, $2, $3 FROM unnest($4::uuid[]) u(member_id)
           ON CONFLICT DO NOTHING RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        unit.0,
        now,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    moved(change, unit, EventKind::UnitMembersAdded, &added);
    Ok(())
}

/// Takes members out of a unit; their roles stay.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND at `unitId` or `memberIds`.
pub async fn remove_members(change: &mut Change, actor: &Actor, unit: UnitId, members: &[MemberId]) -> Result<()> {
    let ids = lock_both(change, actor, unit, members).await?;
    let account = change.account();
    let removed = sqlx::query_scalar!(
        r#"DELETE FROM member_unit WHERE account_id = $1 AND unit_id = $2 AND member_id = ANY($3)
           RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        unit.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    moved(change, unit, EventKind::UnitMembersRemoved, &removed);
    Ok(())
}

/// Who belongs to a unit is within the reach of whoever manages it: so it counts as a change of rights.
fn moved(change: &mut Change, unit: UnitId, kind: EventKind, members: &[MemberId]) {
    if !members.is_empty() {
        change.rights_changed();
        change.record(NewEvent::new(kind).subject(unit.0).detail(json!({ "members": members })));
    }
}

/// Locks the members, in the order of their ids, and looks at the unit.
async fn lock_both(change: &mut Change, actor: &Actor, unit: UnitId, members: &[MemberId]) -> Result<Vec<Uuid>> {
    actor.may(Action::ManageUnits, Target::Account)?;
    let (account, members) = (change.account(), distinct(members));
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let known = sqlx::query_scalar!(
        "SELECT member_id FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR NO KEY UPDATE",
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    lock(change, unit).await?;
    change.standing(actor).await?.may(Action::ManageUnits, Target::Account)?;
    if let Some(index) = ids.iter().position(|id| !known.contains(id)) {
        return Err(Refused::new(Code::NotFound).at(index).at("memberIds").into());
    }
    Ok(ids)
}

/// One change of an account's units at a time: names and their number are judged over all of them.
async fn lock_units(change: &mut Change) -> Result<()> {
    let account = change.account();
    sqlx::query!("SELECT 1 AS one FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    Ok(())
}

async fn lock(change: &mut Change, unit: UnitId) -> Result<Locked> {
    let account = change.account();
    let row = sqlx::query_as!(
        Locked,
        r#"SELECT name, description, version, archived_at IS NOT NULL AS "archived!"
           FROM unit WHERE account_id = $1 AND unit_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        unit.0,
    )
    .fetch_optional(change.conn())
    .await?;
    row.ok_or_else(|| Refused::new(Code::NotFound).at("unitId").into())
}

/// Whether another unit may bear this name.
async fn check_room(change: &mut Change, name: &str, but: Option<UnitId>, limit: usize) -> Result<()> {
    let account = change.account();
    let others = sqlx::query!(
        r#"SELECT count(*) AS "all!", count(*) FILTER (WHERE lower(name) = lower($2)) AS "alike!"
           FROM unit WHERE account_id = $1 AND archived_at IS NULL AND unit_id IS DISTINCT FROM $3"#,
        account.0,
        name,
        but.map(|unit| unit.0),
    )
    .fetch_one(change.conn())
    .await?;
    match others {
        others if others.alike > 0 => Err(Code::NameTaken.into()),
        others if usize::try_from(others.all).unwrap_or(usize::MAX) >= limit => Err(Code::LimitReached.into()),
        _ => Ok(()),
    }
}
