-- Roles of an account's own, and the permissions of the host product.
ALTER TABLE role
    ADD COLUMN description text,
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN archived_at timestamptz,
    ADD CHECK (system_key IS NULL OR archived_at IS NULL),
    DROP CONSTRAINT role_account_id_name_key;
-- A name is free again when its role is archived.
CREATE UNIQUE INDEX role_name ON role (account_id, lower(name)) WHERE archived_at IS NULL;
COMMENT ON COLUMN role.description IS 'not personal';
CREATE INDEX role_permission_by_permission ON role_permission (permission);

-- The keys of the host product begin with "app."; the operator declares them. A withdrawn one grants nothing and cannot be granted.
ALTER TABLE permission
    ADD COLUMN owner_only boolean NOT NULL DEFAULT false,
    ADD COLUMN prerequisites text[] NOT NULL DEFAULT '{}',
    ADD COLUMN withdrawn_at timestamptz;
COMMENT ON COLUMN permission.prerequisites IS 'not personal';

-- A reference table of one row: how often the operator's catalogue was changed. What members may do is cached by it.
CREATE TABLE catalogue (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO catalogue (version) VALUES (1);
REVOKE INSERT, UPDATE, DELETE ON catalogue FROM muster_runtime;
