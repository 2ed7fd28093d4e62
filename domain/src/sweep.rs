//! Scheduled work that acts on everything that is due. A row per sweep and tick: whoever writes it runs it, so that over any
//! number of workers one does.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::infra::clock::Timestamp;

/// How long a tick's claim holds without being renewed, and how soon a failed one is tried again.
pub const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// How long finished ticks are kept.
pub const TICKS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a sweep does: given business time, it answers how many things it acted on, or why it failed, in capitals.
pub type Run = Arc<dyn Fn(Timestamp) -> BoxFuture<'static, Result<i32, &'static str>> + Send + Sync>;

/// A kind of scheduled work. It runs once per tick, the first time at once, and after downtime for the latest missed tick only.
#[derive(Clone)]
pub struct Sweep {
    /// As operators call it, like `invitations.lapse`.
    pub name: &'static str,
    /// Time between ticks, which are its multiples since 1970.
    pub every: SignedDuration,
    /// What it does. Running it twice at once or again must do no harm.
    pub run: Run,
}

impl Sweep {
    /// A sweep of an async function.
    pub fn new<F, Fut>(name: &'static str, every: SignedDuration, run: F) -> Self
    where
        F: Fn(Timestamp) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<i32, &'static str>> + Send + 'static,
    {
        Self { name, every, run: Arc::new(move |now| Box::pin(run(now))) }
    }

    /// The latest tick at `now`.
    pub fn tick(&self, now: Timestamp) -> Timestamp {
        let every = self.every.as_millis().max(1);
        let millisecond = i128::from(now.as_millisecond()).div_euclid(every) * every;
        let millisecond = i64::try_from(millisecond).expect("a tick is not after the time that it belongs to");
        Timestamp(jiff::Timestamp::from_millisecond(millisecond).expect("a tick is near the time that it belongs to"))
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("name", &self.name).field("every", &self.every).finish_non_exhaustive()
    }
}

/// Whose a tick is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// The caller's, under the claim it passed.
    Mine,
    /// Another process runs it, or it failed a moment ago.
    Running,
    /// It is over.
    Finished,
}

/// Takes a tick: one that nobody has, or one whose claim lapsed.
pub async fn claim(conn: &mut PgConnection, sweep: &str, tick: Timestamp, claim: Uuid) -> sqlx::Result<Tick> {
    // Asked first: an upsert locks and rewrites the row even where it changes nothing.
    let row = sqlx::query!(
        r#"SELECT finished_at IS NOT NULL AS "finished!", lease_until >= now() AS "held!"
           FROM sweep_tick WHERE sweep = $1 AND tick_at = $2"#,
        sweep,
        tick as Timestamp,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match row {
        Some(row) if row.finished => return Ok(Tick::Finished),
        Some(row) if row.held => return Ok(Tick::Running),
        _ => {}
    }
    let written = sqlx::query!(
        r#"INSERT INTO sweep_tick AS t (sweep, tick_at, claim, lease_until) VALUES ($1, $2, $3, now() + interval '60 s')
           ON CONFLICT (sweep, tick_at) DO UPDATE
           SET claim = excluded.claim, lease_until = excluded.lease_until, started_at = now()
           WHERE t.finished_at IS NULL AND t.lease_until < now()"#,
        sweep,
        tick as Timestamp,
        claim,
    )
    .execute(conn)
    .await?;
    Ok(if written.rows_affected() == 1 { Tick::Mine } else { Tick::Running })
}

/// Takes a tick whatever its state: an operator wants it run now.
pub async fn claim_by_operator(conn: &mut PgConnection, sweep: &str, tick: Timestamp, claim: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        r#"INSERT INTO sweep_tick (sweep, tick_at, claim, lease_until) VALUES ($1, $2, $3, now() + interval '60 s')
           ON CONFLICT (sweep, tick_at) DO UPDATE
           SET claim = excluded.claim, lease_until = excluded.lease_until, started_at = now(), finished_at = NULL,
               acted_on = NULL, last_error_code = NULL"#,
        sweep,
        tick as Timestamp,
        claim,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Prolongs a tick's claim. False: it is somebody else's by now.
pub async fn renew(conn: &mut PgConnection, sweep: &str, tick: Timestamp, claim: Uuid) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE sweep_tick SET lease_until = now() + interval '60 s'
           WHERE sweep = $1 AND tick_at = $2 AND claim = $3 AND finished_at IS NULL"#,
        sweep,
        tick as Timestamp,
        claim,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Records how a tick ended. A failed one stays open and is taken again after [`LEASE`], as long as it is the latest.
pub async fn record(
    conn: &mut PgConnection,
    sweep: &str,
    tick: Timestamp,
    claim: Uuid,
    outcome: Result<i32, &str>,
) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        r#"UPDATE sweep_tick
           SET finished_at = CASE WHEN $5::text IS NULL THEN now() END, acted_on = $4, last_error_code = $5,
               lease_until = now() + interval '60 s'
           WHERE sweep = $1 AND tick_at = $2 AND claim = $3 AND finished_at IS NULL"#,
        sweep,
        tick as Timestamp,
        claim,
        outcome.ok(),
        outcome.err(),
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The last time that a sweep was started.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// Its name.
    pub sweep: String,
    /// The tick, or the time that an operator named.
    pub tick_at: Timestamp,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended well.
    pub finished_at: Option<Timestamp>,
    /// How many things it acted on.
    pub acted_on: Option<i32>,
    /// Why it failed, in capitals.
    pub code: Option<String>,
}

/// The last run of every sweep that ever ran, by name.
pub async fn last_runs(conn: &mut PgConnection) -> sqlx::Result<Vec<LastRun>> {
    sqlx::query_as!(
        LastRun,
        r#"SELECT DISTINCT ON (sweep) sweep, tick_at, started_at, finished_at, acted_on, last_error_code AS code
           FROM sweep_tick ORDER BY sweep, started_at DESC"#,
    )
    .fetch_all(conn)
    .await
}

/// How many seconds ago the tick of the last run that ended well was, for every sweep that has one.
pub async fn finished_ages(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, f64)>> {
    let rows = sqlx::query!(
        r#"SELECT sweep, extract(epoch FROM now() - max(tick_at))::float8 AS "age!"
           FROM sweep_tick WHERE finished_at IS NOT NULL GROUP BY sweep"#,
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.sweep, row.age)).collect())
}

/// Deletes ticks that were started [`TICKS_KEPT`] before `now`, but for the last of each sweep.
pub async fn purge_ticks(conn: &mut PgConnection, now: Timestamp) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        r#"DELETE FROM sweep_tick t WHERE t.started_at < $1
           AND EXISTS (SELECT 1 FROM sweep_tick later WHERE later.sweep = t.sweep AND later.started_at > t.started_at)"#,
        (now - TICKS_KEPT) as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// The database's time.
pub async fn database_now(conn: &mut PgConnection) -> sqlx::Result<Timestamp> {
    sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse().expect("a time"))
    }

    #[test]
    fn a_tick_is_the_multiple_before() {
        let hourly = Sweep::new("x", SignedDuration::from_hours(1), |_| async { Ok(0) });
        assert_eq!(hourly.tick(at("2026-03-01T10:59:59.999999Z")), at("2026-03-01T10:00:00Z"));
        assert_eq!(hourly.tick(at("2026-03-01T10:00:00Z")), at("2026-03-01T10:00:00Z"));
        assert_eq!(hourly.tick(at("1969-12-31T23:30:00Z")), at("1969-12-31T23:00:00Z"));
    }
}
