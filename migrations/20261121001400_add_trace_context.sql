-- A job continues the trace of the request that asked for it.
ALTER TABLE outbox ADD COLUMN trace_context text;
COMMENT ON COLUMN outbox.trace_context IS 'not personal';
