-- People exist once per installation: their identity, their password, and what happens before anybody is signed in.

-- A reference table: on Citus it is replicated to every node, so that tenant tables may refer to it.
CREATE TABLE app_user (
    user_id    uuid PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
COMMENT ON COLUMN app_user.email IS 'personal: the row is deleted with the last membership';

CREATE TABLE user_credential (
    user_id             uuid PRIMARY KEY REFERENCES app_user ON DELETE CASCADE,
    password_hash       text NOT NULL,
    password_changed_at timestamptz NOT NULL,
    last_account_id     uuid
);
COMMENT ON COLUMN user_credential.password_hash IS 'personal: deleted with the user';
COMMENT ON COLUMN user_credential.last_account_id IS 'the account of the last session, which sign-in chooses when none is named';

CREATE TABLE sign_up (
    sign_up_id        uuid PRIMARY KEY,
    email             text NOT NULL,
    account_name      text NOT NULL,
    first_name        text NOT NULL,
    last_name         text NOT NULL,
    time_zone         text NOT NULL,
    password_hash     text NOT NULL,
    token_hash        bytea NOT NULL UNIQUE,
    token_key_version integer NOT NULL,
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    confirmed_at      timestamptz
);
CREATE INDEX sign_up_expires_at ON sign_up (expires_at);
COMMENT ON COLUMN sign_up.email IS 'personal: deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.account_name IS 'personal: deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.first_name IS 'personal: deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.last_name IS 'personal: deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.time_zone IS 'personal: deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.password_hash IS 'personal: emptied when the sign-up is confirmed; deleted by the sweep "spent" after the token has expired';
COMMENT ON COLUMN sign_up.token_hash IS 'not personal';

CREATE TABLE password_reset (
    password_reset_id uuid PRIMARY KEY,
    -- Null: nobody has the address that was asked for; the row only makes both answers alike.
    user_id           uuid REFERENCES app_user ON DELETE CASCADE,
    token_hash        bytea NOT NULL UNIQUE,
    token_key_version integer NOT NULL,
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    used_at           timestamptz
);
CREATE INDEX password_reset_user_id ON password_reset (user_id);
CREATE INDEX password_reset_expires_at ON password_reset (expires_at);
COMMENT ON COLUMN password_reset.token_hash IS 'not personal';

-- Fixed windows; the key is a keyed digest of what is limited (address, account, network), so that no address stands here.
CREATE TABLE rate_counter (
    rate_key     bytea PRIMARY KEY,
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    hits         integer NOT NULL CHECK (hits >= 0)
);
CREATE INDEX rate_counter_window_end ON rate_counter (window_end);
COMMENT ON COLUMN rate_counter.rate_key IS 'not personal';
