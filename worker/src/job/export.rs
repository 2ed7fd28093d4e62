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
use crate::statement;
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
        match self.write(&run, AccountId(job.account_id), &order).await {
            Ok(()) => Ok(Verdict::Settled),
            Err(Halt::Superseded) => Ok(Verdict::Done),
            Err(Halt::Again) => Err(Verdict::Retry { code: "MEMBER_GONE", after: Some(SOON) }),
            Err(Halt::Stopped) => self.give_back(job).await,
            Err(Halt::Failed(error)) => Err(retry(&error)),
        }
    }

    async fn write(&self, run: &Run, account: AccountId, order: &Order) -> Result<(), Halt> {
        match order.kind {
            Kind::Members => run.write_members(order, &self.shutdown).await,
            Kind::StatementPdf | Kind::StatementCsv => self.write_statement(run, account, order).await,
        }
    }

    async fn write_statement(&self, run: &Run, account: AccountId, order: &Order) -> Result<(), Halt> {
        let subject = order.subject.expect("checked by the table");
        let Some(issued) = export::read_statement(&self.db, account, subject).await? else {
            return run.give_up().await;
        };
        let rows = i32::try_from(issued.lines.len()).unwrap_or(i32::MAX);
        let name = issued.statement.number.map_or_else(|| "draft".to_owned(), |number| number.to_string());
        let statement = statement::of(issued)?;
        let (kind, ending) = (order.kind, if order.kind == Kind::StatementPdf { "pdf" } else { "csv" });
        // Not on the threads that wait for others.
        let drawn = tokio::task::spawn_blocking(move || match kind {
            Kind::StatementPdf => statement::pdf(&statement),
            _ => Ok(statement::csv(&statement)),
        });
        let bytes = drawn.await.map_err(failed)?.map_err(failed)?;
        run.write_bytes(order, &format!("statement-{name}.{ending}"), bytes.into(), rows).await
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

/// Tried again, as whatever fails: the next version of the program may draw it.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Halt {
    Halt::Failed(Error::Database(sqlx::Error::Decode(Box::new(error))))
}

fn retry(error: &Error) -> Verdict {
    let code = code(error);
    tracing::warn!(error = error as &dyn std::error::Error, code, "an export stopped; it is written anew later");
    Verdict::Retry { code, after: None }
}
