//! DESIGN §2.2: one owner, an active account-wide Administrator.

use super::check::checks;

checks! { of_accounts
    Broken "owner.one" "every account has exactly one owner"
    r#"SELECT a.account_id, jsonb_build_object('owners', count(o.member_id)) FROM account a LEFT JOIN account_owner o USING (account_id)
       WHERE a.account_id = ANY($1) GROUP BY a.account_id HAVING count(o.member_id) <> 1"#

    Broken "owner.active" "the owner is an active member"
    r#"SELECT o.account_id, jsonb_build_object('member', o.member_id, 'status', m.status)
       FROM account_owner o LEFT JOIN member m USING (account_id, member_id)
       WHERE o.account_id = ANY($1) AND m.status IS DISTINCT FROM 'ACTIVE'"#

    Broken "owner.administrator" "the owner is Administrator of the whole account"
    r#"SELECT o.account_id, jsonb_build_object('member', o.member_id) FROM account_owner o
       WHERE o.account_id = ANY($1) AND NOT EXISTS (
           SELECT FROM member_role r WHERE r.account_id = o.account_id AND r.member_id = o.member_id
             AND r.role_id = '00000000-0000-7000-8000-000000000001' AND r.unit_id = '00000000-0000-0000-0000-000000000000')"#
}
