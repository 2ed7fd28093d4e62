//! Credits: taken off statements until they are used up.

use anyhow::Result;
use domain::billing::credit;
use domain::billing::statement::State;
use domain::error::Error;
use domain::infra::money::{Currency, Money};
use domain::license::terms::QuoteKind;
use futures::FutureExt as _;

use super::world::{Firm, code, wish};

async fn give(
    firm: &Firm,
    product: &'static str,
    amount: &str,
    currency: &str,
    reason: &'static str,
) -> Result<(), Error> {
    let amount = Money::parse(amount, Currency::parse(currency)?)?;
    firm.operate(|change| async move { credit::give(change, product, amount, reason).await.map(drop) }.boxed()).await
}

#[tokio::test]
async fn a_credit_is_taken_off_statements_until_it_is_used_up() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 2).await?;
    give(&firm, "base", "60.00", "EUR", "an outage").await?;
    give(&firm, "base", "1.00", "EUR", "another one").await?;
    // What a quote says of the next statement knows of them.
    let quoted = firm.quote(&wish(QuoteKind::Add, "base", 1)).await?.terms.next.unwrap();
    firm.at("2027-03-11T09:00:00Z").await?;
    firm.at("2027-04-01T00:00:01Z").await?;
    firm.at("2027-05-01T00:00:01Z").await?;
    firm.at("2027-06-01T00:00:01Z").await?;
    let issued = firm.issued().await?;
    // Two licences of March and of April, 48.00; then of May, of which 12.00 and 1.00 are left; then all of June.
    let sums: Vec<(i64, i64, i64, State)> = issued.iter().map(|one| (one.net, one.tax, one.due, one.state)).collect();
    assert_eq!(sums[0], (0, 0, 0, State::Paid));
    assert_eq!((sums[1].0, sums[1].1, sums[1].2), (1_100, 209, 1_309));
    assert_eq!((sums[2].0, sums[2].1, sums[2].2), (2_400, 456, 2_856));
    assert_eq!((quoted.net, quoted.tax), (1_100, 209), "with a third licence 72.00 less 61.00");
    let lines = "SELECT string_agg(l.net || ' ' || c.reason, ', ' ORDER BY s.number, l.position)
                 FROM statement_line l JOIN statement s USING (account_id, statement_id) JOIN billing_credit c USING (account_id, credit_id)";
    assert_eq!(firm.app.look(lines).await?.as_deref(), Some("-4800 an outage, -1200 an outage, -100 another one"));
    firm.finish().await
}

#[tokio::test]
async fn what_is_paid_already_is_not_given_back_by_a_credit() -> Result<()> {
    let firm = Firm::new().await?;
    firm.pay_by("sandbox_ok").await?;
    firm.add("base", 2).await?;
    give(&firm, "base", "100.00", "EUR", "an outage").await?;
    firm.at("2027-04-01T00:00:01Z").await?;
    // Of March nothing is to be paid any more; of April all is taken off.
    let issued = firm.issued().await?;
    assert_eq!((issued[0].net, issued[0].tax, issued[0].due, issued[0].state), (2_400, 456, 0, State::Paid));
    let left = "SELECT (net - used)::text FROM billing_credit";
    assert_eq!(firm.app.look(left).await?.as_deref(), Some("7600"));
    firm.finish().await
}

#[tokio::test]
async fn a_credit_names_what_it_is_for_and_how_much() -> Result<()> {
    let firm = Firm::new().await?;
    for (product, amount, currency, reason, refusal) in [
        ("base", "1.00", "USD", "x", "WRONG_CURRENCY"),
        ("base", "0.00", "EUR", "x", "INVALID_AMOUNT"),
        ("base", "-1.00", "EUR", "x", "INVALID_AMOUNT"),
        ("base", "1.001", "EUR", "x", "INVALID_AMOUNT"),
        ("nothing", "1.00", "EUR", "x", "NOT_FOUND"),
        ("base", "1.00", "EUR", " ", "REQUIRED"),
    ] {
        assert_eq!(code(give(&firm, product, amount, currency, reason).await), refusal, "{amount} {currency}");
    }
    let Err(Error::Refused(told)) = give(&firm, "base", "1.00", "USD", "x").await else { panic!("it was given") };
    assert_eq!(told[0].message(), "The account is billed in another currency. Use that one. It is EUR.");
    firm.finish().await
}
