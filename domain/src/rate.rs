//! Limits on how often something may be tried, in fixed windows. What is limited is stored as a keyed digest.

use std::net::IpAddr;

use jiff::SignedDuration;
use sqlx::PgConnection;

use crate::error::{Code, Error, Refused};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;

/// A limit: so many in so long.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    name: &'static str,
    hits: i32,
    window: SignedDuration,
}

const fn limit(name: &'static str, hits: i32, minutes: i64) -> Limit {
    Limit { name, hits, window: SignedDuration::from_secs(minutes * 60) }
}

/// Wrong passwords for an address from one network.
pub const SIGN_IN_ADDRESS_NETWORK: Limit = limit("sign-in.address-network", 10, 15);
/// Wrong passwords for an address from anywhere: short, so that a stranger shuts nobody out for long.
pub const SIGN_IN_ADDRESS: Limit = limit("sign-in.address", 30, 1);
/// Wrong passwords from one network.
pub const SIGN_IN_NETWORK: Limit = limit("sign-in.network", 200, 15);
/// Sign-ups for an address.
pub const SIGN_UP_ADDRESS: Limit = limit("sign-up.address", 3, 60);
/// Sign-ups from one network.
pub const SIGN_UP_NETWORK: Limit = limit("sign-up.network", 60, 60);
/// Password resets for an address.
pub const RESET_ADDRESS: Limit = limit("reset.address", 3, 60);
/// Password resets from one network.
pub const RESET_NETWORK: Limit = limit("reset.network", 60, 60);
/// Links tried from one network.
pub const LINK_NETWORK: Limit = limit("link.network", 300, 15);
/// Invitation mails of one account to one address.
pub const MAIL_ACCOUNT_ADDRESS: Limit = limit("mail.account-address", 3, 60);
/// Mails of all accounts to one address: more are delayed, never refused.
pub const MAIL_ADDRESS: Limit = limit("mail.address", 20, 60);

/// A limit was reached; it opens again then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The window's end.
    pub retry_at: Timestamp,
}

/// RATE_LIMITED, as people are told.
impl From<Reached> for Error {
    fn from(reached: Reached) -> Self {
        Refused::new(Code::RateLimited).retry_at(reached.retry_at).into()
    }
}

/// Counts one more and says whether the limit allows it.
pub async fn hit(
    db: &Db,
    conn: &mut PgConnection,
    limit: Limit,
    subject: &str,
    now: Timestamp,
) -> sqlx::Result<Result<(), Reached>> {
    if !db.rate_limits {
        return Ok(Ok(()));
    }
    let key = db.key.digest(limit.name, subject);
    let counter = sqlx::query!(
        "INSERT INTO rate_counter AS c (rate_key, window_start, window_end, hits) VALUES ($1, $2, $3, 1)
         ON CONFLICT (rate_key) DO UPDATE SET
             hits = CASE WHEN c.window_end <= $2 THEN 1 ELSE c.hits + 1 END,
             window_start = CASE WHEN c.window_end <= $2 THEN $2 ELSE c.window_start END,
             window_end = CASE WHEN c.window_end <= $2 THEN $3 ELSE c.window_end END
         RETURNING hits, window_end",
        key.as_slice(),
        now,
        now + limit.window,
    )
    .fetch_one(conn)
    .await?;
    Ok(if counter.hits <= limit.hits { Ok(()) } else { Err(Reached { retry_at: counter.window_end }) })
}

/// Whether the limit is reached already, without counting.
pub async fn check(
    db: &Db,
    conn: &mut PgConnection,
    limits: &[(Limit, &str)],
    now: Timestamp,
) -> sqlx::Result<Result<(), Reached>> {
    if !db.rate_limits {
        return Ok(Ok(()));
    }
    let keys: Vec<Vec<u8>> =
        limits.iter().map(|(limit, subject)| db.key.digest(limit.name, subject).to_vec()).collect();
    let most: Vec<i32> = limits.iter().map(|(limit, _)| limit.hits).collect();
    let reached = sqlx::query_scalar!(
        "SELECT max(c.window_end) FROM rate_counter c JOIN unnest($1::bytea[], $2::int[]) l(rate_key, most) USING (rate_key)
         WHERE c.hits >= l.most AND c.window_end > $3",
        &keys,
        &most,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(reached.map_or(Ok(()), |retry_at| Err(Reached { retry_at })))
}

/// The network an address belongs to: what one customer of a provider usually has.
pub fn network(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let segments = address.segments();
            format!("{:x}:{:x}:{:x}:{:x}::/64", segments[0], segments[1], segments[2], segments[3])
        }
    }
}
