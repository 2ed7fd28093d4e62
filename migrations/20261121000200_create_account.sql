-- The tenant. Every table of an account carries account_id first in its keys, so that the tables distribute by it.
CREATE TABLE account (
    account_id                  uuid PRIMARY KEY,
    name                        text NOT NULL,
    time_zone                   text NOT NULL,
    created_at                  timestamptz NOT NULL,
    invitation_lifetime_seconds integer NOT NULL DEFAULT 86400 CHECK (invitation_lifetime_seconds BETWEEN 3600 AND 2592000),
    refuse_personal_domains     boolean NOT NULL DEFAULT true,
    allowed_personal_domains    text[] NOT NULL DEFAULT '{}',
    allowed_domains             text[] NOT NULL DEFAULT '{}',
    session_idle_seconds        integer NOT NULL DEFAULT 604800 CHECK (session_idle_seconds BETWEEN 300 AND 7776000),
    session_absolute_seconds    integer NOT NULL DEFAULT 2592000 CHECK (session_absolute_seconds BETWEEN 300 AND 31536000)
);
COMMENT ON COLUMN account.name IS 'not personal';
COMMENT ON COLUMN account.time_zone IS 'not personal';
COMMENT ON COLUMN account.allowed_personal_domains IS 'not personal';
COMMENT ON COLUMN account.allowed_domains IS 'not personal';

-- The row every commit of an account goes through, last: it numbers the events and guards what the writer was allowed to do.
CREATE TABLE account_feed (
    account_id     uuid PRIMARY KEY REFERENCES account,
    next_seq       bigint NOT NULL DEFAULT 1 CHECK (next_seq >= 1),
    oldest_seq     bigint NOT NULL DEFAULT 1 CHECK (oldest_seq >= 1),
    access_version bigint NOT NULL DEFAULT 1,
    writable       boolean NOT NULL DEFAULT true
);
