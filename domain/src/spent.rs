//! Deletes what has served: tokens, also those of invitations, which stay listed; ended sessions, idempotency keys, counters,
//! quotes that nobody confirmed.
//! Nobody is told, and nothing refers to it.

use jiff::SignedDuration;

use crate::across;
use crate::email_change;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::session;

/// How long a spent link still answers that it was used or has expired, rather than that it is unknown.
const LINKS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long an idempotency key is remembered.
const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(72);

/// Rows one statement deletes at most, so that none of them runs long.
const BATCH: i64 = 5_000;

/// Deletes everything that is over at `now`; returns how many rows.
pub async fn delete(db: &Db, now: Timestamp) -> sqlx::Result<usize> {
    let mut all = 0;
    loop {
        let deleted = batch(db, now).await?;
        all += deleted;
        if deleted == 0 {
            return Ok(usize::try_from(all).unwrap_or(usize::MAX));
        }
    }
}

/// A batch of each.
async fn batch(db: &Db, now: Timestamp) -> sqlx::Result<u64> {
    let links_before = now - LINKS_KEPT;
    let keys_before = now - KEYS_KEPT;
    let sign_ups = sqlx::query!(
        "DELETE FROM sign_up WHERE sign_up_id IN (SELECT sign_up_id FROM sign_up WHERE expires_at < $1 LIMIT $2)",
        links_before,
        BATCH
    );
    let resets = sqlx::query!(
        "DELETE FROM password_reset WHERE password_reset_id IN
            (SELECT password_reset_id FROM password_reset WHERE expires_at < $1 LIMIT $2)",
        links_before,
        BATCH
    );
    // One that was done leads from the old address to the person for longer.
    let changes = sqlx::query!(
        "DELETE FROM email_change WHERE email_change_id IN
            (SELECT email_change_id FROM email_change
             WHERE expires_at < $1 AND (state IN ('PENDING', 'CANCELLED') OR changed_at < $2) LIMIT $3)",
        links_before,
        now - email_change::KEPT,
        BATCH
    );
    let counters = sqlx::query!(
        "DELETE FROM rate_counter WHERE rate_key IN (SELECT rate_key FROM rate_counter WHERE window_end < $1 LIMIT $2)",
        now,
        BATCH
    );
    let mut conn = db.pool.acquire().await?;
    let mut all = sign_ups.execute(&mut *conn).await?.rows_affected();
    all += resets.execute(&mut *conn).await?.rows_affected();
    all += changes.execute(&mut *conn).await?.rows_affected();
    all += counters.execute(&mut *conn).await?.rows_affected();
    all += across::delete_idempotency_keys(&mut conn, keys_before, BATCH).await?;
    all += session::delete_ended(&mut conn, now, BATCH).await?;
    all += across::delete_expired_quotes(&mut conn, links_before, BATCH).await?;
    all += across::forget_invitation_tokens(&mut conn, links_before, BATCH).await?;
    Ok(all)
}
