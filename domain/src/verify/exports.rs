//! Exports: what is being made has a job.

use super::check::checks;

checks! { of_accounts
    Warning "exports.stranded" "an export that has not ended has a job (one that has none never ends, and goes after a week)"
    r#"SELECT e.account_id, jsonb_build_object('export', e.export_id) FROM export e
       WHERE e.account_id = ANY($1) AND e.finished_at IS NULL AND NOT EXISTS (
           SELECT FROM outbox o WHERE o.account_id = e.account_id AND o.kind = 'export.make' AND o.wake_at IS NOT NULL
             AND o.dedupe_key = 'exp_' || replace(e.export_id::text, '-', ''))"#
}
