//! The end of a period: one transaction per account and period. What was scheduled takes effect, the statement is issued with the
//! recurring lines of the next period, and that begins. After downtime one period after the other.

use serde_json::json;

use super::period::{self, Period};
use super::{Billing, lock};
use super::{credit, statement};
use crate::change::Change;
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::infra::clock::Timestamp;
use crate::infra::fault::fail_point;
use crate::license::{change as license_change, trial};

/// Does the next thing that is due in the change's account: a trial's end, a period's end, the account's end, whichever was first. False:
/// nothing is due.
///
/// # Errors
/// The database's.
pub async fn step(change: &mut Change) -> Result<bool> {
    let mut billing = lock(change).await?;
    crate::license::lock(change).await?;
    let now = change.now();
    if billing.ended {
        return Ok(false);
    }
    let due = billing.period.clone().filter(|period| period.ends_at <= now);
    // A trial that ends with the period goes over into the next.
    let until = due.as_ref().map_or(now, |period| period.ends_at.min(now));
    let strictly = due.is_some();
    if trial::end_next(change, &mut billing, until, strictly).await? {
        return Ok(true);
    }
    if let Some(period) = due {
        turn(change, billing, &period).await?;
        return Ok(true);
    }
    if billing.period.is_none() && billing.ends_at.is_some_and(|at| at <= now) {
        finish(change).await?;
        return Ok(true);
    }
    Ok(false)
}

async fn turn(change: &mut Change, mut billing: Billing, period: &Period) -> Result<()> {
    let account = change.account();
    license_change::take_effect(change, period.ends_on).await?;
    fail_point!("roll.after_effects");
    period::close(change, period).await?;
    let ends = billing.ends_at.is_some_and(|at| at <= period.ends_at);
    let plan = super::read(change.conn(), account, billing.tax_rate).await?;
    (billing.currency, billing.interval) = (plan.currency, plan.interval);
    let next = period.next(&billing);
    let paid = paid_products(change).await?;
    let goes_on = !ends && (!paid.is_empty() || is_pending(change).await?);
    if goes_on {
        if billing.currency != period.currency {
            // The changes of the old currency are a statement of their own.
            credit::apply(change, &billing, period, &period.currency).await?;
            statement::issue(change, &billing.gateway, period.ends_on).await?;
            statement::open_draft(change, next.period_no, &next.currency).await?;
        }
        bill(change, &billing, &next, &paid).await?;
    }
    let currency = if goes_on { &next.currency } else { &period.currency };
    credit::apply(change, &billing, period, currency).await?;
    statement::issue(change, &billing.gateway, period.ends_on).await?;
    if goes_on {
        period::open(change, &next).await?;
        fix_prices(change, &next, &paid).await?;
    }
    if ends {
        finish(change).await?;
    }
    fail_point!("roll.before_end");
    Ok(())
}

/// What is paid for, and how many.
async fn paid_products(change: &mut Change) -> Result<Vec<(String, i32)>> {
    let account = change.account();
    let rows = sqlx::query!(
        "SELECT product_id, paid FROM license_pool WHERE account_id = $1 AND paid > 0 ORDER BY product_id",
        account.0
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.paid)).collect())
}

/// Whether a charge is under way: its licences may come any time, so the periods go on.
async fn is_pending(change: &mut Change) -> Result<bool> {
    let account = change.account();
    let pending = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM license_change WHERE account_id = $1 AND status = 'PENDING') AS "pending!""#,
        account.0
    );
    Ok(pending.fetch_one(change.conn()).await?)
}

/// Adds the recurring lines of the next period to the draft, at the prices of its first day.
async fn bill(change: &mut Change, billing: &Billing, next: &Period, paid: &[(String, i32)]) -> Result<()> {
    let keys: Vec<String> = paid.iter().map(|(key, _)| key.clone()).collect();
    let prices = super::prices(change.conn(), &keys, &next.currency, next.interval, next.starts_on).await?;
    let mut lines = Vec::with_capacity(paid.len());
    for (product, count) in paid {
        // A price is never taken away, and a plan is refused where one is missing.
        if let Some(price) = prices.get(product) {
            lines.push(license_change::recurring(next, product, *count, *price, billing.tax_rate, None));
        } else {
            tracing::error!(account.id = %change.account(), product, "a product has no price in the account's plan; it is not billed");
        }
    }
    statement::add(change, &next.currency, &lines).await?;
    Ok(())
}

/// Writes the prices of the period down, so that additions in it cost the same as what is billed for it.
async fn fix_prices(change: &mut Change, next: &Period, paid: &[(String, i32)]) -> Result<()> {
    let keys: Vec<String> = paid.iter().map(|(key, _)| key.clone()).collect();
    let prices = super::prices(change.conn(), &keys, &next.currency, next.interval, next.starts_on).await?;
    for (product, price) in prices {
        period::add(change, next.period_no, &product, price, 0).await?;
    }
    Ok(())
}

/// Ends the account: from now on it can only be read.
async fn finish(change: &mut Change) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    sqlx::query!("UPDATE account_billing SET ended_at = $2 WHERE account_id = $1", account.0, now as Timestamp)
        .execute(change.conn())
        .await?;
    sqlx::query!("UPDATE account_feed SET writable = false WHERE account_id = $1", account.0)
        .execute(change.conn())
        .await?;
    change.record(NewEvent::new(EventKind::AccountEnded).detail(json!({})));
    Ok(())
}
