//! Changes of licences: confirmed, cancelled, followed.

use std::time::Duration;

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Actor, Target};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{ChangeId, MemberId};
use domain::infra::db::Db;
use domain::infra::page::{Arguments, Request};
use domain::license::change::{self, ChangeKind, ChangeStatus};
use domain::license::terms::QuoteKind;

use super::quote::LicenseNamed;
use super::{LicensePool, money, reread as reread_pools};
use crate::graphql::connection::connection;
use crate::graphql::context::{ContextExt as _, mutate, parse_id};
use crate::graphql::error::{failed, top_level};
use crate::graphql::member::{Member, reference};
use crate::graphql::money::Money;
use crate::graphql::payload::payloads;
use crate::graphql::progress::Progress;
use crate::graphql::scalar::{Date, DateTime};
use crate::graphql::user_error::{UserError, split};
use crate::state::State;

/// What kind of change it is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "ChangeKind")]
pub enum LicenseChangeKind {
    /// More licences.
    Add,
    /// Fewer.
    Remove,
    /// A linked product was opened.
    Enable,
    /// A product is closed.
    Disable,
    /// Another interval or currency.
    Plan,
    /// A trial whose licences are paid for from then on.
    Trial,
}

/// Where a change stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "ChangeStatus")]
pub enum LicenseChangeStatus {
    /// It is being charged.
    Pending,
    /// It takes effect at the period's end, and can be cancelled until then.
    Scheduled,
    /// It is done.
    Applied,
    /// It was not paid: nothing was changed.
    Failed,
    /// It was cancelled.
    Canceled,
}

/// A change of an account's licences.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct LicenseChange {
    #[graphql(skip)]
    requester: Option<MemberId>,
    #[graphql(skip)]
    pub(crate) state: ChangeStatus,
    /// Opaque id.
    pub id: ID,
    /// What kind.
    kind: LicenseChangeKind,
    /// Where it stands.
    status: LicenseChangeStatus,
    /// Key of the product; null for a plan.
    product_id: Option<String>,
    /// By how many licences: positive for more, negative for fewer.
    delta: i32,
    /// When it takes effect.
    effective_on: Date,
    /// What was charged for it, with tax.
    amount: Money,
    /// When it was asked for.
    created_at: DateTime,
    /// When it was done, failed or cancelled.
    resolved_at: Option<DateTime>,
    /// Why it failed, for programs: what the payment gateway answered.
    error_code: Option<String>,
    /// Who was named to lose a licence by it; they may have lost it earlier, or be gone.
    named: Vec<LicenseNamed>,
}

#[ComplexObject]
impl LicenseChange {
    /// Who asked for it; null for what the service did by itself, and for members who are gone.
    async fn requested_by(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.requester).await
    }

    /// Whether the viewer may cancel it now.
    async fn viewer_can_cancel(&self, ctx: &Context<'_>) -> bool {
        self.state == ChangeStatus::Scheduled && ctx.viewer().is_some_and(|actor| actor.can(Action::ManageLicenses))
    }
}

fn shown(change: change::LicenseChange) -> Result<LicenseChange> {
    Ok(LicenseChange {
        requester: change.requested_by,
        state: change.status,
        id: change.change_id.to_string().into(),
        kind: change.kind.into(),
        status: change.status.into(),
        product_id: change.product_id,
        delta: change.delta,
        effective_on: change.effective_on.into(),
        amount: money(change.net + change.tax, &change.currency)?,
        created_at: change.created_at.into(),
        resolved_at: change.resolved_at.map(Into::into),
        error_code: change.error_code,
        named: change.named.0.into_iter().map(Into::into).collect(),
    })
}

/// Reads a page of changes, the newest first. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`.
pub async fn page(ctx: &Context<'_>, arguments: &Arguments) -> Result<Connection<String, LicenseChange>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, change::ORDER).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = change::list(&mut conn, actor.account_id, &request).await.map_err(failed)?;
    let (has_previous, has_next) = (page.has_previous, page.has_next);
    let rows = page.rows.into_iter().map(|(cursor, row)| Ok((cursor, shown(row)?))).collect::<Result<_>>()?;
    Ok(connection(domain::infra::page::Page { rows, has_previous, has_next }, |change| change))
}

/// Reads changes by their ids; none when the viewer may not read licences.
pub async fn read_many(ctx: &Context<'_>, ids: &[ChangeId]) -> Result<Vec<LicenseChange>> {
    let actor = ctx.actor()?;
    if !actor.can(Action::ReadLicenses) {
        return Ok(Vec::new());
    }
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    change::read_many(&mut conn, actor.account_id, ids).await.map_err(failed)?.into_iter().map(shown).collect()
}

impl Progress for LicenseChange {
    type Id = ChangeId;
    type Stage = ChangeStatus;
    // It moves with an event only, and may be scheduled for a year.
    const BETWEEN_LOOKS: Option<Duration> = None;

    async fn look(state: &State, actor: &Actor, id: ChangeId) -> Result<Option<Self>> {
        of(&state.db, actor, id).await
    }

