-- While every account has one member, statistics say that an account's id finds one row as well as a member's id does. An account that
-- grows by thousands of members within seconds would be read from end to end for each of them, until autovacuum comes round; and within
-- one transaction that never comes round.
CREATE FUNCTION refresh_member_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF (SELECT reltuples FROM pg_class WHERE oid = 'public.member'::regclass) < 10000 THEN
        -- Tables that somebody else analyzes are left to them.
        EXECUTE 'ANALYZE (SKIP_LOCKED) public.member, public.member_role, public.member_unit, public.group_member, public.invitation,
                                       public.license_allocation, public.member_import_row';
    END IF;
END $$;
REVOKE ALL ON FUNCTION refresh_member_statistics FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_member_statistics TO muster_runtime;
