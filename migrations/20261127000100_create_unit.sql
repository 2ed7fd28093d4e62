-- Organizational units: parts of an account that the assignment of a role can be limited to.
CREATE TABLE unit (
    account_id  uuid NOT NULL REFERENCES account,
    unit_id     uuid NOT NULL CHECK (unit_id <> '00000000-0000-0000-0000-000000000000'),
    name        text NOT NULL,
    description text,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    archived_at timestamptz,
    PRIMARY KEY (account_id, unit_id)
);
CREATE UNIQUE INDEX unit_name ON unit (account_id, lower(name)) WHERE archived_at IS NULL;
COMMENT ON COLUMN unit.name IS 'not personal';
COMMENT ON COLUMN unit.description IS 'not personal';

-- Who belongs to which unit, invited people included.
CREATE TABLE member_unit (
    account_id uuid NOT NULL,
    member_id  uuid NOT NULL,
    unit_id    uuid NOT NULL,
    added_at   timestamptz NOT NULL,
    PRIMARY KEY (account_id, member_id, unit_id),
    FOREIGN KEY (account_id, member_id) REFERENCES member,
    FOREIGN KEY (account_id, unit_id) REFERENCES unit
);
CREATE INDEX member_unit_by_unit ON member_unit (account_id, unit_id, member_id);

-- An assignment covers a unit, or with the nil unit the whole account; the foreign key stands on the unit where there is one.
ALTER TABLE member_role
    DROP CONSTRAINT member_role_unit_id_check,
    ADD COLUMN unit_ref uuid GENERATED ALWAYS AS (nullif(unit_id, '00000000-0000-0000-0000-000000000000'::uuid)) STORED,
    ADD FOREIGN KEY (account_id, unit_ref) REFERENCES unit (account_id, unit_id);
CREATE INDEX member_role_by_unit ON member_role (account_id, unit_ref) WHERE unit_ref IS NOT NULL;
