//! Additions that are charged: their lines, their licences.

use serde_json::json;

use super::{ChangeKind, NewChange, facts, insert, resolve, told, waiting};
use crate::billing::Billing;
use crate::billing::notice::{self, Notice};
use crate::billing::period::{self, Period};
use crate::billing::statement::{self, LineKind, NewLine};
use crate::change::Change;
use crate::error::Result;
use crate::event::EventKind;
use crate::id::ChangeId;
use crate::infra::clock::Date;
use crate::license::lock;
use crate::license::terms::{self, Line, Terms};

/// Applies an addition that is charged: its lines, its licences. Answers false when the account has ended meanwhile: it fails then.
pub(crate) async fn apply(change: &mut Change, billing: &Billing, id: ChangeId, collected: bool) -> Result<bool> {
    lock(change).await?;
    let Some(waiting) = waiting(change, id, "PENDING").await? else { return Ok(true) };
    let terms = waiting.terms;
    if billing.ended {
        resolve(change, id, "FAILED", Some("ACCOUNT_ENDED")).await?;
        told(change, EventKind::LicenseChangeFailed, id, json!({ "reason": "ACCOUNT_ENDED" }));
        return Ok(false);
    }
    let running = if let Some(period) = &billing.period {
        period.clone()
    } else {
        // The account's first paid licences, or the first since it had none: periods are counted from the day of the quote.
        let first = Period { period_no: billing.next_period_no, ..terms.period.clone() };
        period::open(change, &first).await?;
        first
    };
    let in_time = running.starts_on == terms.period.starts_on && running.currency == terms.period.currency;
    let mut lines = Vec::new();
    for line in &terms.lines {
        lines.push(added(line, &terms, id, collected, !in_time));
        if in_time {
            period::add(change, running.period_no, &line.product_id, line.unit_price, line.share).await?;
        } else {
            lines.extend(missed(change, line, &terms, id).await?);
        }
    }
    statement::add(change, &running.currency, &lines).await?;
    for line in &terms.lines {
        grow(change, &line.product_id, line.quantity).await?;
    }
    resolve(change, id, "APPLIED", None).await?;
    let kind = if waiting.kind == ChangeKind::Enable { "ENABLE" } else { "ADD" };
    told(change, EventKind::LicenseChangeApplied, id, facts(kind, &terms));
    Ok(true)
}

/// The quoted line. One that comes to a later statement keeps the tax that was charged.
fn added(line: &Line, terms: &Terms, id: ChangeId, paid: bool, late: bool) -> NewLine {
    NewLine {
        kind: LineKind::Added,
        product_id: line.product_id.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        from_on: line.from_on,
        until_on: line.until_on,
        of_days: line.of_days,
        net: line.net,
        tax_rate: terms.tax_rate,
        fixed_tax: late.then_some(line.tax),
        paid,
        change_id: Some(id),
        credit_id: None,
    }
}

/// A recurring line for each period that was opened since: those were billed without these licences.
async fn missed(change: &mut Change, line: &Line, terms: &Terms, id: ChangeId) -> Result<Vec<NewLine>> {
    let account = change.account();
    let periods = sqlx::query_as!(
        Period,
        r#"SELECT period_no, anchor_on AS "anchor_on: Date", months, billing_interval AS "interval: crate::billing::calendar::Interval", currency,
                  starts_on AS "starts_on: Date", ends_on AS "ends_on: Date", ends_at, time_zone
           FROM billing_period WHERE account_id = $1 AND starts_on >= $2 ORDER BY period_no"#,
        account.0,
        terms.period.ends_on as Date,
    )
    .fetch_all(change.conn())
    .await?;
    let mut lines = Vec::with_capacity(periods.len());
    for period in periods {
        let (unit_price, _) =
            terms::price_in(change.conn(), account, (&period, false), &line.product_id, period.starts_on).await?;
        lines.push(recurring(&period, &line.product_id, line.quantity, unit_price, terms.tax_rate, Some(id)));
    }
    Ok(lines)
}

/// The line of a whole period.
pub(crate) fn recurring(
    period: &Period,
    product: &str,
    quantity: i32,
    unit_price: i64,
    tax_rate: i32,
    change_id: Option<ChangeId>,
) -> NewLine {
    NewLine {
        kind: LineKind::Recurring,
        product_id: product.to_owned(),
        quantity,
        unit_price,
        from_on: period.starts_on,
        until_on: period.ends_on,
        of_days: period.days(),
        net: unit_price * i64::from(quantity),
        tax_rate,
        fixed_tax: None,
        paid: false,
        change_id,
        credit_id: None,
    }
}

/// More paid licences of a product; its pool, if it is the first time.
async fn grow(change: &mut Change, product: &str, quantity: i32) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO license_pool AS p (account_id, product_id, granted, paid) VALUES ($1, $2, 0, $3)
         ON CONFLICT (account_id, product_id) DO UPDATE SET paid = p.paid + excluded.paid",
        account.0,
        product,
        quantity,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// An addition that the gateway declined. Whoever asked is told by mail.
pub(crate) async fn fail(change: &mut Change, id: ChangeId, code: &str) -> Result<()> {
    if waiting(change, id, "PENDING").await?.is_none() {
        return Ok(());
    }
    resolve(change, id, "FAILED", Some(code)).await?;
    told(change, EventKind::LicenseChangeFailed, id, json!({ "reason": code }));
    notice::enqueue(change, &Notice::ChargeFailed { change_id: id }).await
}

/// Writes down a trial whose licences are paid for from now on.
pub(in crate::license) async fn insert_trial(
    change: &mut Change,
    product: &str,
    quantity: i32,
    (net, tax): (i64, i64),
    terms: &Terms,
) -> Result<()> {
    let new = NewChange {
        kind: "TRIAL",
        status: "APPLIED",
        quote_id: None,
        product_id: Some(product),
        quantity,
        net,
        tax,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: None,
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    told(change, EventKind::LicenseChangeApplied, id, facts("TRIAL", terms));
    Ok(())
}
