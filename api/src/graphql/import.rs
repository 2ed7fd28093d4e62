//! Uploads, and the import of members from them.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Interface, Object, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::change::Kind;
use domain::id::{ImportId, MemberId, UploadId};
use domain::import::{self, FailureCode};
use domain::infra::page::Request;
use domain::profile::FieldFault;
use domain::upload;

use super::connection::{arguments, connection};
use super::context::{ContextExt as _, mutate, parse_id};
use super::cost;
use super::error::{failed, top_level};
use super::export::{self, Export};
use super::member::{Member, reference};
use super::scalar::{DateTime, Url};
use super::user_error::{UserError, split};

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

/// An import of members from a CSV file. Rows are handled in the file's order, each exactly once.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct MemberImport {
    #[graphql(skip)]
    import_id: ImportId,
    #[graphql(skip)]
    creator: MemberId,
    /// Opaque id.
    pub id: ID,
    /// Where it stands.
    status: JobStatus,
    /// How far it is, in rows.
    progress: JobProgress,
    /// Whether the people get a mail; without one they can be sent their invitations later.
    send_welcome_email: bool,
    /// Names of columns of the file that are not imported, as they stand there, cut at 200 characters; none before the worker began,
    /// and 7 days after the import.
    ignored_columns: Vec<String>,
    /// Rows that became invited members.
    rows_invited: i32,
    /// Rows that did not.
    rows_rejected: i32,
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
}

impl From<import::MemberImport> for MemberImport {
    fn from(import: import::MemberImport) -> Self {
        let progress = import.progress();
        Self {
            import_id: import.import_id,
            creator: import.created_by,
            id: import.import_id.to_string().into(),
            status: import.state.into(),
            progress: JobProgress { done: progress.done, total: progress.total },
            send_welcome_email: import.send_welcome_email,
            ignored_columns: import.ignored_columns,
            rows_invited: import.rows_invited,
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

    /// What became of each row, in the order of the file.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn rows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all unless given.")] outcome: Option<ImportRowOutcome>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, ImportRow>>> {
        let read = async {
            let actor = ctx.actor()?;
            let request = Request::new(&arguments(first, after, last, before), import::ROWS).map_err(top_level)?;
            let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
            let outcome = outcome.map(Into::into);
            let page = import::rows(&mut conn, actor, self.import_id, outcome, &request).await.map_err(failed)?;
            Ok(connection(page, ImportRow::from))
        };
        Some(read.await)
    }
}

/// What became of a row.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "import::Outcome")]
pub enum ImportRowOutcome {
    /// The person is an invited member.
    Invited,
    /// Nothing was done; the errors say why.
    Rejected,
}

/// A row of an imported file.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct ImportRow {
    #[graphql(skip)]
    member_id: Option<MemberId>,
    /// The row as a spreadsheet shows it: the header is row 1.
    row: i32,
    /// What became of it.
    outcome: ImportRowOutcome,
    /// What is wrong with it.
    errors: Vec<ImportRowError>,
}

#[ComplexObject]
impl ImportRow {
    /// The member it became; null when it was rejected or the member is gone.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.member_id).await
    }
}

