//! Quotes: changes of licences with their price.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::change::Kind;
use domain::id::{MemberId, QuoteId};
use domain::license::quote::{self, Quote};
use domain::license::terms::{self, Line, QuoteKind, Terms, Wish};

use super::{BillingInterval, money};
use crate::graphql::context::{ContextExt as _, mutate, parse_id};
use crate::graphql::error::{failed, top_level};
use crate::graphql::member::{Member, reference};
use crate::graphql::money::Money;
use crate::graphql::payload::payloads;
use crate::graphql::scalar::{CurrencyCode, Date, DateTime, Decimal};
use crate::graphql::user_error::split;

/// What kind of change is priced.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(name = "LicenseQuoteChange", remote = "QuoteKind")]
pub enum Change {
    /// More licences, at once. Linked products follow base seats.
    Add,
    /// Fewer, from the next period on.
    Remove,
    /// A linked product is opened, at the size of the base pool.
    Enable,
    /// Another interval or currency, from the next period on.
    Plan,
}

/// A change of licences with its price. It can be confirmed until `expiresAt`, and then costs exactly this, unless something that it was
/// reckoned from has changed.
#[derive(SimpleObject, Clone, Debug)]
pub struct LicenseQuote {
    /// Opaque id.
    pub id: ID,
    /// What kind of change.
    change: Change,
    /// When it can no longer be confirmed.
    expires_at: DateTime,
    /// When it takes effect.
    effective_on: Date,
    /// What is paid at once.
    lines: Vec<LicenseQuoteLine>,
    /// What is removed at the period's end.
    reductions: Vec<LicenseReduction>,
    /// Who loses a licence by that.
    named: Vec<LicenseNamed>,
    /// What is paid at once, without tax.
    net: Money,
    /// The tax on it.
    tax: Money,
    /// Both together: what is charged.
    total: Money,
    /// Tax, in percent.
    tax_rate: Decimal,
    /// What the next statement will come to, as things stand and with this change.
    next_statement: Option<NextStatement>,
}

/// Something that is paid at once, for the rest of the period.
#[derive(SimpleObject, Clone, Debug)]
pub struct LicenseQuoteLine {
    /// Key of the product.
    product_id: String,
    /// How many licences.
    quantity: i32,
    /// What one costs for a whole period.
    unit_price: Money,
    /// The first day that is paid for.
    from_on: Date,
    /// The first day that is not.
    until_on: Date,
    /// Days of the whole period.
    days_of_period: i32,
    /// What is paid, without tax.
    net: Money,
    /// The tax on it.
    tax: Money,
}

/// Fewer licences of a product.
#[derive(SimpleObject, Clone, Debug)]
pub struct LicenseReduction {
    /// Key of the product.
    product_id: String,
    /// By how many.
    quantity: i32,
}

/// Somebody who loses a licence by a removal: of a base seat they are deactivated, or their invitation is revoked.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct LicenseNamed {
    #[graphql(skip)]
    member: MemberId,
    /// Key of the product.
    product_id: String,
    /// Who.
    member_id: ID,
    /// Who takes over what they are responsible for.
    successor_id: Option<ID>,
}

impl From<terms::Named> for LicenseNamed {
    fn from(named: terms::Named) -> Self {
        Self {
            member: named.member_id,
            product_id: named.product_id,
            member_id: named.member_id.to_string().into(),
            successor_id: named.successor_id.map(|id| id.to_string().into()),
        }
    }
}

#[ComplexObject]
impl LicenseNamed {
    /// Who, as of now.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, Some(self.member)).await
    }
}

/// What the next statement will come to.
#[derive(SimpleObject, Clone, Debug)]
pub struct NextStatement {
    /// When it is issued.
    on: Date,
    /// The licences of the next period and what is added until then, without tax.
    net: Money,
    /// The tax on it.
    tax: Money,
    /// Both together.
    total: Money,
}

fn line(line: &Line, currency: &str) -> Result<LicenseQuoteLine> {
    Ok(LicenseQuoteLine {
        product_id: line.product_id.clone(),
        quantity: line.quantity,
        unit_price: money(line.unit_price, currency)?,
        from_on: line.from_on.into(),
        until_on: line.until_on.into(),
        days_of_period: line.of_days,
        net: money(line.net, currency)?,
        tax: money(line.tax, currency)?,
    })
}

fn next(next: &terms::NextStatement) -> Result<NextStatement> {
    Ok(NextStatement {
        on: next.on.into(),
        net: money(next.net, &next.currency)?,
        tax: money(next.tax, &next.currency)?,
        total: money(next.net + next.tax, &next.currency)?,
    })
}

