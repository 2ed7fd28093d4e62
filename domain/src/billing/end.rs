//! The end of an account: its owner cancels it, with the password. It goes on until the period's end, and until then it can be taken back.

use secrecy::SecretString;
use serde_json::json;

use super::calendar;
use super::lock;
use crate::actor::Actor;
use crate::change::{self, Change, Kind, Once};
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::db::Db;
use crate::password::Passwords;
use crate::session;

async fn only_owner(change: &mut Change, actor: &Actor) -> Result<()> {
    let standing = change.standing(actor).await?;
    if standing.rights.owner { Ok(()) } else { Err(Refused::missing(Vec::new()).into()) }
}

/// [`cancel`] by whoever knows the owner's password.
///
/// # Errors
/// As [`cancel`]; at `password` CREDENTIALS_INVALID, RATE_LIMITED.
pub async fn cancel_with(
    db: &Db,
    passwords: &Passwords,
    actor: &Actor,
    once: Option<&Once>,
    password: &SecretString,
) -> Result<Timestamp> {
    if !actor.rights.owner {
        return Err(Refused::missing(Vec::new()).into());
    }
    if let Some(once) = once
        && let Some(done) = change::replay(db, actor, once).await?
    {
        return Ok(done);
    }
    let proven = session::prove(db, passwords, actor, password).await?;
    let done = change::run(db, actor, Kind::Asked, once, move |change, actor| {
        Box::pin(async move {
            session::still_proven(change, actor, proven).await?;
            cancel(change, actor).await
        })
    });
    Ok(done.await?.outcome)
}

/// Cancels the account: at the period's end, or at the end of the day where nothing is paid for. The password is checked before. Returns
/// when.
///
/// # Errors
/// NOT_PERMITTED for anybody but the owner; ACCOUNT_ENDING; BILLING_CATCHING_UP.
pub async fn cancel(change: &mut Change, actor: &Actor) -> Result<Timestamp> {
    let billing = lock(change).await?;
    only_owner(change, actor).await?;
    let (account, now) = (change.account(), change.now());
    if billing.ends_at.is_some() {
        return Err(Code::AccountEnding.into());
    }
    let ends_at = match &billing.period {
        Some(period) if period.ends_at <= now => return Err(Code::BillingCatchingUp.into()),
        Some(period) => period.ends_at,
        None => calendar::begins(Date::at(now, &billing.time_zone).plus_days(1), &billing.time_zone),
    };
    sqlx::query!("UPDATE account_billing SET ends_at = $2 WHERE account_id = $1", account.0, ends_at as Timestamp)
        .execute(change.conn())
        .await?;
    change.record(NewEvent::new(EventKind::AccountCancelScheduled).detail(json!({ "endsAt": ends_at })));
    Ok(ends_at)
}

/// Takes a cancellation back.
///
/// # Errors
/// NOT_PERMITTED for anybody but the owner; ACCOUNT_NOT_ENDING.
pub async fn resume(change: &mut Change, actor: &Actor) -> Result<()> {
    let billing = lock(change).await?;
    only_owner(change, actor).await?;
    if billing.ends_at.is_none() || billing.ended {
        return Err(Code::AccountNotEnding.into());
    }
    let account = change.account();
    sqlx::query!("UPDATE account_billing SET ends_at = NULL WHERE account_id = $1", account.0)
        .execute(change.conn())
        .await?;
    change.record(NewEvent::new(EventKind::AccountResumed).detail(json!({})));
    Ok(())
}
