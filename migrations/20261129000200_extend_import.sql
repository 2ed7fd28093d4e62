-- Imports say what they would do before they do it, bring members up to date, take effect as a whole or not at all, and can be stopped.
ALTER TABLE member_import
    ADD COLUMN dry_run             boolean NOT NULL DEFAULT false,
    ADD COLUMN update_existing     boolean NOT NULL DEFAULT false,
    ADD COLUMN require_seats       boolean NOT NULL DEFAULT false,
    ADD COLUMN all_or_nothing      boolean NOT NULL DEFAULT false,
    -- What a row without roles gets, and every new member; no foreign keys, because they may be archived and count as of each batch.
    ADD COLUMN default_roles       uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN default_groups      uuid[] NOT NULL DEFAULT '{}',
    -- Whether the counted rows took effect: not in a dry run, nor before all of them do at once.
    ADD COLUMN applied             boolean NOT NULL DEFAULT true,
    ADD COLUMN encoding            text CHECK (encoding IN ('UTF_8', 'UTF_16LE', 'UTF_16BE', 'WINDOWS_1252')),
    ADD COLUMN byte_order_mark     boolean,
    ADD COLUMN delimiter           text CHECK (delimiter IN ('COMMA', 'SEMICOLON', 'TAB')),
    ADD COLUMN line_end            text CHECK (line_end IN ('LF', 'CRLF', 'CR')),
    ADD COLUMN rows_updated        integer NOT NULL DEFAULT 0,
    ADD COLUMN rows_unchanged      integer NOT NULL DEFAULT 0,
    -- Of the rejected ones, those that lack nothing but a seat.
    ADD COLUMN rows_without_seat   integer NOT NULL DEFAULT 0,
    -- Free when the worker began.
    ADD COLUMN seats_free          integer,
    -- Counted before the first row, where they are required.
    ADD COLUMN seats_counted       integer,
    -- The row of the file at which a fault of the whole was found.
    ADD COLUMN error_row           integer,
    ADD COLUMN cancel_requested_at timestamptz;

ALTER TABLE member_import DROP CONSTRAINT member_import_state_check;
ALTER TABLE member_import ADD CONSTRAINT member_import_state_check
    CHECK (state IN ('QUEUED', 'RUNNING', 'FINISHED', 'FAILED', 'CANCELED'));
ALTER TABLE member_import DROP CONSTRAINT member_import_check;
ALTER TABLE member_import ADD CONSTRAINT member_import_check
    CHECK ((state IN ('FINISHED', 'FAILED', 'CANCELED')) = (finished_at IS NOT NULL));
ALTER TABLE member_import DROP CONSTRAINT member_import_check3;
ALTER TABLE member_import ADD CONSTRAINT member_import_check3
    CHECK (rows_done = rows_invited + rows_updated + rows_unchanged + rows_rejected);

-- A dry run does not use a file up.
ALTER TABLE member_import DROP CONSTRAINT member_import_account_id_upload_id_key;
CREATE UNIQUE INDEX member_import_of_upload ON member_import (account_id, upload_id) WHERE NOT dry_run;
CREATE INDEX member_import_by_upload ON member_import (account_id, upload_id);

COMMENT ON COLUMN member_import.encoding IS 'not personal';
COMMENT ON COLUMN member_import.delimiter IS 'not personal';
COMMENT ON COLUMN member_import.line_end IS 'not personal';

-- Columns of which the row has another value than what is stored.
ALTER TABLE member_import_row ADD COLUMN changes text[] NOT NULL DEFAULT '{}';
-- A keyed digest of the address, where no member stands for it: finds the files with rows of somebody who is deleted. It goes with the file.
ALTER TABLE member_import_row ADD COLUMN email_digest bytea;
CREATE INDEX member_import_row_by_address ON member_import_row (account_id, email_digest) WHERE email_digest IS NOT NULL;
ALTER TABLE member_import_row DROP CONSTRAINT member_import_row_outcome_check;
ALTER TABLE member_import_row ADD CONSTRAINT member_import_row_outcome_check
    CHECK (outcome IN ('INVITED', 'UPDATED', 'UNCHANGED', 'REJECTED'));
-- In a dry run, and before all take effect at once, there is no new member yet.
ALTER TABLE member_import_row DROP CONSTRAINT member_import_row_check;
ALTER TABLE member_import_row ADD CONSTRAINT member_import_row_check CHECK (outcome <> 'REJECTED' OR member_id IS NULL);
CREATE INDEX member_import_row_by_outcome ON member_import_row (account_id, import_id, outcome, row_no) WHERE outcome <> 'INVITED';
COMMENT ON COLUMN member_import_row.email_digest IS 'personal: set to null with the file, after 7 days or when the person is erased';
COMMENT ON COLUMN member_import_row.changes IS 'not personal';
