-- The list of members seeks in whatever order it is asked for, and finds parts of names and addresses by an index where it can.

-- Every member has a row of activity, so that the list can begin with it; who was never active stands where 1970 does.
INSERT INTO member_activity (account_id, member_id) SELECT account_id, member_id FROM member ON CONFLICT DO NOTHING;
CREATE INDEX member_activity_by_last ON member_activity
    (account_id, coalesce(last_activity_at, '1970-01-01 00:00:00+00'::timestamptz), member_id);
CREATE INDEX member_by_joined ON member
    (account_id, coalesce(joined_at, '1970-01-01 00:00:00+00'::timestamptz), member_id);
-- The tabs of a frontend: one status, in the usual order.
CREATE INDEX member_by_status ON member (account_id, status, sort_name, member_id);

-- pg_trgm comes with PostgreSQL, and whoever may create in the database may install it. Where it cannot be had, a search reads the
-- account's members one by one.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        BEGIN
            CREATE EXTENSION IF NOT EXISTS pg_trgm;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'pg_trgm cannot be installed by %: searching members will be slower', current_user;
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
        CREATE INDEX member_by_part_of_name ON member USING gin
            (lower(coalesce(first_name, '') || ' ' || coalesce(last_name, '')) gin_trgm_ops);
        CREATE INDEX member_by_part_of_email ON member USING gin (email gin_trgm_ops);
    END IF;
END $$;
