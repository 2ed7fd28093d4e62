//! Jobs: each is due, held, finished or dead, and none is held for longer than a lease.

use super::check::checks;

checks! { of_installation
    Broken "outbox.state" "a job waits, is held, has ended or is dead, one at a time"
    r#"SELECT nullif(account_id, '00000000-0000-0000-0000-000000000000'), jsonb_build_object('job', job_id, 'kind', kind)
       FROM outbox
       WHERE num_nonnulls(wake_at, finished_at, dead_at) <> 1
          OR (wake_at IS NULL AND (claim IS NOT NULL OR hinted)) OR (claim IS NOT NULL AND hinted) OR attempts < 0"#

    Broken "outbox.lease" "a worker holds a job for a lease at most, unless it renews it"
    r#"SELECT nullif(account_id, '00000000-0000-0000-0000-000000000000'), jsonb_build_object('job', job_id, 'kind', kind, 'until', wake_at)
       FROM outbox
       WHERE wake_at IS NOT NULL AND (claim IS NOT NULL OR hinted) AND wake_at > now() + interval '1 minute'"#

    Broken "outbox.once" "a job has no unfinished like"
    r#"SELECT nullif(account_id, '00000000-0000-0000-0000-000000000000'), jsonb_build_object('kind', kind, 'jobs', array_agg(job_id))
       FROM outbox WHERE wake_at IS NOT NULL GROUP BY account_id, kind, dedupe_key HAVING count(*) > 1"#

    Broken "outbox.account" "a job belongs to an account that there is, or to none"
    r#"SELECT o.account_id, jsonb_build_object('job', o.job_id, 'kind', o.kind) FROM outbox o
       WHERE o.account_id <> '00000000-0000-0000-0000-000000000000'
         AND NOT EXISTS (SELECT FROM account a WHERE a.account_id = o.account_id)"#

    Warning "outbox.unknown_kind" "no job has died because no worker knew its kind"
    r#"SELECT nullif(account_id, '00000000-0000-0000-0000-000000000000'), jsonb_build_object('job', job_id, 'kind', kind)
       FROM outbox WHERE dead_at IS NOT NULL AND last_error_code = 'UNKNOWN_KIND'"#

    Warning "outbox.overdue" "no job has been due, or held by a silent worker, for ten minutes: a worker runs and keeps up"
    r#"SELECT nullif(account_id, '00000000-0000-0000-0000-000000000000'),
              jsonb_build_object('job', job_id, 'kind', kind, 'since', wake_at, 'attempts', attempts)
       FROM outbox WHERE wake_at < now() - interval '10 minutes'"#
}
