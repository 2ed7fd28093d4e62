//! Whoever was deleted is named nowhere: what is left of them are ids.

use super::check::checks;

checks! { of_accounts
    Broken "erasure.invitations" "an invitation to somebody who was deleted has ended, and says neither who nor where"
    r#"SELECT i.account_id, jsonb_build_object('invitation', i.invitation_id) FROM invitation i
       WHERE i.account_id = ANY($1)
         AND CASE WHEN i.email ~ '@'
             THEN EXISTS (SELECT FROM event e WHERE e.account_id = i.account_id AND e.kind = 'member.deleted'
                            AND e.subject_id = i.former_member_id)
             ELSE i.finished_at IS NULL OR i.first_name IS NOT NULL OR i.last_name IS NOT NULL OR i.message IS NOT NULL
                  OR i.delivery_reply IS NOT NULL OR i.token_hash IS NOT NULL END"#

    Broken "erasure.events" "the events of somebody who was deleted name nobody"
    r#"SELECT p.account_id, jsonb_build_object('event', p.event_id)
       FROM event d JOIN event_personal p ON p.account_id = d.account_id AND p.subject_id = d.subject_id
       WHERE d.account_id = ANY($1) AND d.kind = 'member.deleted' AND p.body - 'networkAddress' <> '{}'
       UNION ALL
       SELECT p.account_id, jsonb_build_object('event', p.event_id)
       FROM event d JOIN event_personal p ON p.account_id = d.account_id AND p.actor_id = d.subject_id
       WHERE d.account_id = ANY($1) AND d.kind = 'member.deleted' AND p.body ? 'networkAddress'"#
}
