//! Asking a gateway for money, in three steps, so that no crash charges twice or loses a charge: the attempt is committed before the
//! gateway is asked; it is asked under the attempt's id, by which it knows a repetition; what it answered is recorded. An attempt
//! whose answer never came is looked up first.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::ledger::{self, Book, Movement, Reason};
use super::notice::{self, Notice};
use super::{Billing, lock};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, AttemptId, ChangeId, StatementId};
use crate::infra::clock::Timestamp;
use crate::infra::fault::fail_point;
use crate::job::{JobKind, NewJob};
use crate::license::change as license_change;

/// What is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Subject {
    /// Licences that somebody adds.
    Change {
        /// The change.
        change_id: ChangeId,
    },
    /// A statement that is due.
    Statement {
        /// The statement.
        statement_id: StatementId,
    },
}

impl Subject {
    fn change(self) -> Option<ChangeId> {
        match self {
            Self::Change { change_id } => Some(change_id),
            Self::Statement { .. } => None,
        }
    }

    fn statement(self) -> Option<StatementId> {
        match self {
            Self::Change { .. } => None,
            Self::Statement { statement_id } => Some(statement_id),
        }
    }
}

/// An attempt to be made, or one whose answer is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The attempt: the key under which the gateway knows it.
    pub attempt_id: AttemptId,
    /// Which gateway.
    pub gateway: String,
    /// By which means, as the gateway names it.
    pub payment_method: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Whether the gateway may have been asked before, so that it is to be looked up.
    pub asked_before: bool,
    /// How long ago it was asked first.
    pub age: SignedDuration,
}

/// What a gateway did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money came, or is owed on account.
    Succeeded {
        /// Whether it came.
        collected: bool,
    },
    /// It refused for good, and why, in capitals.
    Declined {
        /// Why.
        code: String,
    },
}

/// Leaves the job that charges something.
pub(crate) fn enqueue(change: &mut Change, subject: Subject) {
    let (kind, key) = match subject {
        Subject::Change { change_id } => (JobKind::ChargeChange, change_id.to_string()),
        Subject::Statement { statement_id } => (JobKind::ChargeStatement, statement_id.to_string()),
    };
    let payload = serde_json::to_value(subject).expect("ids are plain data");
    change.enqueue(NewJob { account_id: change.account().0, kind, payload, dedupe_key: key });
}

/// Commits with the caller's transaction that the gateway is about to be asked; nothing when there is nothing to charge any more.
///
/// # Errors
/// The database's.
pub async fn prepare(change: &mut Change, subject: Subject) -> Result<Option<Ask>> {
    let billing = lock(change).await?;
    if let Some(open) = open_attempt(change, subject).await? {
        return Ok(Some(open));
    }
    let Some((amount, currency)) = wanted(change, subject).await? else { return Ok(None) };
    let ask = Ask {
        attempt_id: AttemptId::new(),
        gateway: billing.gateway,
        payment_method: billing.payment_method,
        amount,
        currency,
        asked_before: false,
        age: SignedDuration::ZERO,
    };
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "INSERT INTO charge_attempt (account_id, attempt_id, change_id, statement_id, attempt_no, gateway, payment_method, amount, currency, state, sent_at)
         SELECT $1, $2, $3, $4, 1 + coalesce(max(attempt_no), 0), $5, $6, $7, $8, 'SENT', $9
         FROM charge_attempt WHERE account_id = $1 AND (change_id = $3 OR statement_id = $4)",
        account.0,
        ask.attempt_id.0,
        subject.change().map(|id| id.0),
        subject.statement().map(|id| id.0),
        ask.gateway,
        ask.payment_method,
        ask.amount,
        ask.currency,
        now as Timestamp,
    )
    .execute(change.conn())
    .await?;
    fail_point!("charge.before_sent");
    Ok(Some(ask))
}

/// The attempt that waits for its answer.
async fn open_attempt(change: &mut Change, subject: Subject) -> Result<Option<Ask>> {
    let (account, now) = (change.account(), change.now());
    let row = sqlx::query!(
        r#"SELECT attempt_id AS "attempt_id: AttemptId", gateway, payment_method, amount, currency, sent_at FROM charge_attempt
           WHERE account_id = $1 AND (change_id = $2 OR statement_id = $3) AND state = 'SENT'"#,
        account.0,
        subject.change().map(|id| id.0),
        subject.statement().map(|id| id.0),
    )
    .fetch_optional(change.conn())
    .await?;
    Ok(row.map(|row| Ask {
        attempt_id: row.attempt_id,
        gateway: row.gateway,
        payment_method: row.payment_method,
        amount: row.amount,
        currency: row.currency,
        asked_before: true,
        age: now.duration_since(row.sent_at.0),
    }))
}

