//! DESIGN §2.5: an account's events are numbered without gaps and never change.

use futures::TryStreamExt as _;
use serde_json::json;
use sqlx::PgConnection;

use super::check::checks;
use super::{Finding, Level, SHOWN, facts};
use crate::event::{personal_digest, seal};
use crate::id::AccountId;

checks! { of_accounts
    Broken "feed.row" "every account has a feed"
    r#"SELECT a.account_id, '{}'::jsonb FROM account a
       WHERE a.account_id = ANY($1) AND NOT EXISTS (SELECT FROM account_feed f WHERE f.account_id = a.account_id)"#

    Broken "feed.gapless" "the events kept are numbered from the oldest to the newest without a gap"
    r#"SELECT n.account_id, jsonb_build_object('after', n.before, 'next', n.seq)
       FROM (SELECT e.account_id, e.seq, lag(e.seq, 1, f.oldest_seq - 1) OVER (PARTITION BY e.account_id ORDER BY e.seq) AS before
             FROM event e JOIN account_feed f USING (account_id)
             WHERE e.account_id = ANY($1) AND e.seq >= f.oldest_seq) n
       WHERE n.seq > n.before + 1
       UNION ALL
       SELECT f.account_id, jsonb_build_object('after', coalesce(l.newest, f.oldest_seq - 1), 'next', f.next_seq)
       FROM account_feed f LEFT JOIN LATERAL (SELECT max(e.seq) AS newest FROM event e WHERE e.account_id = f.account_id) l ON true
       WHERE f.account_id = ANY($1) AND greatest(coalesce(l.newest, 0), f.oldest_seq - 1) <> f.next_seq - 1"#

    Broken "feed.once" "no two events of an account have one number or one id"
    r#"SELECT account_id, jsonb_build_object('number', seq) FROM event WHERE account_id = ANY($1) GROUP BY account_id, seq HAVING count(*) > 1
       UNION ALL
       SELECT account_id, jsonb_build_object('event', event_id) FROM event WHERE account_id = ANY($1)
       GROUP BY account_id, event_id HAVING count(*) > 1"#

    Broken "feed.personal" "a personal part belongs to an event that expects one"
    r#"SELECT p.account_id, jsonb_build_object('event', p.event_id) FROM event_personal p LEFT JOIN event e USING (account_id, event_id)
       WHERE p.account_id = ANY($1) AND e.personal_digest IS NULL"#

    Broken "feed.subject" "a personal part is found by the same people as its event, so that erasing them erases it"
    r#"SELECT p.account_id, jsonb_build_object('event', p.event_id) FROM event_personal p JOIN event e USING (account_id, event_id)
       WHERE p.account_id = ANY($1)
         AND (p.subject_id IS DISTINCT FROM e.subject_id OR p.actor_id IS DISTINCT FROM e.actor_id)"#

    Warning "seals.late" "events are sealed within seconds, as long as a worker runs"
    r#"SELECT f.account_id, jsonb_build_object('after', s.sealed, 'before', f.next_seq)
       FROM account_feed f
       CROSS JOIN LATERAL (SELECT coalesce(max(s.last_seq), 0) AS sealed FROM event_seal s WHERE s.account_id = f.account_id) s
       JOIN event e ON e.account_id = f.account_id AND e.seq = greatest(s.sealed + 1, f.oldest_seq)
       WHERE f.account_id = ANY($1) AND e.occurred_at < now() - interval '5 minutes'"#
}

/// What no statement can check: the digests of personal parts, and the chain of seals.
pub(super) async fn history(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(digests(conn, account).await?);
    let sealed = match seal::verify(conn, account).await {
        // Without a feed, which is a finding of its own, nothing says where the chain begins.
        Err(sqlx::Error::RowNotFound) => None,
        sealed => sealed?,
    };
    if let Some(broken) = sealed {
        findings.push(Finding {
            check: "seals.chain",
            rule: "every seal matches the seal before it and the events it covers",
            level: Level::Broken,
            rows: vec![facts(Some(account.0), &json!({ "first": broken.first_seq, "last": broken.last_seq }))],
            total: 1,
        });
    }
    Ok(findings)
}

async fn digests(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Finding>> {
    let mut rows = sqlx::query!(
        r#"SELECT e.event_id, e.personal_digest AS "digest!", p.salt, p.body
           FROM event e JOIN event_personal p USING (account_id, event_id)
           WHERE e.account_id = $1 AND e.personal_digest IS NOT NULL AND NOT p.address_erased"#,
        account.0,
    )
    .fetch(conn);
    let (mut shown, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        if personal_digest(&row.salt, &row.body) == row.digest {
            continue;
        }
        total += 1;
        if shown.len() < SHOWN {
            shown.push(facts(Some(account.0), &json!({ "event": row.event_id })));
        }
    }
    let rule = "a personal part is the one that its event was written with";
    Ok((total > 0).then_some(Finding { check: "feed.digest", rule, level: Level::Broken, rows: shown, total }))
}
