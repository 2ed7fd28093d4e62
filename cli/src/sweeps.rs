//! `muster sweeps`: the scheduled jobs that act on everything that is due.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Subcommand;
use domain::infra::clock::{Clock, Timestamp};
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files;
use domain::infra::keys;
use domain::sweep::{self, LastRun, Sweep};
use jiff::SignedDuration;
use worker::schedule::{self, RunError};

use crate::{database, table};

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
    let db = database::open(config, keys::existing(config)?, Clock::default()).await?;
    ensure!(
        config.data_dir.is_dir(),
        "there is no folder {}; name the data_dir that the service uses, or start it first",
        config.data_dir.display()
    );
    let sweeps = worker::sweeps::all(&db, &files::open(config)?, config.retention);
    match &args.command {
        Command::List => list(&db, &sweeps).await?,
        Command::Run { name, at } => run_one(&db, &sweeps, name, at.map(Timestamp)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(db: &Db, sweeps: &[Sweep]) -> anyhow::Result<()> {
    let runs = sweep::last_runs(&mut *db.pool.acquire().await?).await?;
    let runs: BTreeMap<&str, &LastRun> = runs.iter().map(|run| (run.sweep.as_str(), run)).collect();
    let rows: Vec<[String; 6]> = sweeps.iter().map(|sweep| row(sweep, runs.get(sweep.name).copied())).collect();
    table::print(["NAME", "EVERY", "LAST TICK", "OUTCOME", "ACTED ON", "ERROR"], &rows)?;
    Ok(())
}

fn row(sweep: &Sweep, last: Option<&LastRun>) -> [String; 6] {
    let head = [sweep.name.to_owned(), interval(sweep.every)];
    let tail = match last {
        None => ["-", "never ran", "-", "-"].map(str::to_owned),
        Some(run) => [
            table::time(run.tick_at.0),
            outcome(run).to_owned(),
            run.acted_on.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            run.code.clone().unwrap_or_else(|| "-".to_owned()),
        ],
    };
    let [name, every] = head;
    let [tick, outcome, acted_on, code] = tail;
    [name, every, tick, outcome, acted_on, code]
}

fn outcome(run: &LastRun) -> &'static str {
    match (run.finished_at, &run.code) {
        (Some(_), _) => "finished",
        (None, Some(_)) => "failed",
        (None, None) => "running",
    }
}

/// In the largest unit that divides it.
fn interval(every: SignedDuration) -> String {
    let seconds = every.as_secs();
    match seconds {
        _ if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        _ if seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

async fn run_one(db: &Db, sweeps: &[Sweep], name: &str, at: Option<Timestamp>) -> anyhow::Result<()> {
    let ran = schedule::run_now(&db.pool, &db.clock, sweeps, name, at).await;
    db.waker.flush().await;
    match ran {
        Ok(acted_on) => writeln!(std::io::stdout().lock(), "{name} acted on {acted_on}")?,
        Err(RunError::Unknown) => {
            let names: Vec<&str> = sweeps.iter().map(|sweep| sweep.name).collect();
            bail!("there is no sweep {name}; there are: {}", names.join(", "));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_short() {
        let texts = [86_400, 3_600, 5_400, 90].map(|seconds| interval(SignedDuration::from_secs(seconds)));
        assert_eq!(texts, ["24 h", "1 h", "90 min", "90 s"]);
    }
}
