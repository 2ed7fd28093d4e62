//! What administrators do to roles. An edit is live at once for everybody who has the role.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actor::{Action, Actor, Grants, Standing, Target, WHOLE_ACCOUNT, permission_set};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{RoleId, UnitId};
use crate::permission::{self, SystemRole};
use crate::profile;

/// A role to make.
#[derive(Clone, Debug, Default)]
pub struct NewRole {
    /// 1 to 100 characters, different from those of the other roles.
    pub name: String,
    /// At most 500 characters.
    pub description: Option<String>,
    /// Keys of permissions; with `copy_of` in addition to those of the copied role.
    pub permissions: Vec<String>,
    /// Whose permissions it begins with.
    pub copy_of: Option<RoleId>,
}

/// What of a role is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The version that was read, so that nobody's change is overwritten unseen.
    pub expected_version: Option<i32>,
    /// A new name.
    pub name: Option<String>,
    /// A new description; empty clears it.
    pub description: Option<String>,
    /// All keys from now on.
    pub permissions: Option<Vec<String>>,
}

/// What archiving a role did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Archived {
    /// The role.
    pub role_id: RoleId,
    /// How many assignments the replacement took over.
    pub replaced: u64,
}

/// A role under lock.
struct Locked {
    name: String,
    description: Option<String>,
    version: i32,
    archived: bool,
    keys: Vec<String>,
}

/// Makes a role of the account's own.
///
/// # Errors
/// NOT_PERMITTED naming what the actor lacks, NAME_TAKEN, LIMIT_REACHED, UNKNOWN_PERMISSION, OWNER_ONLY_PERMISSION,
/// PREREQUISITE_MISSING, NOT_FOUND at `copyOf`, and what is wrong with a text.
pub async fn create(change: &mut Change, actor: &Actor, new: &NewRole, limit: usize) -> Result<RoleId> {
    actor.may(Action::ManageRoles, Target::Account)?;
    let name = field("name", profile::title(&new.name))?;
    let description = description(new.description.as_deref())?;
    let (account, now) = (change.account(), change.now());
    lock_roles(change).await?;
    let mut keys = new.permissions.clone();
    if let Some(copied) = new.copy_of {
        keys.extend(keys_of(change, copied).await.at("copyOf")?);
    }
    let keys = check_keys(change, keys).await?;
    let standing = change.standing(actor).await?;
    may_grant(&standing, &keys)?;
    let custom = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM role WHERE account_id = $1 AND system_key IS NULL AND archived_at IS NULL"#,
        account.0
    )
    .fetch_one(change.conn())
    .await?;
    if usize::try_from(custom).unwrap_or(usize::MAX) >= limit {
        return Err(Code::LimitReached.into());
    }
    let role = RoleId::new();
    let made = sqlx::query!(
        "INSERT INTO role (account_id, role_id, name, description, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        account.0,
        role.0,
        name,
        description,
        now,
    )
    .execute(change.conn())
    .await?;
    if made.rows_affected() == 0 {
        return Err(Refused::new(Code::NameTaken).at("name").into());
    }
    set_keys(change, role, &keys).await?;
    let detail = json!({ "name": name, "permissions": keys, "copyOf": new.copy_of });
    change.record(NewEvent::new(EventKind::RoleCreated).subject(role.0).detail(detail));
    Ok(role)
}

/// Changes a role; for everybody who has it, at once.
///
/// # Errors
/// NOT_FOUND, ARCHIVED, SYSTEM_ROLE, VERSION_CONFLICT, and whatever [`create`] refuses.
pub async fn update(change: &mut Change, actor: &Actor, role: RoleId, update: &Update) -> Result<()> {
    actor.may(Action::ManageRoles, Target::Account)?;
    lock_roles(change).await?;
    let locked = lock(change, role).await.at("roleId")?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("roleId").into());
    }
    if update.expected_version.is_some_and(|expected| expected != locked.version) {
        return Err(Refused::new(Code::VersionConflict).at("expectedVersion").into());
    }
    let standing = change.standing(actor).await?;
    // Who has the role may do less afterwards: so what it holds must be the actor's too.
    may_grant(&standing, &locked.keys).at("roleId")?;
    let name = update.name.as_deref().map(|name| field("name", profile::title(name))).transpose()?;
    let name = name.unwrap_or_else(|| locked.name.clone());
    let described = match &update.description {
        Some(text) => description(Some(text))?,
        None => locked.description.clone(),
    };
    let keys = match &update.permissions {
        Some(keys) => check_keys(change, keys.clone()).await?,
        None => locked.keys.clone(),
    };
    may_grant(&standing, &keys)?;
    if (&name, &described, &keys) == (&locked.name, &locked.description, &locked.keys) {
        return Ok(());
    }
    rename(change, role, &name, described.as_deref()).await?;
    if keys != locked.keys {
        set_keys(change, role, &keys).await?;
        change.rights_changed();
    }
    let detail = json!({
        "name": { "before": locked.name, "after": name },
        "permissions": { "before": locked.keys, "after": keys },
    });
    change.record(NewEvent::new(EventKind::RoleUpdated).subject(role.0).detail(detail));
    Ok(())
}

