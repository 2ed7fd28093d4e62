//! Roles of an account.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::permission_set;
use crate::id::{AccountId, RoleId};
use crate::permission::{Permission, SystemRole};

/// A named set of permissions.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its id.
    pub role_id: RoleId,
    /// Its name.
    pub name: String,
    /// Its key, if it is a system role.
    pub system_key: Option<String>,
    /// What it holds.
    pub permissions: Vec<Permission>,
}

/// Roles of an account, by name: all, or those with these ids.
pub async fn read(conn: &mut PgConnection, account: AccountId, ids: Option<&[RoleId]>) -> sqlx::Result<Vec<Role>> {
    let ids: Option<Vec<Uuid>> = ids.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"SELECT r.role_id AS "role_id: RoleId", r.name, r.system_key,
                  ARRAY(SELECT p.permission FROM role_permission p WHERE p.account_id = r.account_id AND p.role_id = r.role_id)
                      AS "keys!"
           FROM role r WHERE r.account_id = $1 AND ($2::uuid[] IS NULL OR r.role_id = ANY($2)) ORDER BY r.name, r.role_id"#,
        account.0,
        ids.as_deref(),
    )
    .fetch_all(conn)
    .await?;
    let role = |row_id: RoleId, name, system_key, keys: &[String]| {
        let everything = row_id == SystemRole::Administrator.id();
        Role { role_id: row_id, name, system_key, permissions: permission_set(everything, keys).iter().collect() }
    };
    Ok(rows.into_iter().map(|row| role(row.role_id, row.name, row.system_key, &row.keys)).collect())
}
