//! How an account pays: its currency and interval, its periods, its statements, and the books behind them.

pub mod calendar;
pub mod charge;
pub mod credit;
pub mod end;
pub mod ledger;
pub mod notice;
pub mod operate;
pub mod period;
pub mod profile;
pub mod proration;
pub mod roll;
pub mod statement;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sqlx::PgConnection;

use self::calendar::Interval;
use self::period::Period;
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::Result;
use crate::id::{AccountId, StatementId};
use crate::infra::clock::{Date, Timestamp};
use crate::job::UnknownName;

/// What accounts pay with unless they or the operator say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// ISO 4217.
    pub currency: String,
    /// How often.
    pub interval: Interval,
    /// Which gateway collects: `account` or `sandbox`.
    pub gateway: String,
    /// Tax, in parts of a million of the net amount.
    pub tax_rate: TaxRate,
    /// Days until a statement on account is past due.
    pub payment_days: i32,
    /// Seconds that a gateway has for an answer, 15 at most: the lease of a job lasts 20.
    pub gateway_seconds: u64,
    /// Days after the first attempt at which a declined statement is collected again.
    pub retry_days: Vec<i32>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            currency: "EUR".to_owned(),
            interval: Interval::Month,
            gateway: "account".to_owned(),
            tax_rate: TaxRate(0),
            payment_days: 30,
            gateway_seconds: 15,
            retry_days: vec![3, 7, 14],
        }
    }
}

/// A tax rate, in parts of a million; written in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaxRate(pub i32);

impl FromStr for TaxRate {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 4 {
            return Err(UnknownName);
        }
        let parts = format!("{whole}{part:0<4}").parse::<i32>().map_err(|_| UnknownName)?;
        if parts <= proration::MILLION { Ok(Self(parts)) } else { Err(UnknownName) }
    }
}

impl fmt::Display for TaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How an account pays.
#[derive(Clone, Debug)]
pub struct Billing {
    /// ISO 4217.
    pub currency: String,
    /// How often.
    pub interval: Interval,
    /// Which gateway collects.
    pub gateway: String,
    /// By which means, as the gateway names it.
    pub payment_method: Option<String>,
    /// Tax, in parts of a million of the net amount.
    pub tax_rate: i32,
    /// The number that the next period gets.
    pub next_period_no: i32,
    /// When the account is to end.
    pub ends_at: Option<Timestamp>,
    /// Whether it has ended.
    pub ended: bool,
    /// The account's time zone now.
    pub time_zone: String,
    /// The running period, if anything is paid for.
    pub period: Option<Period>,
}

/// Locks how an account pays, before its pools: periods, statements and the books change under this lock only.
pub(crate) async fn lock(change: &mut Change) -> Result<Billing> {
    let account = change.account();
    sqlx::query!("SELECT 1 AS one FROM account_billing WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    let default_rate = change.db().billing.tax_rate.0;
    Ok(read(change.conn(), account, default_rate).await?)
}

/// Reads how an account pays.
pub async fn read(conn: &mut PgConnection, account: AccountId, default_rate: i32) -> sqlx::Result<Billing> {
    let row = sqlx::query!(
        r#"SELECT b.currency, b.billing_interval AS "interval: Interval", b.gateway, b.payment_method, b.tax_rate, b.next_period_no,
                  b.ends_at, b.ended_at IS NOT NULL AS "ended!", a.time_zone
           FROM account_billing b JOIN account a USING (account_id) WHERE b.account_id = $1"#,
        account.0,
    )
    .fetch_one(&mut *conn)
    .await?;
    let period = period::running(conn, account).await?;
    Ok(Billing {
        currency: row.currency,
        interval: row.interval,
        gateway: row.gateway,
        payment_method: row.payment_method,
        tax_rate: row.tax_rate.unwrap_or(default_rate),
        next_period_no: row.next_period_no,
        ends_at: row.ends_at,
        ended: row.ended,
        time_zone: row.time_zone,
        period,
    })
}

/// A pool as charges see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolState {
    pub kind: ProductKind,
    pub granted: i32,
    pub trial: i32,
    pub paid: i32,
    pub scheduled: i32,
    pub named_held: i32,
    pub in_use: i32,
    pub closing: bool,
}

impl PoolState {
    pub(crate) const fn owned(&self) -> i32 {
        self.granted + self.trial + self.paid
    }

    pub(crate) const fn available(&self) -> i32 {
        self.owned() - self.in_use - (self.scheduled - self.named_held)
    }
}

/// The account's pools, by product.
pub(crate) async fn pool_states(
    conn: &mut PgConnection,
    account: AccountId,
) -> sqlx::Result<BTreeMap<String, PoolState>> {
    let rows = sqlx::query!(
        r#"SELECT l.product_id, p.kind AS "kind: ProductKind", l.granted, l.trial, l.paid, l.scheduled, l.named_held, l.in_use, l.closing
           FROM license_pool l JOIN product p USING (product_id) WHERE l.account_id = $1"#,
        account.0,
    )
    .fetch_all(conn)
    .await?;
    let pools = rows.into_iter().map(|row| {
        let state = PoolState {
            kind: row.kind,
            granted: row.granted,
            trial: row.trial,
            paid: row.paid,
            scheduled: row.scheduled,
            named_held: row.named_held,
            in_use: row.in_use,
            closing: row.closing,
        };
        (row.product_id, state)
    });
    Ok(pools.collect())
}

/// What a licence of each product costs for periods that begin on a day; products without a price are left out.
pub(crate) async fn prices(
    conn: &mut PgConnection,
    products: &[String],
    currency: &str,
    interval: Interval,
    on: Date,
) -> sqlx::Result<BTreeMap<String, i64>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (product_id) product_id, amount FROM price
         WHERE product_id = ANY($1) AND currency = $2 AND billing_interval = $3 AND valid_from <= $4
         ORDER BY product_id, valid_from DESC",
        products,
        currency,
        interval.as_str(),
        on as Date,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.amount)).collect())
}

/// The statement that collects what happens in the running period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub statement_id: StatementId,
    pub lines: i32,
    /// Net sum by tax rate, of the lines that bear the tax of a sum.
    pub taxed: BTreeMap<i32, i64>,
    /// Net and tax of all lines.
    pub net: i64,
    pub tax: i64,
    /// Of those, paid.
    pub paid: i64,
}
