//! What a change of licences comes to: its price, and all that it was reckoned from. A quote stores it, and confirming reckons it anew:
//! unless everything is the same, the quote is stale.

mod add;
mod ground;
mod next;
mod plan;
mod remove;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::actor::{Action, Actor, Target};
use crate::billing;
use crate::billing::calendar::Interval;
use crate::billing::period::Period;
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::id::MemberId;
use crate::infra::clock::Date;
use crate::member::Status;
use crate::member::status::lock_many;

pub use add::cost_of_seats;
pub(super) use add::price_in;

/// Holders that one change names at most.
const MAX_NAMED: usize = 500;

/// What kind of change is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum QuoteKind {
    /// More licences, at once.
    Add,
    /// Fewer, from the next period on.
    Remove,
    /// A linked product, at once.
    Enable,
    /// Another interval or currency, from the next period on.
    Plan,
}

impl QuoteKind {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Remove => "REMOVE",
            Self::Enable => "ENABLE",
            Self::Plan => "PLAN",
        }
    }
}

/// Who is to lose a licence by a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Who.
    pub member_id: MemberId,
    /// Who takes over what they are responsible for.
    pub successor_id: Option<MemberId>,
    /// Whether they may lose the linked products' licences with it.
    pub release_linked: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// What kind of change.
    pub change: QuoteKind,
    /// Of what; not for [`QuoteKind::Plan`].
    pub product_id: Option<String>,
    /// How many, to add or to remove.
    pub quantity: Option<i32>,
    /// Who loses theirs; the rest is taken from those that nobody holds.
    pub releases: Vec<Release>,
    /// The interval of the plan.
    pub interval: Option<Interval>,
    /// The currency of the plan.
    pub currency: Option<String>,
}

/// A price for something within a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Of what.
    pub product_id: String,
    /// How many.
    pub quantity: i32,
    /// For one and a whole period, in minor units.
    pub unit_price: i64,
    /// The first day that is paid for.
    pub from_on: Date,
    /// The first day that is not.
    pub until_on: Date,
    /// Days of the whole period.
    pub of_days: i32,
    /// The numerator of what was added to the period before.
    pub before: i64,
    /// What this adds to it.
    pub share: i64,
    /// In minor units.
    pub net: i64,
    /// In minor units.
    pub tax: i64,
}

/// A pool as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolFacts {
    /// Of what.
    pub product_id: String,
    /// Owned.
    pub owned: i32,
    /// Of those, paid.
    pub paid: i32,
    /// To be removed at the period's end.
    pub scheduled: i32,
}

/// A licence that is taken from its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Of what.
    pub product_id: String,
    /// From whom.
    pub member_id: MemberId,
    /// Who takes over what they are responsible for.
    pub successor_id: Option<MemberId>,
    /// Where they stood.
    pub status: Status,
}

/// A licence's number that a scheduled change reduces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reduction {
    /// Of what.
    pub product_id: String,
    /// By how many.
    pub quantity: i32,
}

/// What the next statement will come to, as things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextStatement {
    /// When it is issued.
    pub on: Date,
    /// What its recurring lines are paid with.
    pub currency: String,
    /// In minor units: the licences of the next period, and what is added to the draft until then.
    pub net: i64,
    /// In minor units.
    pub tax: i64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// What is paid with now.
    pub currency: String,
    /// The plan's interval from the effective day on.
    pub interval: Interval,
    /// The period that it happens in; the first one begins with it.
    pub period: Period,
    /// Whether that period is yet to be opened.
    pub opens_period: bool,
    /// When it takes effect.
    pub effective_on: Date,
    /// In parts of a million.
    pub tax_rate: i32,
    /// What is paid now.
    pub lines: Vec<Line>,
    /// What is removed at the period's end.
    pub reductions: Vec<Reduction>,
    /// From whom.
    pub named: Vec<Named>,
    /// The pools it was reckoned from.
    pub pools: Vec<PoolFacts>,
    /// What the next statement will come to.
    pub next: Option<NextStatement>,
    /// The plan's currency from the effective day on.
    pub plan_currency: String,
}

impl Terms {
    /// Net sum of what is paid now.
    pub fn net(&self) -> i64 {
        self.lines.iter().map(|line| line.net).sum()
    }

    /// Tax on it.
    pub fn tax(&self) -> i64 {
        self.lines.iter().map(|line| line.tax).sum()
    }
}

/// Reckons what a wish comes to on a day, or today. Locks billing, pools and the members that it names, then asks for the right.
///
/// # Errors
/// NOT_PERMITTED, LICENSE_CHANGE_PENDING, BILLING_CATCHING_UP, and per kind: REQUIRED, NOT_FOUND, OUT_OF_RANGE, NOT_FOR_SALE, FOLLOWS_BASE,
/// PRODUCT_OPEN, PRODUCT_CLOSING, NOT_REMOVABLE, LAST_SEAT, SEAT_SHORTAGE, PLAN_UNCHANGED, INVALID_CURRENCY, and for a named holder
/// NOT_FOUND, LICENSE_NOT_HELD, ALREADY_NAMED, OWN_STATUS, OWNER_PROTECTED, LINKED_LICENSE_HELD, SUCCESSOR_REQUIRED, SUCCESSOR_INVALID.
pub(super) async fn reckon(change: &mut Change, actor: &Actor, wish: &Wish, on: Option<Date>) -> Result<Terms> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let billing = billing::lock(change).await?;
    super::lock(change).await?;
    let mut ids: Vec<MemberId> = wish.releases.iter().map(|release| release.member_id).collect();
    if ids.len() > MAX_NAMED {
        return Err(Refused::new(Code::TooMany).at("releases").into());
    }
    ids.extend(wish.releases.iter().filter_map(|release| release.successor_id));
    let locked = if ids.is_empty() { BTreeMap::new() } else { lock_many(change, &ids).await? };
    let standing = change.standing(actor).await?;
    standing.may(Action::ManageLicenses, Target::Account)?;
    let at = (change.account(), change.now());
    let ground = ground::survey(change.conn(), at, wish, billing, on).await?;
    match wish.change {
        QuoteKind::Add | QuoteKind::Enable => add::add(change, &ground).await,
        QuoteKind::Remove => remove::remove(change, &ground, &standing, &locked).await,
        QuoteKind::Plan => plan::plan(change, &ground).await,
    }
}
