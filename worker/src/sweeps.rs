//! The sweeps of the product: what is due in any account, account by account.

use domain::across;
use domain::actor::Origin;
use domain::billing::{charge, roll};
use domain::change::{Change, Kind, persist};
use domain::error::{Error, Result};
use domain::event;
use domain::id::AccountId;
use domain::infra::clock::Timestamp;
use domain::infra::config::Retention;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::invitation;
use domain::license::{alert, trial};
use domain::member::validity;
use domain::spent;
use domain::sweep::Sweep;
use jiff::SignedDuration;
use sqlx::PgPool;

use crate::{job, schedule};

/// Accounts that a sweep lists at once.
const ACCOUNTS: i64 = 500;

/// Every sweep of a process.
pub fn all(db: &Db, files: &Files, retention: Retention) -> Vec<Sweep> {
    let mut sweeps = schedule::housekeeping(&db.pool);
    let minutes = SignedDuration::from_mins;
    sweeps.push(of_accounts("invitations.lapse", minutes(1), db, Due::Invitations, lapse_in));
    sweeps.push(of_accounts("members.validity", minutes(1), db, Due::Memberships, end_in));
    sweeps.push(of_accounts("billing.periods", minutes(1), db, Due::Billing, roll_in));
    sweeps.push(of_accounts("billing.collect", minutes(1), db, Due::Statements, collect_in));
    sweeps.push(of_accounts("licenses.low", minutes(5), db, Due::Low, alert_in));
    sweeps.push(sweep("spent.delete", SignedDuration::from_hours(1), db, delete_spent));
    sweeps.push(sweep("events.purge", SignedDuration::from_hours(24), db, move |db, now| {
        purge_events(db, retention, now)
    }));
    sweeps.extend(job::import::sweeps(db, files));
    sweeps.push(job::export::sweep_of(db, files));
    sweeps
}

pub(crate) fn sweep<F, Fut>(name: &'static str, every: SignedDuration, db: &Db, run: F) -> Sweep
where
    F: Fn(Db, Timestamp) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<usize>> + Send + 'static,
{
    let db = db.clone();
    Sweep::new(name, every, move |now| {
        let work = run(db.clone(), now);
        async move {
            match work.await {
                Ok(count) => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
                Err(error) => {
                    tracing::error!(%error, sweep.name = name, "sweep failed");
                    Err(code(&error))
                }
            }
        }
    })
}

/// Why something failed, in capitals.
pub(crate) fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(list) => list.first().map_or("REFUSED", |refused| refused.code.as_str()),
        Error::Unauthenticated => "UNAUTHENTICATED",
        Error::Busy | Error::Stale => "BUSY",
        Error::Database(_) => "DATABASE",
        Error::ObjectStore(_) => "OBJECT_STORE",
    }
}

/// Why an account is looked at.
#[derive(Clone, Copy)]
enum Due {
    Invitations,
    Memberships,
    Billing,
    Statements,
    Low,
}

impl Due {
    /// The next accounts where it is so, in the order of their ids.
    async fn accounts(self, pool: &PgPool, now: Timestamp, after: Option<AccountId>) -> Result<Vec<AccountId>> {
        Ok(match self {
            Self::Invitations => across::accounts_with_overdue_invitations(pool, now, after, ACCOUNTS).await?,
            Self::Memberships => across::accounts_with_ending_members(pool, now, after, ACCOUNTS).await?,
            Self::Billing => across::accounts_with_due_billing(pool, now, after, ACCOUNTS).await?,
            Self::Statements => across::accounts_with_due_statements(pool, now, after, ACCOUNTS).await?,
            Self::Low => across::accounts_with_few_licenses(pool, after, ACCOUNTS).await?,
        })
    }
}

/// A sweep that does something in every account where it is due.
fn of_accounts<F, Fut>(name: &'static str, every: SignedDuration, db: &Db, due: Due, work: F) -> Sweep
where
    F: Fn(Db, AccountId, Timestamp) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<usize>> + Send + 'static,
{
    sweep(name, every, db, move |db, now| in_accounts(db, now, due, work.clone()))
}

/// Does something in every account where it is due. One that fails keeps no other one waiting; the sweep is tried again for it.
async fn in_accounts<F, Fut>(db: Db, now: Timestamp, due: Due, work: F) -> Result<usize>
where
    F: Fn(Db, AccountId, Timestamp) -> Fut,
    Fut: Future<Output = Result<usize>>,
{
    let (mut done, mut failure) = (0, None);
    let mut after = None;
    loop {
        let accounts = due.accounts(&db.pool, now, after).await?;
        for account in &accounts {
            match work(db.clone(), *account, now).await {
                Ok(count) => done += count,
                Err(error) => {
                    tracing::error!(%error, account.id = %account, "what is due in an account was not done");
                    failure = Some(error);
                }
            }
        }
        match accounts.last() {
            Some(last) => after = Some(*last),
            None => return failure.map_or(Ok(done), Err),
        }
    }
}

/// Lapses invitations that were not answered in time, and those that could not be delivered for 72 hours.
async fn lapse_in(db: Db, account: AccountId, now: Timestamp) -> Result<usize> {
    let mut all = 0;
    loop {
        let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
        let lapsed = invitation::lapse_account(&mut change).await?;
        change.commit().await?;
        all += lapsed;
        if lapsed == 0 {
            return Ok(all);
        }
    }
}

/// Takes out members whose time is over, and tells those whose time ends within a week.
async fn end_in(db: Db, account: AccountId, now: Timestamp) -> Result<usize> {
    let mut all = 0;
    loop {
        let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
        let ended = validity::end_due(&mut change).await?;
        let told = validity::notify_due(&mut change).await?;
        change.commit().await?;
        all += ended + told;
        if ended + told == 0 {
            return Ok(all);
        }
    }
}

/// Deletes tokens, sessions, idempotency keys and counters that are over.
async fn delete_spent(db: Db, now: Timestamp) -> Result<usize> {
    Ok(spent::delete(&db, now).await?)
}

/// Deletes events that are older than they are kept.
async fn purge_events(db: Db, retention: Retention, now: Timestamp) -> Result<usize> {
    let kept = SignedDuration::from_hours(24 * i64::from(retention.events_days));
    Ok(event::purge::purge_due(&db, kept, now).await?)
}

/// Ends trials and periods that are over, one after the other, each in a transaction of its own, and tells of trials that end soon.
async fn roll_in(db: Db, account: AccountId, now: Timestamp) -> Result<usize> {
    let mut steps = 0;
    loop {
        let more = persist(|| async {
            let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
            let more = roll::step(&mut change).await?;
            change.commit().await?;
            Ok(more)
        })
        .await?;
        if !more {
            break;
        }
        steps += 1;
    }
    let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
    steps += trial::notify_due(&mut change).await?;
    change.commit().await?;
    Ok(steps)
}

/// Collects statements that are due.
async fn collect_in(db: Db, account: AccountId, now: Timestamp) -> Result<usize> {
    let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
    let due = charge::collect_due(&mut change).await?;
    change.commit().await?;
    Ok(due)
}

/// Tells of few licences left.
async fn alert_in(db: Db, account: AccountId, now: Timestamp) -> Result<usize> {
    let mut change = Change::begin(&db, account, Kind::System, Origin::system(), Some(now)).await?;
    let told = alert::notify_low(&mut change).await?;
    change.commit().await?;
    Ok(told)
}
