//! What a change of licences comes to: its price, and all that it was reckoned from. A quote stores it, and confirming reckons it anew:
//! unless everything is the same, the quote is stale.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BASE;
use crate::actor::{Action, Actor, Standing, Target};
use crate::billing::calendar::Interval;
use crate::billing::period::{self, Period};
use crate::billing::{self, Billing, PoolState, proration, statement};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{AtField as _, Code, Detail, Error, Refused, Result};
use crate::id::MemberId;
use crate::infra::clock::Date;
use crate::infra::money::Currency;
use crate::member::Status;
use crate::member::status::{Locked, lock_many};
use crate::member::successor;

/// Licences of a product that an account has at most.
const MAX_LICENCES: i32 = 1_000_000;
/// Licences that one change concerns at most.
const MAX_QUANTITY: i32 = 100_000;
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

/// What terms are reckoned from, under lock.
struct Ground<'a> {
    wish: &'a Wish,
    billing: Billing,
    pools: BTreeMap<String, PoolState>,
    today: Date,
    period: Period,
    opens_period: bool,
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
    let ground = survey(change, wish, billing, on).await?;
    match wish.change {
        QuoteKind::Add | QuoteKind::Enable => add(change, &ground).await,
        QuoteKind::Remove => remove(change, &ground, &standing, &locked).await,
        QuoteKind::Plan => plan(change, &ground).await,
    }
}

/// The period that a change falls into, and the pools as they are.
async fn survey<'a>(change: &mut Change, wish: &'a Wish, billing: Billing, on: Option<Date>) -> Result<Ground<'a>> {
    let (account, now) = (change.account(), change.now());
    let pools = billing::pool_states(change.conn(), account).await?;
    let (period, opens_period) = match &billing.period {
        Some(period) if period.ends_at <= now => return Err(Code::BillingCatchingUp.into()),
        Some(period) => (period.clone(), false),
        None => (Period::first(&billing, on.unwrap_or_else(|| Date::at(now, &billing.time_zone))), true),
    };
    let today = on.unwrap_or_else(|| period.day_at(now));
    if today < period.starts_on || today >= period.ends_on {
        return Err(Code::QuoteStale.into());
    }
    Ok(Ground { wish, billing, pools, today, period, opens_period })
}

impl Ground<'_> {
    fn product(&self) -> Result<&str> {
        self.wish.product_id.as_deref().ok_or_else(|| Refused::new(Code::Required).at("productId").into())
    }

    fn quantity(&self) -> Result<i32> {
        let quantity = self.wish.quantity.ok_or_else(|| Error::from(Refused::new(Code::Required).at("quantity")))?;
        let allowed = (1..=MAX_QUANTITY).contains(&quantity);
        if allowed { Ok(quantity) } else { Err(Refused::new(Code::OutOfRange).at("quantity").into()) }
    }

    /// Linked products that are open and stay so.
    fn linked(&self) -> impl Iterator<Item = &String> {
        self.pools.iter().filter(|(_, pool)| pool.kind == ProductKind::Linked && !pool.closing).map(|(key, _)| key)
    }

    fn facts(&self) -> Vec<PoolFacts> {
        let facts = |(key, pool): (&String, &PoolState)| PoolFacts {
            product_id: key.clone(),
            owned: pool.owned(),
            paid: pool.paid,
            scheduled: pool.scheduled,
        };
        self.pools.iter().map(facts).collect()
    }

    fn terms(&self, effective_on: Date) -> Terms {
        Terms {
            currency: self.period.currency.clone(),
            interval: self.billing.interval,
            period: self.period.clone(),
            opens_period: self.opens_period,
            effective_on,
            tax_rate: self.billing.tax_rate,
            lines: Vec::new(),
            reductions: Vec::new(),
            named: Vec::new(),
            pools: self.facts(),
            next: None,
            plan_currency: self.billing.currency.clone(),
        }
    }
}