/// What is still to be charged.
async fn wanted(change: &mut Change, subject: Subject) -> Result<Option<(i64, String)>> {
    let account = change.account();
    let found = match subject {
        Subject::Change { change_id } => sqlx::query!(
            r#"SELECT net + tax AS "amount!", currency FROM license_change c
               WHERE account_id = $1 AND change_id = $2 AND status = 'PENDING'
                 AND NOT EXISTS (SELECT FROM charge_attempt a WHERE a.account_id = $1 AND a.change_id = $2)"#,
            account.0,
            change_id.0,
        )
        .fetch_optional(change.conn())
        .await?
        .map(|row| (row.amount, row.currency)),
        Subject::Statement { statement_id } => sqlx::query!(
            r#"SELECT due AS "amount!", currency FROM statement s
               WHERE account_id = $1 AND statement_id = $2 AND state IN ('OPEN', 'PAST_DUE') AND next_try_at <= $3
                 AND NOT EXISTS (SELECT FROM charge_attempt a WHERE a.account_id = $1 AND a.statement_id = $2 AND a.state = 'UNRESOLVED')"#,
            account.0,
            statement_id.0,
            change.now() as Timestamp,
        )
        .fetch_optional(change.conn())
        .await?
        .map(|row| (row.amount, row.currency)),
    };
    Ok(found)
}

/// What an attempt was for.
struct Attempt {
    subject: Subject,
    amount: i64,
    currency: String,
}

/// Records what a gateway did, whoever asked it: once, however often it is told.
///
/// # Errors
/// The database's.
pub async fn record(change: &mut Change, attempt: AttemptId, outcome: &Outcome) -> Result<()> {
    let billing = lock(change).await?;
    let (account, now) = (change.account(), change.now());
    let (state, collected, code) = match outcome {
        Outcome::Succeeded { collected } => ("SUCCEEDED", *collected, None),
        Outcome::Declined { code } => ("DECLINED", false, Some(code.as_str())),
    };
    let row = sqlx::query!(
        r#"UPDATE charge_attempt SET state = $3, resolved_at = $4, collected = $5, decline_code = $6
           WHERE account_id = $1 AND attempt_id = $2 AND state IN ('SENT', 'UNRESOLVED')
           RETURNING change_id AS "change_id: ChangeId", statement_id AS "statement_id: StatementId", amount, currency"#,
        account.0,
        attempt.0,
        state,
        now as Timestamp,
        collected,
        code,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(row) = row else { return Ok(()) };
    let subject = match (row.change_id, row.statement_id) {
        (Some(change_id), _) => Subject::Change { change_id },
        (None, Some(statement_id)) => Subject::Statement { statement_id },
        (None, None) => return Err(Error::Stale),
    };
    let done = Attempt { subject, amount: row.amount, currency: row.currency };
    if collected {
        let reason =
            Reason { statement_id: subject.statement(), change_id: subject.change(), attempt_id: Some(attempt) };
        ledger::write(change, &done.currency, reason, &[ledger::paid(done.amount)]).await?;
    }
    match (done.subject, outcome) {
        (Subject::Change { change_id }, Outcome::Succeeded { collected }) => {
            if !license_change::apply(change, &billing, change_id, *collected).await? && *collected {
                give_back(change, attempt, &done).await?;
            }
        }
        (Subject::Change { change_id }, Outcome::Declined { code }) => {
            license_change::fail(change, change_id, code).await?;
        }
        (Subject::Statement { statement_id }, outcome) => settle(change, &billing, statement_id, outcome).await?,
    }
    fail_point!("charge.before_recorded");
    Ok(())
}

/// The account has ended meanwhile: the money goes back.
async fn give_back(change: &mut Change, attempt: AttemptId, done: &Attempt) -> Result<()> {
    let back = Movement { debit: Book::Receivable, credit: Book::Cash, amount: done.amount };
    let reason = Reason { statement_id: None, change_id: done.subject.change(), attempt_id: Some(attempt) };
    ledger::write(change, &done.currency, reason, &[back]).await?;
    change.enqueue(NewJob {
        account_id: change.account().0,
        kind: JobKind::Refund,
        payload: json!({ "attemptId": attempt }),
        dedupe_key: attempt.to_string(),
    });
    Ok(())
}

/// A statement was collected, or not: then it is tried again by the schedule, and past due after its last day.
async fn settle(change: &mut Change, billing: &Billing, statement: StatementId, outcome: &Outcome) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    match outcome {
        Outcome::Succeeded { collected: true } => pay(change, statement).await,
        // On account: it is owed until somebody records the payment.
        Outcome::Succeeded { collected: false } => Ok(()),
        Outcome::Declined { .. } => {
            let declined = sqlx::query_scalar!(
                r#"SELECT count(*)::int AS "count!" FROM charge_attempt WHERE account_id = $1 AND statement_id = $2 AND state = 'DECLINED'"#,
                account.0,
                statement.0,
            )
            .fetch_one(change.conn())
            .await?;
            let retries = change.db().billing.retry_days.clone();
            let next = usize::try_from(declined - 1).ok().and_then(|made| retries.get(made)).copied();
            match next {
                Some(days) => try_again(change, statement, days).await,
                None => past_due(change, billing, statement, now).await,
            }
        }
    }
}

/// So many days after it was issued.
async fn try_again(change: &mut Change, statement: StatementId, days: i32) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "UPDATE statement SET next_try_at = issued_at + $3 * interval '1 day' WHERE account_id = $1 AND statement_id = $2",
        account.0,
        statement.0,
        f64::from(days),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Marks a statement paid.
