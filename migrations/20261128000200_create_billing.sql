-- How an account pays, period by period, and what it was told that it owes.
CREATE TABLE account_billing (
    account_id        uuid PRIMARY KEY REFERENCES account,
    currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    billing_interval  text NOT NULL CHECK (billing_interval IN ('MONTH', 'YEAR')),
    gateway           text NOT NULL DEFAULT 'account' CHECK (gateway IN ('account', 'sandbox')),
    payment_method    text CHECK (length(payment_method) <= 200),
    -- Of an operator's setting for this account: parts of a million. Without it the installation's rate holds.
    tax_rate          integer CHECK (tax_rate BETWEEN 0 AND 1000000),
    next_period_no    integer NOT NULL DEFAULT 1 CHECK (next_period_no >= 1),
    next_statement_no integer NOT NULL DEFAULT 1 CHECK (next_statement_no >= 1),
    name              text CHECK (length(name) <= 200),
    address           text CHECK (length(address) <= 1000),
    tax_id            text CHECK (length(tax_id) <= 50),
    email             text CHECK (length(email) <= 254),
    version           integer NOT NULL DEFAULT 1,
    -- When the account is to end, or did.
    ends_at           timestamptz,
    ended_at          timestamptz,
    CHECK (ended_at IS NULL OR ends_at <= ended_at)
);
COMMENT ON COLUMN account_billing.currency IS 'not personal';
COMMENT ON COLUMN account_billing.billing_interval IS 'not personal';
COMMENT ON COLUMN account_billing.gateway IS 'not personal';
COMMENT ON COLUMN account_billing.payment_method IS 'not personal';
COMMENT ON COLUMN account_billing.name IS 'not personal';
COMMENT ON COLUMN account_billing.address IS 'not personal';
COMMENT ON COLUMN account_billing.tax_id IS 'not personal';
COMMENT ON COLUMN account_billing.email IS 'not personal';
CREATE INDEX account_billing_ending ON account_billing (ends_at) WHERE ended_at IS NULL AND ends_at IS NOT NULL;
INSERT INTO account_billing (account_id, currency, billing_interval) SELECT account_id, 'EUR', 'MONTH' FROM account;

-- A period keeps its dates and its zone. months: from the anchor to its first day; the next one begins so many months after the
-- anchor, not after this one, so that a 31st comes back after a February.
CREATE TABLE billing_period (
    account_id       uuid NOT NULL REFERENCES account,
    period_no        integer NOT NULL CHECK (period_no >= 1),
    anchor_on        date NOT NULL,
    months           integer NOT NULL CHECK (months >= 0),
    billing_interval text NOT NULL CHECK (billing_interval IN ('MONTH', 'YEAR')),
    currency         text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    starts_on        date NOT NULL,
    -- The first day that is no longer in it, and when that begins.
    ends_on          date NOT NULL CHECK (ends_on > starts_on),
    ends_at          timestamptz NOT NULL,
    time_zone        text NOT NULL,
    closed           boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, period_no),
    UNIQUE (account_id, starts_on)
);
CREATE UNIQUE INDEX billing_period_open ON billing_period (account_id) WHERE NOT closed;
CREATE INDEX billing_period_due ON billing_period (ends_at) WHERE NOT closed;
COMMENT ON COLUMN billing_period.billing_interval IS 'not personal';
COMMENT ON COLUMN billing_period.currency IS 'not personal';
COMMENT ON COLUMN billing_period.time_zone IS 'not personal';

-- Of a product in a period: its price there, and the numerator of all that was added: the sum of price · licences · days that remained.
CREATE TABLE billing_period_product (
    account_id uuid NOT NULL,
    period_no  integer NOT NULL,
    product_id text NOT NULL REFERENCES product,
    unit_price bigint NOT NULL CHECK (unit_price BETWEEN 0 AND 999999999),
    numerator  bigint NOT NULL DEFAULT 0 CHECK (numerator >= 0),
    PRIMARY KEY (account_id, period_no, product_id),
    FOREIGN KEY (account_id, period_no) REFERENCES billing_period
);
COMMENT ON COLUMN billing_period_product.product_id IS 'not personal';

