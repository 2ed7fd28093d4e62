//! Plans change and accounts end at a period's end, never in between.

use anyhow::Result;
use domain::actor::Actor;
use domain::billing::calendar::Interval;
use domain::billing::{end, statement::State};
use domain::change::{self, Kind};
use domain::error::Error;
use domain::license::change::ChangeStatus;
use domain::license::terms::QuoteKind;
use futures::FutureExt as _;

use super::world::{Firm, code, instant, plan, wish};

async fn cancel(firm: &Firm) -> Result<(), Error> {
    let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
    let done = change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        async move { end::cancel(change, actor).await.map(drop) }.boxed()
    });
    done.await.map(drop)
}

async fn resume(firm: &Firm) -> Result<(), Error> {
    let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
    let done = change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        async move { end::resume(change, actor).await }.boxed()
    });
    done.await.map(drop)
}

#[tokio::test]
async fn a_cancelled_account_gets_its_last_statement_and_is_read_only() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 2).await?;
    assert_eq!(code(resume(&firm).await), "ACCOUNT_NOT_ENDING");
    cancel(&firm).await.unwrap();
    assert_eq!(code(cancel(&firm).await), "ACCOUNT_ENDING");
    resume(&firm).await.unwrap();
    cancel(&firm).await.unwrap();
    // Until then everything goes on.
    firm.at("2027-03-20T09:00:00Z").await?;
    let last = firm.add("base", 1).await?;
    assert_eq!(last.net, 465, "12.00 · 12/31");
    firm.at("2027-04-01T00:00:01Z").await?;
    let statements = firm.statements().await?;
    assert_eq!(statements.len(), 1, "no draft of a next one");
    assert_eq!((statements[0].net, statements[0].state), (2_400 + 465, State::Open), "no recurring lines");
    assert_eq!(code(firm.quote(&wish(QuoteKind::Add, "base", 1)).await.map(|_| ())), "ACCOUNT_READ_ONLY");
    assert_eq!(code(resume(&firm).await), "ACCOUNT_NOT_ENDING");
    let read = firm
        .app
        .graphql(
            Some(&firm.app.sign_in("olivia@work.example").await?),
            "{ viewer { account { name } } }",
            serde_json::Value::Null,
        )
        .await?;
    assert_eq!(read.text("/viewer/account/name"), "Harbor & Finch");
    // It is billed no more.
    firm.at("2027-09-01T00:00:01Z").await?;
    assert_eq!(firm.statements().await?.len(), 1);
    firm.finish().await
}

#[tokio::test]
async fn an_account_that_pays_nothing_ends_with_the_day() -> Result<()> {
    let firm = Firm::new().await?;
    cancel(&firm).await.unwrap();
    firm.at("2027-03-01T23:30:00Z").await?;
    resume(&firm).await.unwrap();
    cancel(&firm).await.unwrap();
    firm.at("2027-03-02T00:00:01Z").await?;
    assert_eq!(code(resume(&firm).await), "ACCOUNT_NOT_ENDING");
    assert!(firm.statements().await?.is_empty());
    firm.finish().await
}

#[tokio::test]
async fn money_that_comes_after_the_end_goes_back() -> Result<()> {
    let firm = Firm::with(|config| config.billing.gateway_seconds = 1, super::world::START).await?;
    firm.add("base", 1).await?;
    firm.pay_by("sandbox_forgotten").await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 5)).await.unwrap();
    let id = firm.confirm(&quote).await.unwrap();
    cancel(&firm).await.unwrap();
    while firm.app.jobs("kind = 'charge.change' AND last_error_code = 'GATEWAY_AWAY'").await? == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let now = firm.app.db.now().await?;
    firm.app.pass(instant("2027-04-01T00:00:01Z").0.duration_since(now.0));
    firm.app.sweep("billing.periods").await?;
    // The gateway says at last that it took the money.
    let attempt = firm.app.look("SELECT attempt_id FROM charge_attempt WHERE state = 'SENT'").await?.unwrap();
    let attempt = domain::id::AttemptId(attempt.parse()?);
    let outcome = domain::billing::charge::Outcome::Succeeded { collected: true };
    firm.operate(|change| async move { domain::billing::charge::record(change, attempt, &outcome).await }.boxed())
        .await?;
    firm.app.settle().await?;
    let done = firm.change(id).await?;
    assert_eq!((done.status, done.error_code.as_deref()), (ChangeStatus::Failed, Some("ACCOUNT_ENDED")));
    assert_eq!(firm.pool("base").await?.unwrap().paid, 1);
    let refunded = firm.app.look("SELECT count(*) FROM charge_attempt WHERE refunded_at IS NOT NULL").await?;
    assert_eq!(refunded.as_deref(), Some("1"));
    let cash = "SELECT coalesce(sum(CASE WHEN debit = 'CASH' THEN amount ELSE -amount END), 0) FROM ledger_entry WHERE 'CASH' IN (debit, credit)";
    assert_eq!(firm.app.look(cash).await?.as_deref(), Some("0"));
    firm.finish().await
}

#[tokio::test]
async fn another_plan_holds_from_the_next_period_on() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 2).await?;
    let planned = firm.do_now(&plan(Interval::Year, "KWD")).await?;
    assert_eq!(planned.status, ChangeStatus::Scheduled);
    assert_eq!(code(firm.do_plan(plan(Interval::Month, "JPY")).await), "LICENSE_CHANGE_PENDING");
    firm.at("2027-03-11T09:00:00Z").await?;
    assert_eq!(firm.add("base", 1).await?.currency, "EUR", "until then the old one holds");
    firm.at("2027-04-01T00:00:01Z").await?;
    let statements = firm.statements().await?;
    let told: Vec<_> = statements.iter().map(|one| (one.number, one.currency.as_str(), one.net)).collect();
    // Three seats at 37.250 for a year; what was added in euros is a statement of its own.
    assert_eq!(
        told[..2].iter().map(|one| (one.1, one.2)).collect::<std::collections::BTreeSet<_>>(),
        [("EUR", 2_400 + 813), ("KWD", 111_750)].into()
    );
    assert_eq!(firm.change(planned.change_id).await?.status, ChangeStatus::Applied);
    let period = firm.app.look("SELECT starts_on || ' ' || ends_on FROM billing_period WHERE NOT closed").await?;
    assert_eq!(period.as_deref(), Some("2027-04-01 2028-04-01"));
    // In a yearly period: 37.250 · 183/366 = 18.625.
    firm.at("2027-10-01T09:00:00Z").await?;
    assert_eq!(firm.add("base", 1).await?.net, 18_625);
    firm.finish().await
}

impl Firm {
    async fn do_plan(&self, wish: domain::license::terms::Wish) -> Result<(), Error> {
        let quote = self.quote(&wish).await?;
        self.confirm(&quote).await.map(drop)
    }
}

#[tokio::test]
async fn a_trial_of_an_account_that_has_ended_is_looked_at_no_more() -> Result<()> {
    let firm = Firm::new().await?;
    let actor = firm.actor().await?;
    change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        async move { domain::license::trial::start(change, actor, "time", 2).await }.boxed()
    })
    .await?;
    cancel(&firm).await.unwrap();
    firm.at("2027-03-02T00:00:01Z").await?;
    firm.at("2027-03-20T00:00:01Z").await?;
    assert_eq!(firm.app.sweep("billing.periods").await?, 0);
    let told = firm.app.mailbox.to("olivia@work.example")?;
    assert!(told.iter().all(|mail| !mail.subject.contains("Time keeping")), "nobody is told of its end");
    firm.finish().await
}
