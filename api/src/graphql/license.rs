//! What is sold, the pools of licences, and who holds what.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::billing::calendar;
use domain::catalogue::product::{self, Offer, OfferedPrice, ProductKind};
use domain::infra::money::{Currency, Money as Amount};
use domain::license;
use domain::member;

use super::connection::arguments;
use super::context::ContextExt as _;
use super::cost;
use super::error::{failed, top_level};
use super::member::{Member, MemberPage};
use super::money::Money;
use super::scalar::{Date, DateTime};

pub mod allocate;
pub mod change;
pub mod quote;
pub mod trial;

/// What kind of product something is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(name = "ProductKind", remote = "ProductKind")]
pub enum KindOfProduct {
    /// Held by everybody who can sign in.
    Base,
    /// A sister product: as many licences as base ones, for those who hold a base one.
    Linked,
    /// For active members, in any number.
    AddOn,
}

/// How often an account pays.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "calendar::Interval")]
pub enum BillingInterval {
    /// Each month.
    Month,
    /// Each year.
    Year,
}

/// Something that licences are bought of.
#[derive(SimpleObject, Clone, Debug)]
pub struct Product {
    /// Key in the catalogue, like `base`.
    key: String,
    /// As people see it.
    name: String,
}

impl From<product::Product> for Product {
    fn from(product: product::Product) -> Self {
        Self { key: product.key, name: product.name }
    }
}

/// Something that is sold, and for how much.
#[derive(SimpleObject, Clone, Debug)]
pub struct ProductOffer {
    /// What.
    product: Product,
    /// What kind it is.
    kind: KindOfProduct,
    /// How it can be tried; null if it cannot.
    trial: Option<TrialOffer>,
    /// What a licence costs, by currency, interval and day.
    prices: Vec<Price>,
}

/// How something can be tried: once, for nothing.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct TrialOffer {
    /// How many days.
    days: i32,
    /// Licences at most.
    maximum: i32,
}

/// What a licence costs for an interval.
#[derive(SimpleObject, Clone, Debug)]
pub struct Price {
    /// For which interval.
    interval: BillingInterval,
    /// For periods that begin on that day or later, until a later price holds.
    valid_from: Date,
    /// How much, without tax.
    amount: Money,
}

/// Minor units of a currency by its code.
pub(super) fn money(minor: i64, currency: &str) -> Result<Money> {
    let currency = Currency::parse(currency).map_err(top_level)?;
    Ok(Amount { minor, currency }.into())
}

fn price(price: &OfferedPrice) -> Result<Price> {
    let amount = money(price.amount, &price.currency)?;
    Ok(Price { interval: price.interval.into(), valid_from: price.valid_from.into(), amount })
}

fn offer(offer: Offer) -> Result<ProductOffer> {
    Ok(ProductOffer {
        kind: offer.product.kind.into(),
        product: offer.product.into(),
        trial: offer.trial.map(|trial| TrialOffer { days: trial.days, maximum: trial.maximum }),
        prices: offer.prices.iter().map(price).collect::<Result<_>>()?,
    })
}

/// Reads what is sold.
pub async fn products(ctx: &Context<'_>) -> Result<Vec<ProductOffer>> {
    ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    product::offers(&mut conn).await.map_err(failed)?.into_iter().map(offer).collect()
}

/// An account's licences of one product.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct LicensePool {
    /// Of what.
    product: Product,
    /// What kind of product that is.
    kind: KindOfProduct,
    /// Granted, of a running trial, and paid.
    owned: i32,
    /// Of those owned, paid: the ones that cost something and can be removed.
    paid: i32,
    /// Held by members, reserved by invitations, or kept by a running import.
    in_use: i32,
    /// Of those in use, reserved by invitations.
    reserved: i32,
    /// To be removed at the period's end.
    scheduled: i32,
    /// Free to be given to somebody.
    available: i32,
    /// Whether the product is closed at the period's end, so that nobody is given one any more.
    closing: bool,
    /// Its trial; null unless one runs.
    trial: Option<LicenseTrial>,
}

/// A trial that runs.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct LicenseTrial {
    /// Licences that cost nothing until it ends.
    quantity: i32,
    /// When it ends: from then on those that members hold are paid for.
    ends_at: DateTime,
    /// Whether the account does not want to go on: then they are taken back, and nothing is paid.
    opted_out: bool,
}

#[ComplexObject]
impl LicensePool {
    /// Who holds one, by name.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn holders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Member>>> {
        let page = MemberPage::holders(&self.product.key, arguments(first, after, last, before));
        Some(super::member::page(ctx, page).await)
    }
}

impl From<license::Pool> for LicensePool {
    fn from(pool: license::Pool) -> Self {
        Self {
            kind: pool.product.kind.into(),
            product: pool.product.into(),
            owned: pool.owned,
            paid: pool.paid,
            in_use: pool.in_use,
            reserved: pool.reserved,
            scheduled: pool.scheduled,
            available: pool.available,
            closing: pool.closing,
            trial: pool.trial.map(|trial| LicenseTrial {
                quantity: trial.quantity,
                ends_at: trial.ends_at.into(),
                opted_out: trial.opted_out,
            }),
        }
    }
}

/// A licence that a member holds.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberLicense {
    /// Of what.
    product: Product,
    /// Whether it is only reserved, until an invitation is accepted.
    reserved: bool,
    /// Since when.
    allocated_at: DateTime,
}

impl From<member::License> for MemberLicense {
    fn from(held: member::License) -> Self {
        Self {
            product: Product { key: held.product_id, name: held.product_name },
            reserved: held.reserved,
            allocated_at: held.allocated_at.into(),
        }
    }
}

/// Reads the pools of the viewer's account: one statement.
pub async fn pools(ctx: &Context<'_>) -> Result<Vec<LicensePool>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let pools = license::pools(&mut conn, actor.account_id).await.map_err(failed)?;
    Ok(pools.into_iter().map(LicensePool::from).collect())
}

/// The pools after a mutation; null if they cannot be read, or may not be.
pub(super) async fn reread(ctx: &Context<'_>) -> Option<Vec<LicensePool>> {
    pools(ctx).await.ok()
}
