//! An import at work: a look through the whole file, then a batch of rows per transaction, until the file ends.
//!
//! Each transaction holds the job's row under its claim, so of two workers that think the job theirs only one writes; and it
//! stores where to go on together with what it did, so that wherever a worker stops, the next one does each row once.
//!
//! Where all rows are to take effect or none, the batches only look (and the import is not applied); then [`super::apply`] does all
//! of it in one transaction.

use tokio::io::AsyncRead;
use tokio::time::sleep;
use uuid::Uuid;

use super::Failure;
use super::batches::Batches;
use super::end::{self, Ending};
use super::existing;
use super::fate::Judged;
use super::file::{FileLimits, ReadError};
use super::options::Options;
use super::row::RowFault;
use super::shortage::Shortage;
use super::write::refresh_statistics;
use crate::actor::{Author, Origin};
use crate::change::{Change, Kind, is_transient, pause_after};
use crate::error::{Code, Error, Result};
use crate::id::{AccountId, ImportId, MemberId};
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::Files;
use crate::infra::metrics;
use crate::job::Claimed;
use crate::license::{self, Wanted};
use crate::outbox;
use crate::profile::FieldFault;

/// Rows of a transaction.
pub(super) const BATCH: usize = 500;
/// Seats are taken for so many batches like the one that lacks some: the transactions of rows leave the pool alone, so that nobody waits
/// for it.
const BATCHES_AHEAD: i32 = 4;
/// Seats taken by one transaction at most, where all are to be held.
const SEATS_AT_ONCE: i32 = 2_000;
/// Tries of a transaction that lost against another one.
pub(super) const ATTEMPTS: u32 = 10;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Going,
    /// The import has ended, and its job with it.
    Ended,
    /// There is nothing to do: the import had ended before, or somebody else has the job by now.
    Nothing,
}

/// Why a step did not go through.
pub(super) enum Halt {
    /// Somebody else has the job, or has ended the import.
    Superseded,
    /// The import ends here.
    Failed(Failure),
    /// Somebody asked for it to end here.
    Canceled,
    /// It may go on later.
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(list) if list.iter().any(|refused| refused.code == Code::AccountReadOnly) => {
                Self::Failed(Failure::AccountReadOnly)
            }
            Error::ObjectStore(object_store::Error::NotFound { .. }) => Self::Failed(Failure::FileLost),
            other => Self::Error(other),
        }
    }
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<object_store::Error> for Halt {
    fn from(error: object_store::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::File(fault, row) => Self::Failed(Failure::File(fault, row)),
            ReadError::Io(error) => {
                Error::ObjectStore(object_store::Error::Generic { store: "files", source: Box::new(error) }).into()
            }
        }
    }
}

/// An import that this process works, under the claim of its job.
pub struct Run {
    pub(super) db: Db,
    /// One connection for all transactions: it knows their statements, and how to check the foreign keys of what they write.
    writer: Db,
    pub(super) files: Files,
    pub(super) limits: FileLimits,
    pub(super) account: AccountId,
    pub(super) import: ImportId,
    pub(super) job: (Uuid, Uuid),
    request_id: Option<String>,
    pub(super) begun: Option<Begun>,
}

/// What is known once the file was looked at.
pub(super) struct Begun {
    pub(super) created_by: MemberId,
    pub(super) options: Options,
    pub(super) batches: Batches,
    pub(super) rows_left: i32,
    /// The row at which the batch begins, as stored.
    pub(super) next_row: i32,
    pub(super) seats_held: i32,
    /// Whether all rows took effect in one transaction already.
    pub(super) done: bool,
    /// Seats that the batch needs at most.
    pub(super) wanted: i32,
    /// Rows that were read and are not yet written.
    pub(super) batch: Vec<Judged>,
}

pub(super) type Source = Box<dyn AsyncRead + Send + Unpin>;

impl Run {
    /// The import of a claimed job.
    pub fn new(db: Db, files: Files, limits: FileLimits, job: &Claimed, import: ImportId) -> Self {
        Self {
            writer: db.with_own_connections(1),
            db,
            files,
            limits,
            account: AccountId(job.account_id),
            import,
            job: (job.job_id, job.claim),
            request_id: job.request_id.clone(),
            begun: None,
        }
    }