async fn rename(change: &mut Change, role: RoleId, name: &str, description: Option<&str>) -> Result<()> {
    let account = change.account();
    let taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM role WHERE account_id = $1 AND role_id <> $2 AND archived_at IS NULL
                          AND lower(name) = lower($3)) AS "taken!""#,
        account.0,
        role.0,
        name,
    )
    .fetch_one(change.conn())
    .await?;
    if taken {
        return Err(Refused::new(Code::NameTaken).at("name").into());
    }
    sqlx::query!(
        "UPDATE role SET name = $3, description = $4, version = version + 1 WHERE account_id = $1 AND role_id = $2",
        account.0,
        role.0,
        name,
        description,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Archives a role. One that is in use, also by open invitations, is replaced by another one everywhere, in the same scopes.
///
/// # Errors
/// NOT_FOUND, SYSTEM_ROLE, REPLACEMENT_REQUIRED, ARCHIVED and NOT_FOUND at `replacementRoleId`, NOT_PERMITTED naming what the actor
/// lacks of the role or of its replacement.
pub async fn archive(
    change: &mut Change,
    actor: &Actor,
    role: RoleId,
    replacement: Option<RoleId>,
) -> Result<Archived> {
    actor.may(Action::ManageRoles, Target::Account)?;
    lock_roles(change).await?;
    let locked = lock(change, role).await.at("roleId")?;
    if locked.archived {
        return Ok(Archived { role_id: role, replaced: 0 });
    }
    let scopes = scopes_of(change, role).await?;
    let standing = change.standing(actor).await?;
    may_grant(&standing, &locked.keys).at("roleId")?;
    let replaced = match replacement {
        None if scopes.is_empty() => 0,
        None => return Err(Refused::new(Code::ReplacementRequired).at("replacementRoleId").into()),
        Some(other) => replace(change, &standing, role, other, &scopes).await.at("replacementRoleId")?,
    };
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE role SET archived_at = $3, version = version + 1 WHERE account_id = $1 AND role_id = $2",
        account.0,
        role.0,
        now,
    )
    .execute(change.conn())
    .await?;
    change.rights_changed();
    let detail =
        json!({ "name": locked.name, "replacement": replacement.filter(|_| replaced > 0), "replaced": replaced });
    change.record(NewEvent::new(EventKind::RoleArchived).subject(role.0).detail(detail));
    Ok(Archived { role_id: role, replaced })
}

/// The scopes in which a role is assigned to anybody.
async fn scopes_of(change: &mut Change, role: RoleId) -> Result<Vec<UnitId>> {
    let account = change.account();
    let scopes = sqlx::query_scalar!(
        r#"SELECT DISTINCT unit_id AS "unit_id: UnitId" FROM member_role WHERE account_id = $1 AND role_id = $2"#,
        account.0,
        role.0,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(scopes)
}

async fn replace(change: &mut Change, standing: &Standing, role: RoleId, by: RoleId, scopes: &[UnitId]) -> Result<u64> {
    if by == role {
        return Err(Code::NotFound.into());
    }
    let account = change.account();
    let keys = keys_of(change, by).await?;
    let set = permission_set(by == SystemRole::Administrator.id(), &keys);
    let mut given = Grants::default();
    for scope in scopes {
        given.add(*scope, set);
    }
    standing.may(Action::ManageRoles, Target::Grant(&given))?;
    // Whoever archives is from now on answerable for what open invitations with the role grant.
    let replaced = sqlx::query!(
        "WITH gone AS (DELETE FROM member_role WHERE account_id = $1 AND role_id = $2 RETURNING member_id, unit_id, assigned_at),
              answerable AS (UPDATE invitation SET invited_by = $4
                             WHERE account_id = $1 AND finished_at IS NULL AND member_id IN (SELECT member_id FROM gone)),
              added AS (INSERT INTO member_role (account_id, member_id, role_id, unit_id, assigned_at)
                        SELECT $1, member_id, $3, unit_id, assigned_at FROM gone ON CONFLICT DO NOTHING)
         SELECT count(*) FROM gone",
        account.0,
        role.0,
        by.0,
        standing.member_id.0,
    )
    .fetch_one(change.conn())
    .await?;
    Ok(u64::try_from(replaced.count.unwrap_or_default()).unwrap_or_default())
}

/// Takes a role out of the archive.
///
/// # Errors
/// NOT_FOUND, NAME_TAKEN, LIMIT_REACHED.
pub async fn unarchive(change: &mut Change, actor: &Actor, role: RoleId, limit: usize) -> Result<()> {
    actor.may(Action::ManageRoles, Target::Account)?;
    lock_roles(change).await?;
    let locked = lock(change, role).await.at("roleId")?;
    change.standing(actor).await?.may(Action::ManageRoles, Target::Account)?;
    if !locked.archived {
        return Ok(());
    }
    let account = change.account();
    let others = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE system_key IS NULL) AS "custom!", count(*) FILTER (WHERE lower(name) = lower($2)) AS "alike!"
           FROM role WHERE account_id = $1 AND archived_at IS NULL"#,
        account.0,
        locked.name,
    )
    .fetch_one(change.conn())
    .await?;
    if others.alike > 0 {
        return Err(Refused::new(Code::NameTaken).at("roleId").into());
    }
    if usize::try_from(others.custom).unwrap_or(usize::MAX) >= limit {
        return Err(Code::LimitReached.into());
    }
    sqlx::query!(
        "UPDATE role SET archived_at = NULL, version = version + 1 WHERE account_id = $1 AND role_id = $2",
        account.0,
        role.0
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::RoleUnarchived).subject(role.0).detail(json!({ "name": locked.name })));
    Ok(())
}

