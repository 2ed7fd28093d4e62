//! `muster operator`: what only whoever runs the installation may do.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use domain::id::ServiceTokenId;
use domain::infra::clock::{Clock, Timestamp};
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::keys;
use domain::service_token::{self, NewToken, Scope, ServiceToken};
use jiff::SignedDuration;

use crate::database::{self, explain};
use crate::table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Credentials with which the host product's servers call the API
    ServiceToken {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Make one and print it: it is shown this once
    Create {
        /// What it is called in lists; no other that is not revoked may be called so
        #[arg(long)]
        name: String,
        /// What it is for; several by repeating the option
        #[arg(long = "scope", required = true)]
        scopes: Vec<ScopeName>,
        /// Days after which it is not valid any more; without, it is valid until it is revoked
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
    /// List them, the newest first; never the tokens themselves
    List {
        /// Revoked ones as well
        #[arg(long)]
        all: bool,
    },
    /// Revoke one: its next request is refused
    Revoke {
        /// Its id, as `list` shows it
        #[arg(value_parser = token_id)]
        id: ServiceTokenId,
    },
}

/// What a service token may be for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScopeName {
    /// Read and register resources, open them, set rates
    Resources,
    /// Ask what members have access to
    Access,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Resources => Self::Resources,
            ScopeName::Access => Self::Access,
        }
    }
}

fn token_id(text: &str) -> Result<ServiceTokenId, &'static str> {
    text.parse().map_err(|_| "wanted: the token's id, svt_ and 32 hexadecimal digits")
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let Command::ServiceToken { command } = &args.command;
    let db = database::open(config, keys::existing(config)?, Clock::default()).await?;
    match command {
        TokenCommand::Create { name, scopes, days } => create(&db, name, scopes, *days).await,
        TokenCommand::List { all } => list(&db, *all).await,
        TokenCommand::Revoke { id } => revoke(&db, *id).await,
    }
}

/// The token stands alone on standard output, so that a script can keep it; the rest is for people.
async fn create(db: &Db, name: &str, scopes: &[ScopeName], days: Option<u32>) -> anyhow::Result<ExitCode> {
    let scopes: Vec<Scope> = scopes.iter().copied().map(Scope::from).collect();
    let now = db.now_on(&mut *db.pool.acquire().await?).await?;
    let expires_at = days.map(|days| now + SignedDuration::from_hours(24 * i64::from(days)));
    let new = NewToken { name, scopes: &scopes, expires_at };
    let (id, token) = service_token::create(db, &new).await.map_err(explain)?;
    let until =
        expires_at.map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {}", table::time(end.0)));
    writeln!(std::io::stderr(), "{id} is valid {until}. This is the only time the token is shown:")?;
    writeln!(std::io::stdout().lock(), "{}", token.expose())?;
    Ok(ExitCode::SUCCESS)
}

const HEADING: [&str; 8] = ["ID", "NAME", "BEGINS WITH", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "REVOKED"];

async fn list(db: &Db, all: bool) -> anyhow::Result<ExitCode> {
    let tokens = service_token::list(&mut *db.pool.acquire().await?, all).await?;
    table::print(HEADING, &tokens.iter().map(row).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

fn row(token: &ServiceToken) -> [String; 8] {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| table::time(at.0));
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    [
        token.service_token_id.to_string(),
        token.name.clone(),
        format!("{}…", token.prefix),
        scopes.join(","),
        table::time(token.created_at.0),
        time(token.expires_at),
        time(token.last_used_at),
        time(token.revoked_at),
    ]
}

async fn revoke(db: &Db, id: ServiceTokenId) -> anyhow::Result<ExitCode> {
    let revoked = service_token::revoke(db, id).await.map_err(explain)?;
    let what = if revoked { "is revoked" } else { "is no service token that could be revoked" };
    writeln!(std::io::stdout().lock(), "{id} {what}")?;
    Ok(if revoked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
