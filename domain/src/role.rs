//! Roles of an account: named sets of permissions, five of them built in.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Grants, permission_set};
use crate::id::{AccountId, RoleId};
use crate::infra::clock::Timestamp;
use crate::permission::{self, SystemRole};

mod manage;

pub use manage::{Archived, NewRole, Update, archive, create, unarchive, update};

/// A named set of permissions.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its id.
    pub role_id: RoleId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its key, if it is a system role.
    pub system_key: Option<String>,
    /// Keys of the permissions it holds: the administrative ones in the order of the catalogue, then the host product's.
    pub permissions: Vec<String>,
    /// Grows with each change.
    pub version: i32,
    /// Since when it can no longer be given.
    pub archived_at: Option<Timestamp>,
}

/// Which roles are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Those with these ids.
    pub ids: Option<&'a [RoleId]>,
    /// Archived ones, or those that are not; both unless given.
    pub archived: Option<bool>,
}

/// How much a role is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Members who have it, of any status but INVITED.
    pub members: i64,
    /// Open invitations that will give it.
    pub invitations: i64,
}

/// Roles of an account, by name.
pub async fn read(conn: &mut PgConnection, account: AccountId, filter: Filter<'_>) -> sqlx::Result<Vec<Role>> {
    let ids: Option<Vec<Uuid>> = filter.ids.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"SELECT r.role_id AS "role_id: RoleId", r.name, r.description, r.system_key, r.version, r.archived_at AS "archived_at: Timestamp",
                  CASE WHEN r.role_id = $4
                      THEN ARRAY(SELECT p.permission FROM permission p WHERE p.withdrawn_at IS NULL AND NOT p.owner_only)
                      ELSE ARRAY(SELECT permission FROM role_permission x JOIN permission p USING (permission)
                                 WHERE x.account_id = r.account_id AND x.role_id = r.role_id
                                   AND p.withdrawn_at IS NULL AND NOT p.owner_only)
                  END AS "keys!"
           FROM role r
           WHERE r.account_id = $1 AND ($2::uuid[] IS NULL OR r.role_id = ANY($2))
             AND ($3::boolean IS NULL OR (r.archived_at IS NOT NULL) = $3)
           ORDER BY r.name, r.role_id"#,
        account.0,
        ids.as_deref(),
        filter.archived,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await?;
    let role = |row_keys: Vec<String>| permission::in_order(row_keys);
    Ok(rows
        .into_iter()
        .map(|row| Role {
            role_id: row.role_id,
            name: row.name,
            description: row.description,
            system_key: row.system_key,
            permissions: role(row.keys),
            version: row.version,
            archived_at: row.archived_at,
        })
        .collect())
}

/// What a role gives when it is assigned for the whole account.
pub fn grants(role: RoleId, keys: &[String]) -> Grants {
    Grants::wide_only(permission_set(role == SystemRole::Administrator.id(), keys))
}

/// How much roles are used, in the order asked for.
pub async fn usage(conn: &mut PgConnection, account: AccountId, roles: &[RoleId]) -> sqlx::Result<Vec<Usage>> {
    let ids: Vec<Uuid> = roles.iter().map(|role| role.0).collect();
    let rows = sqlx::query!(
        r#"SELECT count(DISTINCT m.member_id) FILTER (WHERE m.user_id IS NOT NULL) AS "members!",
                  count(DISTINCT m.member_id) FILTER (WHERE m.user_id IS NULL) AS "invitations!"
           FROM unnest($2::uuid[]) WITH ORDINALITY w(role_id, ord)
           LEFT JOIN member_role a ON a.account_id = $1 AND a.role_id = w.role_id
           LEFT JOIN member m ON m.account_id = a.account_id AND m.member_id = a.member_id
           GROUP BY w.ord ORDER BY w.ord"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Usage { members: row.members, invitations: row.invitations }).collect())
}
