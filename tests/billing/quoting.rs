//! Quotes: what makes them stale, and that confirming charges exactly them, once.

use anyhow::Result;
use domain::billing::calendar::Interval;
use domain::change::Once;
use domain::license::change::ChangeStatus;
use domain::license::terms::QuoteKind;
use futures::FutureExt as _;
use futures::future::join_all;
use jiff::SignedDuration;

use super::world::{Firm, code, plan, sell, wish};

#[tokio::test]
async fn a_quote_is_confirmed_once_in_time_and_as_what_it_is() -> Result<()> {
    let firm = Firm::new().await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 2)).await.unwrap();
    assert_eq!(code(firm.confirm_as(QuoteKind::Remove, quote.quote_id, None).await), "QUOTE_MISMATCH");
    firm.app.pass(SignedDuration::from_secs(14 * 60 + 59));
    firm.confirm(&quote).await.unwrap();
    assert_eq!(code(firm.confirm(&quote).await), "QUOTE_USED");
    firm.app.settle().await?;
    let late = firm.quote(&wish(QuoteKind::Add, "base", 2)).await.unwrap();
    firm.app.pass(SignedDuration::from_mins(15));
    assert_eq!(code(firm.confirm(&late).await), "QUOTE_EXPIRED");
    assert_eq!(firm.pool("base").await?.unwrap().owned, 3);
    firm.finish().await
}

#[tokio::test]
async fn midnight_between_quote_and_confirmation_changes_nothing() -> Result<()> {
    let firm = Firm::with(|_| {}, "2027-03-10T23:55:00Z").await?;
    firm.add("base", 1).await?;
    firm.at("2027-03-20T23:55:00Z").await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 4)).await.unwrap();
    firm.app.pass(SignedDuration::from_mins(10));
    let id = firm.confirm(&quote).await.unwrap();
    firm.app.settle().await?;
    let done = firm.change(id).await?;
    // 21 of 31 days, the 20th among them: 4 · 12.00 · 21/31 = 32.516…
    assert_eq!((done.status, done.net), (ChangeStatus::Applied, 3_252));
    firm.finish().await
}

#[tokio::test]
async fn whatever_a_quote_was_reckoned_from_makes_it_stale() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 5).await?;
    let more = || wish(QuoteKind::Add, "base", 1);
    // Tax.
    let quote = firm.quote(&more()).await.unwrap();
    firm.operate(|change| {
        domain::billing::operate::set_tax_rate(change, Some(domain::billing::TaxRate(70_000))).boxed()
    })
    .await?;
    assert_eq!(code(firm.confirm(&quote).await), "QUOTE_STALE");
    // Owned.
    let quote = firm.quote(&more()).await.unwrap();
    firm.app.grant_seats(&firm.owner.account_id.to_string(), 2).await?;
    assert_eq!(code(firm.confirm(&quote).await), "QUOTE_STALE");
    // Scheduled.
    let quote = firm.quote(&more()).await.unwrap();
    firm.remove("base", 1, &[]).await?;
    assert_eq!(code(firm.confirm(&quote).await), "QUOTE_STALE");
    // A price: that of the next period stands in the quote.
    let quote = firm.quote(&more()).await.unwrap();
    let raised = super::world::CATALOGUE.replacen(
        "price = [",
        "price = [{ currency = \"EUR\", interval = \"MONTH\", amount = \"13.00\", valid_from = \"2027-03-15\" },",
        1,
    );
    sell(&firm.app, &raised).await?;
    assert_eq!(code(firm.confirm(&quote).await), "QUOTE_STALE");
    // The period.
    let quote = firm.quote(&more()).await.unwrap();
    firm.at("2027-04-01T00:00:01Z").await?;
    assert!(["QUOTE_STALE", "QUOTE_EXPIRED"].contains(&code(firm.confirm(&quote).await)));
    let recurring = firm.app.look("SELECT net FROM statement_line WHERE kind = 'RECURRING'").await?;
    assert_eq!(recurring.as_deref(), Some("5200"), "four seats at the price of the period's first day");
    firm.finish().await
}

#[tokio::test]
async fn a_price_holds_from_the_next_period_on() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 1).await?;
    let raised = super::world::CATALOGUE.replacen(
        "price = [",
        "price = [{ currency = \"EUR\", interval = \"MONTH\", amount = \"24.00\", valid_from = \"2027-03-10\" },",
        1,
    );
    sell(&firm.app, &raised).await?;
    firm.at("2027-03-12T12:00:00Z").await?;
    // 12.00 · 20/31 = 7.741…, not 24.00 · 20/31.
    assert_eq!(firm.add("base", 1).await?.net, 774);
    firm.at("2027-04-01T00:00:01Z").await?;
    // 24.00 · 30/30.
    assert_eq!(firm.add("base", 1).await?.net, 2_400);
    firm.finish().await
}

