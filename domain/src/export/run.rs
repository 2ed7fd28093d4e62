//! An export at work: taken up, written to a file under a name of its own, and done in one transaction with its job.
//!
//! Each transaction holds the job's row under its claim, and the export must still carry that claim as its `run`: so of two workers that
//! think the job theirs only one is done, and whoever erases somebody in the file has it written anew by taking the `run` away.

use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::members::{Snapshot, header, sorted};
use super::{FILE_LIFETIME, Failure, Kind, State, end, folder, lock, scope};
use crate::account;
use crate::actor::{Grants, Origin};
use crate::change::{self, Change, persist};
use crate::error::{Error, Result};
use crate::id::{AccountId, ExportId, MemberId, UnitId};
use crate::infra::clock::Date;
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::{Files, WriteError};
use crate::job::Claimed;
use crate::member::Filter;
use crate::member::sight::Sight;
use crate::outbox;

/// What is to be written, for whom.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is in the file.
    pub kind: Kind,
    /// What it is about, unless that is the members.
    pub subject: Option<Uuid>,
    /// The day it is made on, where the account is.
    pub day: Date,
    filter: Filter,
    reader: MemberId,
    grants: Grants,
    key: String,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Nothing: the export is over or gone, or somebody else has it.
    Nothing,
    /// Nothing any more: the export has just ended without a file, and its job with it.
    Ended,
    /// This.
    Order(Box<Order>),
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The export is over or gone, or somebody else has it.
    #[error("somebody else has the export")]
    Superseded,
    /// Somebody in the file is gone meanwhile.
    #[error("somebody in the file is gone")]
    Again,
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// An export that this process writes, under the claim of its job.
#[derive(Clone, Debug)]
pub struct Run {
    db: Db,
    files: Files,
    account: AccountId,
    export: ExportId,
    job: (Uuid, Uuid),
    request_id: Option<String>,
}

impl Run {
    /// The export of a claimed job.
    pub fn new(db: Db, files: Files, job: &Claimed, export: ExportId) -> Self {
        let (account, request_id) = (AccountId(job.account_id), job.request_id.clone());
        Self { db, files, account, export, job: (job.job_id, job.claim), request_id }
    }

    /// A transaction that holds the job's row before it takes any other lock. None: somebody else has the job.
    async fn change(&self) -> Result<Option<Change>> {
        let origin = Origin { request_id: self.request_id.clone(), ..Origin::system() };
        let mut change = Change::begin(&self.db, self.account, change::Kind::System, origin, None).await?;
        change.take_long().await?;
        Ok(outbox::hold(change.conn(), self.job).await?.then_some(change))
    }

    /// Takes the export up, if whoever asked for it still may. What an earlier worker left of a file goes.
    pub async fn take(&self) -> Result<Taken> {
        let (taken, left) = persist(|| self.try_take()).await?;
        if let Some(left) = left {
            self.files.delete(&left).await?;
        }
        Ok(taken)
    }

    async fn try_take(&self) -> Result<(Taken, Option<String>)> {
        let nothing = Ok((Taken::Nothing, None));
        let Some(mut change) = self.change().await? else { return nothing };
        let Some(row) = lock(&mut change, self.export).await? else { return nothing };
        if matches!(row.state, State::Done | State::Failed) {
            return nothing;
        }
        let standing = change.standing_of(row.requested_by).await?;
        let Some((standing, units)) =
            standing.and_then(|held| scope(row.kind, &held.rights).map(|units| (held, units)))
        else {
            let ended = self.fail(change, Failure::NotPermitted).await?;
            return Ok((if ended { Taken::Ended } else { Taken::Nothing }, row.file_key));
        };
        let account = account::read(change.conn(), self.account).await?;
        let order = Order {
            kind: row.kind,
            subject: row.subject_id,
            day: Date::at(change.now(), &account.time_zone),
            filter: row.filter.map(|filter| filter.0).unwrap_or_default(),
            reader: row.requested_by,
            grants: standing.rights.grants.clone(),
            key: format!("{}/{}", folder(self.account, self.export), self.job.1.simple()),
        };
        self.begin(&mut change, &order, units).await?;
        change.commit().await?;
        Ok((Taken::Order(Box::new(order)), row.file_key))
    }

    async fn begin(&self, change: &mut Change, order: &Order, units: Option<Vec<UnitId>>) -> Result<()> {
        let now = change.now();
        let units: Option<Vec<Uuid>> = units.map(|units| units.into_iter().map(|unit| unit.0).collect());
        sqlx::query!(
            "DELETE FROM export_member WHERE account_id = $1 AND export_id = $2",
            self.account.0,
            self.export.0
        )
        .execute(change.conn())
        .await?;
        sqlx::query!(
            "UPDATE export SET state = 'RUNNING', run = $3, unit_ids = $4, file_key = $5, started_at = coalesce(started_at, $6),
                    rows_done = 0, rows_total = NULL
             WHERE account_id = $1 AND export_id = $2",
            self.account.0,
            self.export.0,
            self.job.1,
            units.as_deref(),
            order.key,
            now,
        )
        .execute(change.conn())
        .await?;
        Ok(())
    }

