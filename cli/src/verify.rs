//! `muster verify`: whether what must always hold does, in the database as it is.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use domain::id::AccountId;
use domain::infra::config::Config;
use domain::infra::migrate;
use domain::verify::{self, Finding, Level, Looked};
use serde_json::{Map, Value, json};

use crate::database;
use crate::seats::account_id;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Look at one account only, and not at what belongs to none
    #[arg(long, value_parser = account_id)]
    account: Option<AccountId>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How many rules do not hold.
#[derive(Default)]
struct Count {
    broken: usize,
    warnings: usize,
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut database = database::connect_current(config).await?;
    let (mut findings, mut count, mut printed) = (Vec::new(), Count::default(), Ok(()));
    let tell = |finding: Finding| {
        match finding.level {
            Level::Broken => count.broken += 1,
            Level::Warning => count.warnings += 1,
        }
        if args.json {
            findings.push(document(finding));
        } else if printed.is_ok() {
            printed = print(&finding);
        }
    };
    let looked = verify::run(&mut database, args.account, tell).await;
    let looked = looked.map_err(|error| anyhow::anyhow!(migrate::describe(&error)))?;
    printed?;
    if let (Some(account), 0) = (args.account, looked.accounts) {
        bail!("there is no account {account}");
    }
    conclude(args.json, looked, &count, &findings)?;
    Ok(if count.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(finding: &Finding) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<8} {}: {}", finding.level.as_str(), finding.check, finding.rule)?;
    for row in &finding.rows {
        let facts: Vec<String> = row.iter().map(fact).collect();
        writeln!(out, "         {}", facts.join(" "))?;
    }
    let shown = i64::try_from(finding.rows.len()).unwrap_or(i64::MAX);
    if finding.total > shown {
        writeln!(out, "         and {} more", finding.total - shown)?;
    }
    Ok(())
}

fn fact((name, value): (&String, &Value)) -> String {
    match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    }
}

fn document(finding: Finding) -> Value {
    let rows: Vec<Value> = finding.rows.into_iter().map(|row: Map<String, Value>| row.into()).collect();
    json!({
        "check": finding.check, "rule": finding.rule, "level": finding.level.as_str(), "total": finding.total, "rows": rows,
    })
}

fn conclude(as_json: bool, looked: Looked, count: &Count, findings: &[Value]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let Looked { checks, accounts } = looked;
    let Count { broken, warnings } = count;
    if as_json {
        let document = json!({
            "checks": checks, "accounts": accounts, "broken": broken, "warnings": warnings, "findings": findings,
        });
        return writeln!(out, "{document:#}");
    }
    let accounts = if accounts == 1 { "1 account".to_owned() } else { format!("{accounts} accounts") };
    match (broken, warnings) {
        (0, 0) => writeln!(out, "{checks} rules hold in {accounts}"),
        _ => writeln!(out, "{checks} rules looked at in {accounts}: {broken} broken, {warnings} to look at"),
    }
}
