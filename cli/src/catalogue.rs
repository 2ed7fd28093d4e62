//! `muster catalogue`: what the installation defines for all accounts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use domain::catalogue::{self, Catalogue, CatalogueError};
use domain::infra::config::Config;
use domain::infra::migrate;

use crate::database;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check a catalogue file, show what it changes, and apply it
    Apply {
        /// The file, TOML
        file: PathBuf,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let Command::Apply { file, dry_run } = &args.command;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let catalogue = Catalogue::parse(&text)?;
    let mut database = database::connect_current(config).await?;
    let differences = catalogue::apply(&mut database, &catalogue, *dry_run).await.map_err(|error| match error {
        CatalogueError::Database(error) => anyhow::anyhow!(migrate::describe(&error)),
        faults @ CatalogueError::Faults(_) => faults.into(),
    })?;
    let mut out = std::io::stdout().lock();
    for difference in &differences {
        writeln!(out, "{difference}")?;
    }
    let what = match (differences.len(), dry_run) {
        (0, _) => "nothing differs".to_owned(),
        (number, true) => format!("{number} would change; nothing was"),
        (number, false) => format!("{number} changed; it holds from the next request on"),
    };
    writeln!(out, "{what}")?;
    Ok(ExitCode::SUCCESS)
}
