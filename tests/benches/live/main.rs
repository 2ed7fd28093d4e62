//! Prints what subscribers cost and how long they wait, events and mails a second, and what too many requests do. Needs
//! `DATABASE_URL`, `REDIS_URL` and `MUSTER_BIN`; arguments choose parts: `memory`, `latency`, `events`, `mails`, `overload`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "what fails ends it")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "../../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

mod client;
mod events;
mod latency;
mod mails;
mod memory;
mod overload;
mod sink;

use std::time::Duration;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    if wants("memory") {
        memory::run().await?;
    }
    if wants("latency") {
        latency::run().await?;
    }
    if wants("events") {
        events::run().await?;
    }
    if wants("mails") {
        mails::run().await?;
    }
    if wants("overload") {
        overload::run().await?;
    }
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}

/// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`.
fn spread(mut times: Vec<Duration>) -> String {
    if times.is_empty() {
        return "none".to_owned();
    }
    times.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let at = |share: usize| millis(times[(times.len() * share / 100).min(times.len() - 1)]);
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(50), at(99), millis(times[times.len() - 1]))
}