-- period_no: the period whose recurring lines it lists, beside the changes of the one before.
CREATE TABLE statement (
    account_id   uuid NOT NULL REFERENCES account,
    statement_id uuid NOT NULL,
    period_no    integer NOT NULL CHECK (period_no >= 2),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state        text NOT NULL CHECK (state IN ('DRAFT', 'OPEN', 'PAID', 'PAST_DUE')),
    number       integer CHECK (number >= 1),
    issued_at    timestamptz,
    issued_on    date,
    total        bigint,
    due          bigint CHECK (due >= 0),
    -- When it is collected next, or is past due if nobody has paid it by then.
    next_try_at  timestamptz,
    -- To whom it was issued.
    name         text,
    address      text,
    tax_id       text,
    PRIMARY KEY (account_id, statement_id),
    UNIQUE (account_id, period_no, currency),
    UNIQUE (account_id, number),
    CHECK ((state = 'DRAFT') = (number IS NULL)),
    CHECK ((state = 'DRAFT') = (issued_at IS NULL) AND (state = 'DRAFT') = (issued_on IS NULL)
           AND (state = 'DRAFT') = (total IS NULL) AND (state = 'DRAFT') = (due IS NULL))
);
CREATE INDEX statement_to_collect ON statement (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE UNIQUE INDEX statement_draft ON statement (account_id) WHERE state = 'DRAFT';
COMMENT ON COLUMN statement.currency IS 'not personal';
COMMENT ON COLUMN statement.state IS 'not personal';
COMMENT ON COLUMN statement.name IS 'not personal';
COMMENT ON COLUMN statement.address IS 'not personal';
COMMENT ON COLUMN statement.tax_id IS 'not personal';

-- fixed_tax: the line was charged before it came here, with its tax; it is not in the sum of which the others bear the tax.
CREATE TABLE statement_line (
    account_id   uuid NOT NULL,
    statement_id uuid NOT NULL,
    position     integer NOT NULL CHECK (position >= 1),
    kind         text NOT NULL CHECK (kind IN ('RECURRING', 'ADDED', 'TRIAL', 'CREDIT')),
    product_id   text REFERENCES product,
    quantity     integer NOT NULL,
    unit_price   bigint NOT NULL,
    from_on      date NOT NULL,
    until_on     date NOT NULL CHECK (until_on > from_on),
    of_days      integer NOT NULL CHECK (of_days >= 1),
    net          bigint NOT NULL CHECK (net >= 0 OR kind = 'CREDIT'),
    tax_rate     integer NOT NULL CHECK (tax_rate BETWEEN 0 AND 1000000),
    tax          bigint NOT NULL,
    fixed_tax    boolean NOT NULL DEFAULT false,
    paid         boolean NOT NULL DEFAULT false,
    change_id    uuid,
    PRIMARY KEY (account_id, statement_id, position),
    FOREIGN KEY (account_id, statement_id) REFERENCES statement
);
CREATE INDEX statement_line_by_change ON statement_line (account_id, change_id) WHERE change_id IS NOT NULL;
COMMENT ON COLUMN statement_line.kind IS 'not personal';
COMMENT ON COLUMN statement_line.product_id IS 'not personal';

-- Double entry: an amount leaves one account of the books and enters another, so that all of them sum to zero.
CREATE TABLE ledger_entry (
    account_id   uuid NOT NULL REFERENCES account,
    entry_id     uuid NOT NULL,
    txn_id       uuid NOT NULL,
    debit        text NOT NULL CHECK (debit IN ('RECEIVABLE', 'CASH', 'REVENUE', 'TAX')),
    credit       text NOT NULL CHECK (credit IN ('RECEIVABLE', 'CASH', 'REVENUE', 'TAX') AND credit <> debit),
    amount       bigint NOT NULL CHECK (amount > 0),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    recorded_at  timestamptz NOT NULL,
    -- What it stands for: lines of a statement, or money that came or went.
    statement_id uuid,
    change_id    uuid,
    attempt_id   uuid,
    PRIMARY KEY (account_id, entry_id)
);
CREATE INDEX ledger_entry_by_statement ON ledger_entry (account_id, statement_id);
COMMENT ON COLUMN ledger_entry.debit IS 'not personal';
COMMENT ON COLUMN ledger_entry.credit IS 'not personal';
COMMENT ON COLUMN ledger_entry.currency IS 'not personal';

-- Append-only.
REVOKE UPDATE, DELETE ON ledger_entry, statement_line FROM muster_runtime;
