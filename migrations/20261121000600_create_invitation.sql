-- Invitations, with the state of their mail. Names, roles and seat live on the invited member; a final invitation stays listed.
CREATE TABLE invitation (
    account_id        uuid NOT NULL REFERENCES account,
    invitation_id     uuid NOT NULL,
    -- The invited member while the invitation is open or accepted.
    member_id         uuid,
    -- Whom it had invited when it was withdrawn, replaced or declined. No foreign key: that member row is gone, and by this id the
    -- person's events and invitations are found when they are erased.
    former_member_id  uuid,
    email             text NOT NULL,
    first_name        text,
    last_name         text,
    message           text,
    state             text NOT NULL CHECK (state IN ('NOT_SENT', 'PENDING', 'EXPIRED', 'ACCEPTED', 'REVOKED', 'DECLINED')),
    -- Who is answerable for what the invitation grants; looked at again at acceptance. Null: an operator.
    invited_by        uuid,
    created_at        timestamptz NOT NULL,
    finished_at       timestamptz,
    -- The token: a new generation each time a mail is asked for; null again a week after the invitation has ended.
    generation        integer NOT NULL DEFAULT 0,
    token_hash        bytea,
    token_key_version integer,
    -- The lifetime starts when a mail server first accepts the mail.
    queued_at         timestamptz,
    sent_at           timestamptz,
    expires_at        timestamptz,
    delivery          text CHECK (delivery IN ('QUEUED', 'SENT', 'FAILED')),
    delivery_reply    text,
    delivery_at       timestamptz,
    resent_at         timestamptz[] NOT NULL DEFAULT '{}',
    undeliverable     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, invitation_id),
    UNIQUE (account_id, token_hash),
    FOREIGN KEY (account_id, member_id) REFERENCES member,
    CHECK ((state IN ('NOT_SENT', 'PENDING', 'EXPIRED')) = (finished_at IS NULL)),
    CHECK (finished_at IS NOT NULL OR member_id IS NOT NULL),
    CHECK ((member_id IS NULL) = (former_member_id IS NOT NULL)),
    CHECK (state <> 'PENDING' OR (token_hash IS NOT NULL AND queued_at IS NOT NULL AND delivery IS NOT NULL)),
    CHECK (expires_at IS NULL OR sent_at IS NOT NULL)
);
CREATE UNIQUE INDEX invitation_one_open_per_member ON invitation (account_id, member_id)
    WHERE state IN ('NOT_SENT', 'PENDING', 'EXPIRED');
CREATE UNIQUE INDEX invitation_one_live_per_address ON invitation (account_id, email)
    WHERE state IN ('NOT_SENT', 'PENDING');
CREATE INDEX invitation_by_created ON invitation (account_id, created_at DESC, invitation_id);
CREATE INDEX invitation_due ON invitation (expires_at, account_id) WHERE state = 'PENDING' AND expires_at IS NOT NULL;
CREATE INDEX invitation_due_in_account ON invitation (account_id, expires_at) WHERE state = 'PENDING';
CREATE INDEX invitation_undelivered ON invitation (queued_at, account_id) WHERE state = 'PENDING' AND sent_at IS NULL;
CREATE INDEX invitation_spent ON invitation (finished_at) WHERE token_hash IS NOT NULL AND finished_at IS NOT NULL;
COMMENT ON COLUMN invitation.email IS 'personal: replaced by the digest of the id when the person, found by member_id or former_member_id, is erased';
COMMENT ON COLUMN invitation.first_name IS 'personal: set to null when the person is erased';
COMMENT ON COLUMN invitation.last_name IS 'personal: set to null when the person is erased';
COMMENT ON COLUMN invitation.message IS 'personal: set to null when the person is erased';
COMMENT ON COLUMN invitation.state IS 'not personal';
COMMENT ON COLUMN invitation.token_hash IS 'not personal';
COMMENT ON COLUMN invitation.delivery IS 'not personal';
COMMENT ON COLUMN invitation.delivery_reply IS 'personal: addresses are replaced when it is stored; set to null when the person is erased';
