//! Mutations of trials.

use async_graphql::{Context, InputObject, Object, Result};
use domain::change::Kind;
use domain::error::Error;
use domain::license::trial;

use super::{LicensePool, reread};
use crate::graphql::context::mutate;
use crate::graphql::payload::payloads;
use crate::graphql::user_error::{UserError, split};

payloads! {
    {
        /// The account's pools as of now; null for whoever may not read them.
        license_pools: Option<Vec<LicensePool>>,
    }
    /// A trial began.
    TrialStartPayload;
    /// A trial's licences are not wanted after its end.
    TrialOptOutPayload;
    /// A trial's licences are wanted after its end.
    TrialOptInPayload;
}

/// What to try.
#[derive(InputObject, Debug)]
pub struct TrialStartInput {
    /// Key of the product: an add-on that can be tried.
    product_id: String,
    /// How many licences: at most as many as `products` says.
    quantity: i32,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// Key of the product.
            product_id: String,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

inputs! {
    /// Which trial not to go on after.
    TrialOptOutInput;
    /// Which trial to go on after.
    TrialOptInInput;
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<(), Error>) -> Result<P>
where
    P: From<(Option<Vec<LicensePool>>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(()) => (reread(ctx).await, Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

macro_rules! opt {
    ($ctx:expr, $input:expr, $out:expr) => {{
        let product = $input.product_id;
        let done = mutate($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let product = product.clone();
            Box::pin(async move { trial::opt(change, actor, &product, $out).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer($ctx, outcome).await)
    }};
}

/// Mutations of trials.
#[derive(Debug, Default)]
pub struct TrialMutation;

#[Object]
impl TrialMutation {
    /// Tries an add-on: once, for nothing. At the trial's end those licences that members hold are paid for from that day on. Needs
    /// `licenses.manage`.
    async fn trial_start(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to try.")] input: TrialStartInput,
    ) -> Option<Result<TrialStartPayload>> {
        let (product, quantity) = (input.product_id, input.quantity);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let product = product.clone();
            Box::pin(async move { trial::start(change, actor, &product, quantity).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Says that a trial's licences are not wanted after its end: they are taken back then, and nothing is paid. Needs
    /// `licenses.manage`.
    async fn trial_opt_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which trial not to go on after.")] input: TrialOptOutInput,
    ) -> Option<Result<TrialOptOutPayload>> {
        opt!(ctx, input, true)
    }

    /// Takes `trialOptOut` back, until the trial's end. Needs `licenses.manage`.
    async fn trial_opt_in(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which trial to go on after.")] input: TrialOptInInput,
    ) -> Option<Result<TrialOptInPayload>> {
        opt!(ctx, input, false)
    }
}
