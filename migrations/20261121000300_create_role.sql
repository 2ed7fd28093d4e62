-- What people may do: the catalogue of permissions, and each account's roles.

-- A reference table, written by `muster migrate` from the catalogue in the code.
CREATE TABLE permission (
    permission   text PRIMARY KEY,
    account_wide boolean NOT NULL,
    description  text NOT NULL
);
COMMENT ON COLUMN permission.permission IS 'not personal';
COMMENT ON COLUMN permission.description IS 'not personal';

-- The five system roles have the same ids in every account. Administrator holds everything and therefore lists nothing.
CREATE TABLE role (
    account_id uuid NOT NULL REFERENCES account,
    role_id    uuid NOT NULL,
    name       text NOT NULL,
    system_key text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, role_id),
    UNIQUE (account_id, name),
    UNIQUE (account_id, system_key)
);
COMMENT ON COLUMN role.name IS 'not personal';
COMMENT ON COLUMN role.system_key IS 'not personal';

CREATE TABLE role_permission (
    account_id uuid NOT NULL,
    role_id    uuid NOT NULL,
    permission text NOT NULL REFERENCES permission,
    PRIMARY KEY (account_id, role_id, permission),
    FOREIGN KEY (account_id, role_id) REFERENCES role
);
COMMENT ON COLUMN role_permission.permission IS 'not personal';