#[tokio::test]
async fn fifty_confirmations_under_one_key_are_one_charge() -> Result<()> {
    let firm = Firm::new().await?;
    firm.pay_by("sandbox_ok").await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 3)).await.unwrap();
    let once = Once { key: "k".to_owned(), mutation: "licensesAdd".to_owned(), fingerprint: vec![1] };
    let all = join_all((0..50).map(|_| firm.confirm_as(QuoteKind::Add, quote.quote_id, Some(&once)))).await;
    let done: Vec<_> = all.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert!(!done.is_empty() && done.iter().all(|id| *id == done[0]), "{all:?}");
    firm.app.settle().await?;
    assert_eq!((firm.collected(), firm.pool("base").await?.unwrap().paid), (1, 3));
    println!("{} of 50 answered with the change, the others were told to try again", done.len());
    firm.finish().await
}

#[tokio::test]
async fn one_change_is_under_way_at_a_time() -> Result<()> {
    let firm = Firm::with(|config| config.billing.gateway_seconds = 1, super::world::START).await?;
    firm.pay_by("sandbox_slow").await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 1)).await.unwrap();
    let other = firm.quote(&wish(QuoteKind::Add, "base", 2)).await.unwrap();
    let id = firm.confirm(&quote).await.unwrap();
    assert_eq!(code(firm.confirm(&other).await), "LICENSE_CHANGE_PENDING");
    assert_eq!(firm.change(id).await?.status, ChangeStatus::Pending);
    assert_eq!(firm.pool("base").await?.unwrap().owned, 1, "licences exist once they are charged");
    firm.app.close().await;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_sold_is_refused() -> Result<()> {
    let firm = Firm::new().await?;
    let refused = async |asked| code(firm.quote(&asked).await);
    assert_eq!(refused(wish(QuoteKind::Add, "nothing", 1)).await, "NOT_FOUND");
    assert_eq!(refused(wish(QuoteKind::Add, "sister", 1)).await, "FOLLOWS_BASE");
    assert_eq!(refused(wish(QuoteKind::Enable, "time", 1)).await, "PRODUCT_OPEN");
    assert_eq!(refused(wish(QuoteKind::Add, "base", 0)).await, "OUT_OF_RANGE");
    assert_eq!(refused(wish(QuoteKind::Remove, "base", 1)).await, "NOT_REMOVABLE");
    assert_eq!(refused(wish(QuoteKind::Remove, "time", 1)).await, "NOT_FOUND");
    assert_eq!(refused(plan(Interval::Month, "EUR")).await, "PLAN_UNCHANGED");
    assert_eq!(refused(plan(Interval::Month, "XXX")).await, "INVALID_CURRENCY");
    firm.add("base", 1).await?;
    // There is no price of a seat a year in yen.
    assert_eq!(refused(plan(Interval::Year, "JPY")).await, "NOT_FOR_SALE");
    firm.finish().await
}

#[tokio::test]
async fn nothing_is_sold_between_a_periods_end_and_the_next() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 1).await?;
    firm.app.pass(SignedDuration::from_hours(24 * 31));
    assert_eq!(code(firm.quote(&wish(QuoteKind::Add, "base", 1)).await), "BILLING_CATCHING_UP");
    firm.roll().await?;
    firm.add("base", 1).await?;
    firm.finish().await
}

#[tokio::test]
async fn quotes_that_nobody_confirmed_are_forgotten() -> Result<()> {
    let firm = Firm::new().await?;
    let confirmed = firm.quote(&wish(QuoteKind::Add, "base", 1)).await.unwrap();
    firm.confirm(&confirmed).await.unwrap();
    firm.app.settle().await?;
    firm.quote(&wish(QuoteKind::Add, "base", 1)).await.unwrap();
    firm.app.pass(SignedDuration::from_hours(8 * 24));
    firm.app.sweep("spent.delete").await?;
    let left = firm.app.look("SELECT string_agg(quote_id::text, ',') FROM license_quote").await?;
    assert_eq!(left, Some(confirmed.quote_id.0.to_string()), "what was charged is kept");
    firm.finish().await
}
