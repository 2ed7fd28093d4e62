//! Files that the service makes for people.

use std::time::Duration;

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::actor::Actor;
use domain::change::Kind;
use domain::error::Error;
use domain::export;
use domain::id::{ExportId, StatementId};
use domain::import::FailureCode;

use super::context::{ContextExt as _, mutate, parse_id};
use super::error::failed;
use super::import::{JobErrorCode, JobProgress, JobStatus};
use super::member::MemberFilter;
use super::progress::Progress;
use super::scalar::{DateTime, Url};
use super::user_error::{UserError, split};
use crate::state::State;

/// What is in a file.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "export::Kind")]
pub enum ExportKind {
    /// Members, as CSV (UTF-8) in the columns of an import, which reads them back unchanged.
    Members,
    /// A statement, as PDF.
    StatementPdf,
    /// A statement's lines, as CSV (UTF-8).
    StatementCsv,
}

/// A file that is made for whoever asked for it: nobody else finds it. It is deleted after 7 days, and as soon as somebody who is named
/// in it is deleted.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Export {
    #[graphql(skip)]
    inner: export::Export,
    /// Opaque id.
    pub id: ID,
    /// What is in the file.
    kind: ExportKind,
    /// Where it stands.
    pub(super) status: JobStatus,
    /// How far it is, in rows.
    pub(super) progress: JobProgress,
    /// What the file is called; null until it is there.
    file_name: Option<String>,
    /// Bytes of the file; null until it is there. Above 2³¹ − 1 it says so many.
    size_bytes: Option<i32>,
    /// When it was asked for.
    created_at: DateTime,
    /// When the worker began.
    pub(super) started_at: Option<DateTime>,
    /// When it ended.
    pub(super) finished_at: Option<DateTime>,
    /// When it is deleted, with its file.
    expires_at: DateTime,
    /// Why there is no file, for programs.
    pub(super) error_code: Option<JobErrorCode>,
    /// Why there is no file and what to do, for people.
    error_message: Option<String>,
}

impl From<export::Export> for Export {
    fn from(export: export::Export) -> Self {
        Self {
            id: export.export_id.to_string().into(),
            kind: export.kind.into(),
            status: status(export.state),
            progress: JobProgress { done: export.rows_done, total: export.rows_total },
            file_name: export.file_name.clone(),
            size_bytes: export.size_bytes.map(|size| i32::try_from(size).unwrap_or(i32::MAX)),
            created_at: export.created_at.into(),
            started_at: export.started_at.map(Into::into),
            finished_at: export.finished_at.map(Into::into),
            expires_at: export.expires_at.into(),
            error_code: export.error_code.as_deref().and_then(|code| code.parse::<FailureCode>().ok()).map(Into::into),
            error_message: export.error_message().map(str::to_owned),
            inner: export,
        }
    }
}

const fn status(state: export::State) -> JobStatus {
    match state {
        export::State::Queued => JobStatus::Queued,
        export::State::Running => JobStatus::Running,
        export::State::Done => JobStatus::Finished,
        export::State::Failed => JobStatus::Failed,
    }
}

#[ComplexObject]
impl Export {
    /// GET the file here, for 10 minutes from now, as somebody who may still read what is in it: no header is needed, and none tells who
    /// asks, so the address is to be kept like a password. Null while there is no file. Read it again for another one.
    async fn url(&self, ctx: &Context<'_>) -> Option<Url> {
        let (actor, state) = (ctx.viewer()?, ctx.state());
        self.inner.has_file(actor.now).then(|| {
            let token = export::link(&state.db, actor.account_id, self.inner.export_id, actor.member_id, actor.now);
            Url(format!("{}/export/{token}", state.config.http.public_url))
        })
    }
}

impl Progress for Export {
    type Id = ExportId;
    type Stage = (export::State, i32, Option<i32>);
    // Rows are counted without an event.
    const BETWEEN_LOOKS: Option<Duration> = Some(Duration::from_secs(1));

    async fn look(state: &State, actor: &Actor, id: ExportId) -> Result<Option<Self>> {
        of(state, actor, id).await
    }

    fn stage(&self) -> Self::Stage {
        (self.inner.state, self.inner.rows_done, self.inner.rows_total)
    }

    fn has_ended(&self) -> bool {
        self.inner.finished_at.is_some()
    }
}

