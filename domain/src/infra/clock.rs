//! Business time. It comes from the database, once per transaction, and is passed to whoever needs it; the clock of this
//! process only times leases' local waits and logs.

use std::ops::{Add, Deref, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::SignedDuration;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff_sqlx::ToSqlx as _;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// An instant in UTC, in microseconds in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub jiff::Timestamp);

impl Deref for Timestamp {
    type Target = jiff::Timestamp;

    fn deref(&self) -> &jiff::Timestamp {
        &self.0
    }
}

impl Add<SignedDuration> for Timestamp {
    type Output = Self;

    fn add(self, duration: SignedDuration) -> Self {
        Self(self.0 + duration)
    }
}

impl Sub<SignedDuration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: SignedDuration) -> Self {
        Self(self.0 - duration)
    }
}

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        jiff_sqlx::Timestamp::type_info()
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        jiff_sqlx::Timestamp::array_type_info()
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0.to_sqlx(), buffer)
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(jiff_sqlx::Timestamp::decode(value)?.to_jiff()))
    }
}

/// A civil date, without a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Date(pub jiff::civil::Date);

impl Date {
    /// The date at an instant, in a time zone by its name in the IANA database.
    pub fn at(now: Timestamp, time_zone: &str) -> Self {
        let zone = TimeZoneDatabase::bundled().get(time_zone).unwrap_or(TimeZone::UTC);
        Self(now.0.to_zoned(zone).date())
    }

    /// The instant at which it begins in a time zone by its name; the last instant there is, if that is beyond it.
    pub fn begins(self, time_zone: &str) -> Timestamp {
        let zone = TimeZoneDatabase::bundled().get(time_zone).unwrap_or(TimeZone::UTC);
        Timestamp(self.0.to_zoned(zone).map_or(jiff::Timestamp::MAX, |zoned| zoned.timestamp()))
    }

    /// So many days later; the last date there is, if that is beyond it.
    #[must_use]
    pub fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(jiff::Span::new().days(days)))
    }
}

impl Type<Postgres> for Date {
    fn type_info() -> PgTypeInfo {
        jiff_sqlx::Date::type_info()
    }
}

impl PgHasArrayType for Date {
    fn array_type_info() -> PgTypeInfo {
        jiff_sqlx::Date::array_type_info()
    }
}

impl Encode<'_, Postgres> for Date {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0.to_sqlx(), buffer)
    }
}

impl Decode<'_, Postgres> for Date {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(jiff_sqlx::Date::decode(value)?.to_jiff()))
    }
}

/// Turns the database's `now()` into business time. In production they are the same; a test moves it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Seconds added to the database's time.
    shift: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that can be moved with [`Clock::advance`].
    pub fn movable() -> Self {
        Self { shift: Some(Arc::default()) }
    }

    /// Moves a [`Clock::movable`] clock and all its clones; does nothing to any other.
    pub fn advance(&self, by: SignedDuration) {
        if let Some(shift) = &self.shift {
            shift.fetch_add(by.as_secs(), Ordering::SeqCst);
        }
    }

    /// Business time at the moment the database read its own clock.
    pub fn business(&self, database_now: Timestamp) -> Timestamp {
        match &self.shift {
            None => database_now,
            Some(shift) => database_now + SignedDuration::from_secs(shift.load(Ordering::SeqCst)),
        }
    }
}
