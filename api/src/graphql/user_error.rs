//! Failures a person can mend: `userErrors` in every payload.

use async_graphql::{Enum, Interface, Result, SimpleObject};
use domain::error::{Code, Detail, Error, Refused};
use domain::infra::metrics;

use super::error::top_level;
use super::scalar::{Date, DateTime};

macro_rules! user_error_codes {
    ($($name:ident = $key:literal, $sentence:literal;)*) => {
        /// Codes of failures that a person can mend.
        #[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
        #[graphql(remote = "Code")]
        pub enum UserErrorCode { $(#[doc = $sentence] #[graphql(name = $key)] $name,)* }
    };
}

domain::with_codes!(user_error_codes);

/// A failure that a person can mend. Nothing that concerns it was changed.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "code", ty = "&UserErrorCode", desc = "What is wrong, for programs."),
    field(
        name = "field",
        ty = "&Option<Vec<String>>",
        desc = "Path of the argument it concerns, from `input` on; null when it concerns the whole."
    ),
    field(name = "message", ty = "&String", desc = "What is wrong and what to do, for people, in English.")
)]
pub enum UserError {
    /// Nothing comes along.
    Plain(PlainError),
    /// Permissions are missing.
    NotPermitted(NotPermittedError),
    /// Seats are missing.
    SeatShortage(SeatShortageError),
    /// A limit was reached.
    Quota(QuotaError),
    /// Accounts cannot be entered.
    ClosedAccounts(ClosedAccountsError),
}

/// A failure whose code says it all.
#[derive(SimpleObject, Clone, Debug)]
pub struct PlainError {
    /// What is wrong, for programs.
    code: UserErrorCode,
    /// Path of the argument it concerns.
    field: Option<Vec<String>>,
    /// What is wrong and what to do.
    message: String,
}

/// Permissions are missing.
#[derive(SimpleObject, Clone, Debug)]
pub struct NotPermittedError {
    /// NOT_PERMITTED.
    code: UserErrorCode,
    /// Path of the argument it concerns.
    field: Option<Vec<String>>,
    /// What is missing.
    message: String,
    /// Keys of the missing permissions, like `members.invite`.
    permissions: Vec<String>,
}

/// There are not enough free seats.
#[derive(SimpleObject, Clone, Debug)]
pub struct SeatShortageError {
    /// SEAT_SHORTAGE.
    code: UserErrorCode,
    /// Path of the argument it concerns.
    field: Option<Vec<String>>,
    /// How many are needed and free.
    message: String,
    /// Seats asked for.
    required: i32,
    /// Seats that are free.
    available: i32,
}

/// A limit was reached; it opens again.
#[derive(SimpleObject, Clone, Debug)]
pub struct QuotaError {
    /// RATE_LIMITED or MAIL_LIMIT.
    code: UserErrorCode,
    /// Path of the argument it concerns.
    field: Option<Vec<String>>,
    /// When to try again.
    message: String,
    /// When to try again.
    retry_at: DateTime,
}

/// The person's accounts cannot be entered.
#[derive(SimpleObject, Clone, Debug)]
pub struct ClosedAccountsError {
    /// NO_USABLE_MEMBERSHIP.
    code: UserErrorCode,
    /// Path of the argument it concerns.
    field: Option<Vec<String>>,
    /// Why, for each account.
    message: String,
    /// The accounts.
    accounts: Vec<ClosedAccount>,
}

/// An account that a person belongs to but cannot enter.
#[derive(SimpleObject, Clone, Debug)]
pub struct ClosedAccount {
    /// The account's name.
    name: String,
    /// The person's status there.
    status: super::member::MemberStatus,
    /// Why it cannot be entered.
    reason: ClosedReason,
    /// The day from which it can be, where that is why.
    valid_from: Option<Date>,
}

/// Why an account cannot be entered.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedReason {
    /// An administrator has shut the person out.
    Suspended,
    /// The person was taken out, or has left.
    Deactivated,
    /// The membership begins on a later day.
    NotYetValid,
    /// The membership's last day is over.
    ValidityOver,
}

impl ClosedReason {
    fn from_key(key: &str) -> Option<Self> {
        match key {
            "SUSPENDED" => Some(Self::Suspended),
            "DEACTIVATED" => Some(Self::Deactivated),
            "NOT_YET_VALID" => Some(Self::NotYetValid),
            "VALIDITY_OVER" => Some(Self::ValidityOver),
            _ => None,
        }
    }
}

impl From<Refused> for UserError {
    fn from(refused: Refused) -> Self {
        let message = refused.message();
        let code = refused.code.into();
        let field = (!refused.field.is_empty())
            .then(|| std::iter::once("input".to_owned()).chain(refused.field).collect::<Vec<String>>());
        match refused.detail {
            Detail::None | Detail::Currency(_) => Self::Plain(PlainError { code, field, message }),
            Detail::Missing(missing) => {
                let permissions = missing.iter().map(|permission| permission.key().to_owned()).collect();
                Self::NotPermitted(NotPermittedError { code, field, message, permissions })
            }
            Detail::Seats { required, available } => {
                Self::SeatShortage(SeatShortageError { code, field, message, required, available })
            }
            Detail::RetryAt(at) => Self::Quota(QuotaError { code, field, message, retry_at: at.into() }),
            Detail::Accounts(accounts) => {
                let accounts = accounts.into_iter().filter_map(|account| {
                    Some(ClosedAccount {
                        reason: ClosedReason::from_key(account.reason())?,
                        status: account.status.parse().ok()?,
                        name: account.account_name,
                        valid_from: account.valid_from.map(Date),
                    })
                });
                Self::ClosedAccounts(ClosedAccountsError { code, field, message, accounts: accounts.collect() })
            }
        }
    }
}

/// A list of refusals as clients see it.
pub fn user_errors(refused: Vec<Refused>) -> Vec<UserError> {
    for refused in &refused {
        metrics::user_error(refused.code.as_str());
        if refused.code == Code::RateLimited {
            metrics::refused(metrics::Cause::RateLimit);
        }
    }
    refused.into_iter().map(UserError::from).collect()
}

/// Parts what a person can mend from everything else, which becomes a top-level error.
pub fn split<T>(outcome: Result<T, Error>) -> Result<Result<T, Vec<UserError>>> {
    match outcome {
        Ok(done) => Ok(Ok(done)),
        Err(Error::Refused(list)) => Ok(Err(user_errors(list))),
        Err(other) => Err(top_level(other)),
    }
}
