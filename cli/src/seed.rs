//! `muster seed`: demo data.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use domain::demo::{self, Demo, SeedError};
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::keys;
use domain::infra::secret::Token;
use domain::license;
use domain::password::Passwords;

use crate::database::{self, explain};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the demo logins and a session token as shell assignments
    #[arg(
        long,
        long_help = "Print the demo logins and a session token as shell assignments: MUSTER_TOKEN, MUSTER_OWNER_EMAIL, \
                     MUSTER_OWNER_PASSWORD, MUSTER_ACCOUNT_ID"
    )]
    pub(crate) env: bool,
    /// Also into a database that has other accounts; the demo logins have a well-known password
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut turn = database::connect_current(config).await?;
    demo::lock(&mut turn).await?;
    let db = database::open(config, keys::load(config)?, Clock::default()).await?;
    let passwords = Passwords::new(config.password);
    let demo = demo::seed(&db, &passwords, args.force).await.map_err(|error| match error {
        SeedError::Rule(error) => explain(error),
        other => other.into(),
    })?;
    if args.env {
        let token = demo::open_session(&db, &passwords, demo).await.map_err(explain);
        print_env(demo, &token.context("cannot sign in as the demo owner")?)?;
    } else {
        print_logins(&db, demo).await?;
    }
    db.waker.flush().await;
    Ok(ExitCode::SUCCESS)
}

fn print_env(demo: Demo, token: &Token) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let lines = [
        ("MUSTER_TOKEN", token.expose()),
        ("MUSTER_OWNER_EMAIL", demo::owner_email()),
        ("MUSTER_OWNER_PASSWORD", demo::PASSWORD.to_owned()),
        ("MUSTER_ACCOUNT_ID", demo.firm.to_string()),
    ];
    for (name, value) in lines {
        writeln!(out, "{name}={}", quoted(&value))?;
    }
    Ok(())
}

/// As a shell reads it: one word, taken as it is.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

async fn print_logins(db: &Db, demo: Demo) -> anyhow::Result<()> {
    let mut conn = db.pool.acquire().await?;
    let mut out = std::io::stdout().lock();
    for (name, account) in [(demo::FIRM_NAME, demo.firm), (demo::CONSULTING_NAME, demo.consulting)] {
        let pools = license::pools(&mut conn, account).await?;
        let seats = pools.iter().find(|pool| pool.product.key == license::BASE).context("the account has no seats")?;
        writeln!(out, "{name:<20} {account}  {} seats in use, {} free", seats.in_use, seats.available)?;
    }
    writeln!(out, "\nLogins, all with the password {}:\n", quoted(demo::PASSWORD))?;
    for login in demo::logins() {
        writeln!(out, "  {:<28} {}", login.role, login.email)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_value_as_it_is() {
        assert_eq!(quoted("correct horse"), "'correct horse'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
