//! An import at work: one look through the whole file, then a batch of rows per transaction, until the file ends.
//!
//! Each transaction holds the job's row under its claim, so of two workers that think the job theirs only one writes; and it
//! stores where to go on together with what it did, so that wherever a worker stops, the next one does each row once.

use tokio::io::AsyncRead;
use tokio::time::sleep;
use uuid::Uuid;

use super::batch::Judged;
use super::duplicates::SeenAddresses;
use super::file::{self, FileLimits, MemberFile, ReadError, Resume};
use super::row::{judge, shown};
use super::{Failure, State, end};
use crate::account;
use crate::actor::{Author, Origin};
use crate::change::{Change, Kind, is_transient, pause_after};
use crate::error::{Code, Error, Result};
use crate::id::{AccountId, ImportId, MemberId, UploadId};
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::Files;
use crate::infra::metrics;
use crate::job::Claimed;
use crate::license::{self, Wanted};
use crate::outbox;
use crate::upload::{self, Stored};

/// Rows of a transaction.
const BATCH: usize = 200;
/// Seats taken ahead at most. The transactions of rows leave the pool alone, so that nobody waits for it.
const SEATS_AHEAD: i32 = 2_000;
/// Tries of a transaction that lost against another one.
const ATTEMPTS: u32 = 10;

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
            ReadError::File(fault) => Self::Failed(Failure::File(fault)),
            ReadError::Io(error) => {
                Error::ObjectStore(object_store::Error::Generic { store: "files", source: Box::new(error) }).into()
            }
        }
    }
}

/// An import that this process works, under the claim of its job.
pub struct Run {
    pub(super) db: Db,
    files: Files,
    limits: FileLimits,
    pub(super) account: AccountId,
    pub(super) import: ImportId,
    pub(super) job: (Uuid, Uuid),
    request_id: Option<String>,
    begun: Option<Begun>,
}

/// What is known once the file was looked at. It can be sent to another thread but not shared: a file is read by one.
pub(super) struct Begun {
    pub(super) created_by: MemberId,
    pub(super) send: bool,
    file: MemberFile<Source>,
    seen: SeenAddresses,
    rows_left: i32,
    /// The row at which the batch begins, as stored.
    pub(super) next_row: i32,
    pub(super) seats_held: i32,
    /// Rows that were read and are not yet written.
    pub(super) batch: Vec<Judged>,
}

type Source = Box<dyn AsyncRead + Send + Unpin>;

/// An import as it is stored when a worker takes it up.
struct Head {
    upload_id: UploadId,
    created_by: MemberId,
    send_welcome_email: bool,
    state: State,
    next_row: i32,
    next_offset: i64,
    rows_total: Option<i32>,
    rows_done: i32,
    seats_held: i32,
}

impl Run {
    /// The import of a claimed job.
    pub fn new(db: Db, files: Files, limits: FileLimits, job: &Claimed, import: ImportId) -> Self {
        Self {
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
            Halt::Failed(failure) => self.end(Some(&failure)).await,
            other => Err(other),
        };
        match ended {
            Ok(step) => Ok(step),
            Err(Halt::Superseded) => Ok(Step::Nothing),
            Err(Halt::Error(error)) => Err(error),
            Err(Halt::Failed(_)) => unreachable!("the end does not fail for the reasons that end an import"),
        }
    }

    async fn advance(&mut self) -> Result<Step, Halt> {
        if self.begun.is_none() {
            return self.begin().await;
        }
        self.read_batch().await?;
        if self.begun().batch.is_empty() {
            return self.end(None).await;
        }
        self.write_batch().await?;
        Ok(Step::Going)
    }

    pub(super) fn begun(&mut self) -> &mut Begun {
        self.begun.as_mut().expect("rows come after the look through the file")
    }

    /// A transaction for what the importer asked. It holds the job's row before it takes any other lock.
    pub(super) async fn change(&mut self, kind: Kind, author: Author) -> Result<Change, Halt> {
        let origin = Origin { author, request_id: self.request_id.clone(), network_address: None };
        let mut change = Change::begin(&self.db, self.account, kind, origin, None).await?;
        change.take_long().await?;
        if outbox::hold(change.conn(), self.job).await? { Ok(change) } else { Err(Halt::Superseded) }
    }

    async fn begin(&mut self) -> Result<Step, Halt> {
        let mut conn = self.db.pool.acquire().await?;
        let head = head(&mut conn, self.account, self.import).await?;
        let Some(head) = head.filter(|head| matches!(head.state, State::Queued | State::Running)) else {
            return Ok(Step::Nothing);
        };
        let stored = upload::find_file(&mut conn, self.account, head.upload_id).await?;
        drop(conn);
        let stored = stored.ok_or(Halt::Failed(Failure::FileLost))?;
        let rows_total = match head.rows_total {
            Some(total) => total,
            None => self.survey(&head, &stored).await?,
        };
        let (file, seen) = self.open(&head, &stored).await?;
        self.begun = Some(Begun {
            created_by: head.created_by,
            send: head.send_welcome_email,
            file,
            seen,
            rows_left: rows_total - head.rows_done,
            next_row: head.next_row,
            seats_held: head.seats_held,
            batch: Vec::new(),
        });
        Ok(Step::Going)
    }