    /// Ends the export without a file, and its job with it. False: somebody else has it.
    async fn fail(&self, mut change: Change, failure: Failure) -> Result<bool> {
        if !end::fail(&mut change, self.export, failure).await?
            || outbox::finish(change.conn(), &[self.job]).await?.is_empty()
        {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    /// Ends the export because what it is about is gone.
    pub async fn give_up(&self) -> Result<(), Halt> {
        let given_up = persist(|| async {
            let Some(change) = self.change().await? else { return Ok(false) };
            self.fail(change, Failure::NothingLeft).await
        });
        if given_up.await? { Ok(()) } else { Err(Halt::Superseded) }
    }

    /// Writes the members that are wanted, and ends the export and its job.
    pub async fn write_members(&self, order: &Order, stop: &CancellationToken) -> Result<(), Halt> {
        let sight = Sight::with(self.account, order.reader, &order.grants);
        let mut snapshot = Snapshot::open(&self.db, sight, order.filter.clone()).await?;
        let total = snapshot.count().await?;
        let written = AtomicI32::new(0);
        let pages = stream::try_unfold(snapshot, |mut snapshot| async {
            if stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            let Some(page) = snapshot.next().await? else { return Ok(None) };
            let count = i32::try_from(page.ids.len()).expect("a page is small");
            let done = written.fetch_add(count, Ordering::Relaxed) + count;
            self.name(&page.ids, done, total).await?;
            fail_point!("export.after_page");
            Ok(Some((page.rows, snapshot)))
        });
        let body = stream::once(std::future::ready(Ok(header()))).chain(pages);
        let name = format!("members-{}.csv", order.day.0);
        self.store(order, &name, body, || written.load(Ordering::Relaxed)).await
    }

    /// Writes a file of `rows` rows that is there already, and ends the export and its job.
    pub async fn write_bytes(&self, order: &Order, file_name: &str, bytes: Bytes, rows: i32) -> Result<(), Halt> {
        let body = stream::once(std::future::ready(Ok(bytes)));
        self.store(order, file_name, body, || rows).await
    }

    /// Keeps who is about to be named in the file, before they are. Whoever deletes one of them waits for this, or has done so before.
    async fn name(&self, ids: &[MemberId], done: i32, total: i32) -> Result<(), Halt> {
        let ids = &sorted(ids);
        persist(|| self.try_name(ids, done, total)).await?
    }

    async fn try_name(&self, ids: &[Uuid], done: i32, total: i32) -> Result<Result<(), Halt>> {
        let Some(mut change) = self.change().await? else { return Ok(Err(Halt::Superseded)) };
        let there = sqlx::query_scalar!(
            "SELECT member_id FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR KEY SHARE",
            self.account.0,
            ids,
        )
        .fetch_all(change.conn())
        .await?;
        let running = sqlx::query!(
            "UPDATE export SET rows_done = $4, rows_total = $5
             WHERE account_id = $1 AND export_id = $2 AND run = $3 AND state = 'RUNNING'",
            self.account.0,
            self.export.0,
            self.job.1,
            done,
            total,
        )
        .execute(change.conn())
        .await?;
        if there.len() < ids.len() || running.rows_affected() == 0 {
            return Ok(Err(Halt::Again));
        }
        sqlx::query!(
            "INSERT INTO export_member (account_id, export_id, member_id) SELECT $1, $2, * FROM unnest($3::uuid[])",
            self.account.0,
            self.export.0,
            ids,
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        Ok(Ok(()))
    }

    async fn store(
        &self,
        order: &Order,
        file_name: &str,
        body: impl Stream<Item = Result<Bytes, Halt>> + Send,
        rows: impl Fn() -> i32 + Sync,
    ) -> Result<(), Halt> {
        let mut halted = None;
        let body = body.map(|chunk| chunk.map_err(|halt| halted = Some(halt)));
        let size = match self.files.write(&order.key, body, u64::MAX).await {
            Ok(size) => size,
            Err(WriteError::Store(error)) => return Err(Error::from(error).into()),
            Err(WriteError::Interrupted | WriteError::TooLarge) => return Err(halted.unwrap_or(Halt::Superseded)),
        };
        fail_point!("export.after_file");
        let rows = rows();
        let done = persist(|| self.try_finish(order.kind, file_name, size, rows)).await?;
        if done.is_err() {
            // Nothing leads to it.
            self.files.delete(&order.key).await.map_err(Error::from)?;
        }
        done
    }

    async fn try_finish(&self, kind: Kind, file_name: &str, size: u64, rows: i32) -> Result<Result<(), Halt>> {
        let Some(mut change) = self.change().await? else { return Ok(Err(Halt::Superseded)) };
        let now = change.now();
        let done = sqlx::query!(
            "UPDATE export SET state = 'DONE', file_name = $4, size_bytes = $5, rows_done = $6, rows_total = $6, finished_at = $7,
                    expires_at = $8
             WHERE account_id = $1 AND export_id = $2 AND run = $3 AND state = 'RUNNING'",
            self.account.0,
            self.export.0,
            self.job.1,
            file_name,
            i64::try_from(size).expect("no file is that long"),
            rows,
            now,
            now + FILE_LIFETIME,
        )
        .execute(change.conn())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Err(Halt::Again));
        }
        end::record(&mut change, self.export, kind, rows, None);
        if outbox::finish(change.conn(), &[self.job]).await?.is_empty() {
            return Ok(Err(Halt::Superseded));
        }
        change.commit().await?;
        Ok(Ok(()))
    }
}
