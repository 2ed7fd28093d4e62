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

/// Buys two seats on a day, adds one in the middle of each third period, and sweeps now and then until two years have passed.
async fn two_years(zone: &str, (first, interval, currency): (&str, Interval, &str)) -> Result<usize> {
    let first = Date(first.parse()?);
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
    let dates: String = firm
        .app
        .look("SELECT string_agg(starts_on || '/' || ends_on, ' ' ORDER BY period_no) FROM billing_period")
        .await?
        .unwrap();
    let periods: Vec<&str> = dates.split(' ').collect();
    let count = 24 / interval.months() + 1;
    let expected: Vec<String> = (0..count)
        .map(|k| {
            let of = |k| after_anchor(first, k * interval.months()).0;
            format!("{}/{}", of(k), of(k + 1))
        })
        .collect();
    ensure!(periods == expected, "{zone}: {periods:?}");
    let ends = firm
        .app
        .look("SELECT count(*) FROM billing_period WHERE ends_at <> (ends_on::timestamp AT TIME ZONE time_zone)")
        .await?;
    // PostgreSQL knows the zones as well; it takes a midnight that does not exist for the moment after the gap, too.
    ensure!(ends.as_deref() == Some("0"), "{zone}: {ends:?} instants differ");
    let issued = firm.issued().await?;
    ensure!(issued.len() == periods.len() - 1, "{} statements of {} periods", issued.len(), periods.len());
    let numbers: Vec<i32> = issued.iter().map(|one| one.number.unwrap()).collect();
    ensure!(numbers == (1..=i32::try_from(issued.len())?).collect::<Vec<_>>());
    ensure!(price > 0);
    let count = periods.len();
    firm.finish().await?;
    Ok(count)
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
