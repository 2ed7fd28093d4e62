//! Imports of members: works the file of an import until it ends, or this process does.

use domain::error::Error;
use domain::import::file::FileLimits;
use domain::import::{self, Payload, Run, SendPayload, Sending, Step};
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
    let handler = ImportMembers { db: db.clone(), files, limits: FileLimits::from(limits), shutdown: shutdown.clone() };
    let registry = registry.with(JobKind::ImportMembers, handler);
    registry.with(JobKind::SendImportInvitations, move |job: Claimed| {
        let (db, shutdown) = (db.clone(), shutdown.clone());
        async move {
            match send(db, &shutdown, &job).await {
                Ok(verdict) | Err(verdict) => verdict,
            }
        }
    })
}

/// Sends the invitations of an import, batch by batch.
async fn send(db: Db, shutdown: &CancellationToken, job: &Claimed) -> Result<Verdict, Verdict> {
    let payload: SendPayload = job.read()?;
    let mut sending = Sending::new(db.clone(), job, payload);
    while !shutdown.is_cancelled() {
        match sending.step().await.map_err(|error| retry(&error))? {
            Step::Going => {}
            Step::Ended => return Ok(Verdict::Settled),
            Step::Nothing => return Ok(Verdict::Done),
        }
    }
    give_back(&db, job).await
}

/// Another process goes on with the job at once.
async fn give_back(db: &Db, job: &Claimed) -> Result<Verdict, Verdict> {
    let given_back = async {
        let mut conn = db.pool.acquire().await?;
        outbox::put_back(&mut conn, &[(job.job_id, job.claim)]).await
    };
    given_back.await.map_err(|error| retry(&error.into()))?;
    Ok(Verdict::Settled)
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
        give_back(&self.db, job).await
    }
}

fn retry(error: &Error) -> Verdict {
    let code = code(error);
    tracing::warn!(error = error as &dyn std::error::Error, code, "work on an import stopped; it goes on later");
    Verdict::Retry { code, after: None }
}