    /// Takes the next step: the look through the file, a batch of rows, or the end. After an error, and after any step, another
    /// run can go on.
    pub async fn step(&mut self) -> Result<Step> {
        let halt = match self.advance().await {
            Ok(step) => return Ok(step),
            Err(halt) => halt,
        };
        let ended = match halt {
            Halt::Failed(failure) => self.end(&Ending::Failed(failure)).await,
            Halt::Canceled => self.end(&Ending::Canceled).await,
            other => Err(other),
        };
        match ended {
            Ok(step) => Ok(step),
            Err(Halt::Superseded) => Ok(Step::Nothing),
            Err(Halt::Error(error)) => Err(error),
            Err(Halt::Failed(_) | Halt::Canceled) => {
                unreachable!("the end does not fail for the reasons that end an import")
            }
        }
    }

    async fn advance(&mut self) -> Result<Step, Halt> {
        if self.begun.is_none() {
            return self.begin().await;
        }
        if self.begun().done {
            return self.end(&Ending::Done).await;
        }
        self.read_batch().await?;
        if !self.begun().batch.is_empty() {
            self.write_batch().await?;
            return Ok(Step::Going);
        }
        let options = &self.begun().options;
        if options.all_or_nothing() && !options.dry_run {
            return self.apply().await;
        }
        self.end(&Ending::Done).await
    }

    pub(super) fn begun(&mut self) -> &mut Begun {
        self.begun.as_mut().expect("rows come after the look through the file")
    }

    /// A transaction for what the importer asked. It holds the job's row before it takes any other lock.
    pub(super) async fn change(&mut self, kind: Kind, author: Author) -> Result<Change, Halt> {
        let origin = Origin { author, request_id: self.request_id.clone(), network_address: None };
        let mut change = Change::begin(&self.writer, self.account, kind, origin, None).await?;
        change.take_long().await?;
        if outbox::hold(change.conn(), self.job).await? { Ok(change) } else { Err(Halt::Superseded) }
    }

    /// Takes the next batch, unless there is one whose writing failed.
    async fn read_batch(&mut self) -> Result<(), Halt> {
        let begun = self.begun();
        if !begun.batch.is_empty() {
            return Ok(());
        }
        match begun.batches.next().await {
            Ok(batch) => begun.batch = batch,
            Err(halt) => {
                // Whoever goes on opens the file anew.
                self.begun = None;
                return Err(halt);
            }
        }
        Ok(())
    }

    /// Writes the batch, again if it lost against another transaction.
    async fn write_batch(&mut self) -> Result<(), Halt> {
        let begun = self.begun();
        let first = begun.next_row == 0 && begun.options.at_once();
        self.persist_batch().await?;
        if first && self.begun().rows_left > 0 {
            refresh_statistics(&mut *self.db.pool.acquire().await?).await?;
        }
        Ok(())
    }

    async fn persist_batch(&mut self) -> Result<(), Halt> {
        for attempt in 1..=ATTEMPTS {
            match self.try_write_batch().await {
                Err(Halt::Error(error)) if is_transient(&error) => sleep(pause_after(attempt)).await,
                written_or_final => return written_or_final,
            }
        }
        Err(Error::Busy.into())
    }

    async fn try_write_batch(&mut self) -> Result<(), Halt> {
        self.take_seats().await?;
        fail_point!("import.after_seats");
        let written = self.commit_batch().await?;
        fail_point!("import.after_batch");
        let begun = self.begun();
        begun.rows_left -= to_i32(begun.batch.len());
        begun.next_row = written.next_row;
        if begun.options.at_once() {
            begun.seats_held -= written.tally.invited;
        }
        begun.batch.clear();
        Ok(())
    }

    /// Takes seats ahead when those held do not suffice for the batch, as far as there are any.
    async fn take_seats(&mut self) -> Result<(), Halt> {
        if !self.begun().options.at_once() {
            return Ok(());
        }
        let wanted = self.look_up_wanted().await?;
        let begun = self.begun();
        begun.wanted = wanted;
        if begun.seats_held >= wanted {
            return Ok(());
        }
        let batch = to_i32(begun.batch.len());
        let batches = ((begun.rows_left + batch - 1) / batch).clamp(1, BATCHES_AHEAD);
        let ahead = (wanted * batches).clamp(wanted, begun.rows_left.max(wanted)) - begun.seats_held;
        self.take_ahead(ahead).await
    }