macro_rules! row_error_codes {
    ($($name:ident $code:literal $sentence:literal)*) => {
        /// What can be wrong with a row of an imported file.
        #[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
        #[graphql(remote = "FieldFault")]
        pub enum ImportRowErrorCode { $(#[doc = $sentence] #[graphql(name = $code)] $name,)* }
    };
}

domain::with_field_faults!(row_error_codes);

/// One thing that is wrong with a row.
#[derive(SimpleObject, Clone, Debug)]
pub struct ImportRowError {
    /// The column; null when it concerns the whole row.
    column: Option<String>,
    /// The rejected value, cut at 200 characters; null for the whole row, and 7 days after the import.
    value: Option<String>,
    /// What is wrong, for programs.
    code: ImportRowErrorCode,
    /// What is wrong and what to do, for people.
    message: String,
}

impl From<import::RowOutcome> for ImportRow {
    fn from(row: import::RowOutcome) -> Self {
        let error = |fault: import::row::RowFault| ImportRowError {
            column: fault.column.map(|column| column.name().to_owned()),
            value: fault.value,
            code: fault.code.into(),
            message: fault.sentence,
        };
        Self {
            member_id: row.member_id,
            row: row.row_no,
            outcome: row.outcome.into(),
            errors: row.faults.0.into_iter().map(error).collect(),
        }
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
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let imports = import::read_many(&mut conn, actor, ids).await.map_err(failed)?;
    Ok(imports.into_iter().map(MemberImport::from).collect())
}

/// Reads a page of imports, the newest first. Needs `imports.read` or `imports.run`.
pub async fn page(
    ctx: &Context<'_>,
    arguments: &domain::infra::page::Arguments,
) -> Result<Connection<String, MemberImport>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadImports, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, import::IMPORTS).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = import::list(&mut conn, actor, &request).await.map_err(failed)?;
    Ok(connection(page, MemberImport::from))
}

/// A place to put a file.
#[derive(SimpleObject, Clone, Debug)]
pub struct Upload {
    /// Opaque id, for the mutation that makes something of the file; `node` does not take it.
    id: ID,
    /// PUT the file here; no other header is needed. A later file takes the place of an earlier one, until the upload is used.
    url: Url,
    /// Until when.
    expires_at: DateTime,
}

/// A file to come.
#[derive(InputObject, Debug)]
pub struct UploadCreateInput {
    /// What the file is called where it comes from: at most 255 characters.
    file_name: String,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// A place to put a file, and what went wrong.
#[derive(SimpleObject, Debug)]
pub struct UploadCreatePayload {
    /// The place.
    upload: Option<Upload>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// An import to start.
#[derive(InputObject, Debug)]
pub struct MemberImportCreateInput {
    /// The upload that the file was put to.
    upload_id: ID,
    /// Whether the people get a mail at once.
    #[graphql(default)]
    send_welcome_email: bool,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// An import, and what went wrong.
#[derive(SimpleObject, Debug)]
pub struct MemberImportCreatePayload {
    /// The import as of now.
    member_import: Option<MemberImport>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// Mutations of uploads and imports.
#[derive(Debug, Default)]
pub struct ImportMutation;

#[Object]
impl ImportMutation {
    /// Makes a place to put a file of at most as many bytes as configured (25 MB unless changed). Needs `imports.run`.
    async fn upload_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A file to come.")] input: UploadCreateInput,
    ) -> Option<Result<UploadCreatePayload>> {
        let outcome = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let name = input.file_name.clone();
            Box::pin(async move { upload::create(change, actor, &name).await })
        });
        let outcome = outcome.await.map(|done| done.outcome);
        let answer = async {
            Ok(match split(outcome)? {
                Ok(id) => UploadCreatePayload { upload: place(ctx, id).await, user_errors: Vec::new() },
                Err(user_errors) => UploadCreatePayload { upload: None, user_errors },
            })
        };
        Some(answer.await)
    }

    /// Starts an import of members from a file that was put to an upload. Needs `imports.run`.
    async fn member_import_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "An import to start.")] input: MemberImportCreateInput,
    ) -> Option<Result<MemberImportCreatePayload>> {
        let outcome = async {
            let upload: UploadId = parse_id(&input.upload_id);
            let welcome = input.send_welcome_email;
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                Box::pin(async move { import::create(change, actor, upload, welcome).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        let answer = async {
            Ok(match split(outcome)? {
                Ok(id) => {
                    let member_import = read_many(ctx, &[id]).await.ok().and_then(|mut imports| imports.pop());
                    MemberImportCreatePayload { member_import, user_errors: Vec::new() }
                }
                Err(user_errors) => MemberImportCreatePayload { member_import: None, user_errors },
            })
        };
        Some(answer.await)
    }
}

async fn place(ctx: &Context<'_>, id: UploadId) -> Option<Upload> {
    let (actor, state) = (ctx.viewer()?, ctx.state());
    let mut conn = state.db.pool.acquire().await.ok()?;
    let upload = upload::read(&mut conn, actor, id).await.ok()??;
    let token = upload::token(&state.db, actor.account_id, id).expose();
    Some(Upload {
        id: id.to_string().into(),
        url: Url(format!("{}/uploads/{token}", state.config.http.public_url)),
        expires_at: upload.put_until.into(),
    })
}
