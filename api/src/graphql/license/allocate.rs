//! Mutations that give licences to members and take them.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::change::Kind;
use domain::error::Error;
use domain::id::MemberId;
use domain::license::allocate::{self, Allotted, Direction};

use super::{LicensePool, reread};
use crate::graphql::context::{ContextExt as _, mutate, parse_subjects};
use crate::graphql::invitation::ErrorPolicy;
use crate::graphql::member::{Member, reread_many};
use crate::graphql::payload::payloads;
use crate::graphql::user_error::{UserError, split, user_errors};

payloads! {
    {
        /// Those with whom it was done, as of now, in the order asked for.
        members: Option<Vec<Member>>,
        /// The account's pools as of now; null for whoever may not read them.
        license_pools: Option<Vec<LicensePool>>,
    }
    /// Licences were given.
    LicenseAllocatePayload;
    /// Licences were taken back.
    LicenseDeallocatePayload;
}

macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// Key of the product: an add-on, or a linked one.
            product_id: String,
            /// At least one member, and at most as many as configured (500 unless changed).
            member_ids: Vec<ID>,
            /// What becomes of the others when some are refused.
            #[graphql(default)]
            error_policy: ErrorPolicy,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

inputs! {
    /// Whom to give a licence to.
    LicenseAllocateInput;
    /// Whom to take a licence from.
    LicenseDeallocateInput;
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<Allotted, Error>) -> Result<P>
where
    P: From<(Option<Vec<Member>>, Option<Vec<LicensePool>>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(done) => {
            let members = reread_many(ctx, &done.members, &["members"]).await;
            (members, reread(ctx).await, user_errors(done.refused))
        }
        Err(user_errors) => (None, None, user_errors),
    }))
}

macro_rules! allot {
    ($ctx:expr, $input:expr, $direction:expr) => {{
        let outcome = async {
            let members = parse_subjects::<MemberId>(&$input.member_ids, "memberIds", $ctx.state().config.limits.bulk)?;
            let (product, policy) = ($input.product_id, $input.error_policy.into());
            let done = mutate($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let (product, members) = (product.clone(), members.clone());
                Box::pin(async move { allocate::allot(change, actor, $direction, &product, &members, policy).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(answer($ctx, outcome).await)
    }};
}

/// Mutations of allocations.
#[derive(Debug, Default)]
pub struct AllocationMutation;

#[Object]
impl AllocationMutation {
    /// Gives active members a licence each, the first ones first while there are any. Needs `licenses.allocate`.
    async fn license_allocate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to give a licence to.")] input: LicenseAllocateInput,
    ) -> Option<Result<LicenseAllocatePayload>> {
        allot!(ctx, input, Direction::Allocate)
    }

    /// Takes licences from members, which are free at once. Needs `licenses.allocate`.
    async fn license_deallocate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take a licence from.")] input: LicenseDeallocateInput,
    ) -> Option<Result<LicenseDeallocatePayload>> {
        allot!(ctx, input, Direction::Deallocate)
    }
}