async fn add(change: &mut Change, ground: &Ground<'_>) -> Result<Terms> {
    let product = ground.product()?;
    let enabling = ground.wish.change == QuoteKind::Enable;
    let kind = sold(change, product).await?;
    let pool = ground.pools.get(product);
    let base = &ground.pools[BASE];
    let wanted: Vec<(String, i32)> = match (kind, enabling) {
        (ProductKind::Linked, true) if pool.is_some_and(|pool| pool.closing) => {
            return Err(refused(Code::ProductClosing));
        }
        (ProductKind::Linked, true) if pool.is_some() => return Err(refused(Code::ProductOpen)),
        // Where removals of base seats wait, as many of these follow at once.
        (ProductKind::Linked, true) => vec![(product.to_owned(), base.owned())],
        (ProductKind::Linked, false) => return Err(refused(Code::FollowsBase)),
        (_, true) => return Err(refused(Code::ProductOpen)),
        (ProductKind::AddOn, false) if pool.is_some_and(|pool| pool.closing) => {
            return Err(refused(Code::ProductClosing));
        }
        (ProductKind::AddOn, false) => vec![(product.to_owned(), ground.quantity()?)],
        (ProductKind::Base, false) => {
            let quantity = ground.quantity()?;
            let linked = ground.linked().map(|key| (key.clone(), quantity));
            std::iter::once((BASE.to_owned(), quantity)).chain(linked).collect()
        }
    };
    for (key, quantity) in &wanted {
        let owned = ground.pools.get(key).map_or(0, PoolState::owned);
        if owned + quantity > MAX_LICENCES {
            return Err(Refused::new(Code::OutOfRange).at("quantity").into());
        }
    }
    let mut terms = ground.terms(ground.today);
    terms.lines = lines(change, ground, &wanted).await?;
    let after = |key: &str| wanted.iter().find(|(of, _)| of == key).map_or(0, |(_, quantity)| *quantity);
    terms.next =
        next_statement(change, ground, &terms, after, &ground.period.currency, ground.billing.interval).await?;
    Ok(terms)
}

fn refused(code: Code) -> Error {
    Refused::new(code).at("productId").into()
}

/// The kind of a product that is sold.
async fn sold(change: &mut Change, product: &str) -> Result<ProductKind> {
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: ProductKind", withdrawn_at IS NOT NULL AS "withdrawn!" FROM product WHERE product_id = $1"#,
        product
    )
    .fetch_optional(change.conn())
    .await?;
    match row {
        None => Err(refused(Code::NotFound)),
        Some(row) if row.withdrawn => Err(refused(Code::NotForSale)),
        Some(row) => Ok(row.kind),
    }
}

/// What additions cost for the rest of the period, in the order given: each line's tax is its part of the tax on the statement's sum.
async fn lines(change: &mut Change, ground: &Ground<'_>, wanted: &[(String, i32)]) -> Result<Vec<Line>> {
    let account = change.account();
    let draft = statement::draft(change.conn(), account).await?;
    let rate = ground.billing.tax_rate;
    let mut taxed = draft.and_then(|draft| draft.taxed.get(&rate).copied()).unwrap_or_default();
    let period = &ground.period;
    let mut lines = Vec::with_capacity(wanted.len());
    for (product, quantity) in wanted {
        let (unit_price, before) = price_in(change, period, ground.opens_period, product, ground.today).await?;
        let share = proration::share(unit_price, *quantity, period.days_from(ground.today));
        let net = proration::cost(before, share, period.days());
        let tax = proration::tax(taxed, net, rate);
        taxed += net;
        lines.push(Line {
            product_id: product.clone(),
            quantity: *quantity,
            unit_price,
            from_on: ground.today,
            until_on: period.ends_on,
            of_days: period.days(),
            before,
            share,
            net,
            tax,
        });
    }
    Ok(lines)
}

/// A product's price in a period, and the numerator so far: the price that held when the period began, or since it is sold.
pub(super) async fn price_in(
    change: &mut Change,
    period: &Period,
    unopened: bool,
    product: &str,
    today: Date,
) -> Result<(i64, i64)> {
    let account = change.account();
    if !unopened && let Some(known) = period::product(change.conn(), account, period.period_no, product).await? {
        return Ok(known);
    }
    let keys = [product.to_owned()];
    for day in [period.starts_on, today] {
        let prices = billing::prices(change.conn(), &keys, &period.currency, period.interval, day).await?;
        if let Some(price) = prices.get(product) {
            return Ok((*price, 0));
        }
    }
    Err(refused(Code::NotForSale))
}

