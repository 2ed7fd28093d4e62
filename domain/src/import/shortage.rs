//! Seats that an import lacks: how many, and what adding them would cost.

use std::fmt;

use sqlx::PgConnection;

use crate::error::Result;
use crate::id::AccountId;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::money::Money;
use crate::license;

/// Seats that an import lacks. The text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// How many.
    pub missing: i32,
    /// What adding them would cost at the moment, with tax; none while nobody can add them.
    pub cost: Option<Money>,
}

impl Shortage {
    /// A shortage at its price of the moment. A quote says what is charged.
    ///
    /// # Errors
    /// The database's.
    pub async fn of(
        db: &Db,
        conn: &mut PgConnection,
        account: AccountId,
        now: Timestamp,
        missing: i32,
    ) -> Result<Self> {
        Ok(Self { missing, cost: license::terms::cost_of_seats(db, conn, account, now, missing).await? })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, it) = if self.missing == 1 {
            ("1 licence is".to_owned(), "it")
        } else {
            (format!("{} licences are", self.missing), "them")
        };
        match self.cost {
            Some(cost) => write!(
                f,
                "{missing} missing; adding {it} costs {} {} now, with tax. Free or add {it}, then import again.",
                cost.amount(),
                cost.currency.code()
            ),
            None => write!(f, "{missing} missing; free or add {it}, then import again."),
        }
    }
}
