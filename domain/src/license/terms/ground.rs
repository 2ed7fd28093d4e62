//! What terms are reckoned from.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{PoolFacts, Terms, Wish};
use crate::billing::period::Period;
use crate::billing::{self, Billing, PoolState};
use crate::catalogue::product::ProductKind;
use crate::error::{Code, Error, Refused, Result};
use crate::id::AccountId;
use crate::infra::clock::{Date, Timestamp};

/// Licences that one change concerns at most.
const MAX_QUANTITY: i32 = 100_000;

/// What terms are reckoned from.
pub(super) struct Ground<'a> {
    pub(super) account: AccountId,
    pub(super) wish: &'a Wish,
    pub(super) billing: Billing,
    pub(super) pools: BTreeMap<String, PoolState>,
    pub(super) today: Date,
    pub(super) period: Period,
    pub(super) opens_period: bool,
}

/// The period that a change falls into, and the pools as they are.
pub(super) async fn survey<'a>(
    conn: &mut PgConnection,
    (account, now): (AccountId, Timestamp),
    wish: &'a Wish,
    billing: Billing,
    on: Option<Date>,
) -> Result<Ground<'a>> {
    let pools = billing::pool_states(conn, account).await?;
    let (period, opens_period) = match &billing.period {
        Some(period) if period.ends_at <= now => return Err(Code::BillingCatchingUp.into()),
        Some(period) => (period.clone(), false),
        None => (Period::first(&billing, on.unwrap_or_else(|| Date::at(now, &billing.time_zone))), true),
    };
    let today = on.unwrap_or_else(|| period.day_at(now));
    if today < period.starts_on || today >= period.ends_on {
        return Err(Code::QuoteStale.into());
    }
    Ok(Ground { account, wish, billing, pools, today, period, opens_period })
}

impl Ground<'_> {
    pub(super) fn product(&self) -> Result<&str> {
        self.wish.product_id.as_deref().ok_or_else(|| Refused::new(Code::Required).at("productId").into())
    }

    pub(super) fn quantity(&self) -> Result<i32> {
        let quantity = self.wish.quantity.ok_or_else(|| Error::from(Refused::new(Code::Required).at("quantity")))?;
        let allowed = (1..=MAX_QUANTITY).contains(&quantity);
        if allowed { Ok(quantity) } else { Err(Refused::new(Code::OutOfRange).at("quantity").into()) }
    }

    /// Linked products that are open and stay so.
    pub(super) fn linked(&self) -> impl Iterator<Item = &String> {
        self.pools.iter().filter(|(_, pool)| pool.kind == ProductKind::Linked && !pool.closing).map(|(key, _)| key)
    }

    pub(super) fn facts(&self) -> Vec<PoolFacts> {
        let facts = |(key, pool): (&String, &PoolState)| PoolFacts {
            product_id: key.clone(),
            owned: pool.owned(),
            paid: pool.paid,
            scheduled: pool.scheduled,
        };
        self.pools.iter().map(facts).collect()
    }

    pub(super) fn terms(&self, effective_on: Date) -> Terms {
        Terms {
            currency: self.period.currency.clone(),
            interval: self.billing.interval,
            period: self.period.clone(),
            opens_period: self.opens_period,
            effective_on,
            tax_rate: self.billing.tax_rate,
            lines: Vec::new(),
            reductions: Vec::new(),
            named: Vec::new(),
            pools: self.facts(),
            next: None,
            plan_currency: self.billing.currency.clone(),
        }
    }
}

pub(super) fn refused(code: Code) -> Error {
    Refused::new(code).at("productId").into()
}
