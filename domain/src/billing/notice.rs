//! What the owner and those who manage billing are told by mail.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::profile;
use crate::change::Change;
use crate::error::Result;
use crate::id::{AccountId, ChangeId, MemberId, StatementId};
use crate::infra::clock::Date;
use crate::infra::money::{Currency, Money};
use crate::job::{JobKind, NewJob};
use crate::license::{alert, change as license_change, trial};
use crate::member::successor::{self, MemberMail};

/// What it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Notice {
    /// Licences were not added, because the charge was declined.
    ChargeFailed {
        /// The change.
        change_id: ChangeId,
    },
    /// A statement was not paid in time.
    PastDue {
        /// The statement.
        statement_id: StatementId,
    },
    /// Few licences are left.
    SeatsLow {
        /// Of what.
        product_id: String,
        /// How many were in use.
        in_use: i32,
    },
    /// A trial ends soon.
    TrialEnding {
        /// Of what.
        product_id: String,
    },
}

impl Notice {
    fn key(&self) -> String {
        match self {
            Self::ChargeFailed { change_id } => change_id.to_string(),
            Self::PastDue { statement_id } => statement_id.to_string(),
            Self::SeatsLow { product_id, in_use } => format!("{product_id}:{in_use}"),
            Self::TrialEnding { product_id } => format!("trial:{product_id}"),
        }
    }
}

/// Leaves a mail for each person who is told about money.
pub(crate) async fn enqueue(change: &mut Change, notice: &Notice) -> Result<()> {
    let account = change.account();
    for member in profile::recipients(change.conn(), account).await? {
        change.enqueue(NewJob {
            account_id: account.0,
            kind: JobKind::MailBilling,
            payload: json!({ "memberId": member, "notice": notice }),
            dedupe_key: format!("{}:{member}", notice.key()),
        });
    }
    Ok(())
}

/// What such a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Notice::ChargeFailed`].
    ChargeFailed {
        /// With its currency.
        amount: String,
        /// Why, in capitals.
        reason: String,
    },
    /// See [`Notice::PastDue`].
    PastDue {
        /// Of the statement.
        number: i32,
        /// With its currency.
        amount: String,
    },
    /// See [`Notice::SeatsLow`].
    SeatsLow {
        /// The product's name.
        product: String,
        /// Owned.
        owned: i32,
        /// Free.
        available: i32,
    },
    /// See [`Notice::TrialEnding`].
    TrialEnding {
        /// The product's name.
        product: String,
        /// The day from which the licences cost something.
        ends_on: Date,
        /// Licences that members hold.
        allocated: i32,
        /// Whether the account does not want to go on.
        opted_out: bool,
    },
}

/// Reads a notice for somebody; `None` when it is no longer true, or they are gone.
pub async fn mail(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    notice: &Notice,
) -> sqlx::Result<Option<(MemberMail, Told)>> {
    let Some(told) = told(conn, account, notice).await? else { return Ok(None) };
    Ok(successor::mail(conn, account, member).await?.map(|mail| (mail, told)))
}

async fn told(conn: &mut PgConnection, account: AccountId, notice: &Notice) -> sqlx::Result<Option<Told>> {
    let told = match notice {
        Notice::ChargeFailed { change_id } => {
            let failed = license_change::read_many(conn, account, &[*change_id]).await?.pop();
            failed.map(|failed| Told::ChargeFailed {
                amount: shown(failed.net + failed.tax, &failed.currency),
                reason: failed.error_code.unwrap_or_default(),
            })
        }
        Notice::PastDue { statement_id } => {
            let row = sqlx::query!(
                r#"SELECT number AS "number!", due AS "due!", currency FROM statement
                   WHERE account_id = $1 AND statement_id = $2 AND state = 'PAST_DUE'"#,
                account.0,
                statement_id.0,
            )
            .fetch_optional(conn)
            .await?;
            row.map(|row| Told::PastDue { number: row.number, amount: shown(row.due, &row.currency) })
        }
        Notice::SeatsLow { product_id, .. } => alert::mail(conn, account, product_id)
            .await?
            .map(|low| Told::SeatsLow { product: low.product, owned: low.owned, available: low.available }),
        Notice::TrialEnding { product_id } => {
            trial::mail(conn, account, product_id).await?.map(|ending| Told::TrialEnding {
                product: ending.product,
                ends_on: ending.ends_on,
                allocated: ending.allocated,
                opted_out: ending.opted_out,
            })
        }
    };
    Ok(told)
}

/// An amount with its currency, like `12.50 EUR`.
fn shown(minor: i64, currency: &str) -> String {
    match Currency::parse(currency) {
        Ok(currency) => format!("{} {}", Money { minor, currency }.amount(), currency.code()),
        Err(_) => format!("{minor} {currency}"),
    }
}
