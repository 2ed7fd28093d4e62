//! Confirming quotes: exactly what was reckoned, once.

use super::{NewChange, facts, insert, name, told};
use crate::actor::{Action, Actor, Target};
use crate::billing;
use crate::billing::charge::{self, Subject};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::event::EventKind;
use crate::id::{ChangeId, QuoteId};
use crate::license::BASE;
use crate::license::quote::{self, Quote};
use crate::license::terms::{self, QuoteKind, Terms, Wish};

/// Confirms a quote: an addition is charged, by a job; a removal and a plan wait for the period's end.
///
/// # Errors
/// At `quoteId` NOT_FOUND, QUOTE_MISMATCH when it is of another kind, QUOTE_EXPIRED, QUOTE_USED, QUOTE_STALE; LICENSE_CHANGE_PENDING;
/// NOT_PERMITTED, and whatever the quote would be refused for by now.
pub async fn confirm(change: &mut Change, actor: &Actor, kind: QuoteKind, id: QuoteId) -> Result<ChangeId> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let (account, now) = (change.account(), change.now());
    let quote = quote::read(change.conn(), account, id).await?;
    let at = |code| Error::from(Refused::new(code).at("quoteId"));
    let quote = quote.ok_or_else(|| at(Code::NotFound))?;
    if quote.kind != kind {
        return Err(at(Code::QuoteMismatch));
    }
    // Looked up under the lock that all of an account's changes go through.
    billing::lock(change).await?;
    let open = sqlx::query!(
        r#"SELECT coalesce(bool_or(quote_id = $2), false) AS "used!", coalesce(bool_or(status = 'PENDING'), false) AS "pending!",
                  coalesce(bool_or(status = 'SCHEDULED' AND kind = 'PLAN'), false) AS "planned!"
           FROM license_change WHERE account_id = $1 AND (quote_id = $2 OR status IN ('PENDING', 'SCHEDULED'))"#,
        account.0,
        id.0,
    )
    .fetch_one(change.conn())
    .await?;
    if open.used {
        return Err(at(Code::QuoteUsed));
    }
    if quote.expires_at <= now {
        return Err(at(Code::QuoteExpired));
    }
    let terms = terms::reckon(change, actor, &quote.wish, Some(quote.quoted_on)).await?;
    if open.pending || (open.planned && kind == QuoteKind::Plan) {
        return Err(Code::LicenseChangePending.into());
    }
    if terms != quote.terms {
        return Err(at(Code::QuoteStale));
    }
    match kind {
        QuoteKind::Add | QuoteKind::Enable => begin(change, actor, &quote).await,
        QuoteKind::Remove => schedule(change, actor, Some(quote.quote_id), &quote.terms).await,
        QuoteKind::Plan => schedule_plan(change, actor, &quote).await,
    }
}

/// Seats exist only once they are charged.
async fn begin(change: &mut Change, actor: &Actor, quote: &Quote) -> Result<ChangeId> {
    let terms = &quote.terms;
    let first = terms.lines.first().ok_or(Error::Stale)?;
    let new = NewChange {
        kind: quote.kind.as_str(),
        status: "PENDING",
        quote_id: Some(quote.quote_id),
        product_id: Some(&first.product_id),
        quantity: first.quantity,
        net: terms.net(),
        tax: terms.tax(),
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    told(change, EventKind::LicenseChangePending, id, facts(quote.kind.as_str(), terms));
    if terms.net() + terms.tax() == 0 {
        let billing = billing::lock(change).await?;
        super::apply(change, &billing, id, false).await?;
    } else {
        charge::enqueue(change, Subject::Change { change_id: id });
    }
    Ok(id)
}

/// Removes as many paid base seats at the period's end as were just freed, without a quote: it costs nothing. Billing must be locked.
///
/// # Errors
/// NOT_PERMITTED, BILLING_CATCHING_UP; NOT_REMOVABLE and LAST_SEAT at `removeSeat`.
pub(crate) async fn remove_freed(change: &mut Change, actor: &Actor, count: usize) -> Result<()> {
    let wish = Wish {
        change: QuoteKind::Remove,
        product_id: Some(BASE.to_owned()),
        quantity: Some(i32::try_from(count).expect("bounded by the limit on bulk")),
        releases: Vec::new(),
        interval: None,
        currency: None,
    };
    let terms = terms::reckon(change, actor, &wish, None).await.map_err(|error| match error {
        Error::Refused(list) => {
            let moved = list.into_iter().map(|refused| Refused { field: vec!["removeSeat".to_owned()], ..refused });
            Error::Refused(moved.collect())
        }
        other => other,
    })?;
    schedule(change, actor, None, &terms).await.map(drop)
}

async fn schedule(change: &mut Change, actor: &Actor, quote: Option<QuoteId>, terms: &Terms) -> Result<ChangeId> {
    let first = terms.reductions.first().ok_or(Error::Stale)?;
    let new = NewChange {
        kind: "REMOVE",
        status: "SCHEDULED",
        quote_id: quote,
        product_id: Some(&first.product_id),
        quantity: first.quantity,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    name(change, id, terms).await?;
    told(change, EventKind::LicenseChangeScheduled, id, facts("REMOVE", terms));
    Ok(id)
}

async fn schedule_plan(change: &mut Change, actor: &Actor, quote: &Quote) -> Result<ChangeId> {
    let terms = &quote.terms;
    let new = NewChange {
        kind: "PLAN",
        status: if terms.opens_period { "APPLIED" } else { "SCHEDULED" },
        quote_id: Some(quote.quote_id),
        product_id: None,
        quantity: 0,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    let detail = facts("PLAN", terms);
    if terms.opens_period {
        super::effect::set_plan(change, terms).await?;
        told(change, EventKind::LicenseChangeApplied, id, detail);
    } else {
        told(change, EventKind::LicenseChangeScheduled, id, detail);
    }
    Ok(id)
}
