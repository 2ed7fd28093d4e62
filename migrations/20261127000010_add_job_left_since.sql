-- A job of a kind that no worker knows waits for a newer version, but not for ever: since when it has waited, so that it ends dead.

ALTER TABLE outbox ADD COLUMN left_since timestamptz;
