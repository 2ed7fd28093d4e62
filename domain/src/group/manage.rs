//! What administrators do to groups.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, MemberId};
use crate::invitation::ErrorPolicy;
use crate::profile;

/// A group to make.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// 1 to 100 characters, different from those of the other unarchived groups.
    pub name: String,
    /// At most 500 characters.
    pub description: Option<String>,
    /// Whether no custom rate applies to its members by it.
    pub excluded_from_custom_rates: bool,
}

/// What of a group is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The version that was read, so that nobody's change is overwritten unseen.
    pub expected_version: Option<i32>,
    /// A new name.
    pub name: Option<String>,
    /// A new description; empty clears it.
    pub description: Option<String>,
    /// Whether no custom rate applies to its members by it.
    pub excluded_from_custom_rates: Option<bool>,
}

/// Whose membership of a group was changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// The group.
    pub group_id: GroupId,
    /// Who could not be found, by `memberIds.<index>`.
    pub refused: Vec<Refused>,
}

/// A group under lock.
struct Locked {
    name: String,
    description: Option<String>,
    excluded: bool,
    version: i32,
    archived: bool,
}

/// Makes a group; an account has at most `limit` that are not archived.
///
/// # Errors
/// NOT_PERMITTED, NAME_TAKEN, LIMIT_REACHED, and what is wrong with a text.
pub async fn create(change: &mut Change, actor: &Actor, new: &NewGroup, limit: usize) -> Result<GroupId> {
    actor.may(Action::ManageGroups, Target::Account)?;
    let name = field("name", profile::title(&new.name))?;
    let text = new.description.as_deref().unwrap_or_default();
    let description = field("description", profile::optional(text, profile::message))?;
    lock_groups(change).await?;
    change.standing(actor).await?.may(Action::ManageGroups, Target::Account)?;
    check_room(change, &name, None, limit).await.at("name")?;
    let (account, now, group) = (change.account(), change.now(), GroupId::new());
    sqlx::query!(
        "INSERT INTO member_group (account_id, group_id, name, description, excluded_from_custom_rates, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        account.0,
        group.0,
        name,
        description,
        new.excluded_from_custom_rates,
        now,
    )
    .execute(change.conn())
    .await?;
    let detail = json!({ "name": name, "excludedFromCustomRates": new.excluded_from_custom_rates });
    change.record(NewEvent::new(EventKind::GroupCreated).subject(group.0).detail(detail));
    Ok(group)
}

/// Changes what a group is called, or whether rates apply by it.
///
/// # Errors
/// NOT_FOUND and ARCHIVED at `groupId`, VERSION_CONFLICT, and whatever [`create`] refuses.
pub async fn update(change: &mut Change, actor: &Actor, group: GroupId, update: &Update) -> Result<()> {
    actor.may(Action::ManageGroups, Target::Account)?;
    let name = update.name.as_deref().map(|name| field("name", profile::title(name))).transpose()?;
    let parse = |text: &String| field("description", profile::optional(text, profile::message));
    let description = update.description.as_ref().map(parse).transpose()?;
    lock_groups(change).await?;
    let locked = lock(change, group).await?;
    change.standing(actor).await?.may(Action::ManageGroups, Target::Account)?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("groupId").into());
    }
    if update.expected_version.is_some_and(|expected| expected != locked.version) {
        return Err(Refused::new(Code::VersionConflict).at("expectedVersion").into());
    }
    let name = name.unwrap_or_else(|| locked.name.clone());
    let description = description.unwrap_or_else(|| locked.description.clone());
    let excluded = update.excluded_from_custom_rates.unwrap_or(locked.excluded);
    let Some(event) = difference(&locked, &name, description.as_deref(), excluded) else { return Ok(()) };
    check_room(change, &name, Some(group), usize::MAX).await.at("name")?;
    let account = change.account();
    sqlx::query!(
        "UPDATE member_group SET name = $3, description = $4, excluded_from_custom_rates = $5, version = version + 1
         WHERE account_id = $1 AND group_id = $2",
        account.0,
        group.0,
        name,
        description,
        excluded,
    )
    .execute(change.conn())
    .await?;
    change.record(event.subject(group.0));
    Ok(())
}

/// The event that tells what an update makes different; none if nothing does.
fn difference(locked: &Locked, name: &str, description: Option<&str>, excluded: bool) -> Option<NewEvent> {
    if (locked.name.as_str(), locked.description.as_deref(), locked.excluded) == (name, description, excluded) {
        return None;
    }
    let detail = json!({
        "name": { "before": locked.name, "after": name },
        "description": { "before": locked.description, "after": description },
        "excludedFromCustomRates": { "before": locked.excluded, "after": excluded },
    });
    Some(NewEvent::new(EventKind::GroupUpdated).detail(detail))
}

/// Archives a group: it grants nothing from now on, takes no members, and its name is free.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND.
pub async fn archive(change: &mut Change, actor: &Actor, group: GroupId) -> Result<()> {
    set_archived(change, actor, group, None).await
}

/// Takes a group out of the archive, with the members and resources it had.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND, NAME_TAKEN, LIMIT_REACHED.
pub async fn unarchive(change: &mut Change, actor: &Actor, group: GroupId, limit: usize) -> Result<()> {
    set_archived(change, actor, group, Some(limit)).await
}