    /// Seats that the batch needs at most. If those held might not do, it is looked up who is there already: a file that was imported
    /// before takes seats from nobody.
    async fn look_up_wanted(&mut self) -> Result<i32, Halt> {
        let begun = self.begun();
        // What is required is no fault of a row whose person has it, from an invitation that has lapsed.
        let excused = |fault: &RowFault| fault.code == FieldFault::Required;
        let good = begun.batch.iter().filter(|judged| judged.checked.faults.iter().all(excused));
        let emails: Vec<String> =
            good.filter_map(|judged| judged.checked.email.as_ref()).map(|email| email.as_str().to_owned()).collect();
        if begun.seats_held >= to_i32(emails.len()) {
            return Ok(to_i32(emails.len()));
        }
        let author = Author::Member(begun.created_by);
        let mut change = self.change(Kind::Asked, author).await?;
        Ok(existing::count_new(&mut change, &emails).await?)
    }

    /// Takes seats, as far as there are any, in a transaction of its own.
    async fn take_ahead(&mut self, ahead: i32) -> Result<(), Halt> {
        let author = Author::Member(self.begun().created_by);
        let mut change = self.change(Kind::Asked, author).await?;
        let taken = license::take(&mut change, Wanted::UpTo(ahead)).await?;
        let held = sqlx::query_scalar!(
            "UPDATE member_import SET seats_held = seats_held + $3
             WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' RETURNING seats_held",
            self.account.0,
            self.import.0,
            taken,
        )
        .fetch_optional(change.conn())
        .await?
        .ok_or(Halt::Superseded)?;
        change.commit().await?;
        self.begun().seats_held = held;
        Ok(())
    }

    /// Holds as many seats as are `required`, taken step by step so that nobody waits long for the pool.
    ///
    /// # Errors
    /// [`Failure::SeatShortage`]; what was taken goes back at the end.
    pub(super) async fn hold_all(&mut self, required: i32) -> Result<(), Halt> {
        while self.begun().seats_held < required {
            let before = self.begun().seats_held;
            self.persist_ahead((required - before).min(SEATS_AT_ONCE)).await?;
            if self.begun().seats_held == before {
                return Err(Halt::Failed(self.lacks(required, required - before).await?));
            }
        }
        Ok(())
    }

    async fn lacks(&mut self, required: i32, missing: i32) -> Result<Failure, Halt> {
        let mut conn = self.db.pool.acquire().await?;
        let now = self.db.now_on(&mut conn).await?;
        let shortage = Shortage::of(&self.db, &mut conn, self.account, now, missing).await?;
        Ok(Failure::SeatShortage { required, shortage })
    }

    async fn persist_ahead(&mut self, ahead: i32) -> Result<(), Halt> {
        for attempt in 1..=ATTEMPTS {
            match self.take_ahead(ahead).await {
                Err(Halt::Error(error)) if is_transient(&error) => sleep(pause_after(attempt)).await,
                taken_or_final => return taken_or_final,
            }
        }
        Err(Error::Busy.into())
    }

    /// Ends the import, and its job with it.
    async fn end(&mut self, ending: &Ending) -> Result<Step, Halt> {
        for attempt in 1..=ATTEMPTS {
            match self.try_end(ending).await {
                Err(Halt::Error(error)) if is_transient(&error) => sleep(pause_after(attempt)).await,
                ended_or_final => return ended_or_final,
            }
        }
        Err(Error::Busy.into())
    }

    async fn try_end(&mut self, ending: &Ending) -> Result<Step, Halt> {
        // Also in an account that is read-only by now.
        let mut change = self.change(Kind::System, Author::System).await?;
        if !end::close(&mut change, self.import, ending).await? {
            return Err(Halt::Superseded);
        }
        if outbox::finish(change.conn(), &[self.job]).await?.is_empty() {
            return Err(Halt::Superseded);
        }
        fail_point!("import.before_end");
        change.commit().await?;
        metrics::import_ended(ending.outcome());
        Ok(Step::Ended)
    }
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).expect("a batch is small")
}
