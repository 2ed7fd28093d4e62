-- Paid seats: a pool per product, and who holds what. The check is the promise that no race oversells.

-- A reference table, from the operator's catalogue.
CREATE TABLE product (
    product_id text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('BASE')),
    name       text NOT NULL
);
COMMENT ON COLUMN product.product_id IS 'not personal';
COMMENT ON COLUMN product.kind IS 'not personal';
COMMENT ON COLUMN product.name IS 'not personal';
INSERT INTO product VALUES ('base', 'BASE', 'Seat');

-- granted: at sign-up or by the operator; paid: priced and removable; owned = granted + paid.
-- in_use = live allocations + seats a running import holds.
CREATE TABLE license_pool (
    account_id uuid NOT NULL REFERENCES account,
    product_id text NOT NULL REFERENCES product,
    granted    integer NOT NULL CHECK (granted >= 0),
    paid       integer NOT NULL DEFAULT 0 CHECK (paid >= 0),
    scheduled  integer NOT NULL DEFAULT 0,
    named_held integer NOT NULL DEFAULT 0,
    in_use     integer NOT NULL DEFAULT 0 CHECK (in_use >= 0),
    PRIMARY KEY (account_id, product_id),
    CONSTRAINT license_pool_not_oversold CHECK (
        scheduled BETWEEN 0 AND paid AND named_held BETWEEN 0 AND scheduled
        AND in_use >= named_held AND in_use + scheduled - named_held <= granted + paid)
);
COMMENT ON COLUMN license_pool.product_id IS 'not personal';

-- reserved: by a live invitation; it becomes an allocation when the invited person accepts.
CREATE TABLE license_allocation (
    account_id   uuid NOT NULL,
    product_id   text NOT NULL,
    member_id    uuid NOT NULL,
    reserved     boolean NOT NULL,
    allocated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, product_id, member_id),
    FOREIGN KEY (account_id, product_id) REFERENCES license_pool,
    FOREIGN KEY (account_id, member_id) REFERENCES member
);
CREATE INDEX license_allocation_by_member ON license_allocation (account_id, member_id);
COMMENT ON COLUMN license_allocation.product_id IS 'not personal';
