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
use crate::sweeps::{code, sweep};

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
    let files = files.clone();
    let purge = move |db: Db, now| {
        let files = files.clone();
        async move { upload::purge_expired(&db, &files, now).await }
    };
    let abandon = |db: Db, _| async move { import::abandon_stranded(&db).await };
    vec![
        sweep("uploads.purge", SignedDuration::from_hours(1), db, purge),
        sweep("imports.abandon", SignedDuration::from_mins(5), db, abandon),
    ]
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
    tracing::warn!(error = error as &dyn std::error::Error, code, "an import stopped; it goes on later");
    Verdict::Retry { code, after: None }
}
