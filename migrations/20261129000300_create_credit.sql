-- What an operator gives back of a product: it is taken off the account's statements until it is used up.
CREATE TABLE billing_credit (
    account_id uuid NOT NULL REFERENCES account,
    credit_id  uuid NOT NULL,
    product_id text NOT NULL REFERENCES product,
    currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- Minor units, without tax.
    net        bigint NOT NULL CHECK (net BETWEEN 1 AND 999999999999),
    used       bigint NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND net),
    reason     text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, credit_id)
);
CREATE INDEX billing_credit_left ON billing_credit (account_id, created_at, credit_id) WHERE used < net;
COMMENT ON COLUMN billing_credit.product_id IS 'not personal';
COMMENT ON COLUMN billing_credit.currency IS 'not personal';
COMMENT ON COLUMN billing_credit.reason IS 'not personal';

ALTER TABLE statement_line
    ADD COLUMN credit_id uuid,
    ADD FOREIGN KEY (account_id, credit_id) REFERENCES billing_credit,
    ADD CHECK (credit_id IS NULL OR (kind = 'CREDIT' AND net < 0));
CREATE INDEX statement_line_by_credit ON statement_line (account_id, credit_id) WHERE credit_id IS NOT NULL;