/// What the statement at the period's end will come to: with `more` licences of each product than are paid for and stay.
async fn next_statement(
    change: &mut Change,
    ground: &Ground<'_>,
    terms: &Terms,
    more: impl Fn(&str) -> i32,
    currency: &str,
    interval: Interval,
) -> Result<Option<NextStatement>> {
    let (account, on) = (change.account(), ground.period.ends_on);
    let ends = ground.billing.ends_at.is_some();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for (key, pool) in ground.pools.iter().filter(|_| !ends) {
        *counts.entry(key.clone()).or_default() += pool.paid - pool.scheduled;
    }
    for line in terms.lines.iter().filter(|_| !ends) {
        counts.entry(line.product_id.clone()).or_default();
    }
    let keys: Vec<String> = counts.keys().cloned().collect();
    let prices = billing::prices(change.conn(), &keys, currency, interval, on).await?;
    let draft = statement::draft(change.conn(), account).await?;
    let same = currency == ground.period.currency;
    let (mut net, mut tax, mut taxed) = (0, 0, 0);
    if let Some(draft) = draft.filter(|_| same) {
        taxed = draft.taxed.get(&terms.tax_rate).copied().unwrap_or_default();
        (net, tax) = (draft.net, draft.tax);
    }
    if same {
        taxed += terms.net();
        net += terms.net();
        tax += terms.tax();
    }
    for (key, count) in &counts {
        let count = count + more(key);
        let Some(price) = prices.get(key) else {
            if count > 0 && ground.wish.change == QuoteKind::Plan {
                return Err(Code::NotForSale.into());
            }
            continue;
        };
        let recurring = price * i64::from(count.max(0));
        tax += proration::tax(taxed, recurring, terms.tax_rate);
        taxed += recurring;
        net += recurring;
    }
    Ok(Some(NextStatement { on, currency: currency.to_owned(), net, tax }))
}

async fn remove(
    change: &mut Change,
    ground: &Ground<'_>,
    standing: &Standing,
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<Terms> {
    let (product, quantity) = (ground.product()?, ground.quantity()?);
    let pool = ground.pools.get(product).ok_or_else(|| refused(Code::NotFound))?;
    if pool.kind == ProductKind::Linked {
        return Err(refused(Code::FollowsBase));
    }
    if pool.closing {
        return Err(refused(Code::ProductClosing));
    }
    if quantity > pool.paid - pool.scheduled {
        return Err(Refused::new(Code::NotRemovable).at("quantity").into());
    }
    if product == BASE && pool.owned() - pool.scheduled - quantity < 1 {
        return Err(Refused::new(Code::LastSeat).at("quantity").into());
    }
    let named = named(change, ground, standing, locked).await?;
    let mut reductions = vec![Reduction { product_id: product.to_owned(), quantity }];
    if product == BASE {
        for key in ground.linked() {
            let linked = &ground.pools[key];
            let count = quantity.min(linked.paid - linked.scheduled);
            if count > 0 {
                reductions.push(Reduction { product_id: key.clone(), quantity: count });
            }
        }
    }
    for reduction in &reductions {
        let of_it = named.iter().filter(|named| named.product_id == reduction.product_id).count();
        let of_it = i32::try_from(of_it).expect("bounded by the limit on names");
        let available = ground.pools[&reduction.product_id].available();
        if of_it > reduction.quantity {
            return Err(Refused::new(Code::OutOfRange).at("quantity").into());
        }
        let required = reduction.quantity - of_it;
        if required > available {
            let detail = Detail::Seats { required, available };
            return Err(Refused { detail, ..Refused::new(Code::SeatShortage).at("quantity") }.into());
        }
    }
    let mut terms = ground.terms(ground.period.ends_on);
    terms.named = named;
    let fewer =
        |key: &str| reductions.iter().find(|one| one.product_id == key).map_or(0, |reduction| -reduction.quantity);
    terms.next =
        next_statement(change, ground, &terms, fewer, &ground.billing.currency, ground.billing.interval).await?;
    terms.reductions = reductions;
    Ok(terms)
}

/// Who holds what, of the members that a wish names.
async fn held(change: &mut Change, members: &[MemberId]) -> Result<BTreeSet<(MemberId, String, bool)>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT a.member_id AS "member_id: MemberId", a.product_id, n.member_id IS NOT NULL AS "named!"
           FROM license_allocation a
           LEFT JOIN license_named n ON n.account_id = a.account_id AND n.product_id = a.product_id AND n.member_id = a.member_id
           WHERE a.account_id = $1 AND a.member_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.member_id, row.product_id, row.named)).collect())
}

