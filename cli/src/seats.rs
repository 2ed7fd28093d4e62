//! `muster seats`: how many seats an account is granted.

use std::process::ExitCode;

use clap::Subcommand;
use domain::infra::config::Config;

use crate::database;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Grant an account so many seats; never fewer than are in use
    Set {
        /// The account's id, like acc_…
        account: String,
        /// Seats
        #[arg(value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
        seats: i32,
    },
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _database = database::connect_current(config).await?;
    anyhow::bail!("{:?} is not part of this build", args.command)
}
