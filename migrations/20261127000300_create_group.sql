-- Groups of members; the table is not called group because that is a word of SQL. Invited people may be in them already.
CREATE TABLE member_group (
    account_id                 uuid NOT NULL REFERENCES account,
    group_id                   uuid NOT NULL,
    name                       text NOT NULL,
    description                text,
    excluded_from_custom_rates boolean NOT NULL DEFAULT false,
    version                    integer NOT NULL DEFAULT 1,
    created_at                 timestamptz NOT NULL,
    archived_at                timestamptz,
    PRIMARY KEY (account_id, group_id)
);
CREATE UNIQUE INDEX member_group_name ON member_group (account_id, lower(name)) WHERE archived_at IS NULL;
COMMENT ON COLUMN member_group.name IS 'not personal';
COMMENT ON COLUMN member_group.description IS 'not personal';

CREATE TABLE group_member (
    account_id uuid NOT NULL,
    group_id   uuid NOT NULL,
    member_id  uuid NOT NULL,
    added_at   timestamptz NOT NULL,
    PRIMARY KEY (account_id, group_id, member_id),
    FOREIGN KEY (account_id, group_id) REFERENCES member_group,
    FOREIGN KEY (account_id, member_id) REFERENCES member
);
CREATE INDEX group_member_by_member ON group_member (account_id, member_id, group_id);
