-- Files that the service makes for people: lists of members, statements. Each is for whoever asked for it, and is deleted after 7 days.
CREATE TABLE export (
    account_id   uuid NOT NULL REFERENCES account,
    export_id    uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('MEMBERS', 'STATEMENT_PDF', 'STATEMENT_CSV')),
    -- No foreign key: they can be deleted for good, and their exports go a moment later.
    requested_by uuid NOT NULL,
    -- The statement; none for a list of members.
    subject_id   uuid,
    -- Which members are wanted.
    filter       jsonb,
    state        text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED')),
    -- The claim under which the file is being written; taken away when somebody in it is erased, so that it is written anew.
    run          uuid,
    -- The units whose members the file may name; null for those of the whole account.
    unit_ids     uuid[],
    rows_done    integer NOT NULL DEFAULT 0,
    rows_total   integer,
    -- Known from the beginning of the writing on, so that whoever comes next finds what was left; to be read once it is DONE.
    file_key     text,
    file_name    text,
    size_bytes   bigint CHECK (size_bytes >= 0),
    error_code   text,
    created_at   timestamptz NOT NULL,
    started_at   timestamptz,
    finished_at  timestamptz,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (account_id, export_id),
    CHECK ((kind = 'MEMBERS') = (subject_id IS NULL)),
    CHECK ((state IN ('DONE', 'FAILED')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'FAILED') = (error_code IS NOT NULL)),
    CHECK (state <> 'DONE' OR (file_key IS NOT NULL AND file_name IS NOT NULL AND size_bytes IS NOT NULL))
);
CREATE INDEX export_expires ON export (expires_at);
COMMENT ON COLUMN export.kind IS 'not personal';
COMMENT ON COLUMN export.filter IS 'personal: what was searched for may be a name; deleted with the export after 7 days';
COMMENT ON COLUMN export.state IS 'not personal';
COMMENT ON COLUMN export.file_key IS 'not personal';
COMMENT ON COLUMN export.file_name IS 'not personal';
COMMENT ON COLUMN export.error_code IS 'not personal';

-- Who is named in the file of an export, so that it goes when they are erased. No foreign key to the member: somebody who was named
-- and is gone is still named.
CREATE TABLE export_member (
    account_id uuid NOT NULL,
    export_id  uuid NOT NULL,
    member_id  uuid NOT NULL,
    PRIMARY KEY (account_id, export_id, member_id),
    FOREIGN KEY (account_id, export_id) REFERENCES export
);
CREATE INDEX export_member_by_member ON export_member (account_id, member_id);
