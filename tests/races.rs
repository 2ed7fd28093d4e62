//! Races, with real parallel connections and, where it matters, real processes.

use anyhow::Result;
use sqlx::PgPool;

use crate::support::app::Answer;

mod mix;
mod pairs;
mod seats;

/// Whether somebody was told to try again later: the only top-level error a race may surface.
#[track_caller]
fn was_busy(answer: &Answer) -> bool {
    let errors = answer.errors();
    assert!(errors.iter().all(|code| code == "SERVICE_UNAVAILABLE"), "{}", answer.body);
    !errors.is_empty()
}

/// What must hold in any account at any time.
async fn check_invariants(pool: &PgPool) -> Result<()> {
    let none = [
        (
            "seats in use are those allocated and those held by imports",
            "SELECT count(*) FROM license_pool p WHERE p.in_use <> (SELECT count(*) FROM license_allocation a
                 WHERE a.account_id = p.account_id AND a.product_id = p.product_id)
               + (SELECT coalesce(sum(seats_held), 0) FROM member_import i WHERE i.account_id = p.account_id)",
        ),
        (
            "never more seats than are owned",
            "SELECT count(*) FROM license_pool WHERE in_use < 0 OR in_use + scheduled - named_held > granted + paid",
        ),
        (
            "one owner, who is active",
            "SELECT count(*) FROM account a WHERE 1 <> (SELECT count(*) FROM account_owner o JOIN member m USING (account_id, member_id)
                 WHERE o.account_id = a.account_id AND m.status = 'ACTIVE')",
        ),
        (
            "one live invitation per address",
            "SELECT count(*) FROM (SELECT FROM invitation WHERE finished_at IS NULL GROUP BY account_id, email HAVING count(*) > 1) d",
        ),
        (
            "whoever is invited has an open invitation, and nobody else has",
            "SELECT count(*) FROM member m LEFT JOIN invitation i
                 ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
             WHERE (m.status = 'INVITED' AND i.state IS NULL) OR (m.status IN ('ACTIVE', 'DEACTIVATED') AND i.state IS NOT NULL)",
        ),
        (
            "a seat for each who is active or has a live invitation, and for nobody else",
            "SELECT count(*) FROM member m
             LEFT JOIN invitation i ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
             LEFT JOIN license_allocation a ON a.account_id = m.account_id AND a.member_id = m.member_id
             WHERE (a.member_id IS NOT NULL) <> (m.status IN ('INVITED', 'ACTIVE', 'SUSPENDED') AND i.state IS DISTINCT FROM 'EXPIRED')",
        ),
        (
            "a seat is reserved as long as the invitation is open",
            "SELECT count(*) FROM license_allocation a LEFT JOIN invitation i
                 ON i.account_id = a.account_id AND i.member_id = a.member_id AND i.finished_at IS NULL
             WHERE a.reserved <> (i.state IS NOT NULL)",
        ),
        (
            "events are numbered without gaps",
            "SELECT count(*) FROM account_feed f WHERE next_seq - 1 <> (SELECT count(*) FROM event e WHERE e.account_id = f.account_id)",
        ),
        (
            "nobody who is not active has a session",
            "SELECT count(*) FROM session s JOIN member m USING (account_id, member_id) WHERE m.status <> 'ACTIVE'",
        ),
    ];
    for (rule, statement) in none {
        let broken: i64 = sqlx::query_scalar(statement).fetch_one(pool).await?;
        assert_eq!(broken, 0, "{rule}");
    }
    Ok(())
}