/// Reads an export that the viewer asked for.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<Export>> {
    let actor = ctx.actor()?;
    let Ok(id) = id.parse::<ExportId>() else { return Ok(None) };
    of(ctx.state(), actor, id).await
}

/// Reads exports by their ids; those that the viewer asked for.
pub async fn read_many(ctx: &Context<'_>, ids: &[ExportId]) -> Result<Vec<Export>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let exports = export::read_many(&mut conn, actor, ids).await.map_err(failed)?;
    Ok(exports.into_iter().map(Export::from).collect())
}

/// Reads one export of somebody.
pub(super) async fn of(state: &State, actor: &Actor, id: ExportId) -> Result<Option<Export>> {
    let mut conn = state.db.pool.acquire().await.map_err(failed)?;
    let exports = export::read_many(&mut conn, actor, &[id]).await.map_err(failed)?;
    Ok(exports.into_iter().next().map(Export::from))
}

/// Members to be taken along.
#[derive(InputObject, Debug)]
pub struct MemberExportCreateInput {
    /// Which ones; all whose profile the viewer may read as an administrator, unless given.
    filter: Option<MemberFilter>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// An export, and what went wrong.
#[derive(SimpleObject, Debug)]
pub struct MemberExportCreatePayload {
    /// The export as of now.
    export: Option<Export>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// The form of a file.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementExportFormat {
    /// To be read and printed.
    Pdf,
    /// To be calculated with: a row for each line.
    Csv,
}

/// A statement to be taken along.
#[derive(InputObject, Debug)]
pub struct StatementExportCreateInput {
    /// The statement, or the draft.
    statement_id: ID,
    /// In which form.
    format: StatementExportFormat,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// An export, and what went wrong.
#[derive(SimpleObject, Debug)]
pub struct StatementExportCreatePayload {
    /// The export as of now.
    export: Option<Export>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// Mutations of exports.
#[derive(Debug, Default)]
pub struct ExportMutation;

#[Object]
impl ExportMutation {
    /// Makes a CSV file of members, in the columns of an import, for the viewer to download. Needs `members.read`; who has it in some
    /// units only gets their members. Also in an account that can only be read.
    async fn member_export_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Members to be taken along.")] input: MemberExportCreateInput,
    ) -> Option<Result<MemberExportCreatePayload>> {
        let filter = input.filter.unwrap_or_default().read();
        let outcome = mutate(ctx, input.idempotency_key.as_deref(), Kind::System, move |change, actor| {
            let filter = filter.clone();
            Box::pin(async move { export::create_members(change, actor, &filter).await })
        });
        let answer = async {
            let (export, user_errors) = asked(ctx, outcome.await.map(|done| done.outcome)).await?;
            Ok(MemberExportCreatePayload { export, user_errors })
        };
        Some(answer.await)
    }

    /// Makes a file of a statement, for the viewer to download. Needs `billing.read` or `billing.manage`. Also in an account that can only
    /// be read.
    async fn statement_export_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A statement to be taken along.")] input: StatementExportCreateInput,
    ) -> Option<Result<StatementExportCreatePayload>> {
        let (statement, kind): (StatementId, _) = (parse_id(&input.statement_id), input.format.kind());
        let outcome = mutate(ctx, input.idempotency_key.as_deref(), Kind::System, move |change, actor| {
            Box::pin(async move { export::create_statement(change, actor, statement, kind).await })
        });
        let answer = async {
            let (export, user_errors) = asked(ctx, outcome.await.map(|done| done.outcome)).await?;
            Ok(StatementExportCreatePayload { export, user_errors })
        };
        Some(answer.await)
    }
}

impl StatementExportFormat {
    const fn kind(self) -> export::Kind {
        match self {
            Self::Pdf => export::Kind::StatementPdf,
            Self::Csv => export::Kind::StatementCsv,
        }
    }
}

/// The export that was asked for, or why there is none.
async fn asked(ctx: &Context<'_>, outcome: Result<ExportId, Error>) -> Result<(Option<Export>, Vec<UserError>)> {
    Ok(match split(outcome)? {
        Ok(id) => (read_many(ctx, &[id]).await.ok().and_then(|mut exports| exports.pop()), Vec::new()),
        Err(user_errors) => (None, user_errors),
    })
}
