//! Another interval or currency.

use super::Terms;
use super::ground::Ground;
use super::next::next_statement;
use crate::change::Change;
use crate::error::{AtField as _, Code, Result};
use crate::infra::money::Currency;

/// A plan, from the next period on.
pub(super) async fn plan(change: &mut Change, ground: &Ground<'_>) -> Result<Terms> {
    let currency = match &ground.wish.currency {
        Some(code) => Currency::parse(code).at("currency")?.code().to_owned(),
        None => ground.billing.currency.clone(),
    };
    let interval = ground.wish.interval.unwrap_or(ground.billing.interval);
    if currency == ground.billing.currency && interval == ground.billing.interval {
        return Err(Code::PlanUnchanged.into());
    }
    let effective = if ground.opens_period { ground.today } else { ground.period.ends_on };
    let mut terms = ground.terms(effective);
    terms.next = next_statement(change, ground, &terms, |_| 0, &currency, interval).await?;
    (terms.plan_currency, terms.interval) = (currency, interval);
    Ok(terms)
}
