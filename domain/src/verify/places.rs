//! Units, groups and resources: what is in the archive takes nobody in, and what refers to members or money is sound. What was
//! asked for just before an archiving counts from before it, so a minute between the two says nothing.

use super::check::checks;

checks! { of_accounts
    Broken "roles.unit" "a role within a unit is within one of the account's units"
    r#"SELECT a.account_id, jsonb_build_object('member', a.member_id, 'role', a.role_id, 'unit', a.unit_ref)
       FROM member_role a LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
       WHERE a.account_id = ANY($1) AND a.unit_ref IS NOT NULL AND u.unit_id IS NULL"#

    Broken "roles.catalogue" "roles hold permissions of the catalogue, which says whether they can be held within a unit"
    r#"SELECT p.account_id, jsonb_build_object('role', p.role_id, 'permission', p.permission)
       FROM role_permission p LEFT JOIN permission k USING (permission)
       WHERE p.account_id = ANY($1) AND k.permission IS NULL"#

    Broken "units.archived" "nobody was put into an archived unit"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id, 'unit', m.unit_id)
       FROM member_unit m JOIN unit u USING (account_id, unit_id)
       WHERE m.account_id = ANY($1) AND m.added_at > u.archived_at + interval '1 minute'"#

    Broken "groups.archived" "nobody was put into an archived group, and nothing opened to it"
    r#"SELECT m.account_id, jsonb_build_object('in', m.of, 'group', m.group_id)
       FROM (SELECT account_id, group_id, added_at AS at, 'group_member' AS of FROM group_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, granted_at, 'resource_group' FROM resource_group WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, set_at, 'resource_rate' FROM resource_rate WHERE account_id = ANY($1)) m
       JOIN member_group g USING (account_id, group_id)
       WHERE m.at > g.archived_at + interval '1 minute'"#

    Broken "resources.responsible" "whoever answers for a resource is an active or suspended member"
    r#"SELECT r.account_id, jsonb_build_object('resource', r.resource_id, 'member', r.responsible_member_id, 'status', m.status)
       FROM resource r LEFT JOIN member m ON m.account_id = r.account_id AND m.member_id = r.responsible_member_id
       WHERE r.account_id = ANY($1) AND r.responsible_member_id IS NOT NULL
         AND NOT coalesce(m.status = 'ACTIVE' OR (m.status = 'SUSPENDED' AND m.prior_status = 'ACTIVE'), false)"#

    Broken "resources.currency" "all rates of a resource are in one currency"
    r#"SELECT account_id, jsonb_build_object('resource', resource_id, 'currencies', count(DISTINCT currency)) FROM resource_rate
       WHERE account_id = ANY($1) GROUP BY account_id, resource_id HAVING count(DISTINCT currency) > 1"#
}
