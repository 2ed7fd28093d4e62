-- Finds the files with rows of somebody who is deleted, however many rows were imported: the seat pool and the member are locked
-- meanwhile. What names nobody any more is in none of the indexes.
CREATE INDEX member_import_row_by_member ON member_import_row (account_id, member_id) WHERE member_id IS NOT NULL;

-- What is quoted of a row and may be an address; none if nothing is.
CREATE FUNCTION quoted_addresses(faults jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN (SELECT array_agg(lower(trim(f->>'value'))) FROM jsonb_array_elements(faults) f WHERE f->>'value' LIKE '%@%');
END $$;
-- Of rows whose own address could not be read: the others have its digest.
CREATE INDEX member_import_row_by_quote ON member_import_row USING gin (quoted_addresses(faults))
    WHERE outcome = 'REJECTED' AND email_digest IS NULL AND quoted_addresses(faults) IS NOT NULL;
