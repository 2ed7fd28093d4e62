-- What is sold, and for how much: the operator's catalogue declares it.
ALTER TABLE product
    DROP CONSTRAINT product_kind_check,
    ADD CHECK (kind IN ('BASE', 'LINKED', 'ADD_ON')),
    ADD COLUMN trial_days integer CHECK (trial_days BETWEEN 1 AND 365),
    ADD COLUMN trial_maximum integer CHECK (trial_maximum BETWEEN 1 AND 100000),
    ADD COLUMN withdrawn_at timestamptz,
    ADD CHECK ((trial_days IS NULL) = (trial_maximum IS NULL)),
    ADD CHECK (kind = 'ADD_ON' OR trial_days IS NULL);
-- There is one product that everybody who can sign in holds.
CREATE UNIQUE INDEX product_base ON product (kind) WHERE kind = 'BASE';

-- What a licence costs for an interval, in minor units, for periods that begin on or after a day. Never changed: another price has
-- another day.
CREATE TABLE price (
    product_id       text NOT NULL REFERENCES product,
    currency         text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    billing_interval text NOT NULL CHECK (billing_interval IN ('MONTH', 'YEAR')),
    valid_from       date NOT NULL,
    amount           bigint NOT NULL CHECK (amount BETWEEN 0 AND 999999999),
    PRIMARY KEY (product_id, currency, billing_interval, valid_from)
);
COMMENT ON COLUMN price.product_id IS 'not personal';
COMMENT ON COLUMN price.currency IS 'not personal';
COMMENT ON COLUMN price.billing_interval IS 'not personal';
REVOKE INSERT, UPDATE, DELETE ON price FROM muster_runtime;
