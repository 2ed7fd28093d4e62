-- Credentials of the host product. They belong to the installation: the account is named with each request.
CREATE TABLE service_token (
    service_token_id uuid PRIMARY KEY,
    name             text NOT NULL,
    -- What a token begins with, so that people can tell one from another.
    prefix           text NOT NULL,
    token_hash       bytea NOT NULL UNIQUE,
    scopes           text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz,
    last_used_at     timestamptz,
    revoked_at       timestamptz
);
-- A name is free again when its token is revoked.
CREATE UNIQUE INDEX service_token_name ON service_token (lower(name)) WHERE revoked_at IS NULL;
COMMENT ON COLUMN service_token.name IS 'not personal';
COMMENT ON COLUMN service_token.prefix IS 'not personal';
COMMENT ON COLUMN service_token.token_hash IS 'not personal';
COMMENT ON COLUMN service_token.scopes IS 'not personal';

-- The host product acts by itself as well. Its actor_id is the token.
ALTER TABLE event
    DROP CONSTRAINT event_actor_kind_check,
    ADD CONSTRAINT event_actor_kind_check CHECK (actor_kind IN ('MEMBER', 'HOST', 'OPERATOR', 'SYSTEM'));
