//! Periods: when they run, and what was added in each.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::calendar::{self, Interval};
use super::{Billing, statement};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::id::AccountId;
use crate::infra::clock::{Date, Timestamp};

/// A period of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// 1, 2, 3 …
    pub period_no: i32,
    /// The day that periods are counted from.
    pub anchor_on: Date,
    /// Months from there to its first day.
    pub months: i32,
    /// How long it is.
    pub interval: Interval,
    /// What is paid with in it.
    pub currency: String,
    /// Its first day.
    pub starts_on: Date,
    /// The first day that is no longer in it.
    pub ends_on: Date,
    /// When that day begins.
    pub ends_at: Timestamp,
    /// The time zone that its days are meant in.
    pub time_zone: String,
}

impl Period {
    /// The first one of an account, or the first after nothing was paid for: counted from its first day.
    pub(crate) fn first(billing: &Billing, on: Date) -> Self {
        Self::at(billing, billing.next_period_no, on, 0)
    }

    /// The one after this, with the account's currency, interval and zone of today.
    pub(crate) fn next(&self, billing: &Billing) -> Self {
        Self::at(billing, billing.next_period_no, self.anchor_on, self.months + self.interval.months())
    }

    fn at(billing: &Billing, period_no: i32, anchor_on: Date, months: i32) -> Self {
        let ends_on = calendar::after_anchor(anchor_on, months + billing.interval.months());
        Self {
            period_no,
            anchor_on,
            months,
            interval: billing.interval,
            currency: billing.currency.clone(),
            starts_on: calendar::after_anchor(anchor_on, months),
            ends_on,
            ends_at: calendar::begins(ends_on, &billing.time_zone),
            time_zone: billing.time_zone.clone(),
        }
    }

    /// Its days.
    pub fn days(&self) -> i32 {
        calendar::days_between(self.starts_on, self.ends_on)
    }

    /// Days from a day in it to its end, that day among them.
    pub fn days_from(&self, day: Date) -> i32 {
        calendar::days_between(day, self.ends_on)
    }

    /// The date at an instant, within the period.
    pub fn day_at(&self, now: Timestamp) -> Date {
        Date::at(now, &self.time_zone).clamp(self.starts_on, self.ends_on.plus_days(-1))
    }
}

/// The period that runs.
pub(crate) async fn running(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Period>> {
    sqlx::query_as!(
        Period,
        r#"SELECT period_no, anchor_on AS "anchor_on: Date", months, billing_interval AS "interval: Interval", currency,
                  starts_on AS "starts_on: Date", ends_on AS "ends_on: Date", ends_at, time_zone
           FROM billing_period WHERE account_id = $1 AND NOT closed"#,
        account.0,
    )
    .fetch_optional(conn)
    .await
}

/// Opens a period, and the draft of the statement that will list what happens in it. Billing must be locked.
pub(crate) async fn open(change: &mut Change, period: &Period) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO billing_period (account_id, period_no, anchor_on, months, billing_interval, currency, starts_on, ends_on, ends_at, time_zone)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        account.0,
        period.period_no,
        period.anchor_on as Date,
        period.months,
        period.interval.as_str(),
        period.currency,
        period.starts_on as Date,
        period.ends_on as Date,
        period.ends_at as Timestamp,
        period.time_zone,
    )
    .execute(change.conn())
    .await?;
    let next = period.period_no + 1;
    sqlx::query!("UPDATE account_billing SET next_period_no = $2 WHERE account_id = $1", account.0, next)
        .execute(change.conn())
        .await?;
    statement::open_draft(change, next, &period.currency).await
}

/// Closes a period.
pub(crate) async fn close(change: &mut Change, period: &Period) -> Result<()> {
    let account = change.account();
    let closed = sqlx::query!(
        "UPDATE billing_period SET closed = true WHERE account_id = $1 AND period_no = $2 AND NOT closed",
        account.0,
        period.period_no,
    )
    .execute(change.conn())
    .await?;
    if closed.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// A product's price in a period, and the numerator of what was added in it; nothing before the first addition.
pub(crate) async fn product(
    conn: &mut PgConnection,
    account: AccountId,
    period_no: i32,
    product: &str,
) -> sqlx::Result<Option<(i64, i64)>> {
    let row = sqlx::query!(
        "SELECT unit_price, numerator FROM billing_period_product WHERE account_id = $1 AND period_no = $2 AND product_id = $3",
        account.0,
        period_no,
        product,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.unit_price, row.numerator)))
}

/// Writes down a product's price in a period, and adds to its numerator. Billing must be locked.
pub(crate) async fn add(change: &mut Change, period_no: i32, product: &str, unit_price: i64, share: i64) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO billing_period_product AS p (account_id, period_no, product_id, unit_price, numerator) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (account_id, period_no, product_id) DO UPDATE SET numerator = p.numerator + excluded.numerator",
        account.0,
        period_no,
        product,
        unit_price,
        share,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
