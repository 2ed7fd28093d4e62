//! Scalars, each with the document that specifies it.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use domain::infra::clock::{self, Timestamp};

/// An instant in UTC as RFC 3339 writes it, like `2026-11-21T09:30:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub Timestamp);

/// An instant in UTC as RFC 3339 writes it, like `2026-11-21T09:30:00Z`.
#[Scalar(name = "DateTime", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match text.parse() {
                Ok(instant) => Ok(Self(Timestamp(instant))),
                Err(_) => Err(InputValueError::custom("wanted: an instant like 2026-11-21T09:30:00Z")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.0.to_string())
    }
}

/// A civil date as RFC 3339 writes it, like `2026-11-21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub clock::Date);

/// A civil date as RFC 3339 writes it, like `2026-11-21`.
#[Scalar(name = "Date", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339#section-5.6")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            // The date parser also reads other forms, and the beginning of an instant.
            Value::String(text) => match text.parse() {
                Ok(date) if text.len() == 10 => Ok(Self(clock::Date(date))),
                _ => Err(InputValueError::custom("wanted: a date like 2026-11-21")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.0.to_string())
    }
}

impl From<clock::Date> for Date {
    fn from(date: clock::Date) -> Self {
        Self(date)
    }
}

/// A whole number up to 2⁵³ − 1, written as a JSON number that every reader keeps exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeInteger(pub i64);

/// A whole number up to 2⁵³ − 1, written as a JSON number that every reader keeps exactly.
#[Scalar(name = "SafeInteger", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc8259#section-6")]
impl ScalarType for SafeInteger {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => match number.as_i64() {
                Some(number) if number.unsigned_abs() < 1 << 53 => Ok(Self(number)),
                _ => Err(InputValueError::custom("wanted: a whole number up to 9007199254740991")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

impl From<Timestamp> for DateTime {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

macro_rules! text_scalars {
    ($($(#[$doc:meta])* $name:ident, $graphql:literal, $url:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub String);

        $(#[$doc])*
        #[Scalar(name = $graphql, specified_by_url = $url)]
        impl ScalarType for $name {
            fn parse(value: Value) -> InputValueResult<Self> {
                match value {
                    Value::String(text) => Ok(Self(text)),
                    other => Err(InputValueError::expected_type(other)),
                }
            }

            fn to_value(&self) -> Value {
                Value::String(self.0.clone())
            }
        }
    )*};
}

text_scalars! {
    /// An e-mail address. Inputs are checked by the fields that take them, whose errors say what to do.
    EmailAddress, "EmailAddress", "https://datatracker.ietf.org/doc/html/rfc5321#section-4.1.2";
    /// A phone number in E.164 form, like `+12125550100`.
    PhoneNumber, "PhoneNumber", "https://www.itu.int/rec/T-REC-E.164";
    /// A time zone of the IANA database, like `Europe/Berlin`.
    TimeZone, "TimeZone", "https://www.iana.org/time-zones";
    /// A country code of two letters, like `US`.
    CountryCode, "CountryCode", "https://www.iso.org/iso-3166-country-codes.html";
    /// An absolute URL.
    Url, "URL", "https://url.spec.whatwg.org/";
}
