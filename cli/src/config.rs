//! `muster config`: what is in effect, and what there is to set.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use domain::catalogue;
use domain::infra::config::reference;
use domain::infra::metrics;

use crate::sources::SourceArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every setting in effect and where it came from; secrets as ***
    Show,
    /// Print the reference of all settings (docs/configuration.md)
    Reference,
    /// Print the reference of all metrics (docs/metrics.md)
    Metrics,
    /// Print the reference of all permissions (docs/permissions.md)
    Permissions,
}

pub(crate) fn run(args: &Args, sources: &SourceArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match args.command {
        Command::Reference => write!(out, "{}", reference())?,
        Command::Metrics => write!(out, "{}", metrics::reference())?,
        Command::Permissions => write!(out, "{}", catalogue::reference())?,
        Command::Show => {
            for setting in sources.load()?.effective() {
                let value = setting.value.as_deref().unwrap_or("(not set)");
                writeln!(out, "{:<31} {value:<40} {}", setting.key, setting.origin)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
