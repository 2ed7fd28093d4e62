-- Uploaded files and the import of members from them.
CREATE TABLE upload (
    account_id        uuid NOT NULL REFERENCES account,
    upload_id         uuid NOT NULL,
    created_by        uuid NOT NULL,
    file_name         text NOT NULL,
    token_hash        bytea NOT NULL,
    token_key_version integer NOT NULL,
    -- USED: an import was made of it, and nothing is stored under it any more.
    state             text NOT NULL CHECK (state IN ('OPEN', 'STORED', 'USED')),
    -- A name of its own for each PUT, so that a repeated one never mixes with a reader of the first.
    object_key        text,
    size_bytes        bigint CHECK (size_bytes >= 0),
    created_at        timestamptz NOT NULL,
    put_until         timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    PRIMARY KEY (account_id, upload_id),
    UNIQUE (account_id, token_hash),
    FOREIGN KEY (account_id, created_by) REFERENCES member (account_id, member_id),
    CHECK ((state = 'OPEN') = (object_key IS NULL)),
    CHECK ((object_key IS NULL) = (size_bytes IS NULL))
);
CREATE INDEX upload_expires ON upload (expires_at);
COMMENT ON COLUMN upload.file_name IS 'personal: chosen by the uploader; deleted with the upload after 7 days';
COMMENT ON COLUMN upload.token_hash IS 'not personal';
COMMENT ON COLUMN upload.state IS 'not personal';
COMMENT ON COLUMN upload.object_key IS 'not personal';

CREATE TABLE member_import (
    account_id         uuid NOT NULL REFERENCES account,
    import_id          uuid NOT NULL,
    -- No foreign key: the upload and its file are deleted after 7 days, the import stays.
    upload_id          uuid NOT NULL,
    created_by         uuid NOT NULL,
    send_welcome_email boolean NOT NULL,
    state              text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'FINISHED', 'FAILED')),
    -- Where to go on: the rows before are done, and the next one starts at this byte of the file.
    next_row           integer NOT NULL DEFAULT 0,
    next_offset        bigint NOT NULL DEFAULT 0,
    size_bytes         bigint NOT NULL,
    rows_total         integer,
    rows_done          integer NOT NULL DEFAULT 0,
    rows_invited       integer NOT NULL DEFAULT 0,
    rows_rejected      integer NOT NULL DEFAULT 0,
    ignored_columns    text[] NOT NULL DEFAULT '{}',
    seats_held         integer NOT NULL DEFAULT 0 CHECK (seats_held >= 0),
    error_code         text,
    error_message      text,
    created_at         timestamptz NOT NULL,
    started_at         timestamptz,
    finished_at        timestamptz,
    PRIMARY KEY (account_id, import_id),
    UNIQUE (account_id, upload_id),
    FOREIGN KEY (account_id, created_by) REFERENCES member (account_id, member_id),
    CHECK ((state IN ('FINISHED', 'FAILED')) = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR seats_held = 0),
    CHECK ((state = 'FAILED') = (error_code IS NOT NULL)),
    CHECK (rows_done = rows_invited + rows_rejected)
);
CREATE INDEX member_import_by_created ON member_import (account_id, created_at DESC, import_id);
CREATE INDEX member_import_unfinished ON member_import (created_at) WHERE finished_at IS NULL;
COMMENT ON COLUMN member_import.state IS 'not personal';
COMMENT ON COLUMN member_import.ignored_columns IS 'personal: names of columns, chosen by the uploader; emptied when the upload is deleted after 7 days';
COMMENT ON COLUMN member_import.error_code IS 'not personal';
COMMENT ON COLUMN member_import.error_message IS 'not personal';

-- What became of each row of the file. row_no counts lines of data as a spreadsheet shows them: the header is row 1.
CREATE TABLE member_import_row (
    account_id uuid NOT NULL,
    import_id  uuid NOT NULL,
    row_no     integer NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN ('INVITED', 'REJECTED')),
    member_id  uuid,
    faults     jsonb NOT NULL,
    PRIMARY KEY (account_id, import_id, row_no),
    FOREIGN KEY (account_id, import_id) REFERENCES member_import,
    CHECK ((outcome = 'INVITED') = (member_id IS NOT NULL))
);
COMMENT ON COLUMN member_import_row.outcome IS 'not personal';
COMMENT ON COLUMN member_import_row.faults IS 'personal: quotes rejected values, which are removed from it when the upload is deleted after 7 days';
