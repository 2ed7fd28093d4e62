//! DESIGN §2.3: one live invitation per account and address; and its mail is on the way or has arrived.

use super::check::checks;

checks! { of_accounts
    Broken "invitations.one_live" "an address has one live invitation to an account at most"
    r#"SELECT account_id, jsonb_build_object('invitations', array_agg(invitation_id)) FROM invitation
       WHERE account_id = ANY($1) AND state IN ('NOT_SENT', 'PENDING') GROUP BY account_id, email HAVING count(*) > 1"#

    Broken "invitations.one_open" "a member has one open invitation at most"
    r#"SELECT account_id, jsonb_build_object('member', member_id, 'invitations', array_agg(invitation_id)) FROM invitation
       WHERE account_id = ANY($1) AND finished_at IS NULL GROUP BY account_id, member_id HAVING count(*) > 1"#

    Broken "invitations.address" "an open invitation has the address of its member, in its one spelling"
    r#"SELECT i.account_id, jsonb_build_object('invitation', i.invitation_id, 'member', i.member_id)
       FROM invitation i JOIN member m USING (account_id, member_id)
       WHERE i.account_id = ANY($1) AND i.finished_at IS NULL AND (i.email <> m.email OR i.email ~ '[A-Z ]')"#

    Broken "invitations.state" "an invitation's state, times and link fit together"
    r#"SELECT account_id, jsonb_build_object('invitation', invitation_id, 'state', state) FROM invitation
       WHERE account_id = ANY($1)
         AND ((state IN ('NOT_SENT', 'PENDING', 'EXPIRED')) <> (finished_at IS NULL)
              OR (finished_at IS NULL AND member_id IS NULL)
              OR (member_id IS NULL) = (former_member_id IS NULL)
              OR (state = 'PENDING' AND (token_hash IS NULL OR queued_at IS NULL OR delivery IS NULL))
              OR (delivery = 'SENT') <> (sent_at IS NOT NULL)
              OR (expires_at IS NOT NULL AND sent_at IS NULL))"#

    Broken "invitations.mail" "the mail of an invitation that waits for it has a job that is not done"
    r#"SELECT i.account_id, jsonb_build_object('invitation', i.invitation_id, 'generation', i.generation)
       FROM invitation i JOIN member m USING (account_id, member_id)
       WHERE i.account_id = ANY($1) AND i.state = 'PENDING' AND i.delivery = 'QUEUED' AND m.status = 'INVITED'
         -- An older one is about to lapse, and is not sent again to somebody who comes back from a suspension.
         AND i.queued_at > now() - interval '71 hours'
         AND NOT EXISTS (
             SELECT FROM outbox o WHERE o.account_id = i.account_id AND o.kind = 'mail.invitation' AND o.finished_at IS NULL
               AND o.payload->>'invitationId' = 'inv_' || replace(i.invitation_id::text, '-', ''))"#
}
