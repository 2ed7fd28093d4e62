//! Uploads, and the import of members from them.

pub mod manage;
pub mod row;
pub mod template;

use std::time::Duration;

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, Interface, Result, SimpleObject};
use domain::actor::{Action, Actor, Target};
use domain::id::{ImportId, MemberId};
use domain::import::column::{Delimiter, LineEnd};
use domain::import::encoding::Encoding;
use domain::import::link::File;
use domain::import::{self, FailureCode, Shortage};
use domain::infra::db::Db;
use domain::infra::page::{Arguments, Request};

pub use self::manage::ImportMutation;
use self::row::{ImportRow, ImportRowFilter};
use super::connection::{arguments, connection};
use super::context::ContextExt as _;
use super::cost;
use super::error::{failed, top_level};
use super::export::{self, Export};
use super::invitation::ErrorPolicy;
use super::member::{Member, reference};
use super::money::Money;
use super::progress::Progress;
use super::scalar::{DateTime, Url};
use crate::state::State;

/// Where a job stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "import::State")]
pub enum JobStatus {
    /// Waits for the worker.
    Queued,
    /// The worker is at it.
    Running,
    /// Done.
    Finished,
    /// Ended early; `errorCode` says why.
    Failed,
    /// Somebody ended it early.
    Canceled,
}

macro_rules! job_error_codes {
    ($($name:ident $code:literal $sentence:literal)*) => {
        /// Why a job ended early.
        #[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
        #[graphql(remote = "FailureCode")]
        pub enum JobErrorCode { $(#[doc = $sentence] #[graphql(name = $code)] $name,)* }
    };
}

domain::with_import_failures!(job_error_codes);

/// How far a job is.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct JobProgress {
    /// Steps done.
    pub(super) done: i32,
    /// Steps in all; null while that is unknown.
    pub(super) total: Option<i32>,
}

/// Long work that the worker does.
#[derive(Interface, Clone, Debug)]
#[expect(clippy::duplicated_attributes, reason = "two fields have the same type")]
#[graphql(
    field(name = "id", ty = "&ID", desc = "Opaque id."),
    field(name = "status", ty = "&JobStatus", desc = "Where it stands."),
    field(name = "progress", ty = "&JobProgress", desc = "How far it is."),
    field(name = "started_at", ty = "&Option<DateTime>", desc = "When the worker began."),
    field(name = "finished_at", ty = "&Option<DateTime>", desc = "When it ended."),
    field(name = "error_code", ty = "&Option<JobErrorCode>", desc = "Why it ended early, for programs.")
)]
pub enum Job {
    /// An import of members.
    MemberImport(Box<MemberImport>),
    /// A file that is made for somebody.
    Export(Box<Export>),
}

/// How the text of a file is written.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Encoding")]
pub enum FileEncoding {
    /// UTF-8, of which ASCII is a part.
    #[graphql(name = "UTF_8")]
    Utf8,
    /// UTF-16, the lower byte first.
    #[graphql(name = "UTF_16LE")]
    Utf16Le,
    /// UTF-16, the higher byte first.
    #[graphql(name = "UTF_16BE")]
    Utf16Be,
    /// Windows-1252, of which ISO 8859-1 is nearly a part.
    #[graphql(name = "WINDOWS_1252")]
    Windows1252,
}

/// What separates the cells of a file.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Delimiter")]
pub enum FileDelimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tabulator.
    Tab,
}

/// What ends the lines of a file.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "LineEnd")]
pub enum FileLineEnd {
    /// A line feed.
    #[graphql(name = "LF")]
    Lf,
    /// A carriage return and a line feed.
    #[graphql(name = "CRLF")]
    CrLf,
    /// A carriage return.
    #[graphql(name = "CR")]
    Cr,
}

/// How a file is written, as it was found out by looking through it.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct ImportFormat {
    /// How its text is written.
    encoding: FileEncoding,
    /// Whether it begins with the mark of its encoding.
    byte_order_mark: bool,
    /// What separates its cells.
    delimiter: FileDelimiter,
    /// What most of its lines end with; null where there is one line only.
    line_end: Option<FileLineEnd>,
}

impl ImportFormat {
    fn of(import: &import::MemberImport) -> Option<Self> {
        Some(Self {
            encoding: import.encoding?.into(),
            byte_order_mark: import.byte_order_mark?,
            delimiter: import.delimiter?.into(),
            line_end: import.line_end.map(Into::into),
        })
    }
}

