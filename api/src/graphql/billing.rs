//! How an account pays, and its end.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::billing::{TaxRate, end, profile};
use domain::change::Kind;
use domain::error::Error;
use secrecy::SecretString;

use super::context::{ContextExt as _, mutate, once};
use super::error::{failed, top_level};
use super::license::BillingInterval;
use super::payload::payloads;
use super::scalar::{CurrencyCode, DateTime, Decimal, EmailAddress};
use super::user_error::{UserError, split};

pub mod statement;

/// How an account pays.
#[derive(SimpleObject, Clone, Debug)]
pub struct BillingProfile {
    /// The firm's name on statements; null for the account's.
    name: Option<String>,
    /// Its address, with line breaks.
    address: Option<String>,
    /// Its tax id.
    tax_id: Option<String>,
    /// Whom the firm wants to be written to about statements.
    email: Option<EmailAddress>,
    /// By which means it pays, as the payment gateway names it.
    payment_method: Option<String>,
    /// Which gateway collects: `account` (on account) or `sandbox`.
    gateway: String,
    /// Tax, in percent.
    tax_rate: Decimal,
    /// What is paid with.
    currency: CurrencyCode,
    /// How often.
    interval: Option<BillingInterval>,
    /// Grows with each change; for `expectedVersion`.
    version: i32,
    /// When the account ends or has ended; null unless it is cancelled.
    account_ends_at: Option<DateTime>,
}

/// Reads how the account pays. Needs `billing.read` or `billing.manage`.
pub async fn read(ctx: &Context<'_>) -> Result<BillingProfile> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadBilling, Target::Account).map_err(top_level)?;
    let db = &ctx.state().db;
    let mut conn = db.pool.acquire().await.map_err(failed)?;
    let found = profile::read(&mut conn, actor.account_id, db.billing.tax_rate.0).await.map_err(failed)?;
    Ok(BillingProfile {
        name: found.name,
        address: found.address,
        tax_id: found.tax_id,
        email: found.email.map(EmailAddress),
        payment_method: found.payment_method,
        gateway: found.gateway,
        tax_rate: Decimal(TaxRate(found.tax_rate).to_string()),
        currency: CurrencyCode(found.currency),
        interval: found.interval.parse::<domain::billing::calendar::Interval>().ok().map(Into::into),
        version: found.version,
        account_ends_at: found.ends_at.map(Into::into),
    })
}

payloads! {
    {
        /// How the account pays as of now; null for whoever may not read that.
        billing_profile: Option<BillingProfile>,
    }
    /// How the account pays was changed.
    BillingProfileUpdatePayload;
    /// The account will end.
    AccountCancelPayload;
    /// The account goes on.
    AccountResumePayload;
}

/// What of the billing profile is to change; what is left out stays, an empty text clears.
#[derive(InputObject, Debug)]
pub struct BillingProfileUpdateInput {
    /// The version that was read: refused with VERSION_CONFLICT if somebody else was quicker.
    expected_version: Option<i32>,
    /// The firm's name on statements: at most 200 characters.
    name: Option<String>,
    /// Its address: at most 1,000 characters, with line breaks.
    address: Option<String>,
    /// Its tax id: at most 50 characters.
    tax_id: Option<String>,
    /// Whom to write to about statements.
    email: Option<EmailAddress>,
    /// By which means it pays, as the payment gateway names it: at most 200 characters.
    payment_method: Option<String>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// The end of the account.
#[derive(InputObject, Debug)]
pub struct AccountCancelInput {
    /// The owner's password.
    #[graphql(secret)]
    password: String,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// The account is to go on.
#[derive(InputObject, Debug)]
pub struct AccountResumeInput {
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

async fn answer<P, T>(ctx: &Context<'_>, outcome: Result<T, Error>) -> Result<P>
where
    P: From<(Option<BillingProfile>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(_) => (read(ctx).await.ok(), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Mutations of billing.
#[derive(Debug, Default)]
pub struct BillingMutation;

#[Object]
impl BillingMutation {
    /// Changes to whom statements are issued and how they are paid. Needs `billing.manage`.
    async fn billing_profile_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of the billing profile is to change.")] input: BillingProfileUpdateInput,
    ) -> Option<Result<BillingProfileUpdatePayload>> {
        let update = profile::Update {
            name: input.name,
            address: input.address,
            tax_id: input.tax_id,
            email: input.email.map(|email| email.0),
            payment_method: input.payment_method,
            expected_version: input.expected_version,
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { profile::update(change, actor, &update).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Cancels the account at the period's end: then the last statement is issued, and it can only be read. The owner's alone, with the
    /// password.
    async fn account_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The end of the account.")] input: AccountCancelInput,
    ) -> Option<Result<AccountCancelPayload>> {
        let outcome = async {
            let actor = ctx.viewer().ok_or(Error::Unauthenticated)?;
            let once = once(ctx, input.idempotency_key.as_deref())?;
            let password = SecretString::from(input.password);
            let state = ctx.state();
            end::cancel_with(&state.db, &state.passwords, actor, once.as_ref(), &password).await
        };
        let outcome = outcome.await;
        Some(answer(ctx, outcome).await)
    }

    /// Takes `accountCancel` back, until the account ends. The owner's alone.
    async fn account_resume(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account is to go on.")] input: AccountResumeInput,
    ) -> Option<Result<AccountResumePayload>> {
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, |change, actor| {
            Box::pin(async move { end::resume(change, actor).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }
}
