-- The feed of an account: permanent rows without personal data, their erasable personal part, and the seals over the rows.
CREATE TABLE event (
    account_id      uuid NOT NULL REFERENCES account,
    seq             bigint NOT NULL CHECK (seq >= 1),
    event_id        uuid NOT NULL,
    kind            text NOT NULL,
    actor_kind      text NOT NULL CHECK (actor_kind IN ('MEMBER', 'OPERATOR', 'SYSTEM')),
    actor_id        uuid,
    subject_id      uuid,
    detail          jsonb NOT NULL,
    request_id      text,
    occurred_at     timestamptz NOT NULL,
    personal_digest bytea,
    PRIMARY KEY (account_id, seq),
    UNIQUE (account_id, event_id)
);
COMMENT ON COLUMN event.kind IS 'not personal';
COMMENT ON COLUMN event.actor_kind IS 'not personal';
COMMENT ON COLUMN event.detail IS 'not personal';
COMMENT ON COLUMN event.request_id IS 'not personal';
COMMENT ON COLUMN event.personal_digest IS 'not personal';

-- Written before its event, in the same transaction. The salt makes the digest in the event useless once this row is gone.
CREATE TABLE event_personal (
    account_id      uuid NOT NULL REFERENCES account,
    event_id        uuid NOT NULL,
    subject_id      uuid,
    actor_id        uuid,
    salt            bytea NOT NULL,
    body            jsonb NOT NULL,
    PRIMARY KEY (account_id, event_id)
);
CREATE INDEX event_personal_by_subject ON event_personal (account_id, subject_id);
CREATE INDEX event_personal_by_actor ON event_personal (account_id, actor_id);
COMMENT ON COLUMN event_personal.salt IS 'personal: deleted when the person is erased';
COMMENT ON COLUMN event_personal.body IS 'personal: the row is deleted when its subject is erased, its network address when its actor is';

CREATE TABLE event_seal (
    account_id uuid NOT NULL REFERENCES account,
    last_seq   bigint NOT NULL,
    first_seq  bigint NOT NULL,
    seal       bytea NOT NULL,
    sealed_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, last_seq),
    UNIQUE (account_id, first_seq),
    CHECK (first_seq BETWEEN 1 AND last_seq)
);
COMMENT ON COLUMN event_seal.seal IS 'not personal';