async fn set_archived(change: &mut Change, actor: &Actor, group: GroupId, back_within: Option<usize>) -> Result<()> {
    actor.may(Action::ManageGroups, Target::Account)?;
    lock_groups(change).await?;
    let locked = lock(change, group).await?;
    change.standing(actor).await?.may(Action::ManageGroups, Target::Account)?;
    let archived = back_within.is_none();
    if locked.archived == archived {
        return Ok(());
    }
    if let Some(limit) = back_within {
        check_room(change, &locked.name, Some(group), limit).await.at("groupId")?;
    }
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE member_group SET archived_at = CASE WHEN $3 THEN $4::timestamptz END, version = version + 1
         WHERE account_id = $1 AND group_id = $2",
        account.0,
        group.0,
        archived,
        now,
    )
    .execute(change.conn())
    .await?;
    let kind = if archived { EventKind::GroupArchived } else { EventKind::GroupUnarchived };
    change.record(NewEvent::new(kind).subject(group.0).detail(json!({ "name": locked.name })));
    Ok(())
}

/// Puts members into a group, invited ones as well; those who are in it stay.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND and ARCHIVED at `groupId`; NOT_FOUND at `memberIds`, which with [`ErrorPolicy::Partial`] stands beside what
/// was done.
pub async fn add_members(
    change: &mut Change,
    actor: &Actor,
    group: GroupId,
    members: &[MemberId],
    policy: ErrorPolicy,
) -> Result<Moved> {
    let (locked, ids, refused) = lock_both(change, actor, group, members).await?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("groupId").into());
    }
    settle(policy, &refused)?;
    put_in(change, group, &ids).await?;
    Ok(Moved { group_id: group, refused })
}

/// Takes members out of a group, archived or not; who is not in it stays out.
///
/// # Errors
/// As [`add_members`], but for ARCHIVED.
pub async fn remove_members(
    change: &mut Change,
    actor: &Actor,
    group: GroupId,
    members: &[MemberId],
    policy: ErrorPolicy,
) -> Result<Moved> {
    let (_, ids, refused) = lock_both(change, actor, group, members).await?;
    settle(policy, &refused)?;
    let account = change.account();
    let removed = sqlx::query_scalar!(
        r#"DELETE FROM group_member WHERE account_id = $1 AND group_id = $2 AND member_id = ANY($3)
           RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        group.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    moved(change, group, EventKind::GroupMembersRemoved, &removed);
    Ok(Moved { group_id: group, refused })
}

fn settle(policy: ErrorPolicy, refused: &[Refused]) -> Result<()> {
    if policy == ErrorPolicy::AllOrNothing && !refused.is_empty() {
        return Err(Error::Refused(refused.to_vec()));
    }
    Ok(())
}

/// Puts members into a group, both under lock; who is in it already stays as they are.
pub(crate) async fn put_in(change: &mut Change, group: GroupId, ids: &[Uuid]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let added = sqlx::query_scalar!(
        r#"INSERT INTO group_member (account_id, group_id, member_id, added_at)
           SELECT $1, $2, u.member_id, $3 FROM unnest($4::uuid[]) u(member_id)
           ON CONFLICT DO NOTHING RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        group.0,
        now,
        ids,
    )
    .fetch_all(change.conn())
    .await?;
    moved(change, group, EventKind::GroupMembersAdded, &added);
    Ok(())
}

fn moved(change: &mut Change, group: GroupId, kind: EventKind, members: &[MemberId]) {
    if !members.is_empty() {
        change.record(NewEvent::new(kind).subject(group.0).detail(json!({ "members": members })));
    }
}

/// Locks the members, in the order of their ids, so that none is deleted meanwhile, then the group. Answers whom there is, and who
/// there is not.
async fn lock_both(
    change: &mut Change,
    actor: &Actor,
    group: GroupId,
    members: &[MemberId],
) -> Result<(Locked, Vec<Uuid>, Vec<Refused>)> {
    actor.may(Action::ManageGroups, Target::Account)?;
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let known = sqlx::query_scalar!(
        "SELECT member_id FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR KEY SHARE",
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    let locked = lock(change, group).await?;
    change.standing(actor).await?.may(Action::ManageGroups, Target::Account)?;
    let absent = |(index, id): (usize, &Uuid)| {
        (!known.contains(id)).then(|| Refused::new(Code::NotFound).at(index).at("memberIds"))
    };
    let refused = ids.iter().enumerate().filter_map(absent).collect();
    Ok((locked, known, refused))
}

/// One change of an account's groups at a time: names and their number are judged over all of them.
async fn lock_groups(change: &mut Change) -> Result<()> {
    let account = change.account();
    sqlx::query!("SELECT 1 AS one FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    Ok(())
}

async fn lock(change: &mut Change, group: GroupId) -> Result<Locked> {
    let account = change.account();
    let row = sqlx::query_as!(
        Locked,
        r#"SELECT name, description, excluded_from_custom_rates AS excluded, version, archived_at IS NOT NULL AS "archived!"
           FROM member_group WHERE account_id = $1 AND group_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        group.0,
    )
    .fetch_optional(change.conn())
    .await?;
    row.ok_or_else(|| Refused::new(Code::NotFound).at("groupId").into())
}

/// Whether there is room for another group, and none has its name.
async fn check_room(change: &mut Change, name: &str, but: Option<GroupId>, limit: usize) -> Result<()> {
    let account = change.account();
    let others = sqlx::query!(
        r#"SELECT count(*) AS "all!", count(*) FILTER (WHERE lower(name) = lower($2)) AS "alike!"
           FROM member_group WHERE account_id = $1 AND archived_at IS NULL AND group_id IS DISTINCT FROM $3"#,
        account.0,
        name,
        but.map(|group| group.0),
    )
    .fetch_one(change.conn())
    .await?;
    match others {
        others if others.alike > 0 => Err(Code::NameTaken.into()),
        others if usize::try_from(others.all).is_ok_and(|all| all >= limit) => Err(Code::LimitReached.into()),
        _ => Ok(()),
    }
}
