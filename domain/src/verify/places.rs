//! Units, groups and resources: what is in the archive takes nobody in, and what refers to members or money is sound. What was
//! asked for just before an archiving counts from before it, so a minute between the two says nothing.

use super::check::checks;

checks! { of_accounts
    Broken "roles.archived" "nobody holds an archived role"
    r#"SELECT a.account_id, jsonb_build_object('role', a.role_id, 'member', a.member_id)
       FROM member_role a JOIN role r USING (account_id, role_id)
       WHERE a.account_id = ANY($1) AND r.archived_at IS NOT NULL"#

    Broken "units.archived" "nobody was put into an archived unit, or given a role within one"
    r#"SELECT m.account_id, jsonb_build_object('in', m.of, 'member', m.member_id, 'unit', m.unit_id)
       FROM (SELECT account_id, member_id, unit_id, added_at AS at, 'member_unit' AS of FROM member_unit WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, unit_ref, assigned_at, 'member_role' FROM member_role
             WHERE account_id = ANY($1) AND unit_ref IS NOT NULL) m
       JOIN unit u USING (account_id, unit_id) WHERE m.at > u.archived_at + interval '1 minute'"#

    Broken "groups.archived" "nobody was put into an archived group, and nothing opened to it"
    r#"SELECT m.account_id, jsonb_build_object('in', m.of, 'group', m.group_id)
       FROM (SELECT account_id, group_id, added_at AS at, 'group_member' AS of FROM group_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, granted_at, 'resource_group' FROM resource_group WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, set_at, 'resource_rate' FROM resource_rate WHERE account_id = ANY($1)) m
       JOIN member_group g USING (account_id, group_id)
       WHERE m.at > g.archived_at + interval '1 minute'"#

    Broken "resources.archived" "an archived resource is called by its external id"
    r#"SELECT account_id, jsonb_build_object('resource', resource_id) FROM resource
       WHERE account_id = ANY($1) AND archived_at IS NOT NULL AND name <> external_id"#

    Broken "resources.responsible" "whoever answers for a resource that is not archived has joined and is not deactivated"
    r#"SELECT r.account_id, jsonb_build_object('resource', r.resource_id, 'member', m.member_id, 'status', m.status)
       FROM resource r JOIN member m ON m.account_id = r.account_id AND m.member_id = r.responsible_member_id
       WHERE r.account_id = ANY($1) AND r.archived_at IS NULL
         AND NOT (m.status = 'ACTIVE' OR (m.status = 'SUSPENDED' AND m.prior_status = 'ACTIVE'))"#

    Broken "resources.currency" "all rates of a resource are in one currency"
    r#"SELECT account_id, jsonb_build_object('resource', resource_id, 'currencies', count(DISTINCT currency)) FROM resource_rate
       WHERE account_id = ANY($1) GROUP BY account_id, resource_id HAVING count(DISTINCT currency) > 1"#
}
