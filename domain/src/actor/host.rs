//! Permissions of the host product. Muster keeps who holds them; what they allow is the host product's business.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::grants::WHOLE_ACCOUNT;
use crate::id::{AccountId, MemberId, UnitId};
use crate::permission::SystemRole;

/// Keys by scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostGrants(BTreeMap<UnitId, BTreeSet<String>>);

impl HostGrants {
    /// Whether a permission is held in the whole account or in a unit.
    pub fn holds(&self, key: &str, unit: Option<UnitId>) -> bool {
        let within = |scope: UnitId| self.0.get(&scope).is_some_and(|keys| keys.contains(key));
        within(WHOLE_ACCOUNT) || unit.is_some_and(within)
    }

    /// What is held for the whole account.
    pub fn wide(&self) -> impl Iterator<Item = &str> {
        self.0.get(&WHOLE_ACCOUNT).into_iter().flatten().map(String::as_str)
    }

    /// What is held within units only: each unit with its keys.
    pub fn limited(&self) -> impl Iterator<Item = (UnitId, &BTreeSet<String>)> {
        self.0.iter().filter(|(scope, _)| **scope != WHOLE_ACCOUNT).map(|(scope, keys)| (*scope, keys))
    }
}

/// What a member holds: by roles, all of them as Administrator, and what only owners hold as the owner. What covers the whole account by
/// its nature is not held within a unit.
pub(super) async fn of_member(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    owner: bool,
) -> sqlx::Result<HostGrants> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT a.unit_id AS "unit_id!: UnitId", p.permission AS "permission!"
           FROM member_role a
           LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
           JOIN permission p ON a.role_id = $3 OR EXISTS (
               SELECT FROM role_permission x
               WHERE x.account_id = a.account_id AND x.role_id = a.role_id AND x.permission = p.permission)
           WHERE a.account_id = $1 AND a.member_id = $2 AND u.archived_at IS NULL
             AND p.permission LIKE 'app.%' AND p.withdrawn_at IS NULL AND NOT p.owner_only
             AND (a.unit_ref IS NULL OR NOT p.account_wide)
           UNION ALL
           SELECT $4, permission FROM permission
           WHERE $5 AND permission LIKE 'app.%' AND withdrawn_at IS NULL AND owner_only"#,
        account.0,
        member.0,
        SystemRole::Administrator.id().0,
        WHOLE_ACCOUNT.0,
        owner,
    )
    .fetch_all(conn)
    .await?;
    let mut grants = HostGrants::default();
    for row in rows {
        grants.0.entry(row.unit_id).or_default().insert(row.permission);
    }
    Ok(grants)
}
