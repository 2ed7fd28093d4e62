//! Events older than the retention go, oldest first, in whole seals: what remains can be verified from the last purged seal on.

use jiff::SignedDuration;
use sqlx::PgConnection;

use super::seal::ROWS_PER_SEAL;
use crate::across;
use crate::id::AccountId;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::fault::fail_point;

/// Accounts that are listed at once.
const ACCOUNTS: i64 = 500;

/// Deletes sealed events of all accounts that are older than `retention` at `now`, with their personal parts. Returns how many
/// events went.
pub async fn purge_due(db: &Db, retention: SignedDuration, now: Timestamp) -> sqlx::Result<usize> {
    let before = now - retention;
    let (mut purged, mut failure) = (0, None);
    let mut last = None;
    loop {
        let accounts = across::accounts_with_events_before(&db.pool, before, last, ACCOUNTS).await?;
        for account in &accounts {
            // An account that fails keeps no other one waiting.
            match purge_account(db, *account, before).await {
                Ok(count) => purged += count,
                Err(error) => {
                    tracing::error!(%error, account.id = %account, "old events were not purged");
                    failure = Some(error);
                }
            }
        }
        match accounts.last() {
            Some(account) => last = Some(*account),
            None => return failure.map_or(Ok(purged), Err),
        }
    }
}

async fn purge_account(db: &Db, account: AccountId, before: Timestamp) -> sqlx::Result<usize> {
    let mut purged = 0;
    loop {
        match purge_some(db, account, before).await? {
            0 => return Ok(purged),
            count => purged += count,
        }
    }
}

/// Deletes the oldest events of an account up to the end of a seal: as many as one seal has at most, in one transaction.
async fn purge_some(db: &Db, account: AccountId, before: Timestamp) -> sqlx::Result<usize> {
    let mut tx = db.begin().await?;
    // The running service may not delete events; whoever connects may. Until the end of this transaction only.
    sqlx::raw_sql("SET LOCAL ROLE NONE").execute(&mut *tx).await?;
    if !is_alone(&mut tx, account).await? {
        return Ok(0);
    }
    let Some((oldest, last)) = old(&mut tx, account, before).await? else { return Ok(0) };
    let deleted = delete(&mut tx, account, oldest, last).await?;
    // At the end, because every commit of the account waits for this row.
    let moved = sqlx::query!(
        "UPDATE account_feed SET oldest_seq = $3 WHERE account_id = $1 AND oldest_seq = $2 AND next_seq >= $3",
        account.0,
        oldest,
        last + 1,
    )
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(0);
    }
    fail_point!("events_purge.before_commit");
    tx.commit().await?;
    fail_point!("events_purge.after_commit");
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

/// Whether no other process purges this account.
async fn is_alone(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<bool> {
    let key = format!("events.purge {account}");
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS "alone!""#, key)
        .fetch_one(conn)
        .await
}

/// The first and the last of the events to delete: up to the newest seal before which every event is of before a time.
async fn old(conn: &mut PgConnection, account: AccountId, before: Timestamp) -> sqlx::Result<Option<(i64, i64)>> {
    let row = sqlx::query!(
        r#"SELECT f.oldest_seq,
                  (SELECT max(s.last_seq) FROM event_seal s
                   WHERE s.account_id = f.account_id AND s.last_seq >= f.oldest_seq AND s.last_seq < f.oldest_seq + $3
                     AND NOT EXISTS (SELECT FROM event e WHERE e.account_id = f.account_id AND e.occurred_at >= $2
                                     AND e.seq BETWEEN f.oldest_seq AND s.last_seq)) AS last_seq
           FROM account_feed f WHERE f.account_id = $1"#,
        account.0,
        before,
        ROWS_PER_SEAL,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| Some((row.oldest_seq, row.last_seq?))))
}

/// Deletes events with their personal parts, and the seals over them but for the last, which the next one continues.
async fn delete(conn: &mut PgConnection, account: AccountId, first: i64, last: i64) -> sqlx::Result<u64> {
    sqlx::query!(
        "DELETE FROM event_personal p USING event e
         WHERE e.account_id = $1 AND e.seq BETWEEN $2 AND $3 AND p.account_id = $1 AND p.event_id = e.event_id",
        account.0,
        first,
        last,
    )
    .execute(&mut *conn)
    .await?;
    let events =
        sqlx::query!("DELETE FROM event WHERE account_id = $1 AND seq BETWEEN $2 AND $3", account.0, first, last)
            .execute(&mut *conn)
            .await?;
    sqlx::query!("DELETE FROM event_seal WHERE account_id = $1 AND last_seq < $2", account.0, last)
        .execute(conn)
        .await?;
    Ok(events.rows_affected())
}
