//! Limits on how often something may be tried, in fixed windows. What is limited is stored as a keyed digest.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::SignedDuration;
use sqlx::PgConnection;

use crate::error::{Code, Error, Refused};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::metrics;

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
/// Changes of a login e-mail to one address, asked for in one account.
pub const EMAIL_CHANGE_ADDRESS: Limit = limit("email-change.address", 3, 60);
/// Changes of one member's login e-mail, asked for in their account.
pub const EMAIL_CHANGE_MEMBER: Limit = limit("email-change.member", 10, 24 * 60);
/// Changes of login e-mails asked for from one network.
pub const EMAIL_CHANGE_NETWORK: Limit = limit("email-change.network", 60, 60);
/// Further accounts founded by one person.
pub const ACCOUNT_USER: Limit = limit("account.user", 10, 24 * 60);
/// Uploads of one account, which are kept for days.
pub const UPLOAD_ACCOUNT: Limit = limit("upload.account", 200, 24 * 60);
/// Imports of one account, trial ones among them: what became of each row is kept for days.
pub const IMPORT_ACCOUNT: Limit = limit("import.account", 200, 24 * 60);
/// Exports of one account, which are kept for days.
pub const EXPORT_ACCOUNT: Limit = limit("export.account", 200, 24 * 60);
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

/// An address signed in from a network: wrong passwords from elsewhere do not shut it out there, see [`hit_sign_in`].
const TRUSTED: Limit = limit("sign-in.trusted", 0, 30 * 24 * 60);

/// Tries for an address were refused lately, wherever they came from: the end of the last lock.
const LOCKED: Limit = limit("sign-in.locked", 0, 0);

