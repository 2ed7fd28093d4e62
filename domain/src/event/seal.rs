//! Seals make tampering with past events evident: each is a hash over the previous seal and the rows since. They cover the
//! lasting part of an event and the digest of its personal part, so they hold after an erasure.

use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::across;
use crate::id::AccountId;
use crate::infra::db::answered;
use crate::infra::fault::fail_point;

/// Accounts that are listed at once.
const ACCOUNTS: i64 = 1000;
/// Events a seal covers at most.
pub(super) const ROWS_PER_SEAL: i64 = 5_000;

/// Seals the events of every account that has unsealed ones. Returns how many seals were written. Two at once are
/// harmless: the seal that comes second is refused by its key.
pub async fn seal_due(pool: &PgPool) -> sqlx::Result<usize> {
    let (mut seals, mut failure, mut after) = (0, None, None);
    loop {
        let accounts = answered(across::accounts_with_unsealed_events(pool, after, ACCOUNTS)).await?;
        for account in &accounts {
            // An account that fails keeps no other one waiting.
            match seal_account(pool, *account).await {
                Ok(count) => seals += count,
                Err(error) => failure = Some(error),
            }
        }
        match accounts.last() {
            Some(last) => after = Some(*last),
            None => return failure.map_or(Ok(seals), Err),
        }
    }
}

async fn seal_account(pool: &PgPool, account: AccountId) -> sqlx::Result<usize> {
    let mut seals = 0;
    while answered(seal_next(pool, account)).await? {
        seals += 1;
    }
    Ok(seals)
}

/// Writes one more seal of an account; false when there is nothing to seal.
async fn seal_next(pool: &PgPool, account: AccountId) -> sqlx::Result<bool> {
    let mut conn = pool.acquire().await?;
    let last = sqlx::query!(
        "SELECT last_seq, seal FROM event_seal WHERE account_id = $1 ORDER BY last_seq DESC LIMIT 1",
        account.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let (after, previous) = last.map_or((0, Vec::new()), |seal| (seal.last_seq, seal.seal));
    let rows = rows_after(&mut conn, account, after, after.saturating_add(ROWS_PER_SEAL)).await?;
    let Some(last_row) = rows.last() else { return Ok(false) };
    fail_point!("seal.before_write");
    let written = sqlx::query!(
        "INSERT INTO event_seal (account_id, first_seq, last_seq, seal, sealed_at) VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING",
        account.0,
        after + 1,
        last_row.seq,
        hash(&previous, &rows),
    )
    .execute(&mut *conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// A seal that does not match its rows, is missing, or is yet to come and lacks rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// First event the seal covers.
    pub first_seq: i64,
    /// Last event the seal covers.
    pub last_seq: i64,
}

/// Recomputes every seal of an account from the last purged one on, and looks for every event after the last; the first fault,
/// if any. A live feed may be verified: what is appended, sealed or purged meanwhile is no fault.
pub async fn verify(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Broken>> {
    loop {
        let oldest = oldest(conn, account).await?;
        let broken = verify_from(conn, account, oldest).await?;
        if broken.is_none() || self::oldest(conn, account).await? == oldest {
            return Ok(broken);
        }
        // What was looked at is purged by now.
    }
}

async fn oldest(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT oldest_seq FROM account_feed WHERE account_id = $1", account.0).fetch_one(conn).await
}

async fn verify_from(conn: &mut PgConnection, account: AccountId, oldest: i64) -> sqlx::Result<Option<Broken>> {
    let seals = sqlx::query!(
        "SELECT first_seq, last_seq, seal FROM event_seal WHERE account_id = $1 AND last_seq >= $2 ORDER BY last_seq",
        account.0,
        oldest - 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let (mut previous, mut end) = (Vec::new(), 0);
    for seal in seals {
        if seal.last_seq >= oldest {
            let rows = rows_after(conn, account, end, seal.last_seq).await?;
            let whole = seal.first_seq == end + 1 && i64::try_from(rows.len()) == Ok(seal.last_seq - end);
            if !whole || hash(&previous, &rows) != seal.seal {
                return Ok(Some(Broken { first_seq: seal.first_seq, last_seq: seal.last_seq }));
            }
        }
        (previous, end) = (seal.seal, seal.last_seq);
    }
    verify_unsealed(conn, account, end).await
}

/// Whether every event after the last seal is there, and none before the oldest: that would be hidden from readers.
async fn verify_unsealed(conn: &mut PgConnection, account: AccountId, sealed: i64) -> sqlx::Result<Option<Broken>> {
    let tail = sqlx::query!(
        r#"SELECT oldest_seq, next_seq,
                  (SELECT count(*) FROM event e WHERE e.account_id = f.account_id AND e.seq > $2) AS "events!",
                  (SELECT min(e.seq) FROM event e WHERE e.account_id = f.account_id) AS first_seq
           FROM account_feed f WHERE account_id = $1"#,
        account.0,
        sealed,
    )
    .fetch_one(conn)
    .await?;
    let last_seq = tail.next_seq - 1;
    if let Some(first_seq) = tail.first_seq.filter(|first| *first < tail.oldest_seq) {
        return Ok(Some(Broken { first_seq, last_seq: tail.oldest_seq - 1 }));
    }
    Ok((tail.events != last_seq - sealed).then_some(Broken { first_seq: sealed + 1, last_seq }))
}

struct Row {
    seq: i64,
    event_id: Uuid,
    /// Everything else that lasts, as one text: PostgreSQL writes a row's JSON the same way each time.
    rest: String,
    personal_digest: Option<Vec<u8>>,
}

async fn rows_after(conn: &mut PgConnection, account: AccountId, after: i64, up_to: i64) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT seq, event_id, personal_digest,
                  jsonb_build_array(kind, actor_kind, actor_id, subject_id, detail, request_id,
                                    (extract(epoch FROM occurred_at) * 1000000)::bigint)::text AS "rest!"
           FROM event WHERE account_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq"#,
        account.0,
        after,
        up_to,
    )
    .fetch_all(conn)
    .await
}

/// `SHA-256(previous ‖ rows)`, each part with its length before it.
fn hash(previous: &[u8], rows: &[Row]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(previous);
    for row in rows {
        part(&row.seq.to_be_bytes());
        part(row.event_id.as_bytes());
        part(row.rest.as_bytes());
        part(row.personal_digest.as_deref().unwrap_or_default());
    }
    hasher.finalize().to_vec()
}
