//! What an operator decides: payments that came by other ways, charges of which nobody knows what became, taxes, gateways.

use serde_json::json;

use super::charge::{self, Outcome};
use super::ledger::{self, Reason};
use super::{TaxRate, lock};
use crate::change::Change;
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::id::{AttemptId, StatementId};

/// What came of recording a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payment {
    /// The statement is paid.
    Recorded {
        /// Minor units.
        amount: i64,
        /// ISO 4217.
        currency: String,
    },
    /// Nothing is written down: this attempt to collect it has no answer yet, and may bring the money as well.
    Charging(AttemptId),
    /// The account has no such statement, or owes nothing on it.
    NotOwed,
}

/// Records that a statement was paid by other ways.
///
/// # Errors
/// The database's.
pub async fn record_payment(change: &mut Change, number: i32) -> Result<Payment> {
    lock(change).await?;
    let account = change.account();
    let owed = sqlx::query!(
        r#"SELECT s.statement_id AS "statement_id: StatementId", s.due AS "due!", s.currency,
                  a.attempt_id AS "attempt_id?: AttemptId"
           FROM statement s LEFT JOIN charge_attempt a ON a.account_id = s.account_id AND a.statement_id = s.statement_id
               AND a.state IN ('SENT', 'UNRESOLVED')
           WHERE s.account_id = $1 AND s.number = $2 AND s.state IN ('OPEN', 'PAST_DUE')"#,
        account.0,
        number,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(owed) = owed else { return Ok(Payment::NotOwed) };
    if let Some(attempt) = owed.attempt_id {
        return Ok(Payment::Charging(attempt));
    }
    let reason = Reason { statement_id: Some(owed.statement_id), ..Reason::default() };
    ledger::write(change, &owed.currency, reason, &[ledger::paid(owed.due)]).await?;
    charge::pay(change, owed.statement_id).await?;
    Ok(Payment::Recorded { amount: owed.due, currency: owed.currency })
}

/// Decides what became of a charge that nobody could find out. Answers whether it was open.
///
/// # Errors
/// The database's.
pub async fn resolve(change: &mut Change, attempt: AttemptId, charged: bool) -> Result<bool> {
    lock(change).await?;
    let account = change.account();
    let open = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM charge_attempt WHERE account_id = $1 AND attempt_id = $2 AND state = 'UNRESOLVED') AS "open!""#,
        account.0,
        attempt.0,
    )
    .fetch_one(change.conn())
    .await?;
    if open {
        let declined = || Outcome::Declined { code: "DECIDED_BY_OPERATOR".to_owned() };
        let outcome = if charged { Outcome::Succeeded { collected: true } } else { declined() };
        charge::record(change, attempt, &outcome).await?;
    }
    Ok(open)
}

/// Sets an account's tax rate; `None` for that of the installation.
///
/// # Errors
/// The database's.
pub async fn set_tax_rate(change: &mut Change, rate: Option<TaxRate>) -> Result<()> {
    lock(change).await?;
    let account = change.account();
    sqlx::query!("UPDATE account_billing SET tax_rate = $2 WHERE account_id = $1", account.0, rate.map(|rate| rate.0))
        .execute(change.conn())
        .await?;
    changed(change, "taxRate");
    Ok(())
}

/// Sets which gateway collects from an account: `account` or `sandbox`.
///
/// # Errors
/// The database's.
pub async fn set_gateway(change: &mut Change, gateway: &str) -> Result<()> {
    lock(change).await?;
    let account = change.account();
    sqlx::query!("UPDATE account_billing SET gateway = $2 WHERE account_id = $1", account.0, gateway)
        .execute(change.conn())
        .await?;
    changed(change, "gateway");
    Ok(())
}

fn changed(change: &mut Change, field: &str) {
    change.record(NewEvent::new(EventKind::BillingProfileUpdated).detail(json!({ "fields": [field] })));
}
