//! `muster jobs`: the outbox, as an operator sees it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use domain::id::AccountId;
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::keys;
use domain::job::Lane;
use domain::outbox::{self, FOREIGN, Replay, Unfinished, Wanted};
use uuid::Uuid;

use crate::database::{self, explain};
use crate::table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List jobs that are not finished, the oldest first
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
    if let Command::List { dead, kind, limit } = &args.command {
        let mut database = database::connect_current(config).await?;
        let wanted = Wanted { dead: *dead, kind: kind.clone() };
        let jobs = outbox::list(&mut database, &wanted, i64::from(*limit)).await?;
        table::print(HEADING, &jobs.iter().map(row).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let db = database::open(config, keys::existing(config)?, Clock::default()).await?;
    let all_done = match &args.command {
        Command::Retry { all_dead: true, .. } => retry_all(&db).await?,
        Command::Retry { ids, .. } => retry(&db, ids).await?,
        Command::Bury { ids } => bury(&db, ids).await?,
        Command::List { .. } => unreachable!("handled above"),
    };
    db.waker.flush().await;
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEADING: [&str; 8] = ["ID", "STATE", "KIND", "ACCOUNT", "ATTEMPTS", "WRITTEN", "DUE OR DIED", "LAST ERROR"];

fn row(job: &Unfinished) -> [String; 8] {
    let nothing = || "-".to_owned();
    [
        job.job_id.to_string(),
        job.standing.as_str().to_owned(),
        job.kind.clone(),
        if job.account_id.is_nil() { nothing() } else { AccountId(job.account_id).to_string() },
        job.attempts.to_string(),
        table::time(job.created_at.0),
        table::time(job.at.0),
        job.code.clone().unwrap_or_else(nothing),
    ]
}

async fn retry_all(db: &Db) -> anyhow::Result<bool> {
    let wanted = Wanted { dead: true, kind: None };
    let dead = outbox::list(&mut *db.pool.acquire().await?, &wanted, i64::MAX).await?;
    let jobs = dead.iter().filter(|job| job.kind != FOREIGN).map(|job| job.job_id);
    retry(db, &jobs.collect::<Vec<_>>()).await
}

async fn retry(db: &Db, ids: &[Uuid]) -> anyhow::Result<bool> {
    let mut all_done = true;
    for id in ids {
        let replayed = outbox::replay(db, *id).await.map_err(explain)?;
        say(
            *id,
            match replayed {
                Replay::Due => "is due",
                Replay::NotDead => "is no dead job",
                Replay::Superseded => "stays dead: an equal job is not finished yet",
                Replay::Foreign => "stays dead: it is no job, but stands for something foreign that was in the queue",
                Replay::FileGone => "stays dead: the file of its import was deleted; it must be uploaded again",
            },
        )?;
        all_done &= replayed == Replay::Due;
    }
    for lane in Lane::ALL {
        db.waker.work_due(lane);
    }
    Ok(all_done)
}

async fn bury(db: &Db, ids: &[Uuid]) -> anyhow::Result<bool> {
    let mut all_done = true;
    for id in ids {
        let buried = outbox::bury_by_operator(db, *id).await.map_err(explain)?;
        say(*id, if buried { "is dead" } else { "is no job that could still run" })?;
        all_done &= buried;
    }
    Ok(all_done)
}

fn say(id: Uuid, what: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{id} {what}")
}
