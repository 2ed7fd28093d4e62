//! `muster doctor`: tries out everything Muster depends on, and says how to mend what is wrong.

mod database;
mod files;
mod http;
mod mail;
mod redis;
mod telemetry;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use domain::infra::config::Faults;

use crate::sources::SourceArgs;

/// How long anything on the network may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a look at one thing found.
pub(crate) enum Finding {
    /// All is well.
    Ok(String),
    /// It works, but should be otherwise.
    Warning {
        /// What is the case.
        fact: String,
        /// What to do.
        mend: String,
    },
    /// It does not work.
    Problem {
        /// What is the case.
        fact: String,
        /// What to do.
        mend: String,
    },
}

impl Finding {
    fn ok(fact: impl Into<String>) -> Self {
        Self::Ok(fact.into())
    }

    fn warning(fact: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Warning { fact: fact.into(), mend: mend.into() }
    }

    fn problem(fact: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Problem { fact: fact.into(), mend: mend.into() }
    }
}

pub(crate) async fn run(sources: &SourceArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report { problems: 0 };
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            let faults = match error.downcast::<Faults>() {
                Ok(Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
                Err(error) => vec![format!("{error:#}")],
            };
            report.add("configuration", unreadable(faults))?;
            return Ok(report.conclude());
        }
    };
    let config = &loaded.config;
    report.add("configuration", files::configuration(&loaded))?;
    report.add("addresses", http::inspect(config))?;
    report.add("files", files::data_dir(config))?;
    report.add("database", database::inspect(config).await)?;
    report.add("redis", redis::inspect(config).await)?;
    report.add("telemetry", telemetry::inspect(config).await)?;
    report.add("mail", mail::inspect(config).await)?;
    Ok(report.conclude())
}

fn unreadable(faults: Vec<String>) -> Vec<Finding> {
    faults.into_iter().map(|fault| Finding::problem(fault, "correct it; nothing else was looked at")).collect()
}

/// Prints findings as they come: a look at the network may take seconds.
struct Report {
    problems: usize,
}

impl Report {
    fn add(&mut self, subject: &str, findings: Vec<Finding>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for finding in findings {
            let (level, fact, mend) = match &finding {
                Finding::Ok(fact) => ("ok", fact, None),
                Finding::Warning { fact, mend } => ("warning", fact, Some(mend)),
                Finding::Problem { fact, mend } => ("problem", fact, Some(mend)),
            };
            self.problems += usize::from(level == "problem");
            writeln!(out, "{level:<8} {subject:<14} {fact}")?;
            if let Some(mend) = mend {
                writeln!(out, "{:<23} → {mend}", "")?;
            }
        }
        Ok(())
    }

    fn conclude(self) -> ExitCode {
        if self.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
