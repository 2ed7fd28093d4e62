//! Every way in which a provider can fail: the money is taken once, the licences come once, and where nobody knows, an operator decides.

use std::time::Duration;

use anyhow::Result;
use domain::billing::operate::{self, Payment};
use domain::billing::statement::State;
use domain::id::AttemptId;
use domain::license::change::ChangeStatus;
use domain::license::terms::QuoteKind;
use futures::FutureExt as _;
use jiff::SignedDuration;

use super::world::{Firm, START, wish};

async fn firm() -> Result<Firm> {
    Firm::with(|config| config.billing.gateway_seconds = 1, START).await
}

/// Makes jobs that wait for another try due now, and works them.
async fn hurry(firm: &Firm) -> Result<()> {
    let waiting = "UPDATE outbox SET wake_at = now() WHERE wake_at > now() AND claim IS NULL AND NOT hinted AND kind LIKE 'charge.%'";
    for _ in 0..600 {
        sqlx::query(waiting).execute(&firm.app.db.pool).await?;
        if firm.app.jobs("wake_at IS NOT NULL").await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the charges do not come to an end")
}

/// Deletes the dead jobs of charges that an operator has decided about.
async fn forget_unresolved(firm: &Firm) -> Result<()> {
    let dead = "DELETE FROM outbox WHERE dead_at IS NOT NULL AND last_error_code = 'CHARGE_UNRESOLVED'";
    sqlx::query(dead).execute(&firm.app.db.pool).await?;
    Ok(())
}

async fn record_payment(firm: &Firm, number: i32) -> Result<Payment> {
    Ok(firm.operate(|change| operate::record_payment(change, number).boxed()).await?)
}

#[tokio::test]
async fn however_the_provider_answers_three_licences_are_paid_for_once() -> Result<()> {
    for method in ["sandbox_ok", "sandbox_twice", "sandbox_time_out", "sandbox_lost", "sandbox_vanished"] {
        let firm = firm().await?;
        firm.pay_by(method).await?;
        let quote = firm.quote(&wish(QuoteKind::Add, "base", 3)).await.unwrap();
        let id = firm.confirm(&quote).await.unwrap();
        hurry(&firm).await?;
        assert_eq!(firm.change(id).await?.status, ChangeStatus::Applied, "{method}");
        assert_eq!((firm.collected(), firm.pool("base").await?.unwrap().paid), (1, 3), "{method}");
        let cash = firm.app.look("SELECT sum(amount) FROM ledger_entry WHERE debit = 'CASH'").await?;
        assert_eq!(cash.as_deref(), Some("4284"), "{method}: 36.00 and 19 %");
        // What was paid at confirmation is not due again.
        firm.pay_by("sandbox_ok").await?;
        firm.at("2027-04-01T00:00:01Z").await?;
        let issued = firm.issued().await?;
        assert_eq!((issued[0].state, issued[0].due, issued[0].net), (State::Paid, 0, 7_200), "{method}");
        firm.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_declined_charge_changes_nothing_and_is_told() -> Result<()> {
    let firm = firm().await?;
    firm.pay_by("sandbox_declined").await?;
    let failed = firm.do_now(&wish(QuoteKind::Add, "base", 3)).await?;
    assert_eq!((failed.status, failed.error_code.as_deref()), (ChangeStatus::Failed, Some("CARD_DECLINED")));
    assert_eq!(firm.pool("base").await?.unwrap().owned, 1);
    assert!(firm.statements().await?.is_empty());
    let told = firm.app.mailbox.to("olivia@work.example")?;
    assert!(told.iter().any(|mail| mail.text.contains("42.84 EUR") && mail.text.contains("CARD_DECLINED")));
    // The next one may succeed.
    firm.pay_by("sandbox_ok").await?;
    firm.add("base", 3).await?;
    firm.finish().await
}

#[tokio::test]
async fn a_charge_that_comes_after_the_period_is_on_the_next_statement_with_the_periods_between() -> Result<()> {
    let firm = firm().await?;
    firm.add("base", 1).await?;
    firm.at("2027-03-11T09:00:00Z").await?;
    firm.pay_by("sandbox_forgotten").await?;
    let quote = firm.quote(&wish(QuoteKind::Add, "base", 7)).await.unwrap();
    let id = firm.confirm(&quote).await.unwrap();
    while firm.app.jobs("kind = 'charge.change' AND last_error_code = 'GATEWAY_AWAY'").await? == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Two periods end meanwhile; nobody waits. The gateway has forgotten the key: nobody knows.
    firm.app.pass(SignedDuration::from_hours(24 * 60));
    firm.app.sweep("billing.periods").await?;
    hurry(&firm).await?;
    assert_eq!(firm.change(id).await?.status, ChangeStatus::Pending);
    let attempt = firm.app.look("SELECT attempt_id FROM charge_attempt WHERE state = 'UNRESOLVED'").await?.unwrap();
    let attempt = AttemptId(attempt.parse()?);
    // An operator finds out that it was paid.
    firm.operate(|change| async move { operate::resolve(change, attempt, true).await }.boxed()).await?;
    assert_eq!(firm.change(id).await?.status, ChangeStatus::Applied);
    assert_eq!(firm.pool("base").await?.unwrap().paid, 8);
    // Of March 7 · 12.00 · 21/31 with its tax as charged; of April and May 84.00 each.
    let lines = "SELECT string_agg(kind || ' ' || quantity || ' ' || net || ' ' || paid, ', ' ORDER BY position) FROM statement_line l
                 JOIN statement s USING (account_id, statement_id) WHERE s.state = 'DRAFT'";
    assert_eq!(
        firm.app.look(lines).await?.as_deref(),
        Some("ADDED 7 5690 true, RECURRING 7 8400 false, RECURRING 7 8400 false")
    );
    forget_unresolved(&firm).await?;
    firm.finish().await
}

#[tokio::test]
async fn a_statement_on_account_is_past_due_until_the_payment_is_recorded() -> Result<()> {
    let firm = firm().await?;
    firm.add("base", 2).await?;
    firm.at("2027-04-01T00:00:01Z").await?;
    assert_eq!(firm.issued().await?[0].state, State::Open);
    firm.at("2027-05-01T00:01:00Z").await?;
    let issued = firm.issued().await?;
    assert_eq!(issued.iter().map(|one| one.state).collect::<Vec<_>>(), [State::PastDue, State::Open]);
    firm.join("ann").await?;
    let paid = record_payment(&firm, 1).await?;
    // Added and in advance, with 19 %.
    assert_eq!(paid, Payment::Recorded { amount: 2 * 2_400 + 912, currency: "EUR".to_owned() });
    assert_eq!(firm.issued().await?[0].state, State::Paid);
    assert_eq!(record_payment(&firm, 1).await?, Payment::NotOwed, "once");
    firm.finish().await
}

#[tokio::test]
async fn a_payment_is_not_recorded_while_the_gateway_may_bring_the_money_too() -> Result<()> {
    let firm = firm().await?;
    firm.pay_by("sandbox_ok").await?;
    firm.add("base", 2).await?;
    firm.pay_by("sandbox_forgotten").await?;
    firm.app.pass(SignedDuration::from_hours(24 * 31));
    firm.app.sweep("billing.periods").await?;
    firm.app.sweep("billing.collect").await?;
    while firm.app.jobs("kind = 'charge.statement' AND last_error_code = 'GATEWAY_AWAY'").await? == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let attempt =
        AttemptId(firm.app.look("SELECT attempt_id FROM charge_attempt WHERE state = 'SENT'").await?.unwrap().parse()?);
    assert_eq!(record_payment(&firm, 1).await?, Payment::Charging(attempt), "it is asked");
    firm.app.pass(SignedDuration::from_hours(24 * 10));
    hurry(&firm).await?;
    assert_eq!(record_payment(&firm, 1).await?, Payment::Charging(attempt), "nobody knows");
    firm.operate(|change| operate::resolve(change, attempt, false).boxed()).await?;
    // In advance, with 19 %: what was added is paid.
    assert_eq!(record_payment(&firm, 1).await?, Payment::Recorded { amount: 2_856, currency: "EUR".to_owned() });
    forget_unresolved(&firm).await?;
    firm.finish().await
}