/// Until when tries to sign in with an address are refused, where wrong passwords for it came from; `None` if they are not.
pub(crate) async fn sign_in_locked_until(
    db: &Db,
    conn: &mut PgConnection,
    address: &str,
    now: Timestamp,
) -> sqlx::Result<Option<Timestamp>> {
    let key = db.key.digest(LOCKED.name, address);
    sqlx::query_scalar!(
        "SELECT window_end FROM rate_counter WHERE rate_key = $1 AND window_end > $2",
        key.as_slice(),
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Counts a try to sign in, before it is known whether the password is right, so that tries at once cannot slip past a limit.
/// Where the address signed in from this network in the last 30 days, the limit on the address from anywhere does not
/// count: no stranger shuts somebody out.
pub async fn hit_sign_in(
    db: &Db,
    conn: &mut PgConnection,
    address: &str,
    network: &str,
    now: Timestamp,
) -> sqlx::Result<Result<(), Reached>> {
    if !db.rate_limits {
        return Ok(Ok(()));
    }
    let limits = sign_in_limits(db, address, network);
    let (keys, most): (Vec<Vec<u8>>, Vec<i32>) = limits.iter().map(|(key, limit)| (key.clone(), limit.hits)).unzip();
    let ends: Vec<Timestamp> = limits.iter().map(|(_, limit)| now + limit.window).collect();
    let trusted = db.key.digest(TRUSTED.name, &format!("{address} {network}"));
    let from_anywhere = db.key.digest(SIGN_IN_ADDRESS.name, address);
    let (from_network, locked) = (db.key.digest(SIGN_IN_NETWORK.name, network), db.key.digest(LOCKED.name, address));
    // In the order of keys, so that two tries never wait for each other in a circle.
    let reached = sqlx::query_scalar!(
        "WITH counted AS (
             INSERT INTO rate_counter AS c (rate_key, window_start, window_end, hits)
             SELECT l.rate_key, $2, l.window_end, 1 FROM unnest($1::bytea[], $3::timestamptz[]) l(rate_key, window_end)
             WHERE l.rate_key <> $5 OR NOT EXISTS (SELECT FROM rate_counter t WHERE t.rate_key = $6 AND t.window_end > $2)
             ORDER BY l.rate_key
             ON CONFLICT (rate_key) DO UPDATE SET
                 hits = CASE WHEN c.window_end <= $2 THEN 1 ELSE c.hits + 1 END,
                 window_start = CASE WHEN c.window_end <= $2 THEN $2 ELSE c.window_start END,
                 window_end = CASE WHEN c.window_end <= $2 THEN excluded.window_end ELSE c.window_end END
             RETURNING c.rate_key, c.hits, c.window_end),
         reached AS (
             SELECT c.rate_key, c.window_end FROM counted c JOIN unnest($1::bytea[], $4::int[]) l(rate_key, most) USING (rate_key)
             WHERE c.hits > l.most),
         locked AS (
             INSERT INTO rate_counter AS c (rate_key, window_start, window_end, hits)
             SELECT $8, $2, max(window_end), 0 FROM reached WHERE rate_key <> $7 HAVING count(*) > 0
             ON CONFLICT (rate_key) DO UPDATE SET window_end = greatest(c.window_end, excluded.window_end))
         SELECT max(window_end) FROM reached",
        &keys,
        now,
        &ends,
        &most,
        from_anywhere.as_slice(),
        trusted.as_slice(),
        from_network.as_slice(),
        locked.as_slice(),
    )
    .fetch_one(conn)
    .await?;
    if reached.is_some() {
        metrics::rate_limited("sign-in");
    }
    Ok(reached.map_or(Ok(()), |retry_at| Err(Reached { retry_at })))
}

/// Takes a try back that was no wrong one, and remembers that the address signs in from this network.
pub async fn forgive_sign_in(
    db: &Db,
    conn: &mut PgConnection,
    address: &str,
    network: &str,
    now: Timestamp,
) -> sqlx::Result<()> {
    if !db.rate_limits {
        return Ok(());
    }
    let keys: Vec<Vec<u8>> = sign_in_limits(db, address, network).into_iter().map(|(key, _)| key).collect();
    let trusted = db.key.digest(TRUSTED.name, &format!("{address} {network}"));
    sqlx::query!(
        "WITH forgiven AS (
             UPDATE rate_counter SET hits = greatest(hits - 1, 0)
             WHERE rate_key IN (SELECT rate_key FROM rate_counter WHERE rate_key = ANY($1) ORDER BY rate_key FOR UPDATE))
         INSERT INTO rate_counter (rate_key, window_start, window_end, hits) VALUES ($2, $3, $4, 0)
         ON CONFLICT (rate_key) DO UPDATE SET window_end = excluded.window_end",
        &keys,
        trusted.as_slice(),
        now,
        now + TRUSTED.window,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn sign_in_limits(db: &Db, address: &str, network: &str) -> [(Vec<u8>, Limit); 3] {
    let both = format!("{address} {network}");
    [(SIGN_IN_ADDRESS_NETWORK, both.as_str()), (SIGN_IN_ADDRESS, address), (SIGN_IN_NETWORK, network)]
        .map(|(limit, subject)| (db.key.digest(limit.name, subject).to_vec(), limit))
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
    if counter.hits <= limit.hits {
        return Ok(Ok(()));
    }
    metrics::rate_limited(limit.name);
    Ok(Err(Reached { retry_at: counter.window_end }))
}

/// Of subjects, which have reached the limit; counts nothing. In their order, in one statement.
pub async fn look_each(
    db: &Db,
    conn: &mut PgConnection,
    limit: Limit,
    subjects: &[String],
    now: Timestamp,
) -> sqlx::Result<Vec<Result<(), Reached>>> {
    if !db.rate_limits || subjects.is_empty() {
        return Ok(vec![Ok(()); subjects.len()]);
    }
    let keys = digests(db, limit, subjects);
    let reached = sqlx::query!(
        "SELECT rate_key, window_end FROM rate_counter WHERE rate_key = ANY($1) AND hits >= $2 AND window_end > $3",
        &keys,
        limit.hits,
        now,
    )
    .fetch_all(conn)
    .await?;
    let reached: HashMap<Vec<u8>, Timestamp> = reached.into_iter().map(|row| (row.rate_key, row.window_end)).collect();
    let answer = |key| reached.get(key).map_or(Ok(()), |retry_at| Err(Reached { retry_at: *retry_at }));
    let answers: Vec<Result<(), Reached>> = keys.iter().map(answer).collect();
    if answers.iter().any(Result::is_err) {
        metrics::rate_limited(limit.name);
    }
    Ok(answers)
}

/// Counts one more of each subject, which are all different, in one statement. False: the limit of one of them does not allow it.
pub async fn hit_each(
    db: &Db,
    conn: &mut PgConnection,
    limit: Limit,
    subjects: &[String],
    now: Timestamp,
) -> sqlx::Result<bool> {
    if !db.rate_limits || subjects.is_empty() {
        return Ok(true);
    }
    // In the order of keys, so that two never wait for each other in a circle.
    sqlx::query_scalar!(
        r#"WITH counted AS (
               INSERT INTO rate_counter AS c (rate_key, window_start, window_end, hits)
               SELECT k, $2, $3, 1 FROM unnest($1::bytea[]) k ORDER BY k
               ON CONFLICT (rate_key) DO UPDATE SET
                   hits = CASE WHEN c.window_end <= $2 THEN 1 ELSE c.hits + 1 END,
                   window_start = CASE WHEN c.window_end <= $2 THEN $2 ELSE c.window_start END,
                   window_end = CASE WHEN c.window_end <= $2 THEN $3 ELSE c.window_end END
               RETURNING c.hits)
           SELECT coalesce(max(hits), 0) <= $4 AS "allowed!" FROM counted"#,
        &digests(db, limit, subjects),
        now,
        now + limit.window,
        limit.hits,
    )
    .fetch_one(conn)
    .await
}

fn digests(db: &Db, limit: Limit, subjects: &[String]) -> Vec<Vec<u8>> {
    subjects.iter().map(|subject| db.key.digest(limit.name, subject).to_vec()).collect()
}

/// Counts one more against several limits, each at once and for good: for what is refused before a transaction begins.
pub async fn hit_all(
    db: &Db,
    conn: &mut PgConnection,
    limits: &[(Limit, &str)],
    now: Timestamp,
) -> sqlx::Result<Result<(), Reached>> {
    for (limit, subject) in limits {
        let hit = hit(db, conn, *limit, subject, now).await?;
        if hit.is_err() {
            return Ok(hit);
        }
    }
    Ok(Ok(()))
}

/// The network an address belongs to: what one customer of a provider usually has.
pub fn network(address: Option<IpAddr>) -> String {
    // An IPv4 client of a listener for both families comes as ::ffff:a.b.c.d.
    match address.map(|address| address.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let segments = address.segments();
            format!("{:x}:{:x}:{:x}:{:x}::/64", segments[0], segments[1], segments[2], segments[3])
        }
    }
}
