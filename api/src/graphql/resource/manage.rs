//! Registering, assigning, opening and archiving resources.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use domain::change::Kind;
use domain::error::{Code, Error, Refused};
use domain::id::{Id, MemberId, ResourceId};
use domain::resource::{self, Given, Opening, Registered, Registration};

use super::{Resource, read_many};
use crate::graphql::context::{ContextExt as _, mutate_as, parse_id, parse_ids};
use crate::graphql::invitation::ErrorPolicy;
use crate::graphql::payload::payloads;
use crate::graphql::user_error::{UserError, split, user_errors};

payloads! {
    {
        /// Those that are registered now, in the order of the request.
        resources: Option<Vec<Resource>>,
    }
    /// Resources were registered.
    ResourceRegisterPayload;
}

payloads! {
    {
        /// The resource as of now.
        resource: Option<Resource>,
    }
    /// Somebody answers for a resource.
    ResourceAssignPayload;
    /// A resource was opened.
    ResourceGrantPayload;
    /// A resource was closed to some.
    ResourceRevokePayload;
    /// A resource was archived.
    ResourceArchivePayload;
    /// A resource was taken out of the archive.
    ResourceUnarchivePayload;
}

/// The payload of a mutation of one resource.
pub async fn one<P>(ctx: &Context<'_>, outcome: Result<ResourceId, Error>) -> Result<P>
where
    P: From<(Option<Resource>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(id) => (read_many(ctx, &[id]).await.ok().and_then(|mut list| list.pop()), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// A resource as the host product tells it.
#[derive(InputObject, Debug)]
pub struct ResourceRegisterItem {
    /// What it is, in the host product's words: 1 to 64 characters.
    #[graphql(name = "type")]
    kind: String,
    /// Its id in the host product: 1 to 200 characters. With the type it is its own in the account.
    external_id: String,
    /// 1 to 200 characters.
    name: String,
    /// Who answers for it: an active member. Null for nobody; left out, it stays as it is.
    responsible_member_id: MaybeUndefined<ID>,
    /// The unit it belongs to. Null for none; left out, it stays as it is.
    unit_id: MaybeUndefined<ID>,
    /// Whether every active member has access; left out, it stays as it is, which is not for a new one.
    open_to_all: Option<bool>,
}

/// What to register.
#[derive(InputObject, Debug)]
pub struct ResourceRegisterInput {
    /// At least one resource, and at most as many as configured (500 unless changed).
    resources: Vec<ResourceRegisterItem>,
    /// What becomes of the good ones when others are refused.
    #[graphql(default)]
    error_policy: ErrorPolicy,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Who answers for a resource.
#[derive(InputObject, Debug)]
pub struct ResourceAssignInput {
    /// The resource.
    resource_id: ID,
    /// An active member; null for nobody.
    member_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

macro_rules! openings {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The resource.
            resource_id: ID,
            /// Every active member.
            #[graphql(default)]
            everybody: bool,
            /// Groups. Together with `memberIds` at most as many as configured (500 unless changed).
            #[graphql(default)]
            group_ids: Vec<ID>,
            /// Members.
            #[graphql(default)]
            member_ids: Vec<ID>,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }

        impl $name {
            fn read(&self, bulk: usize) -> Result<Opening, Error> {
                opening(self.everybody, &self.group_ids, &self.member_ids, bulk)
            }
        }
    )*};
}

openings! {
    /// To whom to open a resource.
    ResourceGrantInput;
    /// To whom to close a resource.
    ResourceRevokeInput;
}

fn opening(everybody: bool, groups: &[ID], members: &[ID], bulk: usize) -> Result<Opening, Error> {
    if groups.len() + members.len() > bulk {
        let field = if groups.len() > bulk { "groupIds" } else { "memberIds" };
        return Err(Refused::new(Code::TooMany).at(field).into());
    }
    Ok(Opening { everybody, groups: parse_ids(groups), members: parse_ids(members) })
}

/// Which resource to archive.
#[derive(InputObject, Debug)]
pub struct ResourceArchiveInput {
    /// The resource.
    resource_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which resource to take out of the archive.
#[derive(InputObject, Debug)]
pub struct ResourceUnarchiveInput {
    /// The resource.
    resource_id: ID,
    /// Its name, which was not kept: 1 to 200 characters. Without one it is called by its external id.
    name: Option<String>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

fn given<T: Id>(id: &MaybeUndefined<ID>) -> Given<T> {
    match id {
        MaybeUndefined::Undefined => Given::Keep,
        MaybeUndefined::Null => Given::Clear,
        MaybeUndefined::Value(id) => Given::To(parse_id(id)),
    }
}

fn registrations(items: Vec<ResourceRegisterItem>, bulk: usize) -> Result<Vec<Registration>, Error> {
    let code = if items.is_empty() { Some(Code::Required) } else { (items.len() > bulk).then_some(Code::TooMany) };
    if let Some(code) = code {
        return Err(Refused::new(code).at("resources").into());
    }
    let registration = |item: ResourceRegisterItem| Registration {
        responsible: given(&item.responsible_member_id),
        unit: given(&item.unit_id),
        resource_type: item.kind,
        external_id: item.external_id,
        name: item.name,
        open_to_all: item.open_to_all,
    };
    Ok(items.into_iter().map(registration).collect())
}

async fn registered(ctx: &Context<'_>, outcome: Result<Registered, Error>) -> Result<ResourceRegisterPayload> {
    Ok(ResourceRegisterPayload::from(match split(outcome)? {
        Ok(done) => (read_many(ctx, &done.resources).await.ok(), user_errors(done.refused)),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Runs one of the rules that open and close.
macro_rules! on_opening {
    ($ctx:expr, $input:expr, $rule:path) => {{
        let outcome = async {
            let id: ResourceId = parse_id(&$input.resource_id);
            let opening = $input.read($ctx.state().config.limits.bulk)?;
            let done = mutate_as($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
                let opening = opening.clone();
                Box::pin(async move { $rule(change, asker, id, &opening).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one($ctx, outcome).await)
    }};
}

/// Mutations of resources.
#[derive(Debug, Default)]
pub struct ResourceMutation;

#[Object]
impl ResourceMutation {
    /// Registers things of the host product, up to 500 at once: new ones are made, those known by type and external id are brought up
    /// to date. Needs `resources.manage`, in the whole account or in the unit that each belongs to; or a service token with the scope
    /// `resources`.
    async fn resource_register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to register.")] input: ResourceRegisterInput,
    ) -> Option<Result<ResourceRegisterPayload>> {
        let outcome = async {
            let items = registrations(input.resources, ctx.state().config.limits.bulk)?;
            let policy = input.error_policy.into();
            let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
                let items = items.clone();
                Box::pin(async move { resource::register(change, asker, &items, policy).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(registered(ctx, outcome).await)
    }

    /// Makes an active member answer for a resource, or nobody; whoever answers for it has access. Needs what `resourceRegister` needs.
    async fn resource_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who answers for a resource.")] input: ResourceAssignInput,
    ) -> Option<Result<ResourceAssignPayload>> {
        let (id, member): (ResourceId, Option<MemberId>) =
            (parse_id(&input.resource_id), input.member_id.as_ref().map(parse_id));
        let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
            Box::pin(async move { resource::assign(change, asker, id, member).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(one(ctx, outcome).await)
    }

    /// Opens a resource to everybody, to groups or to members. Needs what `resourceRegister` needs.
    async fn resource_grant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "To whom to open a resource.")] input: ResourceGrantInput,
    ) -> Option<Result<ResourceGrantPayload>> {
        on_opening!(ctx, input, resource::grant)
    }

    /// Closes a resource to those to whom it was opened, at once. Who has access for another reason keeps it. Needs what
    /// `resourceRegister` needs.
    async fn resource_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "To whom to close a resource.")] input: ResourceRevokeInput,
    ) -> Option<Result<ResourceRevokePayload>> {
        on_opening!(ctx, input, resource::revoke)
    }

    /// Archives a resource: nobody has access to it any more, and its name, which may be a person's, is forgotten. Needs what
    /// `resourceRegister` needs.
    async fn resource_archive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which resource to archive.")] input: ResourceArchiveInput,
    ) -> Option<Result<ResourceArchivePayload>> {
        let id: ResourceId = parse_id(&input.resource_id);
        let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
            Box::pin(async move { resource::archive(change, asker, id).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(one(ctx, outcome).await)
    }

    /// Takes a resource out of the archive, open to whom it was open before. Needs what `resourceRegister` needs.
    async fn resource_unarchive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which resource to take out of the archive.")] input: ResourceUnarchiveInput,
    ) -> Option<Result<ResourceUnarchivePayload>> {
        let id: ResourceId = parse_id(&input.resource_id);
        let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
            let name = input.name.clone();
            Box::pin(async move { resource::unarchive(change, asker, id, name.as_deref()).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(one(ctx, outcome).await)
    }
}
