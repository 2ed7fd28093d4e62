//! Amounts of money.

use async_graphql::{InputObject, SimpleObject};
use domain::error::{AtField as _, Error};
use domain::infra::money;

use super::scalar::{CurrencyCode, Decimal};

/// An amount of a currency.
#[derive(SimpleObject, Clone, Debug)]
pub struct Money {
    /// How much, with as many decimal places as the currency has.
    amount: Decimal,
    /// Of what.
    currency: CurrencyCode,
}

impl From<money::Money> for Money {
    fn from(money: money::Money) -> Self {
        let currency = CurrencyCode(money.currency.code().to_owned());
        Self { amount: Decimal(money.amount()), currency }
    }
}

/// An amount of a currency.
#[derive(InputObject, Clone, Debug)]
pub struct MoneyInput {
    /// How much, with no more decimal places than the currency has.
    amount: Decimal,
    /// Of what.
    currency: CurrencyCode,
}

impl MoneyInput {
    /// Reads it.
    ///
    /// # Errors
    /// INVALID_CURRENCY at `currency`, INVALID_AMOUNT at `amount`.
    pub fn read(&self) -> Result<money::Money, Error> {
        let currency = money::Currency::parse(&self.currency.0).at("currency")?;
        money::Money::parse(&self.amount.0, currency).at("amount")
    }
}
