//! Two years of periods in awkward zones, from awkward days, in currencies of 0, 2 and 3 decimal places: each is billed once, with no gap
//! and no overlap, also when the worker was away.

use anyhow::{Result, ensure};
use domain::billing::calendar::{Interval, after_anchor, begins};
use domain::infra::clock::Date;
use futures::FutureExt as _;
use jiff::SignedDuration;

use super::world::{Firm, plan};

const ZONES: [&str; 6] =
    ["America/Sao_Paulo", "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/New_York"];

/// The first day of what is paid for, how often and in what.
const CASES: [(&str, Interval, &str); 6] = [
    ("2027-01-31", Interval::Month, "EUR"),
    ("2027-08-30", Interval::Month, "JPY"),
    ("2028-02-29", Interval::Year, "KWD"),
    ("2027-12-29", Interval::Month, "KWD"),
    ("2027-10-28", Interval::Month, "EUR"),
    ("2028-02-29", Interval::Month, "JPY"),
];

/// A firm in a time zone.
async fn firm_in(zone: &str) -> Result<Firm> {
    let firm = Firm::with(|_| {}, "2026-12-01T09:00:00Z").await?;
    firm.operate(|change| {
        let zone = zone.to_owned();
        async move {
            let account = change.account();
            sqlx::query("UPDATE account SET time_zone = $2 WHERE account_id = $1")
                .bind(account.0)
                .bind(zone)
                .execute(change.conn())
                .await?;
            Ok(())
        }
        .boxed()
    })
    .await?;
    Ok(firm)
}

/// Buys two seats on a day, adds one in the middle of each third period, and sweeps now and then until two years have passed.
async fn two_years(zone: &str, (first, interval, currency): (&str, Interval, &str)) -> Result<usize> {
    let first = Date(first.parse()?);
    let firm = firm_in(zone).await?;
    if (interval, currency) != (Interval::Month, "EUR") {
        firm.do_now(&plan(interval, currency)).await?;
    }
    let start = begins(first, zone) + SignedDuration::from_secs(60);
    firm.at(&start.0.to_string()).await?;
    let price = firm.add("base", 2).await?.net;
    let end = begins(after_anchor(first, 24), zone);
    // Sweeps come at odd times, and after long absences.
    let mut at = start;
    let mut paid = 2;
    let mut steps = [40_i64, 3, 71, 9, 200, 1, 33].into_iter().cycle();
    while at < end {
        at = (at + SignedDuration::from_hours(24 * steps.next().unwrap() + 5)).min(end + SignedDuration::from_secs(1));
        firm.at(&at.0.to_string()).await?;
        if at < end && paid < 6 {
            firm.add("base", 1).await?;
            paid += 1;
        }
    }
    ensure!(price > 0);
    let periods = no_gap_no_overlap(&firm, zone, first, interval).await?;
    let issued = firm.issued().await?;
    ensure!(issued.len() == periods - 1, "{} statements of {periods} periods", issued.len());
    let numbers: Vec<i32> = issued.iter().map(|one| one.number.unwrap()).collect();
    ensure!(numbers == (1..=i32::try_from(issued.len())?).collect::<Vec<_>>());
    firm.finish().await?;
    Ok(periods)
}

/// Looks whether the periods are those of two years from a first day; answers how many there are, the running one among them.
async fn no_gap_no_overlap(firm: &Firm, zone: &str, first: Date, interval: Interval) -> Result<usize> {
    let dates = "SELECT string_agg(starts_on || '/' || ends_on, ' ' ORDER BY period_no) FROM billing_period";
    let dates = firm.app.look(dates).await?.unwrap();
    let periods: Vec<&str> = dates.split(' ').collect();
    let day = |k: i32| after_anchor(first, k * interval.months()).0;
    let expected: Vec<String> = (0..=24 / interval.months()).map(|k| format!("{}/{}", day(k), day(k + 1))).collect();
    ensure!(periods == expected, "{zone}: {periods:?}");
    // PostgreSQL knows the zones as well; it takes a midnight that does not exist for the moment after the gap, too.
    let ends = "SELECT count(*) FROM billing_period WHERE ends_at <> (ends_on::timestamp AT TIME ZONE time_zone)";
    let ends = firm.app.look(ends).await?;
    ensure!(ends.as_deref() == Some("0"), "{zone}: {ends:?} instants differ");
    Ok(periods.len())
}

#[tokio::test]
async fn two_years_in_awkward_zones_from_awkward_days() -> Result<()> {
    let full = std::env::var_os("MUSTER_TEST_FULL").is_some();
    let runs: Vec<(&str, (&str, Interval, &str))> = if full {
        ZONES.iter().flat_map(|zone| CASES.iter().map(|case| (*zone, *case))).collect()
    } else {
        // Each day once, over three of the zones.
        CASES.iter().enumerate().map(|(place, case)| (ZONES[place % 3 * 2], *case)).collect()
    };
    let mut periods = 0;
    for (zone, case) in &runs {
        periods += two_years(zone, *case).await?;
    }
    println!("{periods} periods of {} accounts", runs.len());
    Ok(())
}

#[tokio::test]
async fn twenty_periods_late_two_sweepers_bill_each_once() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    firm.app.pass(SignedDuration::from_hours(24 * 620));
    let sweep = || Box::pin(firm.app.sweep("billing.periods"));
    let (one, other) = futures::future::join(sweep(), sweep()).await;
    println!("{:?} and {:?} steps", one?, other?);
    let issued = firm.issued().await?;
    assert_eq!(issued.len(), 20);
    assert!(issued.iter().skip(1).all(|one| one.net == 3_600), "{issued:#?}");
    firm.app.sweep("billing.collect").await?;
    firm.app.settle().await?;
    firm.finish().await
}