/// One change of an account's roles at a time: names and their number are judged over all of them.
async fn lock_roles(change: &mut Change) -> Result<()> {
    let account = change.account();
    sqlx::query!("SELECT 1 AS one FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    Ok(())
}

async fn lock(change: &mut Change, role: RoleId) -> Result<Locked> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT name, description, system_key, version, archived_at IS NOT NULL AS "archived!",
                  ARRAY(SELECT permission FROM role_permission p WHERE p.account_id = r.account_id AND p.role_id = r.role_id) AS "keys!"
           FROM role r WHERE account_id = $1 AND role_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        role.0,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or(Code::NotFound)?;
    if row.system_key.is_some() {
        return Err(Code::SystemRole.into());
    }
    let keys = permission::in_order(row.keys);
    Ok(Locked { name: row.name, description: row.description, version: row.version, archived: row.archived, keys })
}

/// What a role that can be given holds; Administrator all that is declared so far.
async fn keys_of(change: &mut Change, role: RoleId) -> Result<Vec<String>> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT archived_at IS NOT NULL AS "archived!",
                  CASE WHEN role_id = $3
                      THEN ARRAY(SELECT permission FROM permission WHERE withdrawn_at IS NULL AND NOT owner_only)
                      ELSE ARRAY(SELECT permission FROM role_permission x JOIN permission p USING (permission)
                                 WHERE x.account_id = r.account_id AND x.role_id = r.role_id
                                   AND p.withdrawn_at IS NULL AND NOT p.owner_only)
                  END AS "keys!"
           FROM role r WHERE account_id = $1 AND role_id = $2"#,
        account.0,
        role.0,
        SystemRole::Administrator.id().0,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or(Code::NotFound)?;
    if row.archived { Err(Code::Archived.into()) } else { Ok(row.keys) }
}

/// Keys that can be given together, each once, in the order of the catalogue.
async fn check_keys(change: &mut Change, keys: Vec<String>) -> Result<Vec<String>> {
    let known = permission::read(change.conn()).await?;
    let refuse = |code, index: usize| Err(Error::from(Refused::new(code).at(index).at("permissions")));
    for (index, key) in keys.iter().enumerate() {
        match known.iter().find(|permission| permission.key == *key) {
            None => return refuse(Code::UnknownPermission, index),
            Some(permission) if permission.owner_only => return refuse(Code::OwnerOnlyPermission, index),
            Some(permission) if !permission.prerequisites.iter().all(|needed| keys.contains(needed)) => {
                return refuse(Code::PrerequisiteMissing, index);
            }
            Some(_) => {}
        }
    }
    Ok(permission::in_order(keys))
}

/// Nobody puts into a role, or takes from one, what they do not hold themselves. What the host product declared is not compared.
fn may_grant(standing: &Standing, keys: &[String]) -> Result<()> {
    let mut given = Grants::default();
    given.add(WHOLE_ACCOUNT, permission_set(false, keys));
    standing.may(Action::ManageRoles, Target::Grant(&given))
}

async fn set_keys(change: &mut Change, role: RoleId, keys: &[String]) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "WITH gone AS (DELETE FROM role_permission WHERE account_id = $1 AND role_id = $2 AND permission <> ALL($3))
         INSERT INTO role_permission (account_id, role_id, permission) SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING",
        account.0,
        role.0,
        keys,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

fn description(text: Option<&str>) -> Result<Option<String>> {
    field("description", profile::optional(text.unwrap_or_default(), profile::message))
}
