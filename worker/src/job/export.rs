//! Exports: writes the file that somebody asked for, and deletes it when its time is over.

use std::sync::Arc;

use domain::error::Error;
use domain::export::{self, Halt, Kind, Order, Payload, Run, Taken};
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::job::{Claimed, JobKind, Verdict};
use domain::outbox;
use domain::sweep::Sweep;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::handler::{Handler, Registry};
use crate::sweeps::{code, sweep};

/// Files that a process writes at once: each has a connection to the database besides those of the pool.
pub const CONNECTIONS: u32 = 2;

/// How soon a file is written anew, where somebody in it was erased meanwhile.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// Writes files.
#[derive(Clone, Debug)]
struct MakeExport {
    db: Db,
    files: Files,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Adds the handlers of exports. On `shutdown` a file that is being written is given up and its job given back.
#[must_use]
pub fn register(registry: Registry, db: &Db, files: &Files, shutdown: &CancellationToken) -> Registry {
    let make = MakeExport {
        db: db.clone(),
        files: files.clone(),
        places: Arc::new(Semaphore::new(CONNECTIONS as usize)),
        shutdown: shutdown.clone(),
    };
    let (db, files) = (db.clone(), files.clone());
    registry.with(JobKind::MakeExport, make).with(JobKind::EraseExport, move |job: Claimed| {
        let (db, files) = (db.clone(), files.clone());
        async move {
            let payload: Payload = match job.read() {
                Ok(payload) => payload,
                Err(verdict) => return verdict,
            };
            match export::purge_one(&db, &files, AccountId(job.account_id), payload.export_id).await {
                Ok(()) => Verdict::Done,
                Err(error) => Verdict::Retry { code: code(&error), after: None },
            }
        }
    })
}

/// Deletes exports whose time is over.
pub fn sweep_of(db: &Db, files: &Files) -> Sweep {
    let files = files.clone();
    let purge = move |db: Db, now| {
        let files = files.clone();
        async move { export::purge_expired(&db, &files, now).await }
    };
    sweep("exports.purge", SignedDuration::from_hours(1), db, purge)
}

impl Handler for MakeExport {
    fn run(&self, job: Claimed) -> BoxFuture<'static, Verdict> {
        let make = self.clone();
        async move {
            match make.work(&job).await {
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

impl MakeExport {
    async fn work(self, job: &Claimed) -> Result<Verdict, Verdict> {
        let payload: Payload = job.read()?;
        let place = self.shutdown.run_until_cancelled(self.places.acquire()).await;
        let Some(_place) = place else { return self.give_back(job).await };
        let run = Run::new(self.db.clone(), self.files.clone(), job, payload.export_id);
        let order = match run.take().await.map_err(|error| retry(&error))? {
            Taken::Nothing => return Ok(Verdict::Done),
            Taken::Ended => return Ok(Verdict::Settled),
            Taken::Order(order) => order,
        };
        match self.write(&run, &order).await {
            Ok(()) => Ok(Verdict::Settled),
            Err(Halt::Superseded) => Ok(Verdict::Done),
            Err(Halt::Again) => Err(Verdict::Retry { code: "MEMBER_GONE", after: Some(SOON) }),
            Err(Halt::Stopped) => self.give_back(job).await,
            Err(Halt::Failed(error)) => Err(retry(&error)),
        }
    }

    async fn write(&self, run: &Run, order: &Order) -> Result<(), Halt> {
        match order.kind {
            Kind::Members => run.write_members(order, &self.shutdown).await,
            Kind::StatementPdf | Kind::StatementCsv => Err(Halt::Superseded),
        }
    }

    async fn give_back(&self, job: &Claimed) -> Result<Verdict, Verdict> {
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
    tracing::warn!(error = error as &dyn std::error::Error, code, "an export stopped; it is written anew later");
    Verdict::Retry { code, after: None }
}