/// Seats for the new members of a file, as far as its rows were looked at.
#[derive(SimpleObject, Clone, Copy, Debug)]
#[graphql(complex)]
pub struct ImportSeats {
    /// For all new members.
    required: i32,
    /// Free when the worker began.
    available: i32,
    /// How many are missing; 0 if they suffice.
    missing: i32,
}

#[ComplexObject]
impl ImportSeats {
    /// What adding the missing ones would cost now, with tax; null when none is missing, or nobody can add them. `licenseQuoteCreate` says
    /// what is charged.
    async fn cost(&self, ctx: &Context<'_>) -> Option<Result<Money>> {
        if self.missing == 0 {
            return None;
        }
        let read = async {
            let (actor, db) = (ctx.actor()?, &ctx.state().db);
            let mut conn = db.pool.acquire().await.map_err(failed)?;
            let shortage = Shortage::of(db, &mut conn, actor.account_id, actor.now, self.missing);
            Ok(shortage.await.map_err(top_level)?.cost.map(Money::from))
        };
        read.await.transpose()
    }
}

impl From<import::Seats> for ImportSeats {
    fn from(seats: import::Seats) -> Self {
        Self { required: seats.required, available: seats.available, missing: seats.missing }
    }
}

/// An import of members from a CSV file. Rows are handled in the file's order, each exactly once.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct MemberImport {
    #[graphql(skip)]
    import_id: ImportId,
    #[graphql(skip)]
    stage: import::Stage,
    #[graphql(skip)]
    creator: MemberId,
    /// Opaque id.
    pub id: ID,
    /// Where it stands.
    status: JobStatus,
    /// How far it is, in rows.
    progress: JobProgress,
    /// Whether it only says what would happen.
    dry_run: bool,
    /// Whether the people get a mail; without one they can be sent their invitations later.
    send_welcome_email: bool,
    /// Whether members who are there are brought up to date.
    update_existing: bool,
    /// Whether all seats had to be there before the first row.
    require_seats: bool,
    /// What becomes of the good rows when others have faults.
    error_policy: ErrorPolicy,
    /// Whether the counted rows took effect: not in a dry run, nor before all of them do at one moment. Until then the counts say
    /// what would become of them.
    applied: bool,
    /// How the file is written, as it was found out; null until then.
    format: Option<ImportFormat>,
    /// Seats for the new members; null until the worker has looked at the file.
    seats: Option<ImportSeats>,
    /// Names of columns of the file that are not imported, as they stand there, cut at 200 characters; none before the worker began,
    /// and 7 days after the import.
    ignored_columns: Vec<String>,
    /// Rows that become invited members.
    rows_invited: i32,
    /// Rows that change members.
    rows_updated: i32,
    /// Rows that say what is stored.
    rows_unchanged: i32,
    /// Rows with faults, of which nothing becomes.
    rows_rejected: i32,
    /// When somebody asked for it to end early.
    cancel_requested_at: Option<DateTime>,
    /// When it was asked for.
    created_at: DateTime,
    /// When the worker began.
    started_at: Option<DateTime>,
    /// When it ended.
    finished_at: Option<DateTime>,
    /// Why it ended early, for programs.
    error_code: Option<JobErrorCode>,
    /// Why it ended early and what to do, for people.
    error_message: Option<String>,
    /// The row of the file at which a fault of the whole was found; the header is row 1 unless something comes before it.
    error_row: Option<i32>,
}

impl From<import::MemberImport> for MemberImport {
    fn from(import: import::MemberImport) -> Self {
        let progress = import.progress();
        Self {
            import_id: import.import_id,
            stage: import.stage(),
            creator: import.created_by,
            id: import.import_id.to_string().into(),
            status: import.state.into(),
            progress: JobProgress { done: progress.done, total: progress.total },
            dry_run: import.dry_run,
            send_welcome_email: import.send_welcome_email,
            update_existing: import.update_existing,
            require_seats: import.require_seats,
            error_policy: if import.all_or_nothing { ErrorPolicy::AllOrNothing } else { ErrorPolicy::Partial },
            applied: import.applied,
            format: ImportFormat::of(&import),
            seats: import.seats().map(Into::into),
            ignored_columns: import.ignored_columns,
            rows_invited: import.rows_invited,
            rows_updated: import.rows_updated,
            rows_unchanged: import.rows_unchanged,
            cancel_requested_at: import.cancel_requested_at.map(Into::into),
            error_row: import.error_row,
            rows_rejected: import.rows_rejected,
            created_at: import.created_at.into(),
            started_at: import.started_at.map(Into::into),
            finished_at: import.finished_at.map(Into::into),
            // One of a later version is null; the message says what it means.
            error_code: import.error_code.and_then(|code| code.parse::<FailureCode>().ok()).map(Into::into),
            error_message: import.error_message,
        }
    }
}

