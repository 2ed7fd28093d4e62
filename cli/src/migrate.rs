//! `muster migrate`: brings the database to this program's schema.

use std::io::Write as _;
use std::process::ExitCode;

use domain::infra::config::Config;
use domain::infra::migrate::{self, Migration};

use crate::database;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; list what is pending and end with 1 if anything is
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut database = database::connect(config).await?;
    if args.check {
        let pending = migrate::pending(&mut database).await?;
        list("pending", &pending)?;
        return Ok(if pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let applied = migrate::apply(&mut database).await?;
    list("applied", &applied)?;
    Ok(ExitCode::SUCCESS)
}

fn list(what: &str, migrations: &[Migration]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for migration in migrations {
        writeln!(out, "{what} {} {}", migration.version, migration.description)?;
    }
    if migrations.is_empty() {
        writeln!(out, "the database is current")?;
    }
    Ok(())
}
