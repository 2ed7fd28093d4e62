-- Licences that are bought, given up, and tried.
ALTER TABLE license_pool
    -- Of a running trial: owned, and not paid.
    ADD COLUMN trial integer NOT NULL DEFAULT 0 CHECK (trial >= 0),
    -- To be closed at the period's end: nobody is given one any more.
    ADD COLUMN closing boolean NOT NULL DEFAULT false,
    -- How many were in use when people were told that few are left.
    ADD COLUMN alerted_in_use integer,
    DROP CONSTRAINT license_pool_not_oversold,
    ADD CONSTRAINT license_pool_not_oversold CHECK (
        scheduled BETWEEN 0 AND paid AND named_held BETWEEN 0 AND scheduled
        AND in_use >= named_held AND in_use + scheduled - named_held <= granted + trial + paid);

CREATE TABLE license_quote (
    account_id uuid NOT NULL REFERENCES account,
    quote_id   uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('ADD', 'REMOVE', 'ENABLE', 'PLAN')),
    -- What was asked for, and all that follows from it: what must be the same when it is confirmed.
    input      jsonb NOT NULL,
    terms      jsonb NOT NULL,
    quoted_on  date NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, quote_id)
);
CREATE INDEX license_quote_expired ON license_quote (expires_at);
COMMENT ON COLUMN license_quote.kind IS 'not personal';
COMMENT ON COLUMN license_quote.input IS 'not personal';
COMMENT ON COLUMN license_quote.terms IS 'not personal';

CREATE TABLE license_change (
    account_id   uuid NOT NULL REFERENCES account,
    change_id    uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('ADD', 'REMOVE', 'ENABLE', 'DISABLE', 'PLAN', 'TRIAL')),
    status       text NOT NULL CHECK (status IN ('PENDING', 'SCHEDULED', 'APPLIED', 'FAILED', 'CANCELED')),
    quote_id     uuid,
    product_id   text REFERENCES product,
    quantity     integer NOT NULL,
    net          bigint NOT NULL CHECK (net >= 0),
    tax          bigint NOT NULL CHECK (tax >= 0),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    terms        jsonb NOT NULL,
    requested_by uuid,
    created_at   timestamptz NOT NULL,
    effective_on date NOT NULL,
    resolved_at  timestamptz,
    error_code   text,
    PRIMARY KEY (account_id, change_id),
    UNIQUE (account_id, quote_id),
    CHECK ((status IN ('APPLIED', 'FAILED', 'CANCELED')) = (resolved_at IS NOT NULL))
);
CREATE UNIQUE INDEX license_change_pending ON license_change (account_id) WHERE status = 'PENDING';
CREATE UNIQUE INDEX license_change_plan ON license_change (account_id) WHERE status = 'SCHEDULED' AND kind = 'PLAN';
CREATE UNIQUE INDEX license_change_disable ON license_change (account_id, product_id) WHERE status = 'SCHEDULED' AND kind = 'DISABLE';
CREATE INDEX license_change_by_time ON license_change (account_id, created_at, change_id);
COMMENT ON COLUMN license_change.kind IS 'not personal';
COMMENT ON COLUMN license_change.status IS 'not personal';
COMMENT ON COLUMN license_change.product_id IS 'not personal';
COMMENT ON COLUMN license_change.currency IS 'not personal';
COMMENT ON COLUMN license_change.terms IS 'not personal';
COMMENT ON COLUMN license_change.error_code IS 'not personal';

-- Who loses a licence when a scheduled removal comes. They still hold it: the row goes with the allocation.
CREATE TABLE license_named (
    account_id     uuid NOT NULL,
    product_id     text NOT NULL,
    member_id      uuid NOT NULL,
    change_id      uuid NOT NULL,
    successor_id   uuid,
    PRIMARY KEY (account_id, product_id, member_id),
    FOREIGN KEY (account_id, product_id, member_id) REFERENCES license_allocation,
    FOREIGN KEY (account_id, change_id) REFERENCES license_change
);
CREATE INDEX license_named_by_change ON license_named (account_id, change_id);
COMMENT ON COLUMN license_named.product_id IS 'not personal';

-- Once per account and product.
CREATE TABLE license_trial (
    account_id   uuid NOT NULL REFERENCES account,
    product_id   text NOT NULL REFERENCES product,
    quantity     integer NOT NULL CHECK (quantity >= 1),
    started_at   timestamptz NOT NULL,
    -- The first day that is no longer in it, and when that begins.
    ends_on      date NOT NULL,
    ends_at      timestamptz NOT NULL,
    opted_out_at timestamptz,
    noticed_at   timestamptz,
    ended_at     timestamptz,
    PRIMARY KEY (account_id, product_id)
);
CREATE INDEX license_trial_running ON license_trial (ends_at) WHERE ended_at IS NULL;
COMMENT ON COLUMN license_trial.product_id IS 'not personal';

-- Add-ons that an invited person is given when they accept, if any is free then.
CREATE TABLE license_wish (
    account_id    uuid NOT NULL,
    invitation_id uuid NOT NULL,
    product_id    text NOT NULL REFERENCES product,
    PRIMARY KEY (account_id, invitation_id, product_id),
    FOREIGN KEY (account_id, invitation_id) REFERENCES invitation
);
COMMENT ON COLUMN license_wish.product_id IS 'not personal';

-- Each time that a gateway is asked for money, under a key by which it knows the request again. SENT is committed before it is asked.
CREATE TABLE charge_attempt (
    account_id     uuid NOT NULL REFERENCES account,
    attempt_id     uuid NOT NULL,
    change_id      uuid,
    statement_id   uuid,
    attempt_no     integer NOT NULL CHECK (attempt_no >= 1),
    gateway        text NOT NULL,
    payment_method text,
    amount         bigint NOT NULL CHECK (amount > 0),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state          text NOT NULL CHECK (state IN ('SENT', 'SUCCEEDED', 'DECLINED', 'UNRESOLVED')),
    sent_at        timestamptz NOT NULL,
    resolved_at    timestamptz,
    -- Whether money came, and is not owed on account.
    collected      boolean NOT NULL DEFAULT false,
    decline_code   text,
    refunded_at    timestamptz,
    PRIMARY KEY (account_id, attempt_id),
    UNIQUE (account_id, change_id, attempt_no),
    UNIQUE (account_id, statement_id, attempt_no),
    FOREIGN KEY (account_id, change_id) REFERENCES license_change,
    FOREIGN KEY (account_id, statement_id) REFERENCES statement,
    CHECK ((change_id IS NULL) <> (statement_id IS NULL)),
    CHECK ((state IN ('SUCCEEDED', 'DECLINED')) = (resolved_at IS NOT NULL))
);
CREATE UNIQUE INDEX charge_attempt_open_of_change ON charge_attempt (account_id, change_id) WHERE state IN ('SENT', 'UNRESOLVED');
CREATE UNIQUE INDEX charge_attempt_open_of_statement ON charge_attempt (account_id, statement_id) WHERE state IN ('SENT', 'UNRESOLVED');
COMMENT ON COLUMN charge_attempt.gateway IS 'not personal';
COMMENT ON COLUMN charge_attempt.payment_method IS 'not personal';
COMMENT ON COLUMN charge_attempt.currency IS 'not personal';
COMMENT ON COLUMN charge_attempt.state IS 'not personal';
COMMENT ON COLUMN charge_attempt.decline_code IS 'not personal';
