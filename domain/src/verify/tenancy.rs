//! DESIGN §2.9: what an account refers to is its own.

use super::check::checks;

checks! { of_accounts
    Broken "tenancy.members" "what belongs to a member belongs to one of the same account"
    r#"SELECT c.account_id, jsonb_build_object('in', c.of, 'member', c.member_id)
       FROM (SELECT account_id, member_id, 'member_role' AS of FROM member_role WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'account_owner' FROM account_owner WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'member_activity' FROM member_activity WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'license_allocation' FROM license_allocation WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'invitation' FROM invitation WHERE account_id = ANY($1) AND member_id IS NOT NULL
             UNION ALL SELECT account_id, member_id, 'session' FROM session WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'sso_exception' FROM sso_exception WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'group_member' FROM group_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'member_unit' FROM member_unit WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, member_id, 'resource_member' FROM resource_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, responsible_member_id, 'resource' FROM resource
                       WHERE account_id = ANY($1) AND responsible_member_id IS NOT NULL) c
       LEFT JOIN member m ON m.account_id = c.account_id AND m.member_id = c.member_id
       WHERE m.member_id IS NULL"#

    Broken "tenancy.roles" "roles that are assigned or described are of the same account"
    r#"SELECT c.account_id, jsonb_build_object('in', c.of, 'role', c.role_id)
       FROM (SELECT account_id, role_id, 'member_role' AS of FROM member_role WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, role_id, 'role_permission' FROM role_permission WHERE account_id = ANY($1)) c
       LEFT JOIN role r ON r.account_id = c.account_id AND r.role_id = c.role_id
       WHERE r.role_id IS NULL"#

    Broken "tenancy.places" "units, groups and resources that are referred to are of the same account"
    r#"SELECT c.account_id, jsonb_build_object('in', c.of, 'unit', c.unit_id)
       FROM (SELECT account_id, unit_ref AS unit_id, 'member_role' AS of FROM member_role WHERE account_id = ANY($1) AND unit_ref IS NOT NULL
             UNION ALL SELECT account_id, unit_id, 'member_unit' FROM member_unit WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, unit_id, 'resource' FROM resource WHERE account_id = ANY($1) AND unit_id IS NOT NULL) c
       LEFT JOIN unit u USING (account_id, unit_id)
       WHERE u.name IS NULL
       UNION ALL
       SELECT c.account_id, jsonb_build_object('in', c.of, 'group', c.group_id)
       FROM (SELECT account_id, group_id, 'group_member' AS of FROM group_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, 'resource_group' FROM resource_group WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, group_id, 'resource_rate' FROM resource_rate WHERE account_id = ANY($1)) c
       LEFT JOIN member_group g USING (account_id, group_id)
       WHERE g.name IS NULL
       UNION ALL
       SELECT c.account_id, jsonb_build_object('in', c.of, 'resource', c.resource_id)
       FROM (SELECT account_id, resource_id, 'resource_member' AS of FROM resource_member WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, resource_id, 'resource_group' FROM resource_group WHERE account_id = ANY($1)
             UNION ALL SELECT account_id, resource_id, 'resource_rate' FROM resource_rate WHERE account_id = ANY($1)) c
       LEFT JOIN resource r USING (account_id, resource_id)
       WHERE r.name IS NULL"#

    Broken "tenancy.parts" "seats, uses of sessions and rows of imports are parts of something in the same account"
    r#"SELECT a.account_id, jsonb_build_object('in', 'license_allocation', 'product', a.product_id, 'member', a.member_id)
       FROM license_allocation a LEFT JOIN license_pool p USING (account_id, product_id)
       WHERE a.account_id = ANY($1) AND p.product_id IS NULL
       UNION ALL
       SELECT a.account_id, jsonb_build_object('in', 'session_activity', 'session', a.session_id)
       FROM session_activity a LEFT JOIN session s USING (account_id, session_id)
       WHERE a.account_id = ANY($1) AND s.session_id IS NULL
       UNION ALL
       SELECT r.account_id, jsonb_build_object('in', 'member_import_row', 'import', r.import_id, 'row', r.row_no)
       FROM member_import_row r LEFT JOIN member_import i USING (account_id, import_id)
       WHERE r.account_id = ANY($1) AND i.import_id IS NULL"#
}