fn shown(quote: &Quote) -> Result<LicenseQuote> {
    let terms: &Terms = &quote.terms;
    let amount = |minor| money(minor, &terms.currency);
    let reductions = terms.reductions.iter();
    let named = terms.named.iter();
    Ok(LicenseQuote {
        id: quote.quote_id.to_string().into(),
        change: quote.kind.into(),
        expires_at: quote.expires_at.into(),
        effective_on: terms.effective_on.into(),
        lines: terms.lines.iter().map(|one| line(one, &terms.currency)).collect::<Result<_>>()?,
        reductions: reductions
            .map(|one| LicenseReduction { product_id: one.product_id.clone(), quantity: one.quantity })
            .collect(),
        named: named.cloned().map(LicenseNamed::from).collect(),
        net: amount(terms.net())?,
        tax: amount(terms.tax())?,
        total: amount(terms.net() + terms.tax())?,
        tax_rate: Decimal(domain::billing::TaxRate(terms.tax_rate).to_string()),
        next_statement: terms.next.as_ref().map(next).transpose()?,
    })
}

/// Reads quotes by their ids; none when the viewer may not read licences.
pub async fn read_many(ctx: &Context<'_>, ids: &[QuoteId]) -> Result<Vec<LicenseQuote>> {
    let actor = ctx.actor()?;
    if !actor.can(Action::ReadLicenses) {
        return Ok(Vec::new());
    }
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    quote::read_many(&mut conn, actor.account_id, ids).await.map_err(failed)?.iter().map(shown).collect()
}

/// Reads a quote. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<LicenseQuote>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let quote = quote::read(&mut conn, actor.account_id, parse_id(id)).await.map_err(failed)?;
    quote.as_ref().map(shown).transpose()
}

payloads! {
    {
        /// The quote.
        quote: Option<LicenseQuote>,
    }
    /// A change was priced.
    LicenseQuoteCreatePayload;
}

/// Somebody who is to lose a licence by a removal.
#[derive(InputObject, Debug)]
pub struct LicenseReleaseInput {
    /// Who.
    member_id: ID,
    /// Who takes over what they are responsible for: an active member. Needed if there is anything, and the seat is a base one.
    successor_id: Option<ID>,
    /// Whether they may lose the linked products' licences with their seat.
    #[graphql(default)]
    release_linked: bool,
}

/// A change to be priced.
#[derive(InputObject, Debug)]
pub struct LicenseQuoteCreateInput {
    /// What kind of change.
    change: Change,
    /// Key of the product; not for `PLAN`.
    product_id: Option<String>,
    /// How many licences to add or remove.
    quantity: Option<i32>,
    /// Who loses theirs by a removal; the rest is taken from those that nobody holds.
    releases: Option<Vec<LicenseReleaseInput>>,
    /// The interval of a plan.
    interval: Option<BillingInterval>,
    /// The currency of a plan.
    currency: Option<CurrencyCode>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

impl LicenseQuoteCreateInput {
    fn wish(&self) -> Wish {
        let releases = self.releases.iter().flatten().map(|release| terms::Release {
            member_id: parse_id(&release.member_id),
            successor_id: release.successor_id.as_ref().map(parse_id),
            release_linked: release.release_linked,
        });
        Wish {
            change: self.change.into(),
            product_id: self.product_id.clone(),
            quantity: self.quantity,
            releases: releases.collect(),
            interval: self.interval.map(Into::into),
            currency: self.currency.as_ref().map(|currency| currency.0.clone()),
        }
    }
}

/// Mutations of quotes.
#[derive(Debug, Default)]
pub struct QuoteMutation;

#[Object]
impl QuoteMutation {
    /// Prices a change of licences. Nothing is changed by it. Needs `licenses.manage`.
    async fn license_quote_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A change to be priced.")] input: LicenseQuoteCreateInput,
    ) -> Option<Result<LicenseQuoteCreatePayload>> {
        let outcome = async {
            let wish = input.wish();
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let wish = wish.clone();
                Box::pin(async move { quote::create(change, actor, &wish).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        let answer = async {
            Ok(match split(outcome)? {
                Ok(id) => (reread(ctx, id).await, Vec::new()).into(),
                Err(user_errors) => (None, user_errors).into(),
            })
        };
        Some(answer.await)
    }
}

async fn reread(ctx: &Context<'_>, id: QuoteId) -> Option<LicenseQuote> {
    read(ctx, &id.to_string().into()).await.ok().flatten()
}
