//! `muster jobs`: the outbox, as an operator sees it.

use std::process::ExitCode;

use clap::Subcommand;
use domain::infra::config::Config;
use uuid::Uuid;

use crate::database;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List jobs, the oldest first
    List {
        /// Only dead ones, which wait for `retry`
        #[arg(long)]
        dead: bool,
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Make dead jobs run again, with all their attempts
    Retry {
        /// Ids, as `list` shows them
        #[arg(required_unless_present = "all_dead")]
        ids: Vec<Uuid>,
        /// Every dead job instead
        #[arg(long, conflicts_with = "ids")]
        all_dead: bool,
    },
    /// Give jobs up: they stay visible as dead
    Bury {
        /// Ids, as `list` shows them
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _database = database::connect_current(config).await?;
    anyhow::bail!("{:?} is not part of this build", args.command)
}
