//! The books, by double entry: each row moves an amount from one account of the books to another, so that they sum to zero. Rows are
//! never changed; a correction is a row the other way round.

use uuid::Uuid;

use crate::change::Change;
use crate::error::Result;
use crate::id::{AttemptId, ChangeId, StatementId};

/// An account of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// What the customer owes.
    Receivable,
    /// What came in.
    Cash,
    /// What was earned.
    Revenue,
    /// What is owed to the tax office.
    Tax,
}

impl Book {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Receivable => "RECEIVABLE",
            Self::Cash => "CASH",
            Self::Revenue => "REVENUE",
            Self::Tax => "TAX",
        }
    }
}

/// What a movement stands for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reason {
    /// The statement that lists it.
    pub statement_id: Option<StatementId>,
    /// The change that was charged.
    pub change_id: Option<ChangeId>,
    /// The attempt that brought or returned the money.
    pub attempt_id: Option<AttemptId>,
}

/// An amount that moves.
#[derive(Clone, Copy, Debug)]
pub struct Movement {
    /// Where it is added.
    pub debit: Book,
    /// Where it is taken from.
    pub credit: Book,
    /// Minor units; nothing is written for none, and a negative amount moves the other way.
    pub amount: i64,
}

/// A customer's debt: what is earned, and the tax on it.
pub fn owed(net: i64, tax: i64) -> [Movement; 2] {
    [
        Movement { debit: Book::Receivable, credit: Book::Revenue, amount: net },
        Movement { debit: Book::Receivable, credit: Book::Tax, amount: tax },
    ]
}

/// A payment of it.
pub fn paid(amount: i64) -> Movement {
    Movement { debit: Book::Cash, credit: Book::Receivable, amount }
}

/// Writes movements that belong together.
pub(crate) async fn write(change: &mut Change, currency: &str, reason: Reason, movements: &[Movement]) -> Result<()> {
    let (account, now, txn) = (change.account(), change.now(), Uuid::now_v7());
    let real: Vec<&Movement> = movements.iter().filter(|movement| movement.amount != 0).collect();
    if real.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = real.iter().map(|_| Uuid::now_v7()).collect();
    let side = |movement: &Movement, debit: bool| {
        let book = if debit == (movement.amount > 0) { movement.debit } else { movement.credit };
        book.as_str().to_owned()
    };
    let debits: Vec<String> = real.iter().map(|movement| side(movement, true)).collect();
    let credits: Vec<String> = real.iter().map(|movement| side(movement, false)).collect();
    let amounts: Vec<i64> = real.iter().map(|movement| movement.amount.abs()).collect();
    sqlx::query!(
        "INSERT INTO ledger_entry (account_id, txn_id, currency, recorded_at, statement_id, change_id, attempt_id, entry_id, debit, credit, amount)
         SELECT $1, $2, $3, $4, $5, $6, $7, * FROM unnest($8::uuid[], $9::text[], $10::text[], $11::bigint[])",
        account.0,
        txn,
        currency,
        now,
        reason.statement_id.map(|id| id.0),
        reason.change_id.map(|id| id.0),
        reason.attempt_id.map(|id| id.0),
        &ids,
        &debits,
        &credits,
        &amounts,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
