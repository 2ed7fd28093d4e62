-- What the running service may touch: everything but rewriting history. `migrate` and the retention purge keep the connecting role.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'muster_runtime') THEN
        BEGIN
            CREATE ROLE muster_runtime NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- another installation of this cluster was quicker
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role muster_runtime is missing and % may not create it', current_user
                    USING HINT = format('An administrator of the database must run: CREATE ROLE muster_runtime NOLOGIN; GRANT muster_runtime TO %I;', current_user);
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'muster_runtime', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT muster_runtime TO %I', current_user);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION '% is not a member of the role muster_runtime', current_user
                    USING HINT = format('An administrator of the database must run: GRANT muster_runtime TO %I;', current_user);
        END;
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO muster_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO muster_runtime;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO muster_runtime;

-- Append-only.
REVOKE UPDATE, DELETE ON event, event_seal FROM muster_runtime;
-- Written by `muster migrate` only.
REVOKE INSERT, UPDATE, DELETE ON permission, product FROM muster_runtime;
