//! `muster seats`: how many seats an account is granted.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use domain::account;
use domain::actor::Origin;
use domain::change::{Change, Kind};
use domain::id::AccountId;
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::keys;
use domain::license;

use crate::database::{self, explain};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Grant an account so many seats beside the paid ones; never fewer than are in use
    Set {
        /// The account's id, like acc_…
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// Seats
        #[arg(value_parser = clap::value_parser!(i32).range(0..=1_000_000))]
        seats: i32,
        /// Why, for the account's activity
        #[arg(long)]
        reason: Option<String>,
    },
}

pub(crate) fn account_id(text: &str) -> Result<AccountId, &'static str> {
    text.parse().map_err(|_| "wanted: the account's id, acc_ and 32 hexadecimal digits")
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let Command::Set { account, seats, reason } = &args.command;
    let (account, seats) = (*account, *seats);
    let db = database::open(config, keys::existing(config)?, Clock::default()).await?;
    let name = name(&db, account).await?;
    let mut change = Change::begin(&db, account, Kind::System, Origin::operator(), None).await.map_err(explain)?;
    license::set_granted(&mut change, seats, reason.as_deref()).await.map_err(explain)?;
    change.commit().await.map_err(explain)?;
    db.waker.flush().await;
    let pools = license::pools(&mut *db.pool.acquire().await?, account).await?;
    let pool = pools.iter().find(|pool| pool.product.key == license::BASE).context("the account has no seats")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}: {seats} seats granted, {} in use, {} free", pool.in_use, pool.available)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn name(db: &Db, account: AccountId) -> anyhow::Result<String> {
    match account::read(&mut *db.pool.acquire().await?, account).await {
        Ok(account) => Ok(account.name),
        Err(sqlx::Error::RowNotFound) => anyhow::bail!("there is no account {account}"),
        Err(error) => Err(explain(error.into())),
    }
}
