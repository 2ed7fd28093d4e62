-- A signed-in person's place in one account. The token carries the account's id; only its hash is stored.
CREATE TABLE session (
    account_id          uuid NOT NULL,
    session_id          uuid NOT NULL,
    member_id           uuid NOT NULL,
    user_id             uuid NOT NULL REFERENCES app_user,
    token_hash          bytea NOT NULL,
    cookie              boolean NOT NULL,
    account_name        text NOT NULL,
    user_agent          text,
    network_address     inet,
    created_at          timestamptz NOT NULL,
    idle_seconds        integer NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    -- When the password was last proven in this session.
    password_proven_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, session_id),
    UNIQUE (account_id, token_hash),
    FOREIGN KEY (account_id, member_id) REFERENCES member
);
CREATE INDEX session_by_member ON session (account_id, member_id);
CREATE INDEX session_by_user ON session (user_id);
CREATE INDEX session_expires ON session (absolute_expires_at);
COMMENT ON COLUMN session.token_hash IS 'not personal';
COMMENT ON COLUMN session.account_name IS 'not personal';
COMMENT ON COLUMN session.user_agent IS 'personal: the row is deleted when the session ends';
COMMENT ON COLUMN session.network_address IS 'personal: the row is deleted when the session ends';

-- Idle expiry is judged by this; the API writes it in batches.
CREATE TABLE session_activity (
    account_id   uuid NOT NULL,
    session_id   uuid NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, session_id),
    FOREIGN KEY (account_id, session_id) REFERENCES session ON DELETE CASCADE
);

-- What a mutation did, so that its repetition under the same key answers without doing it again.
CREATE TABLE idempotency_key (
    account_id      uuid NOT NULL REFERENCES account,
    member_id       uuid NOT NULL,
    idempotency_key text NOT NULL,
    mutation        text NOT NULL,
    fingerprint     bytea NOT NULL,
    outcome         jsonb,
    created_at      timestamptz NOT NULL,
    -- No foreign key to member: it would lock the actor's row before the pool, against the order of locks.
    PRIMARY KEY (account_id, member_id, idempotency_key)
);
CREATE INDEX idempotency_key_created ON idempotency_key (created_at);
COMMENT ON COLUMN idempotency_key.idempotency_key IS 'personal: chosen by the caller; the row is deleted with the membership, and after 72 h';
COMMENT ON COLUMN idempotency_key.mutation IS 'not personal';
COMMENT ON COLUMN idempotency_key.fingerprint IS 'not personal';
COMMENT ON COLUMN idempotency_key.outcome IS 'not personal';
