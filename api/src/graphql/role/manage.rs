//! Making, changing and archiving roles.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::change::Kind;
use domain::error::Error;
use domain::id::RoleId;
use domain::role;

use super::super::context::{ContextExt as _, mutate, parse_id};
use super::super::payload::payloads;
use super::super::user_error::{UserError, split};
use super::{Role, read_many};

/// A role to make.
#[derive(InputObject, Debug)]
pub struct RoleCreateInput {
    /// 1 to 100 characters, different from those of the account's other roles.
    name: String,
    /// What it is for: at most 500 characters.
    description: Option<String>,
    /// Keys of permissions; with `copyOf` in addition to those of the copied role.
    #[graphql(default)]
    permissions: Vec<String>,
    /// The role whose permissions it begins with. A copy of Administrator holds what is declared by now, and nothing that is declared later.
    copy_of: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What of a role is to change; what is left out stays.
#[derive(InputObject, Debug)]
pub struct RoleUpdateInput {
    /// The role; not a system role.
    role_id: ID,
    /// The version that was read: another one is refused with VERSION_CONFLICT.
    expected_version: Option<i32>,
    /// 1 to 100 characters.
    name: Option<String>,
    /// At most 500 characters; empty clears it.
    description: Option<String>,
    /// All permissions it holds from now on, for everybody who has it.
    permissions: Option<Vec<String>>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which role to archive.
#[derive(InputObject, Debug)]
pub struct RoleArchiveInput {
    /// The role; not a system role.
    role_id: ID,
    /// The role that those who have it get instead, in the same scopes. Needed while it is in use, also by open invitations.
    replacement_role_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which role to take out of the archive.
#[derive(InputObject, Debug)]
pub struct RoleUnarchiveInput {
    /// The role.
    role_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// The role as of now.
        role: Option<Role>,
    }
    /// A role was made.
    RoleCreatePayload;
    /// A role was changed.
    RoleUpdatePayload;
    /// A role was archived.
    RoleArchivePayload;
    /// A role was taken out of the archive.
    RoleUnarchivePayload;
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<RoleId, Error>) -> Option<Result<P>>
where
    P: From<(Option<Role>, Vec<UserError>)>,
{
    Some(match split(outcome) {
        Ok(Ok(role)) => Ok(P::from((read_many(ctx, &[role]).await.ok().and_then(|mut roles| roles.pop()), Vec::new()))),
        Ok(Err(user_errors)) => Ok(P::from((None, user_errors))),
        Err(error) => Err(error),
    })
}

/// Mutations of roles.
#[derive(Debug, Default)]
pub struct RoleMutation;

#[Object]
impl RoleMutation {
    /// Makes a role of the account's own, new or copied from any role. Needs `roles.manage`, and every administrative permission that it
    /// holds; what the host product declared needs `roles.manage` only.
    async fn role_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A role to make.")] input: RoleCreateInput,
    ) -> Option<Result<RoleCreatePayload>> {
        let limit = ctx.state().config.limits.custom_roles;
        let new = role::NewRole {
            name: input.name,
            description: input.description,
            permissions: input.permissions,
            copy_of: input.copy_of.as_ref().map(parse_id),
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let new = new.clone();
            Box::pin(async move { role::create(change, actor, &new, limit).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Changes a role, at once for everybody who has it. Needs `roles.manage`, and every administrative permission that it holds before
    /// and afterwards.
    async fn role_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of a role is to change; what is left out stays.")] input: RoleUpdateInput,
    ) -> Option<Result<RoleUpdatePayload>> {
        let id: RoleId = parse_id(&input.role_id);
        let update = role::Update {
            expected_version: input.expected_version,
            name: input.name,
            description: input.description,
            permissions: input.permissions,
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { role::update(change, actor, id, &update).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Archives a role, so that it can no longer be given; another one takes its place where it is in use. Needs `roles.manage`, and every
    /// administrative permission of both.
    async fn role_archive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which role to archive.")] input: RoleArchiveInput,
    ) -> Option<Result<RoleArchivePayload>> {
        let id: RoleId = parse_id(&input.role_id);
        let replacement: Option<RoleId> = input.replacement_role_id.as_ref().map(parse_id);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { role::archive(change, actor, id, replacement).await })
        });
        let outcome = done.await.map(|done| done.outcome.role_id);
        answer(ctx, outcome).await
    }

    /// Takes a role out of the archive. Nobody has it until it is given again. Needs `roles.manage`.
    async fn role_unarchive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which role to take out of the archive.")] input: RoleUnarchiveInput,
    ) -> Option<Result<RoleUnarchivePayload>> {
        let (id, limit): (RoleId, usize) = (parse_id(&input.role_id), ctx.state().config.limits.custom_roles);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { role::unarchive(change, actor, id, limit).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }
}