    fn stage(&self) -> ChangeStatus {
        self.state
    }

    fn has_ended(&self) -> bool {
        !matches!(self.state, ChangeStatus::Pending | ChangeStatus::Scheduled)
    }
}

/// Reads a change for an actor, who may read licences.
pub async fn of(db: &Db, actor: &Actor, id: ChangeId) -> Result<Option<LicenseChange>> {
    actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
    let mut conn = db.pool.acquire().await.map_err(failed)?;
    let found = change::read_many(&mut conn, actor.account_id, &[id]).await.map_err(failed)?;
    found.into_iter().next().map(shown).transpose()
}

/// Reads a change.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<LicenseChange>> {
    of(&ctx.state().db, ctx.actor()?, parse_id(id)).await
}

payloads! {
    {
        /// The change as of now: follow it with `licenseChangeUpdated` while it is `PENDING`.
        change: Option<LicenseChange>,
        /// The account's pools as of now; null for whoever may not read them.
        license_pools: Option<Vec<LicensePool>>,
    }
    /// Licences are being added.
    LicensesAddPayload;
    /// Licences will be removed.
    LicensesRemovePayload;
    /// A linked product is being opened.
    ProductEnablePayload;
    /// A linked product will be closed.
    ProductDisablePayload;
    /// The plan will change.
    BillingPlanChangePayload;
    /// A change was taken back.
    LicenseChangeCancelPayload;
}

macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The quote: what it says is what is charged.
            quote_id: ID,
            /// Makes a repetition harmless: the same key never charges twice.
            idempotency_key: String,
        }
    )*};
}

inputs! {
    /// Which quote to confirm.
    LicensesAddInput;
    /// Which quote to confirm.
    LicensesRemoveInput;
    /// Which quote to confirm.
    ProductEnableInput;
    /// Which quote to confirm.
    BillingPlanChangeInput;
}

/// Which product to close.
#[derive(InputObject, Debug)]
pub struct ProductDisableInput {
    /// Its key.
    product_id: String,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which change to take back.
#[derive(InputObject, Debug)]
pub struct LicenseChangeCancelInput {
    /// The change: it must be `SCHEDULED`.
    change_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<ChangeId, Error>) -> Result<P>
where
    P: From<(Option<LicenseChange>, Option<Vec<LicensePool>>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(id) => (read(ctx, &id.to_string().into()).await.ok().flatten(), reread_pools(ctx).await, Vec::new()),
        Err(user_errors) => (None, None, user_errors),
    }))
}

macro_rules! confirm {
    ($ctx:expr, $input:expr, $kind:expr) => {{
        let id = parse_id(&$input.quote_id);
        let done = mutate($ctx, Some(&$input.idempotency_key), Kind::Asked, move |change, actor| {
            Box::pin(async move { change::confirm(change, actor, $kind, id).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer($ctx, outcome).await)
    }};
}

/// Mutations of changes.
#[derive(Debug, Default)]
pub struct ChangeMutation;

#[Object]
impl ChangeMutation {
    /// Confirms a quote for more licences. They are there once they are charged. Needs `licenses.manage`.
    async fn licenses_add(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which quote to confirm.")] input: LicensesAddInput,
    ) -> Option<Result<LicensesAddPayload>> {
        confirm!(ctx, input, QuoteKind::Add)
    }

    /// Confirms a quote for fewer licences, from the next period on. Needs `licenses.manage`; to name holders of base seats also
    /// `members.deactivate`, and `members.invite` for invited ones.
    async fn licenses_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which quote to confirm.")] input: LicensesRemoveInput,
    ) -> Option<Result<LicensesRemovePayload>> {
        confirm!(ctx, input, QuoteKind::Remove)
    }

    /// Confirms a quote to open a linked product. Needs `licenses.manage`.
    async fn product_enable(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which quote to confirm.")] input: ProductEnableInput,
    ) -> Option<Result<ProductEnablePayload>> {
        confirm!(ctx, input, QuoteKind::Enable)
    }

    /// Confirms a quote for another interval or currency, from the next period on. Needs `licenses.manage`.
    async fn billing_plan_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which quote to confirm.")] input: BillingPlanChangeInput,
    ) -> Option<Result<BillingPlanChangePayload>> {
        confirm!(ctx, input, QuoteKind::Plan)
    }

    /// Closes a linked product at the period's end. Until then its holders keep theirs, and nobody is given one. Needs
    /// `licenses.manage`.
    async fn product_disable(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which product to close.")] input: ProductDisableInput,
    ) -> Option<Result<ProductDisablePayload>> {
        let product = input.product_id;
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let product = product.clone();
            Box::pin(async move { change::disable(change, actor, &product).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Takes back what waits for the period's end. Needs `licenses.manage`.
    async fn license_change_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which change to take back.")] input: LicenseChangeCancelInput,
    ) -> Option<Result<LicenseChangeCancelPayload>> {
        let id: ChangeId = parse_id(&input.change_id);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { change::cancel(change, actor, id).await.map(|()| id) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }
}