    /// Looks through the whole file before anything of it is imported.
    async fn survey(&mut self, head: &Head, stored: &Stored) -> Result<i32, Halt> {
        let survey = file::survey(self.source(stored, 0).await?, self.limits).await?;
        let total = i32::try_from(survey.records).expect("bounded by the limit on rows");
        let ignored: Vec<String> = survey.header.unknown_names().map(shown).collect();
        let mut change = self.change(Kind::Asked, Author::Member(head.created_by)).await?;
        let now = change.now();
        sqlx::query!(
            "UPDATE member_import SET state = 'RUNNING', started_at = $3, rows_total = $4, ignored_columns = $5
             WHERE account_id = $1 AND import_id = $2 AND state = 'QUEUED'",
            self.account.0,
            self.import.0,
            now,
            total,
            &ignored,
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        fail_point!("import.after_survey");
        Ok(total)
    }

    /// Opens the file where to go on, with the addresses before.
    async fn open(&mut self, head: &Head, stored: &Stored) -> Result<(MemberFile<Source>, SeenAddresses), Halt> {
        let file = MemberFile::open(self.source(stored, 0).await?, self.limits).await?;
        if head.next_row == 0 {
            return Ok((file, SeenAddresses::default()));
        }
        let row = u32::try_from(head.next_row).expect("a row of a file");
        let offset = u64::try_from(head.next_offset).expect("a place in a file");
        let seen = SeenAddresses::before(row, self.source(stored, 0).await?, self.limits).await?;
        let resume = Resume { offset, row, ..file.position() };
        let file = MemberFile::resume(self.source(stored, offset).await?, resume, self.limits);
        Ok((file.map_err(ReadError::from)?, seen))
    }

    async fn source(&mut self, stored: &Stored, offset: u64) -> Result<Source, Halt> {
        Ok(Box::new(upload::open_stream(&self.files, stored, offset).await?))
    }

    /// Reads rows and checks each by itself.
    async fn read_batch(&mut self) -> Result<(), Halt> {
        let account = self.account;
        let domains = account::read(&mut *self.db.pool.acquire().await?, account).await?.policy.domains(&self.db);
        let begun = self.begun();
        while begun.batch.len() < BATCH
            && let Some(record) = begun.file.next().await?
        {
            let repeated = begun.seen.note(&record);
            let verdict = judge(&record, &domains, repeated);
            begun.batch.push(Judged { row: record.row, end: record.end, verdict });
        }
        Ok(())
    }

    /// Writes the batch, again if it lost against another transaction.
    async fn write_batch(&mut self) -> Result<(), Halt> {
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
        begun.rows_left -= i32::try_from(begun.batch.len()).expect("a batch is small");
        begun.next_row = written.next_row;
        begun.seats_held -= written.invited;
        begun.batch.clear();
        Ok(())
    }

    /// Takes seats ahead when those held do not suffice for the batch, as far as there are any.
    async fn take_seats(&mut self) -> Result<(), Halt> {
        let begun = self.begun();
        let wanted = begun.batch.iter().filter(|judged| judged.verdict.is_ok()).count();
        let wanted = i32::try_from(wanted).expect("a batch is small");
        if begun.seats_held >= wanted {
            return Ok(());
        }
        let ahead = begun.rows_left.clamp(wanted, SEATS_AHEAD) - begun.seats_held;
        let author = Author::Member(begun.created_by);
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

    /// Ends the import, and its job with it.
    async fn end(&mut self, failure: Option<&Failure>) -> Result<Step, Halt> {
        for attempt in 1..=ATTEMPTS {
            match self.try_end(failure).await {
                Err(Halt::Error(error)) if is_transient(&error) => sleep(pause_after(attempt)).await,
                ended_or_final => return ended_or_final,
            }
        }
        Err(Error::Busy.into())
    }

    async fn try_end(&mut self, failure: Option<&Failure>) -> Result<Step, Halt> {
        // Also in an account that is read-only by now.
        let mut change = self.change(Kind::System, Author::System).await?;
        if !end::close(&mut change, self.import, failure).await? {
            return Err(Halt::Superseded);
        }
        if outbox::finish(change.conn(), &[self.job]).await?.is_empty() {
            return Err(Halt::Superseded);
        }
        fail_point!("import.before_end");
        change.commit().await?;
        metrics::import_ended(failure.is_none());
        Ok(Step::Ended)
    }
}

async fn head(conn: &mut sqlx::PgConnection, account: AccountId, import: ImportId) -> sqlx::Result<Option<Head>> {
    sqlx::query_as!(
        Head,
        r#"SELECT upload_id AS "upload_id: UploadId", created_by AS "created_by: MemberId", send_welcome_email, state AS "state: State",
                  next_row, next_offset, rows_total, rows_done, seats_held
           FROM member_import WHERE account_id = $1 AND import_id = $2"#,
        account.0,
        import.0,
    )
    .fetch_optional(conn)
    .await
}
