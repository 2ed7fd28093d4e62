//! `muster migrate`: brings the database to this program's schema.

use std::io::Write as _;
use std::process::ExitCode;

use domain::infra::config::Config;
use domain::infra::migrate::{self, MigrateError, Migration};
use sqlx::PgConnection;

use crate::database;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; list what is pending and end with 1 if anything is, or if permissions are missing
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut database = database::connect(config).await?;
    if args.check {
        return check(&mut database).await;
    }
    let applied = migrate::apply(&mut database).await?;
    list("applied", &applied)?;
    Ok(ExitCode::SUCCESS)
}

async fn check(database: &mut PgConnection) -> anyhow::Result<ExitCode> {
    match migrate::require_current(database).await {
        Ok(()) => list("pending", &[])?,
        Err(MigrateError::Pending(pending)) => {
            list("pending", &pending)?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    }
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
