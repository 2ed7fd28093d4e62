//! Amounts of money: whole minor units of a currency of ISO 4217, written as decimal numbers.

use iso_currency::Currency as Iso;

use crate::error::{Code, Error, Refused, Result};

/// Digits of an amount at most, so that sums and products of amounts stay within 64 bits for all practical purposes.
const MAX_DIGITS: usize = 15;

/// A currency that has minor units: one that can be paid with, unlike gold or the test code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency(Iso);

impl Currency {
    /// The currency with this code of three capital letters.
    ///
    /// # Errors
    /// INVALID_CURRENCY.
    pub fn parse(code: &str) -> Result<Self> {
        let known = Iso::from_code(code).filter(|iso| iso.exponent().is_some());
        known.map(Self).ok_or_else(|| Error::from(Code::InvalidCurrency))
    }

    /// Three capital letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal places of an amount: 2 for most, 0 for the yen, 3 for the Kuwaiti dinar.
    pub fn places(self) -> usize {
        usize::from(self.0.exponent().unwrap_or_default())
    }
}

/// An amount of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units: cents, say.
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// Reads a decimal number like `125.50`, `-3` or `0.125`: no exponent, no separators, not more places than the currency has.
    ///
    /// # Errors
    /// INVALID_AMOUNT.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self> {
        let invalid = || Error::from(Refused::new(Code::InvalidAmount));
        let (negative, digits) = match amount.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, amount),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let ends_in_point = digits.ends_with('.');
        if whole.is_empty() || ends_in_point || !plain(whole) || !plain(fraction) || fraction.len() > currency.places()
        {
            return Err(invalid());
        }
        let minor = format!("{whole}{fraction:0<places$}", places = currency.places());
        let significant = minor.trim_start_matches('0');
        if significant.len() > MAX_DIGITS {
            return Err(invalid());
        }
        let minor: i64 = if significant.is_empty() { 0 } else { significant.parse().map_err(|_| invalid())? };
        Ok(Self { minor: if negative { -minor } else { minor }, currency })
    }

    /// As [`Money::parse`] reads it, with all the places that the currency has.
    pub fn amount(self) -> String {
        let places = self.currency.places();
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

/// An amount of a currency by its code, as events tell it: `{"amount": "12.50", "currency": "EUR"}`.
pub fn told(minor: i64, currency: &str) -> serde_json::Value {
    let amount = match Currency::parse(currency) {
        Ok(currency) => Money { minor, currency }.amount(),
        Err(_) => minor.to_string(),
    };
    serde_json::json!({ "amount": amount, "currency": currency })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(amount: &str, currency: &str) -> Option<i64> {
        Money::parse(amount, Currency::parse(currency).unwrap()).ok().map(|money| money.minor)
    }

    #[test]
    fn reads_as_many_places_as_the_currency_has() {
        for (amount, currency, wanted) in [
            ("125.50", "USD", Some(12_550)),
            ("125.5", "USD", Some(12_550)),
            ("125", "USD", Some(12_500)),
            ("-0.01", "EUR", Some(-1)),
            ("0", "EUR", Some(0)),
            ("00.10", "EUR", Some(10)),
            ("125.505", "USD", None),
            ("125", "JPY", Some(125)),
            ("125.0", "JPY", None),
            ("0.125", "KWD", Some(125)),
            ("9999999999999.99", "USD", Some(999_999_999_999_999)),
            ("10000000000000.00", "USD", None),
        ] {
            assert_eq!(minor(amount, currency), wanted, "{amount} {currency}");
        }
        for amount in ["", "-", ".5", "5.", "+1", "1e3", "1,5", "1 ", "١", "--1", "1.-5", "NaN", "0x1"] {
            assert_eq!(minor(amount, "USD"), None, "{amount:?}");
        }
    }

    #[test]
    fn knows_the_currencies_that_can_be_paid_with() {
        for code in ["", "usd", "US", "USDX", "XAU", "XXX", "XTS", "ZZZ"] {
            assert!(Currency::parse(code).is_err(), "{code}");
        }
        for code in ["USD", "EUR", "JPY", "KWD", "CHF"] {
            assert_eq!(Currency::parse(code).unwrap().code(), code);
        }
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(minor in -999_999_999_999_999_i64..=999_999_999_999_999, code in 0..3_usize) {
            let currency = Currency::parse(["USD", "JPY", "KWD"][code]).unwrap();
            let money = Money { minor, currency };
            prop_assert_eq!(Money::parse(&money.amount(), currency).unwrap(), money);
        }
    }
}
