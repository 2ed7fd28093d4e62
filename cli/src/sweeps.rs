//! `muster sweeps`: the scheduled jobs that act on everything that is due.

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
    /// List sweeps, when each runs and when it last ran
    List,
    /// Run one now, and wait for it
    Run {
        /// Its name, as `list` shows it
        name: String,
        /// As if it were this time, like 2026-03-31T22:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<jiff::Timestamp>,
    },
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _database = database::connect_current(config).await?;
    anyhow::bail!("{:?} is not part of this build", args.command)
}
