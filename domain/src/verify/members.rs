//! Members: status, invitation, login and roles fit together; and nobody is signed in who may not enter.

use super::check::checks;

checks! { of_accounts
    Broken "members.status" "a member's status, the one before, and whether they ever joined fit together"
    r#"SELECT account_id, jsonb_build_object('member', member_id, 'status', status, 'priorStatus', prior_status)
       FROM member
       WHERE account_id = ANY($1)
         AND (status NOT IN ('INVITED', 'ACTIVE', 'SUSPENDED', 'DEACTIVATED')
              OR NOT CASE status
                  WHEN 'SUSPENDED' THEN coalesce(prior_status IN ('INVITED', 'ACTIVE'), false)
                  WHEN 'DEACTIVATED' THEN coalesce(prior_status IN ('ACTIVE', 'SUSPENDED'), false)
                  ELSE prior_status IS NULL END
              OR (user_id IS NULL) <> (status = 'INVITED' OR (status = 'SUSPENDED' AND prior_status = 'INVITED'))
              OR (joined_at IS NULL) <> (user_id IS NULL))"#

    Broken "members.invitation" "whoever was invited and has not joined has an open invitation, and nobody else does"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id, 'status', m.status, 'invitation', i.invitation_id)
       FROM member m LEFT JOIN invitation i
           ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
       WHERE m.account_id = ANY($1)
         AND (m.status = 'INVITED' OR (m.status = 'SUSPENDED' AND m.prior_status = 'INVITED')) <> (i.state IS NOT NULL)"#

    Broken "members.login" "a member who joined has the address of their login"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id, 'user', m.user_id)
       FROM member m LEFT JOIN app_user u USING (user_id)
       WHERE m.account_id = ANY($1) AND m.user_id IS NOT NULL AND u.email IS DISTINCT FROM m.email"#

    Broken "members.once" "an address and a person have one place in an account"
    r#"SELECT account_id, jsonb_build_object('members', array_agg(member_id)) FROM member
       WHERE account_id = ANY($1) GROUP BY account_id, email HAVING count(*) > 1
       UNION ALL
       SELECT account_id, jsonb_build_object('members', array_agg(member_id)) FROM member
       WHERE account_id = ANY($1) AND user_id IS NOT NULL GROUP BY account_id, user_id HAVING count(*) > 1"#

    Broken "members.activity" "every member has a row for their last activity, by which they are listed"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id) FROM member m
       WHERE m.account_id = ANY($1) AND NOT EXISTS (
           SELECT FROM member_activity a WHERE a.account_id = m.account_id AND a.member_id = m.member_id)"#

    Broken "roles.member" "every member has a role"
    r#"SELECT m.account_id, jsonb_build_object('member', m.member_id) FROM member m
       WHERE m.account_id = ANY($1) AND NOT EXISTS (
           SELECT FROM member_role r WHERE r.account_id = m.account_id AND r.member_id = m.member_id)"#

    Broken "roles.system" "every account has the five system roles"
    r#"SELECT a.account_id, jsonb_build_object('systemRoles', count(r.role_id))
       FROM account a LEFT JOIN role r ON r.account_id = a.account_id AND r.system_key IS NOT NULL
       WHERE a.account_id = ANY($1) GROUP BY a.account_id HAVING count(r.role_id) <> 5"#

    Broken "sessions.entry" "only active members are signed in"
    r#"SELECT s.account_id, jsonb_build_object('session', s.session_id, 'member', s.member_id, 'status', m.status)
       FROM session s LEFT JOIN member m USING (account_id, member_id)
       WHERE s.account_id = ANY($1) AND m.status IS DISTINCT FROM 'ACTIVE'"#

    Broken "sessions.person" "a session belongs to the person whose place in the account it opens"
    r#"SELECT s.account_id, jsonb_build_object('session', s.session_id, 'user', s.user_id)
       FROM session s JOIN member m USING (account_id, member_id)
       WHERE s.account_id = ANY($1) AND m.user_id IS DISTINCT FROM s.user_id"#
}