/// Looks at each holder that is to lose a licence.
async fn named(
    change: &mut Change,
    ground: &Ground<'_>,
    standing: &Standing,
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<Vec<Named>> {
    let product = ground.product()?;
    let members: Vec<MemberId> = ground.wish.releases.iter().map(|release| release.member_id).collect();
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let held = held(change, &members).await?;
    let busy = successor::responsible(change, &members).await?;
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (index, release) in ground.wish.releases.iter().enumerate() {
        let at = |code| Error::from(Refused::new(code).at("memberId").at(index).at("releases"));
        let member = release.member_id;
        let Some(found) = locked.get(&member) else { return Err(at(Code::NotFound)) };
        if !seen.insert(member) {
            return Err(at(Code::Duplicate));
        }
        if held.contains(&(member, product.to_owned(), true)) {
            return Err(at(Code::AlreadyNamed));
        }
        if !held.contains(&(member, product.to_owned(), false)) {
            return Err(at(Code::LicenseNotHeld));
        }
        let place = |field: &str, result: Result<()>| result.at(field).at(index).at("releases");
        if product == BASE {
            place("memberId", leaves(standing, member, found))?;
        }
        match release.successor_id {
            Some(to) => place("successorId", successor::check(standing, Action::ReadMembers, locked, to, &members))?,
            None if product == BASE && busy.contains(&member) => {
                place("successorId", Err(Code::SuccessorRequired.into()))?;
            }
            None => {}
        }
        let name = |product_id: &str| Named {
            product_id: product_id.to_owned(),
            member_id: member,
            successor_id: release.successor_id,
            status: found.status,
        };
        all.push(name(product));
        for key in ground.linked().filter(|_| product == BASE) {
            if held.contains(&(member, key.clone(), false)) {
                if !release.release_linked {
                    return Err(Refused::new(Code::LinkedLicenseHeld)
                        .at("releaseLinked")
                        .at(index)
                        .at("releases")
                        .into());
                }
                all.push(name(key));
            }
        }
    }
    Ok(all)
}

/// Whether the actor may have somebody taken out, or an invitation revoked.
fn leaves(standing: &Standing, member: MemberId, found: &Locked) -> Result<()> {
    let invited = found.user_id.is_none();
    let action = if invited { Action::Invite } else { Action::Deactivate };
    standing
        .may(action, Target::Member { member_id: member, owner: found.owner, units: &found.units, held: &found.held })
}

async fn plan(change: &mut Change, ground: &Ground<'_>) -> Result<Terms> {
    let currency = match &ground.wish.currency {
        Some(code) => Currency::parse(code).at("currency")?.code().to_owned(),
        None => ground.billing.currency.clone(),
    };
    let interval = ground.wish.interval.unwrap_or(ground.billing.interval);
    if currency == ground.billing.currency && interval == ground.billing.interval {
        return Err(Code::PlanUnchanged.into());
    }
    let effective = if ground.opens_period { ground.today } else { ground.period.ends_on };
    let mut terms = ground.terms(effective);
    terms.next = next_statement(change, ground, &terms, |_| 0, &currency, interval).await?;
    (terms.plan_currency, terms.interval) = (currency, interval);
    Ok(terms)
}
