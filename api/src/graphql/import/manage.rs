//! Uploading a file, importing it, and ending that.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{ImportId, UploadId};
use domain::import::{self, Options};
use domain::upload;

use super::{MemberImport, read_many};
use crate::graphql::context::{ContextExt as _, mutate, parse_id, parse_ids};
use crate::graphql::invitation::ErrorPolicy;
use crate::graphql::payload::payloads;
use crate::graphql::scalar::{DateTime, Url};
use crate::graphql::user_error::{UserError, split};

/// A place to put a file.
#[derive(SimpleObject, Clone, Debug)]
pub struct Upload {
    /// Opaque id, for the mutation that makes something of the file; `node` does not take it.
    id: ID,
    /// PUT the file here; no other header is needed. With a `Content-Digest` of SHA-256 (RFC 9530) a file that was damaged on its way is
    /// refused with 422; what is no text is with 415. A later file takes the place of an earlier one, until the upload is used.
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
#[expect(clippy::struct_excessive_bools, reason = "the importer's independent choices")]
pub struct MemberImportCreateInput {
    /// The upload that the file was put to.
    upload_id: ID,
    /// Say per row what would happen, and whether there are seats, and change nothing. The upload can be imported afterwards.
    #[graphql(default)]
    dry_run: bool,
    /// Whether new members get the mail with their invitation at once; without, they can be sent theirs later.
    #[graphql(default)]
    send_welcome_email: bool,
    /// Whether members who are there already get the values of their rows, and further roles and groups. The owner, and who is
    /// suspended or deactivated, never do; nobody's address, status or present roles change.
    #[graphql(default)]
    update_existing: bool,
    /// What becomes of the good rows when others have faults. All or nothing: the file is looked through first, then all of it takes
    /// effect at one moment.
    #[graphql(default_with = "ErrorPolicy::Partial")]
    error_policy: ErrorPolicy,
    /// Refuse the file before its first row unless there are seats for all of its new members. All or nothing does so in any case.
    #[graphql(default)]
    require_seats: bool,
    /// The roles of new members whose row names none; `Standard` unless given.
    #[graphql(default)]
    default_role_ids: Vec<ID>,
    /// The groups that all new members come into, beside those of their row. Needs `groups.manage`.
    #[graphql(default)]
    default_group_ids: Vec<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

impl MemberImportCreateInput {
    fn options(&self) -> Options {
        Options {
            dry_run: self.dry_run,
            send_welcome_email: self.send_welcome_email,
            update_existing: self.update_existing,
            require_seats: self.require_seats,
            error_policy: self.error_policy.into(),
            default_roles: parse_ids(&self.default_role_ids),
            default_groups: parse_ids(&self.default_group_ids),
        }
    }
}

/// Which import to end.
#[derive(InputObject, Debug)]
pub struct MemberImportCancelInput {
    /// Which.
    member_import_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// The import as of now.
        member_import: Option<MemberImport>,
    }
    /// An import was started.
    MemberImportCreatePayload;
    /// An import was asked to end.
    MemberImportCancelPayload;
}

async fn one<P>(ctx: &Context<'_>, outcome: Result<ImportId, Error>) -> Result<P>
where
    P: From<(Option<MemberImport>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(id) => (read_many(ctx, &[id]).await.ok().and_then(|mut imports| imports.pop()), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
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
            let options = input.options();
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let options = options.clone();
                Box::pin(async move { import::create(change, actor, upload, &options).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one(ctx, outcome).await)
    }

    /// Ends an import early, between two batches of its rows: those that took effect stay, and its counts say which. One that takes
    /// effect as a whole does so or not. Needs `imports.run`.
    async fn member_import_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which import to end.")] input: MemberImportCancelInput,
    ) -> Option<Result<MemberImportCancelPayload>> {
        let id: ImportId = parse_id(&input.member_import_id);
        let outcome = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { import::cancel(change, actor, id).await })
        });
        let outcome = outcome.await.map(|done| done.outcome);
        Some(one(ctx, outcome).await)
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