pub(super) async fn pay(change: &mut Change, statement: StatementId) -> Result<()> {
    let account = change.account();
    let paid = sqlx::query_scalar!(
        r#"UPDATE statement SET state = 'PAID', due = 0, next_try_at = NULL
           WHERE account_id = $1 AND statement_id = $2 AND state IN ('OPEN', 'PAST_DUE') RETURNING number AS "number!""#,
        account.0,
        statement.0,
    )
    .fetch_optional(change.conn())
    .await?;
    if let Some(number) = paid {
        change.record(NewEvent::new(EventKind::StatementPaid).subject(statement.0).detail(json!({ "number": number })));
    }
    Ok(())
}

/// Nobody is locked out by itself: the owner and those who manage billing are told, and trials that were not paid are closed.
async fn past_due(change: &mut Change, billing: &Billing, statement: StatementId, now: Timestamp) -> Result<()> {
    let account = change.account();
    let number = sqlx::query_scalar!(
        r#"UPDATE statement SET state = 'PAST_DUE', next_try_at = NULL
           WHERE account_id = $1 AND statement_id = $2 AND state = 'OPEN' AND next_try_at <= $3 RETURNING number AS "number!""#,
        account.0,
        statement.0,
        now as Timestamp,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(number) = number else { return Ok(()) };
    change.record(NewEvent::new(EventKind::StatementPastDue).subject(statement.0).detail(json!({ "number": number })));
    notice::enqueue(change, &Notice::PastDue { statement_id: statement }).await?;
    let tried: Vec<String> = sqlx::query_scalar!(
        r#"SELECT DISTINCT product_id AS "product_id!" FROM statement_line
           WHERE account_id = $1 AND statement_id = $2 AND kind = 'TRIAL' AND product_id IS NOT NULL"#,
        account.0,
        statement.0,
    )
    .fetch_all(change.conn())
    .await?;
    for product in tried {
        license_change::close_product(change, billing, &product).await?;
    }
    Ok(())
}

/// What is due in the change's account at its time: leaves the jobs that collect, and marks what was to be paid on account by now.
/// Returns how many.
pub async fn collect_due(change: &mut Change) -> Result<usize> {
    let billing = lock(change).await?;
    let (account, now) = (change.account(), change.now());
    let due = sqlx::query_scalar!(
        r#"SELECT statement_id AS "statement_id: StatementId" FROM statement
           WHERE account_id = $1 AND next_try_at <= $2 AND state = 'OPEN' ORDER BY statement_id"#,
        account.0,
        now as Timestamp,
    )
    .fetch_all(change.conn())
    .await?;
    for statement in &due {
        if billing.gateway == "account" {
            past_due(change, &billing, *statement, now).await?;
        } else {
            enqueue(change, Subject::Statement { statement_id: *statement });
        }
    }
    Ok(due.len())
}

/// Writes down that nobody knows what became of an attempt: the gateway has forgotten its key, or never answers. An operator decides.
///
/// # Errors
/// The database's.
pub async fn give_up(change: &mut Change, attempt: AttemptId) -> Result<()> {
    lock(change).await?;
    let account = change.account();
    sqlx::query!(
        "UPDATE charge_attempt SET state = 'UNRESOLVED' WHERE account_id = $1 AND attempt_id = $2 AND state = 'SENT'",
        account.0,
        attempt.0,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// The gateway whose money of an attempt is still to be given back.
pub async fn to_refund(
    conn: &mut PgConnection,
    account: AccountId,
    attempt: AttemptId,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT gateway FROM charge_attempt WHERE account_id = $1 AND attempt_id = $2 AND state = 'SUCCEEDED' AND refunded_at IS NULL",
        account.0,
        attempt.0,
    )
    .fetch_optional(conn)
    .await
}

/// Writes down that the money of an attempt was given back.
///
/// # Errors
/// The database's.
pub async fn refunded(change: &mut Change, attempt: AttemptId) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE charge_attempt SET refunded_at = $3 WHERE account_id = $1 AND attempt_id = $2 AND refunded_at IS NULL",
        account.0,
        attempt.0,
        now as Timestamp,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// The account of an attempt that an operator decides about, if there is one.
pub async fn account_of(conn: &mut PgConnection, attempt: AttemptId) -> sqlx::Result<Option<AccountId>> {
    sqlx::query_scalar!(
        r#"SELECT account_id AS "account_id: AccountId" FROM charge_attempt WHERE attempt_id = $1"#,
        attempt.0
    )
    .fetch_optional(conn)
    .await
}

/// Nobody works on an attempt any more: an operator decides what became of it.
pub(crate) async fn abandon(change: &mut Change, payload: serde_json::Value) -> Result<()> {
    let Ok(subject) = serde_json::from_value::<Subject>(payload) else { return Ok(()) };
    let account = change.account();
    sqlx::query!(
        "UPDATE charge_attempt SET state = 'UNRESOLVED'
         WHERE account_id = $1 AND (change_id = $2 OR statement_id = $3) AND state = 'SENT'",
        account.0,
        subject.change().map(|id| id.0),
        subject.statement().map(|id| id.0),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
