//! Prints how long the end of a period takes when it comes for many accounts at once: until every statement is issued, and until
//! the worker has nothing left to do. Needs `DATABASE_URL` and `REDIS_URL`; a number as an argument is the number of accounts.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "what fails ends it")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;
#[path = "../billing/world.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod world;

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::change::{self, Kind};
use domain::infra::config::Config;
use domain::license::change::confirm;
use domain::license::quote;
use domain::license::terms::QuoteKind;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use jiff::SignedDuration;

use self::support::app::{App, Options};
use self::support::firm;

/// Accounts, unless told.
const ACCOUNTS: u32 = 10_000;
/// Accounts that are founded at the same time.
const AT_ONCE: usize = 8;

#[tokio::main]
async fn main() -> Result<()> {
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    let accounts = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ACCOUNTS);
    // One network founds them all.
    let configure: fn(&mut Config) = |config| config.limits.rate_limits = false;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    world::sell(&app, world::CATALOGUE).await?;
    let begun = Instant::now();
    stream::iter(0..accounts)
        .map(|number| buy(&app, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    all_done(&app).await?;
    println!("{accounts} accounts have bought 5 licences on account: {:.1} s", begun.elapsed().as_secs_f64());

    app.pass(SignedDuration::from_hours(32 * 24));
    let begun = Instant::now();
    let steps = app.sweep("billing.periods").await?;
    let swept = begun.elapsed().as_secs_f64();
    println!("{steps} periods ended, statements issued: {swept:.1} s, {:.0} a second", f64::from(steps) / swept);
    all_done(&app).await?;
    println!("… and the worker has nothing left to do: {:.1} s", begun.elapsed().as_secs_f64());
    let states = "SELECT string_agg(state || ' ' || count, ', ') FROM (SELECT state, count(*) FROM statement GROUP BY 1 ORDER BY 1) s";
    println!("statements: {}", app.look(states).await?.unwrap_or_default());
    app.finish().await
}

/// An account is founded and buys licences.
async fn buy(app: &App, number: u32) -> Result<()> {
    let owner = firm::found(&app.db, &format!("owner@firm{number}.example")).await;
    let id = change::run(&app.db, &owner, Kind::Asked, None, |change, actor| {
        async move { quote::create(change, actor, &world::wish(QuoteKind::Add, "base", 5)).await }.boxed()
    });
    let id = id.await?.outcome;
    let confirmed = change::run(&app.db, &owner, Kind::Asked, None, |change, actor| {
        async move { confirm(change, actor, QuoteKind::Add, id).await }.boxed()
    });
    confirmed.await?;
    Ok(())
}

/// Waits until the worker has nothing left to do.
async fn all_done(app: &App) -> Result<()> {
    while app.jobs("wake_at <= now() + interval '1 minute'").await? > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
