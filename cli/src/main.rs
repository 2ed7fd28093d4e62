//! The one program of Muster: serves the API, works on jobs, and is what an operator runs on the host.

mod billing;
mod catalogue;
mod config;
mod database;
mod doctor;
mod jobs;
mod migrate;
mod operator;
mod schema;
mod seats;
mod seed;
mod serve;
mod sources;
mod start;
mod sweeps;
mod table;
mod verify;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use domain::infra::config::{Config, Faults};

use sources::SourceArgs;

const AFTER_HELP: &str = "\
Configuration: defaults, then muster.toml, then MUSTER_… variables (and DATABASE_URL, REDIS_URL), then --set; see `muster config`.
Ends with 0 if all is well, 1 if something failed, 2 if the command line or the configuration is wrong.";

/// Runs the people and seats of a B2B product.
#[derive(Parser)]
#[command(name = "muster", version, max_term_width = 110, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and work on jobs, in one process
    Serve,
    /// Serve the API only; any number of these, with Redis
    Api,
    /// Work on jobs only; any number of these, with Redis
    Worker,
    /// Bring the database to this program's schema
    Migrate(migrate::Args),
    /// Write the GraphQL schema to standard output
    Schema,
    /// Find out what is wrong with configuration, files, database, Redis and mail server, and how to mend it
    Doctor,
    /// Put demo data into the database; does nothing where it is already
    Seed(seed::Args),
    /// List, retry and bury jobs
    Jobs(jobs::Args),
    /// List sweeps and run one now
    Sweeps(sweeps::Args),
    /// Apply the operator's catalogue: products with their prices, and the host product's permissions
    Catalogue(catalogue::Args),
    /// Change how many seats an account is granted
    Seats(seats::Args),
    /// Record payments, decide about charges, set taxes and gateways
    Billing(billing::Args),
    /// What only whoever runs the installation may do, like making credentials of the host product
    Operator(operator::Args),
    /// Look whether what must always hold does; changes nothing, may run at any time
    Verify(verify::Args),
    /// Show the configuration, or the reference of all settings
    Config(config::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    if let Err(fault) = domain::infra::fault::init() {
        let _ = writeln!(std::io::stderr(), "muster: {fault}");
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    match run(cli).await {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "muster: {error:#}");
            ExitCode::from(if error.is::<Faults>() { 2 } else { 1 })
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { sources, command } = cli;
    match command {
        Command::Config(args) => return config::run(&args, &sources),
        Command::Doctor => return doctor::run(&sources).await,
        Command::Schema => return schema::run(),
        _ => {}
    }
    let config = sources.load()?.config;
    let exporter = domain::infra::telemetry::init(&config)?;
    let outcome = work(command, config).await;
    exporter.shut_down().await;
    outcome
}

async fn work(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::run(serve::Role::Both, config).await,
        Command::Api => serve::run(serve::Role::Api, config).await,
        Command::Worker => serve::run(serve::Role::Worker, config).await,
        Command::Migrate(args) => migrate::run(&args, &config).await,
        Command::Seed(args) => seed::run(&args, &config).await,
        Command::Jobs(args) => jobs::run(&args, &config).await,
        Command::Sweeps(args) => sweeps::run(&args, &config).await,
        Command::Catalogue(args) => catalogue::run(&args, &config).await,
        Command::Seats(args) => seats::run(&args, &config).await,
        Command::Billing(args) => billing::run(&args, &config).await,
        Command::Operator(args) => operator::run(&args, &config).await,
        Command::Verify(args) => verify::run(&args, &config).await,
        Command::Config(_) | Command::Doctor | Command::Schema => unreachable!("they need no database"),
    }
}

/// Whether the reader of the output has gone, like `head` after ten lines: no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
