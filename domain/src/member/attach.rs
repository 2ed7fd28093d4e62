//! What goes with each member of a page: all of it in one statement.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Held, Include, License, Member, MemberGroup, MemberRole, MemberUnit, Visibility};
use crate::actor::{Grants, permission_set};
use crate::id::{AccountId, GroupId, MemberId, RoleId, UnitId};
use crate::infra::clock::Timestamp;
use crate::permission::SystemRole;

struct Row {
    member_id: MemberId,
    kind: String,
    id: Option<Uuid>,
    name: Option<String>,
    key: Option<String>,
    unit_id: Option<UnitId>,
    unit_name: Option<String>,
    flag: bool,
    since: Timestamp,
}

/// All lists asked for, of all members, in one statement.
pub(crate) async fn attach_lists(
    conn: &mut PgConnection,
    account: AccountId,
    members: &mut [Member],
    include: Include,
) -> sqlx::Result<()> {
    if members.is_empty() || include == Include::default() {
        return Ok(());
    }
    let rows = read(conn, account, members, include).await?;
    for member in members.iter_mut() {
        member.roles = include.roles.then(Vec::new);
        member.licenses = include.licenses.then(Vec::new);
        member.groups = include.groups.then(Vec::new);
        member.units = include.units.then(Vec::new);
        member.held = include.held.then(Held::default);
    }
    for row in rows {
        if let Some(member) = members.iter_mut().find(|member| member.member_id == row.member_id) {
            put(member, row);
        }
    }
    Ok(())
}

/// Rows of several kinds. What is listed is read of those whose profile is shown; what decides over verdicts, of all.
async fn read(
    conn: &mut PgConnection,
    account: AccountId,
    members: &[Member],
    include: Include,
) -> sqlx::Result<Vec<Row>> {
    let all: Vec<Uuid> = members.iter().map(|m| m.member_id.0).collect();
    let shown: Vec<Uuid> =
        members.iter().filter(|m| m.visibility != Visibility::Basic).map(|m| m.member_id.0).collect();
    sqlx::query_as!(
        Row,
        r#"SELECT a.member_id AS "member_id!: MemberId", 'ROLE' AS "kind!", r.role_id AS "id?", r.name AS "name?", r.system_key AS "key?",
                  u.unit_id AS "unit_id?: UnitId", u.name AS "unit_name?", u.archived_at IS NOT NULL AS "flag!", a.assigned_at AS "since!"
           FROM member_role a JOIN role r USING (account_id, role_id)
           LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
           WHERE $4 AND a.account_id = $1 AND a.member_id = ANY($2)
           UNION ALL
           SELECT l.member_id, 'LICENSE', NULL, p.name, l.product_id, NULL, NULL, l.reserved, l.allocated_at
           FROM license_allocation l JOIN product p USING (product_id)
           WHERE $5 AND l.account_id = $1 AND l.member_id = ANY($2)
           UNION ALL
           SELECT g.member_id, 'GROUP', g.group_id, n.name, NULL, NULL, NULL, false, g.added_at
           FROM group_member g JOIN member_group n USING (account_id, group_id)
           WHERE $6 AND g.account_id = $1 AND g.member_id = ANY($2) AND n.archived_at IS NULL
           UNION ALL
           SELECT v.member_id, 'UNIT', NULL, NULL, NULL, v.unit_id, u.name, false, v.added_at
           FROM member_unit v JOIN unit u USING (account_id, unit_id)
           WHERE ($7 AND v.member_id = ANY($2) OR $8 AND v.member_id = ANY($3)) AND v.account_id = $1 AND u.archived_at IS NULL
           UNION ALL
           SELECT a.member_id, 'HELD', NULL, NULL, string_agg(p.permission, ' '), a.unit_id, NULL, a.role_id = $9, min(a.assigned_at)
           FROM member_role a
           LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
           LEFT JOIN role_permission p ON p.account_id = a.account_id AND p.role_id = a.role_id
           WHERE $8 AND a.account_id = $1 AND a.member_id = ANY($3) AND u.archived_at IS NULL
           GROUP BY a.member_id, a.unit_id, a.role_id = $9
           ORDER BY 9, 3"#,
        account.0,
        &shown,
        &all,
        include.roles,
        include.licenses,
        include.groups,
        include.units,
        include.held,
        SystemRole::Administrator.id().0,
    )
    .fetch_all(conn)
    .await
}

fn put(member: &mut Member, row: Row) {
    match row.kind.as_str() {
        "ROLE" => {
            let unit = row.unit_id.map(|unit_id| MemberUnit {
                unit_id,
                name: row.unit_name.unwrap_or_default(),
                archived: row.flag,
            });
            if let (Some(roles), Some(id)) = (&mut member.roles, row.id) {
                let (role_id, name) = (RoleId(id), row.name.unwrap_or_default());
                roles.push(MemberRole { role_id, name, system_key: row.key, unit });
            }
        }
        "LICENSE" => {
            if let (Some(licenses), Some(product_id)) = (&mut member.licenses, row.key) {
                let product_name = row.name.unwrap_or_default();
                licenses.push(License { product_id, product_name, reserved: row.flag, allocated_at: row.since });
            }
        }
        "GROUP" => {
            if let (Some(groups), Some(id)) = (&mut member.groups, row.id) {
                groups.push(MemberGroup { group_id: GroupId(id), name: row.name.unwrap_or_default() });
            }
        }
        "UNIT" => {
            let Some(unit_id) = row.unit_id else { return };
            if let Some(held) = &mut member.held {
                held.units.push(unit_id);
            }
            if let Some(units) = member.units.as_mut().filter(|_| member.visibility != Visibility::Basic) {
                units.push(MemberUnit { unit_id, name: row.unit_name.unwrap_or_default(), archived: false });
            }
        }
        _ => {
            let keys: Vec<String> = row.key.unwrap_or_default().split(' ').map(str::to_owned).collect();
            if let (Some(held), Some(scope)) = (&mut member.held, row.unit_id) {
                let held: &mut Grants = &mut held.grants;
                held.add(scope, permission_set(row.flag, &keys));
            }
        }
    }
}
