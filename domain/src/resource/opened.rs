//! To whom resources are open, and their rates: read for many at once.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::Rate;
use super::rate::money;
use crate::id::{AccountId, GroupId, MemberId, ResourceId};

/// To whom a resource is open besides everybody, and its rates.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Groups, archived ones included.
    pub groups: Vec<GroupId>,
    /// Members.
    pub members: Vec<MemberId>,
    /// Rates by group, the highest first.
    pub rates: Vec<Rate>,
}

/// Reads it for some resources in one statement. The caller has looked at the right to know it.
pub async fn opened(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[ResourceId],
) -> sqlx::Result<HashMap<ResourceId, Opened>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT resource_id AS "resource_id!: ResourceId", group_id AS "group_id?: GroupId", NULL::uuid AS "member_id?: MemberId",
                  NULL::bigint AS "amount?", NULL::text AS "currency?", granted_at AS "at!"
           FROM resource_group WHERE account_id = $1 AND resource_id = ANY($2)
           UNION ALL
           SELECT resource_id, NULL, member_id, NULL, NULL, granted_at
           FROM resource_member WHERE account_id = $1 AND resource_id = ANY($2)
           UNION ALL
           SELECT resource_id, group_id, NULL, amount, currency, set_at
           FROM resource_rate WHERE account_id = $1 AND resource_id = ANY($2)
           ORDER BY 1, 4 DESC, 6, 2, 3"#,
        account.0,
        &raw,
    )
    .fetch_all(conn)
    .await?;
    let mut all: HashMap<ResourceId, Opened> = ids.iter().map(|id| (*id, Opened::default())).collect();
    for row in rows {
        let Some(opened) = all.get_mut(&row.resource_id) else { continue };
        match (row.member_id, row.group_id, row.amount, row.currency) {
            (Some(member), ..) => opened.members.push(member),
            (None, Some(group_id), Some(amount), Some(currency)) => {
                opened.rates.push(Rate { group_id, money: money(amount, &currency)?, set_at: row.at });
            }
            (None, Some(group), ..) => opened.groups.push(group),
            _ => {}
        }
    }
    Ok(all)
}
