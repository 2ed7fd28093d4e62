-- Work for the worker, and the schedule of the sweeps. These tables are not distributed: one relay reads across accounts.

-- wake_at is the only schedule: due, hinted (+15 s), claimed (lease), retry time, null when finished or dead.
CREATE TABLE outbox (
    job_id          uuid PRIMARY KEY,
    account_id      uuid NOT NULL,
    lane            text NOT NULL CHECK (lane IN ('INTERACTIVE', 'BULK', 'MONEY')),
    kind            text NOT NULL,
    payload         jsonb NOT NULL,
    dedupe_key      text NOT NULL,
    request_id      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    wake_at         timestamptz,
    hinted          boolean NOT NULL DEFAULT false,
    hint_no         integer NOT NULL DEFAULT 0,
    claim           uuid,
    attempts        integer NOT NULL DEFAULT 0,
    finished_at     timestamptz,
    dead_at         timestamptz,
    last_error_code text,
    CHECK (wake_at IS NULL OR (finished_at IS NULL AND dead_at IS NULL))
-- Every row is rewritten a few times within seconds.
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX outbox_once ON outbox (account_id, kind, dedupe_key) WHERE wake_at IS NOT NULL;
CREATE INDEX outbox_due ON outbox (lane, account_id, wake_at, job_id) WHERE wake_at IS NOT NULL;
CREATE INDEX outbox_finished ON outbox (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (dead_at) WHERE dead_at IS NOT NULL;
COMMENT ON COLUMN outbox.lane IS 'not personal';
COMMENT ON COLUMN outbox.kind IS 'not personal';
COMMENT ON COLUMN outbox.payload IS 'not personal';
COMMENT ON COLUMN outbox.dedupe_key IS 'not personal';
COMMENT ON COLUMN outbox.request_id IS 'not personal';
COMMENT ON COLUMN outbox.last_error_code IS 'not personal';

-- A lease per lane: one process relays it. Two at once are harmless, so a lost lease costs nothing.
CREATE TABLE relay (
    lane   text PRIMARY KEY,
    holder uuid,
    until  timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON COLUMN relay.lane IS 'not personal';
INSERT INTO relay (lane) VALUES ('INTERACTIVE'), ('BULK'), ('MONEY'), ('SEAL');

-- One row per sweep and tick, whoever inserts it runs it; an abandoned one is taken over after its lease.
CREATE TABLE sweep_tick (
    sweep           text NOT NULL,
    tick_at         timestamptz NOT NULL,
    claim           uuid NOT NULL,
    lease_until     timestamptz NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    acted_on        integer,
    last_error_code text,
    PRIMARY KEY (sweep, tick_at)
);
COMMENT ON COLUMN sweep_tick.sweep IS 'not personal';
COMMENT ON COLUMN sweep_tick.last_error_code IS 'not personal';
