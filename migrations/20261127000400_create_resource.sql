-- Things of the host product (a matter, a contact), to whom they are open, and what an hour on them costs.
CREATE TABLE resource (
    account_id            uuid NOT NULL REFERENCES account,
    resource_id           uuid NOT NULL,
    resource_type         text NOT NULL,
    external_id           text NOT NULL,
    name                  text NOT NULL,
    responsible_member_id uuid,
    unit_id               uuid,
    open_to_all           boolean NOT NULL DEFAULT false,
    version               integer NOT NULL DEFAULT 1,
    created_at            timestamptz NOT NULL,
    archived_at           timestamptz,
    PRIMARY KEY (account_id, resource_id),
    UNIQUE (account_id, resource_type, external_id),
    FOREIGN KEY (account_id, responsible_member_id) REFERENCES member (account_id, member_id),
    FOREIGN KEY (account_id, unit_id) REFERENCES unit
);
CREATE INDEX resource_by_name ON resource (account_id, lower(name), resource_id);
CREATE INDEX resource_by_responsible ON resource (account_id, responsible_member_id) WHERE responsible_member_id IS NOT NULL;
CREATE INDEX resource_by_unit ON resource (account_id, unit_id) WHERE unit_id IS NOT NULL;
COMMENT ON COLUMN resource.resource_type IS 'not personal';
COMMENT ON COLUMN resource.external_id IS 'not personal';
COMMENT ON COLUMN resource.name IS 'personal: of whoever the host product names so; replaced by the external id when the resource is archived';

CREATE TABLE resource_group (
    account_id  uuid NOT NULL,
    resource_id uuid NOT NULL,
    group_id    uuid NOT NULL,
    granted_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, resource_id, group_id),
    FOREIGN KEY (account_id, resource_id) REFERENCES resource,
    FOREIGN KEY (account_id, group_id) REFERENCES member_group
);
CREATE INDEX resource_group_by_group ON resource_group (account_id, group_id, resource_id);

CREATE TABLE resource_member (
    account_id  uuid NOT NULL,
    resource_id uuid NOT NULL,
    member_id   uuid NOT NULL,
    granted_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, resource_id, member_id),
    FOREIGN KEY (account_id, resource_id) REFERENCES resource,
    FOREIGN KEY (account_id, member_id) REFERENCES member
);
CREATE INDEX resource_member_by_member ON resource_member (account_id, member_id, resource_id);

-- Minor units of the currency per hour, for members of the group. Several may apply to a person: the highest, then the oldest.
CREATE TABLE resource_rate (
    account_id  uuid NOT NULL,
    resource_id uuid NOT NULL,
    group_id    uuid NOT NULL,
    amount      bigint NOT NULL CHECK (amount >= 0),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    set_at      timestamptz NOT NULL,
    PRIMARY KEY (account_id, resource_id, group_id),
    FOREIGN KEY (account_id, resource_id) REFERENCES resource,
    FOREIGN KEY (account_id, group_id) REFERENCES member_group
);
CREATE INDEX resource_rate_by_group ON resource_rate (account_id, group_id);
COMMENT ON COLUMN resource_rate.currency IS 'not personal';
