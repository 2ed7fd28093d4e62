//! `muster seed`: demo data.

use std::process::ExitCode;

use domain::infra::config::Config;

use crate::database;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the demo logins and a session token as shell assignments
    #[arg(
        long,
        long_help = "Print the demo logins and a session token as shell assignments: MUSTER_TOKEN, MUSTER_OWNER_EMAIL, \
                     MUSTER_OWNER_PASSWORD, MUSTER_ACCOUNT_ID"
    )]
    pub(crate) env: bool,
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let _database = database::connect_current(config).await?;
    anyhow::bail!("seed (env: {}) is not part of this build", args.env)
}
