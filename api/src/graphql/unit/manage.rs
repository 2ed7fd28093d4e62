//! Making, changing and archiving units, and choosing their members.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{MemberId, UnitId};
use domain::unit;

use super::super::context::{ContextExt as _, mutate, parse_id, parse_subjects};
use super::super::payload::payloads;
use super::super::user_error::{UserError, split};
use super::{Unit, read_many};

/// A unit to make.
#[derive(InputObject, Debug)]
pub struct UnitCreateInput {
    /// 1 to 100 characters, different from those of the account's other units.
    name: String,
    /// What it is: at most 500 characters.
    description: Option<String>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What of a unit is to change; what is left out stays.
#[derive(InputObject, Debug)]
pub struct UnitUpdateInput {
    /// The unit.
    unit_id: ID,
    /// The version that was read: another one is refused with VERSION_CONFLICT.
    expected_version: Option<i32>,
    /// 1 to 100 characters.
    name: Option<String>,
    /// At most 500 characters; empty clears it.
    description: Option<String>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which unit to archive.
#[derive(InputObject, Debug)]
pub struct UnitArchiveInput {
    /// The unit.
    unit_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which unit to take out of the archive.
#[derive(InputObject, Debug)]
pub struct UnitUnarchiveInput {
    /// The unit.
    unit_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Whom to put into a unit.
#[derive(InputObject, Debug)]
pub struct UnitAddMembersInput {
    /// The unit.
    unit_id: ID,
    /// The members: at most as many as configured (500 unless changed).
    member_ids: Vec<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Whom to take out of a unit.
#[derive(InputObject, Debug)]
pub struct UnitRemoveMembersInput {
    /// The unit.
    unit_id: ID,
    /// The members: at most as many as configured (500 unless changed).
    member_ids: Vec<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// The unit as of now.
        unit: Option<Unit>,
    }
    /// A unit was made.
    UnitCreatePayload;
    /// A unit was changed.
    UnitUpdatePayload;
    /// A unit was archived.
    UnitArchivePayload;
    /// A unit was taken out of the archive.
    UnitUnarchivePayload;
    /// Members were put into a unit.
    UnitAddMembersPayload;
    /// Members were taken out of a unit.
    UnitRemoveMembersPayload;
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<UnitId, Error>) -> Option<Result<P>>
where
    P: From<(Option<Unit>, Vec<UserError>)>,
{
    Some(match split(outcome) {
        Ok(Ok(unit)) => Ok(P::from((read_many(ctx, &[unit]).await.ok().and_then(|mut units| units.pop()), Vec::new()))),
        Ok(Err(user_errors)) => Ok(P::from((None, user_errors))),
        Err(error) => Err(error),
    })
}

/// Runs one of the rules that take a unit and its members.
macro_rules! with_members {
    ($ctx:expr, $input:expr, $rule:path) => {{
        let unit: UnitId = parse_id(&$input.unit_id);
        let bulk = $ctx.state().config.limits.bulk;
        let outcome = async {
            $ctx.viewer().ok_or(Error::Unauthenticated)?;
            let members: Vec<MemberId> = parse_subjects(&$input.member_ids, "memberIds", bulk)?;
            let done = mutate($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let members = members.clone();
                Box::pin(async move { $rule(change, actor, unit, &members).await.map(|()| unit) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        answer($ctx, outcome).await
    }};
}

/// Mutations of units.
#[derive(Debug, Default)]
pub struct UnitMutation;

#[Object]
impl UnitMutation {
    /// Makes a unit. Needs `units.manage`.
    async fn unit_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A unit to make.")] input: UnitCreateInput,
    ) -> Option<Result<UnitCreatePayload>> {
        let limit = ctx.state().config.limits.units;
        let new = unit::NewUnit { name: input.name, description: input.description };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let new = new.clone();
            Box::pin(async move { unit::create(change, actor, &new, limit).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Changes a unit's name or description. Needs `units.manage`.
    async fn unit_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of a unit is to change; what is left out stays.")] input: UnitUpdateInput,
    ) -> Option<Result<UnitUpdatePayload>> {
        let id: UnitId = parse_id(&input.unit_id);
        let update =
            unit::Update { expected_version: input.expected_version, name: input.name, description: input.description };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { unit::update(change, actor, id, &update).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Archives a unit: roles that are limited to it grant nothing from now on. Needs `units.manage`.
    async fn unit_archive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which unit to archive.")] input: UnitArchiveInput,
    ) -> Option<Result<UnitArchivePayload>> {
        let id: UnitId = parse_id(&input.unit_id);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { unit::archive(change, actor, id).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Takes a unit out of the archive: roles that are limited to it grant again. Needs `units.manage`.
    async fn unit_unarchive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which unit to take out of the archive.")] input: UnitUnarchiveInput,
    ) -> Option<Result<UnitUnarchivePayload>> {
        let (id, limit): (UnitId, usize) = (parse_id(&input.unit_id), ctx.state().config.limits.units);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { unit::unarchive(change, actor, id, limit).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        answer(ctx, outcome).await
    }

    /// Puts members into a unit; those who are in it stay. Needs `units.manage`.
    async fn unit_add_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to put into a unit.")] input: UnitAddMembersInput,
    ) -> Option<Result<UnitAddMembersPayload>> {
        with_members!(ctx, input, unit::add_members)
    }

    /// Takes members out of a unit; their roles stay. Needs `units.manage`.
    async fn unit_remove_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take out of a unit.")] input: UnitRemoveMembersInput,
    ) -> Option<Result<UnitRemoveMembersPayload>> {
        with_members!(ctx, input, unit::remove_members)
    }
}