#[ComplexObject]
impl MemberImport {
    /// Who started it.
    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, Some(self.creator)).await
    }

    /// An address at which the rows with faults can be fetched for ten minutes, while the viewer may see imports: the file's own
    /// columns in its order, then `error_code`, `error_column` and `error`. Mended, it can be uploaded as it is. With ALL_OR_NOTHING none
    /// of the rows took effect: then those without faults are in it as well, but for a dry run. Null if no row has faults, and once the uploaded file is deleted, 7 days after the import was started.
    async fn failed_rows_url(&self, ctx: &Context<'_>) -> Option<Result<Url>> {
        if self.rows_rejected == 0 {
            return None;
        }
        let read = async {
            let (actor, db) = (ctx.actor()?, &ctx.state().db);
            let mut conn = db.pool.acquire().await.map_err(failed)?;
            let there = import::has_file(&mut conn, actor.account_id, self.import_id).await.map_err(failed)?;
            Ok(there.then(|| template::link(ctx, actor, File::FailedRows(self.import_id))))
        };
        read.await.transpose()
    }

    /// What becomes of each row, in the order of the file.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn rows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all unless given.")] filter: Option<ImportRowFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, ImportRow>>> {
        let read = async {
            let actor = ctx.actor()?;
            let request = Request::new(&arguments(first, after, last, before), import::ROWS).map_err(top_level)?;
            let db = &ctx.state().db;
            let mut conn = db.pool.acquire().await.map_err(failed)?;
            let filter = filter.unwrap_or_default().into_rows()?;
            let page =
                import::rows(db, &mut conn, actor, self.import_id, (&filter, &request)).await.map_err(top_level)?;
            Ok(connection(page, ImportRow::from))
        };
        Some(read.await)
    }
}

impl Progress for MemberImport {
    type Id = ImportId;
    type Stage = import::Stage;
    // Nothing wakes its followers where it only looks at rows.
    const BETWEEN_LOOKS: Option<Duration> = Some(Duration::from_millis(500));

    async fn look(state: &State, actor: &Actor, id: ImportId) -> Result<Option<Self>> {
        Ok(of(&state.db, actor, &[id]).await?.pop())
    }

    fn stage(&self) -> import::Stage {
        self.stage
    }

    fn has_ended(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// Reads an import. Needs `imports.read` or `imports.run`.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<MemberImport>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadImports, Target::Account).map_err(top_level)?;
    let Ok(id) = id.parse::<ImportId>() else { return Ok(None) };
    Ok(read_many(ctx, &[id]).await?.pop())
}

/// Reads long work by its id.
pub async fn job(ctx: &Context<'_>, id: &ID) -> Result<Option<Job>> {
    if let Some(export) = export::read(ctx, id).await? {
        return Ok(Some(Job::Export(Box::new(export))));
    }
    // An unknown id of an export is answered as any other that is unknown.
    Ok(read(ctx, id).await?.map(|import| Job::MemberImport(Box::new(import))))
}

/// Reads imports by their ids; none when the viewer may not read imports.
pub async fn read_many(ctx: &Context<'_>, ids: &[ImportId]) -> Result<Vec<MemberImport>> {
    of(&ctx.state().db, ctx.actor()?, ids).await
}

/// Reads imports as an actor may see them.
async fn of(db: &Db, actor: &Actor, ids: &[ImportId]) -> Result<Vec<MemberImport>> {
    let mut conn = db.pool.acquire().await.map_err(failed)?;
    let imports = import::read_many(&mut conn, actor, ids).await.map_err(failed)?;
    Ok(imports.into_iter().map(MemberImport::from).collect())
}

/// Imports of the viewer's account, the newest first. Needs `imports.read` or `imports.run`.
pub async fn page(ctx: &Context<'_>, arguments: &Arguments) -> Result<Connection<String, MemberImport>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadImports, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, import::IMPORTS).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = import::list(&mut conn, actor, &request).await.map_err(failed)?;
    Ok(connection(page, MemberImport::from))
}
