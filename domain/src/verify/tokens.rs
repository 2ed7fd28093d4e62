//! DESIGN §2.11: tokens and passwords are stored as hashes only.

/// What belongs to an account.
pub(super) mod accounts {
    use crate::verify::check::checks;

    checks! { of_accounts
        Broken "tokens.hashed" "the tokens of sessions, invitations and uploads are stored as SHA-256"
        r#"SELECT account_id, jsonb_build_object('session', session_id) FROM session
           WHERE account_id = ANY($1) AND octet_length(token_hash) <> 32
           UNION ALL
           SELECT account_id, jsonb_build_object('invitation', invitation_id) FROM invitation
           WHERE account_id = ANY($1) AND octet_length(token_hash) <> 32
           UNION ALL
           SELECT account_id, jsonb_build_object('upload', upload_id) FROM upload
           WHERE account_id = ANY($1) AND octet_length(token_hash) <> 32"#

        Broken "tokens.leaked" "no token stands in an event, a job or a stored outcome"
        r#"SELECT account_id, jsonb_build_object('event', event_id) FROM event
           WHERE account_id = ANY($1) AND detail::text ~ 'm(ses|inv|sup|pwr|lec|lea|ler|upl|svc)\.([0-9a-f]{32}\.)?[A-Za-z0-9_-]{43}'
           UNION ALL
           SELECT account_id, jsonb_build_object('job', job_id) FROM outbox
           WHERE account_id = ANY($1) AND payload::text ~ 'm(ses|inv|sup|pwr|lec|lea|ler|upl|svc)\.([0-9a-f]{32}\.)?[A-Za-z0-9_-]{43}'
           UNION ALL
           SELECT account_id, jsonb_build_object('member', member_id, 'mutation', mutation) FROM idempotency_key
           WHERE account_id = ANY($1) AND outcome::text ~ 'm(ses|inv|sup|pwr|lec|lea|ler|upl|svc)\.([0-9a-f]{32}\.)?[A-Za-z0-9_-]{43}'"#
    }
}

/// What belongs to none.
pub(super) mod installation {
    use crate::verify::check::checks;

    checks! { of_installation
        Broken "tokens.before_sign_in" "the tokens of sign-ups, password resets and changes of a login e-mail are stored as SHA-256"
        r#"SELECT NULL::uuid, jsonb_build_object('signUp', sign_up_id) FROM sign_up WHERE octet_length(token_hash) <> 32
           UNION ALL
           SELECT NULL, jsonb_build_object('passwordReset', password_reset_id) FROM password_reset WHERE octet_length(token_hash) <> 32
           UNION ALL
           SELECT NULL, jsonb_build_object('emailChange', email_change_id) FROM email_change
           WHERE octet_length(confirm_hash) <> 32 OR octet_length(approve_hash) <> 32 OR octet_length(revert_hash) <> 32"#

        Broken "tokens.service" "the tokens of the host product are stored as SHA-256"
        r#"SELECT NULL::uuid, jsonb_build_object('serviceToken', service_token_id) FROM service_token WHERE octet_length(token_hash) <> 32"#

        Broken "passwords.hashed" "passwords are stored as argon2id, and a confirmed sign-up keeps none"
        r#"SELECT NULL::uuid, jsonb_build_object('user', user_id) FROM user_credential WHERE password_hash NOT LIKE '$argon2id$%'
           UNION ALL
           SELECT NULL, jsonb_build_object('signUp', sign_up_id) FROM sign_up
           WHERE CASE WHEN confirmed_at IS NULL THEN password_hash NOT LIKE '$argon2id$%' ELSE password_hash <> '' END"#

        Broken "users.login" "every person has a login, and a place in an account"
        r#"SELECT NULL::uuid, jsonb_build_object('user', u.user_id) FROM app_user u
           WHERE NOT EXISTS (SELECT FROM user_credential c WHERE c.user_id = u.user_id)
              OR NOT EXISTS (SELECT FROM member m WHERE m.user_id = u.user_id)"#
    }
}
