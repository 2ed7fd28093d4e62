//! Rates of groups on resources.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::change::Kind;
use domain::error::AtField as _;
use domain::id::{GroupId, ResourceId};
use domain::resource::{self, Decided, Rate};

use super::Resource;
use super::manage::one;
use crate::graphql::context::{ContextExt as _, mutate_as, parse_id};
use crate::graphql::error::{failed, top_level};
use crate::graphql::group::{self, Group};
use crate::graphql::money::{Money, MoneyInput};
use crate::graphql::payload::payloads;
use crate::graphql::scalar::DateTime;

/// The rate of a group on a resource.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct ResourceRate {
    #[graphql(skip)]
    inner: GroupId,
    /// Id of the group.
    group_id: ID,
    /// Per hour.
    rate: Money,
    /// When it was set to this amount.
    set_at: DateTime,
}

impl From<Rate> for ResourceRate {
    fn from(rate: Rate) -> Self {
        Self {
            inner: rate.group_id,
            group_id: rate.group_id.to_string().into(),
            rate: rate.money.into(),
            set_at: rate.set_at.into(),
        }
    }
}

#[ComplexObject]
impl ResourceRate {
    /// The group; null for who may not read members.
    async fn group(&self, ctx: &Context<'_>) -> Option<Result<Group>> {
        group::reference(ctx, self.inner).await
    }
}

/// Which rule chose a rate.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Decided")]
pub enum RateRule {
    /// It is the only one that applies.
    Only,
    /// It is the highest.
    Highest,
    /// Of those that are the highest it was set first.
    Oldest,
}

/// The rate that holds for a member on a resource.
#[derive(SimpleObject, Clone, Debug)]
pub struct EffectiveRate {
    /// The rate, and the group it comes from.
    resource_rate: ResourceRate,
    /// Which rule chose it.
    decided_by: RateRule,
}

/// The rate that holds for a member on a resource.
pub async fn effective(ctx: &Context<'_>, member: &ID, resource: &ID) -> Result<Option<EffectiveRate>> {
    let asker = ctx.asker()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let found = resource::effective_rate(&mut conn, &asker, parse_id(member), parse_id(resource)).await;
    let found = found.map_err(top_level)?;
    Ok(found.map(|found| EffectiveRate { resource_rate: found.rate.into(), decided_by: found.decided.into() }))
}

payloads! {
    {
        /// The resource as of now.
        resource: Option<Resource>,
    }
    /// A group was given a rate.
    ResourceRateSetPayload;
    /// A rate was removed.
    ResourceRateRemovePayload;
}

/// What an hour costs.
#[derive(InputObject, Debug)]
pub struct ResourceRateSetInput {
    /// The resource.
    resource_id: ID,
    /// Whose members' hours.
    group_id: ID,
    /// Per hour: nothing or more. All rates of a resource are in one currency.
    rate: MoneyInput,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which rate to remove.
#[derive(InputObject, Debug)]
pub struct ResourceRateRemoveInput {
    /// The resource.
    resource_id: ID,
    /// Whose rate.
    group_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Mutations of rates.
#[derive(Debug, Default)]
pub struct RateMutation;

#[Object]
impl RateMutation {
    /// Sets what an hour of a group's members on a resource costs. Needs `resources.manage`, or a service token with the scope
    /// `resources`.
    async fn resource_rate_set(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What an hour costs.")] input: ResourceRateSetInput,
    ) -> Option<Result<ResourceRateSetPayload>> {
        let outcome = async {
            let (id, group): (ResourceId, GroupId) = (parse_id(&input.resource_id), parse_id(&input.group_id));
            let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
                let rate = input.rate.clone();
                Box::pin(async move {
                    asker.may(domain::actor::Action::ManageResources)?;
                    let rate = rate.read().at("rate")?;
                    resource::set_rate(change, asker, id, group, rate).await.map(|()| id)
                })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one(ctx, outcome).await)
    }

    /// Removes the rate of a group on a resource. Needs what `resourceRateSet` needs.
    async fn resource_rate_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which rate to remove.")] input: ResourceRateRemoveInput,
    ) -> Option<Result<ResourceRateRemovePayload>> {
        let outcome = async {
            let (id, group): (ResourceId, GroupId) = (parse_id(&input.resource_id), parse_id(&input.group_id));
            let done = mutate_as(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, asker| {
                Box::pin(async move { resource::remove_rate(change, asker, id, group).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one(ctx, outcome).await)
    }
}
