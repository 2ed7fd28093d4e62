//! What the next statement will come to.

use std::collections::BTreeMap;

use super::ground::Ground;
use super::{NextStatement, QuoteKind, Terms};
use crate::billing::calendar::Interval;
use crate::billing::{self, credit, proration, statement};
use crate::change::Change;
use crate::error::{Code, Result};

/// What the statement at the period's end will come to: with `more` licences of each product than are paid for and stay.
pub(super) async fn next_statement(
    change: &mut Change,
    ground: &Ground<'_>,
    terms: &Terms,
    more: impl Fn(&str) -> i32,
    currency: &str,
    interval: Interval,
) -> Result<Option<NextStatement>> {
    let (account, on) = (change.account(), ground.period.ends_on);
    let ends = ground.billing.ends_at.is_some();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for (key, pool) in ground.pools.iter().filter(|_| !ends) {
        *counts.entry(key.clone()).or_default() += pool.paid - pool.scheduled;
    }
    for line in terms.lines.iter().filter(|_| !ends) {
        counts.entry(line.product_id.clone()).or_default();
    }
    let keys: Vec<String> = counts.keys().cloned().collect();
    let prices = billing::prices(change.conn(), &keys, currency, interval, on).await?;
    let draft = statement::draft(change.conn(), account).await?;
    let same = currency == ground.period.currency;
    let (mut net, mut tax, mut taxed, mut paid) = (0, 0, 0, 0);
    if let Some(draft) = draft.filter(|_| same) {
        taxed = draft.taxed.get(&terms.tax_rate).copied().unwrap_or_default();
        (net, tax, paid) = (draft.net, draft.tax, draft.paid);
    }
    if same {
        taxed += terms.net();
        net += terms.net();
        tax += terms.tax();
        if ground.billing.gateway != "account" {
            paid += terms.net() + terms.tax();
        }
    }
    for (key, count) in &counts {
        let count = count + more(key);
        let Some(price) = prices.get(key) else {
            if count > 0 && ground.wish.change == QuoteKind::Plan {
                return Err(Code::NotForSale.into());
            }
            continue;
        };
        let recurring = price * i64::from(count.max(0));
        tax += proration::tax(taxed, recurring, terms.tax_rate);
        taxed += recurring;
        net += recurring;
    }
    let (less_net, less_tax) =
        credit::outlook(change.conn(), account, currency, (net + tax - paid, taxed, terms.tax_rate)).await?;
    Ok(Some(NextStatement { on, currency: currency.to_owned(), net: net - less_net, tax: tax - less_tax }))
}
