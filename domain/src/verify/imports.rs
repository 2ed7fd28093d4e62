//! Imports: what is reported was done, and what runs has a job.

use super::check::checks;

checks! { of_accounts
    Broken "imports.rows" "an import's counts are those of its rows"
    r#"SELECT i.account_id, jsonb_build_object('import', i.import_id, 'done', i.rows_done, 'rows', r.rows, 'invited', r.invited)
       FROM member_import i CROSS JOIN LATERAL (
           SELECT count(*) AS rows, count(*) FILTER (WHERE r.outcome = 'INVITED') AS invited
           FROM member_import_row r WHERE r.account_id = i.account_id AND r.import_id = i.import_id) r
       WHERE i.account_id = ANY($1)
         -- Those of a dry run go with its file.
         AND ((NOT (i.dry_run AND r.rows = 0) AND (i.rows_done <> r.rows OR i.rows_invited <> r.invited))
              OR i.rows_done <> i.rows_invited + i.rows_updated + i.rows_unchanged + i.rows_rejected)"#

    Broken "imports.ended" "an import that has ended says how, and keeps no seats"
    r#"SELECT account_id, jsonb_build_object('import', import_id, 'state', state, 'seatsHeld', seats_held) FROM member_import
       WHERE account_id = ANY($1)
         AND ((state IN ('FINISHED', 'FAILED', 'CANCELED')) <> (finished_at IS NOT NULL) OR (finished_at IS NOT NULL AND seats_held <> 0)
              OR (state = 'FAILED') <> (error_code IS NOT NULL) OR seats_held < 0)"#

    Broken "imports.members" "a row of an import that took effect has its member, one that did not has no new one"
    r#"SELECT i.account_id, jsonb_build_object('import', i.import_id, 'row', r.row_no) FROM member_import i
       JOIN member_import_row r USING (account_id, import_id)
       WHERE i.account_id = ANY($1) AND r.outcome = 'INVITED' AND i.applied <> (r.member_id IS NOT NULL)"#

    Warning "imports.stranded" "an import that has not ended has a job (the sweep imports.abandon ends one that has none)"
    r#"SELECT i.account_id, jsonb_build_object('import', i.import_id) FROM member_import i
       WHERE i.account_id = ANY($1) AND i.finished_at IS NULL AND NOT EXISTS (
           SELECT FROM outbox o WHERE o.account_id = i.account_id AND o.kind = 'import.members' AND o.wake_at IS NOT NULL
             AND o.dedupe_key = 'imp_' || replace(i.import_id::text, '-', ''))"#
}
