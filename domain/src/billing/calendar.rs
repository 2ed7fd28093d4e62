//! When periods begin and end: civil dates, counted from the anchor and not from each other, so that a 31st comes back after February.

use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::infra::clock::{Date, Timestamp};
use crate::job::UnknownName;

/// How often an account pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Interval {
    /// Each month.
    Month,
    /// Each year.
    Year,
}

impl Interval {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Month => "MONTH",
            Self::Year => "YEAR",
        }
    }

    /// Its months.
    pub const fn months(self) -> i32 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Interval {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        [Self::Month, Self::Year].into_iter().find(|interval| interval.as_str() == name).ok_or(UnknownName)
    }
}

/// So many months after the anchor: the same day of the month, or its last one where it is shorter.
pub fn after_anchor(anchor: Date, months: i32) -> Date {
    Date(anchor.0.saturating_add(Span::new().months(months)))
}

/// Days from one date to a later one.
pub fn days_between(from: Date, until: Date) -> i32 {
    (until.0 - from.0).get_days()
}

/// When a date begins in a time zone: at midnight, or when the clocks jump over it, right after that.
pub fn begins(date: Date, time_zone: &str) -> Timestamp {
    let zone = TimeZoneDatabase::bundled().get(time_zone).unwrap_or(TimeZone::UTC);
    let start = date.0.to_zoned(zone).expect("dates near today exist in every zone");
    Timestamp(start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date(text.parse().unwrap())
    }

    fn months(anchor: &str, step: i32, count: i32) -> Vec<String> {
        (0..count).map(|k| after_anchor(date(anchor), k * step).0.to_string()).collect()
    }

    #[test]
    fn a_day_comes_back_after_a_shorter_month() {
        assert_eq!(months("2027-01-31", 1, 4), ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]);
        assert_eq!(months("2028-02-29", 12, 5), ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]);
        assert_eq!(months("2027-12-30", 1, 3), ["2027-12-30", "2028-01-30", "2028-02-29"]);
    }

    #[test]
    fn days_begin_where_the_clocks_say() {
        // Midnight does not exist on these days: the clocks go from 0:00 to 1:00, or over the whole day.
        assert_eq!(begins(date("2018-11-04"), "America/Sao_Paulo").to_string(), "2018-11-04T03:00:00Z");
        assert_eq!(begins(date("2026-04-24"), "Africa/Cairo").to_string(), "2026-04-23T22:00:00Z");
        assert_eq!(begins(date("2011-12-30"), "Pacific/Apia").to_string(), "2011-12-30T10:00:00Z");
        assert_eq!(begins(date("2026-07-01"), "Asia/Kathmandu").to_string(), "2026-06-30T18:15:00Z");
        assert_eq!(begins(date("2026-07-01"), "Australia/Lord_Howe").to_string(), "2026-06-30T13:30:00Z");
        assert_eq!(days_between(date("2028-02-01"), date("2028-03-01")), 29);
    }
}
