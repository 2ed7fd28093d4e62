-- Changes of the address that somebody signs in with: asked for, confirmed from the new address, and taken back from the old one.

-- Like other credentials on one node. An account's members see of it only that a change waits, and only where it was asked for.
CREATE TABLE email_change (
    email_change_id   uuid PRIMARY KEY,
    user_id           uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
    -- Where it was asked for, the person's place there, and who asked: the person, or somebody who manages members.
    account_id        uuid NOT NULL,
    member_id         uuid NOT NULL,
    requested_by      uuid NOT NULL,
    old_email         text NOT NULL,
    new_email         text NOT NULL,
    state             text NOT NULL CHECK (state IN ('PENDING', 'CHANGED', 'CANCELLED', 'REVERTED')),
    confirm_hash      bytea NOT NULL UNIQUE,
    approve_hash      bytea NOT NULL UNIQUE,
    revert_hash       bytea NOT NULL UNIQUE,
    token_key_version integer NOT NULL,
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    -- When the new address was proven, and when the old one agreed where it must.
    confirmed_at      timestamptz,
    approved_at       timestamptz,
    changed_at        timestamptz,
    CHECK ((state IN ('CHANGED', 'REVERTED')) = (changed_at IS NOT NULL)),
    CHECK (changed_at IS NULL OR confirmed_at IS NOT NULL)
);
CREATE UNIQUE INDEX email_change_one_pending ON email_change (user_id, account_id) WHERE state = 'PENDING';
CREATE INDEX email_change_pending_of_member ON email_change (account_id, member_id) WHERE state = 'PENDING';
CREATE INDEX email_change_user_id ON email_change (user_id);
CREATE INDEX email_change_expires_at ON email_change (expires_at);
-- Sign-in diagnosis asks what became of an address.
CREATE INDEX email_change_old_email ON email_change (old_email) WHERE state = 'CHANGED';
CREATE INDEX email_change_new_email ON email_change (account_id, new_email) WHERE state = 'PENDING';
COMMENT ON COLUMN email_change.old_email IS 'personal: deleted with the user, or by the sweep "spent" 90 days later';
COMMENT ON COLUMN email_change.new_email IS 'personal: deleted with the user, or by the sweep "spent" 90 days later';
COMMENT ON COLUMN email_change.state IS 'not personal';
COMMENT ON COLUMN email_change.confirm_hash IS 'not personal';
COMMENT ON COLUMN email_change.approve_hash IS 'not personal';
COMMENT ON COLUMN email_change.revert_hash IS 'not personal';

-- A sign-in that compared the password before the address was changed must not end in a session after it.
ALTER TABLE user_credential ADD COLUMN email_changed_at timestamptz;
COMMENT ON COLUMN user_credential.email_changed_at IS 'when the login e-mail was changed last; null if never';
