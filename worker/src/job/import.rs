//! Imports of members: works the file of an import until it ends, or this process does.

use domain::error::Error;
use domain::import::file::FileLimits;
use domain::import::{self, Payload, Run, Step};
use domain::infra::config::Limits;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::job::{Claimed, JobKind, Verdict};
use domain::sweep::Sweep;
use domain::{outbox, upload};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::handler::{Handler, Registry};

/// Works imports.
#[derive(Clone, Debug)]
pub struct ImportMembers {
    db: Db,
    files: Files,
    limits: FileLimits,
    shutdown: CancellationToken,
}

/// Adds the handler of imports. On `shutdown` a running import stops after its batch and is given back.
#[must_use]
pub fn register(registry: Registry, db: Db, files: Files, limits: &Limits, shutdown: CancellationToken) -> Registry {
    let handler = ImportMembers { db, files, limits: FileLimits::from(limits), shutdown };
    registry.with(JobKind::ImportMembers, handler)
}

/// What is to be done for uploads and imports from time to time.
pub fn sweeps(db: &Db, files: &Files) -> Vec<Sweep> {
    let (purge, strand) = (db.clone(), db.clone());
    let files = files.clone();
    vec![
        Sweep::new("uploads.purge", SignedDuration::from_hours(1), move |now| {
            let (db, files) = (purge.clone(), files.clone());
            async move { swept(upload::purge_expired(&db, &files, now).await) }
        }),
        Sweep::new("imports.abandon", SignedDuration::from_mins(5), move |_| {
            let db = strand.clone();
            async move { swept(import::abandon_stranded(&db).await) }
        }),
    ]
}

fn swept(acted_on: Result<u64, Error>) -> Result<i32, &'static str> {
    acted_on.map(|count| i32::try_from(count).unwrap_or(i32::MAX)).map_err(|error| {
        let code = code(&error);
        tracing::error!(error = cause(&error), code, "sweep failed");
        code
    })
}

impl Handler for ImportMembers {
    fn run(&self, job: Claimed) -> BoxFuture<'static, Verdict> {
        let import = self.clone();
        async move {
            match import.work(&job).await {
                Ok(verdict) | Err(verdict) => verdict,
            }
        }
        .boxed()
    }

    fn bury(&self, job: Claimed, code: &'static str) -> Option<BoxFuture<'static, domain::error::Result<bool>>> {
        let db = self.db.clone();
        Some(async move { outbox::bury_claimed(&db, job, code).await }.boxed())
    }
}

impl ImportMembers {
    async fn work(self, job: &Claimed) -> Result<Verdict, Verdict> {
        let payload: Payload = job.read()?;
        let mut run = Run::new(self.db.clone(), self.files, self.limits, job, payload.import_id);
        while !self.shutdown.is_cancelled() {
            match run.step().await.map_err(|error| retry(&error))? {
                Step::Going => {}
                Step::Ended => return Ok(Verdict::Settled),
                Step::Nothing => return Ok(Verdict::Done),
            }
        }
        let given_back = async {
            let mut conn = self.db.pool.acquire().await?;
            outbox::put_back(&mut conn, &[(job.job_id, job.claim)]).await
        };
        given_back.await.map_err(|error| retry(&error.into()))?;
        Ok(Verdict::Settled)
    }
}

fn retry(error: &Error) -> Verdict {
    let code = code(error);
    tracing::warn!(error = cause(error), code, "an import stopped; it goes on later");
    Verdict::Retry { code, after: None }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Database(_) => "DATABASE",
        Error::ObjectStore(_) => "FILES",
        Error::Busy | Error::Stale => "BUSY",
        Error::Refused(_) | Error::Unauthenticated => "REFUSED",
    }
}

/// The error with what caused it, without rows: a refusal of the database names columns and constraints, and quotes values only
/// in its detail.
fn cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
