//! Single sign-on.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::change::Kind;
use domain::sso::{self, PolicyUpdate};

use super::account::{Account, answer};
use super::context::{ContextExt as _, mutate};
use super::error::{failed, top_level};
use super::payload::payloads;
use super::scalar::EmailAddress;

/// The account's rule on single sign-on. Until an identity provider can be configured it does nothing but keep people from changing
/// their own login e-mail.
#[derive(SimpleObject, Clone, Debug)]
pub struct AccountSsoPolicy {
    /// Whether people do not change their own login e-mail.
    required: bool,
    /// Members who may change theirs all the same, by their addresses as of now.
    exceptions: Vec<EmailAddress>,
}

/// Reads the rule of the viewer's account.
pub async fn read(ctx: &Context<'_>) -> Result<AccountSsoPolicy> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let policy = sso::read(&mut conn, actor.account_id).await.map_err(failed)?;
    let exceptions = policy.exceptions.into_iter().map(EmailAddress).collect();
    Ok(AccountSsoPolicy { required: policy.required, exceptions })
}

/// What of the rule on single sign-on is to change; what is left out stays.
#[derive(InputObject, Debug)]
pub struct AccountSsoPolicyUpdateInput {
    /// Whether people do not change their own login e-mail.
    required: Option<bool>,
    /// Addresses of all members who may change theirs all the same: at most 500. An entry follows its member to another address,
    /// and goes with the member.
    exceptions: Option<Vec<EmailAddress>>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// The account as of now.
        account: Option<Account>,
    }
    /// The account's rule on single sign-on was changed.
    AccountSsoPolicyUpdatePayload;
}

/// Mutations of single sign-on.
#[derive(Debug, Default)]
pub struct SsoMutation;

#[Object]
impl SsoMutation {
    /// Changes the account's rule on single sign-on. Needs `account.update`.
    async fn account_sso_policy_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of the rule on single sign-on is to change.")] input: AccountSsoPolicyUpdateInput,
    ) -> Option<Result<AccountSsoPolicyUpdatePayload>> {
        let exceptions = input.exceptions.map(|list| list.into_iter().map(|email| email.0).collect());
        let update = PolicyUpdate { required: input.required, exceptions };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { sso::update(change, actor, update).await })
        });
        Some(answer(ctx, done.await.map(|done| done.outcome)).await)
    }
}
