//! Changes of licences: confirmed, charged or scheduled, applied.

use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::quote::{self, Quote};
use super::terms::{self, Line, QuoteKind, Terms, Wish};
use super::{BASE, lock, release_of};
use crate::actor::{Action, Actor, Target};
use crate::billing::charge::{self, Subject};
use crate::billing::notice::{self, Notice};
use crate::billing::period::{self, Period};
use crate::billing::statement::{self, LineKind, NewLine};
use crate::billing::{self, Billing};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, ChangeId, MemberId, QuoteId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::money::told as told_money;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeKind {
    /// More licences.
    Add,
    /// Fewer.
    Remove,
    /// A linked product opened.
    Enable,
    /// A product closed.
    Disable,
    /// Another interval or currency.
    Plan,
    /// A trial whose licences are paid for from now on.
    Trial,
}

/// Where a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeStatus {
    /// It is being charged.
    Pending,
    /// It takes effect at the period's end.
    Scheduled,
    /// It is done.
    Applied,
    /// It was not paid.
    Failed,
    /// It was taken back.
    Canceled,
}

/// A change as it is shown.
#[derive(Clone, Debug, FromRow)]
pub struct LicenseChange {
    /// Its id.
    pub change_id: ChangeId,
    /// What kind.
    pub kind: ChangeKind,
    /// Where it stands.
    pub status: ChangeStatus,
    /// Of what; none for a plan.
    pub product_id: Option<String>,
    /// By how many: positive for more, negative for fewer.
    pub delta: i32,
    /// When it takes effect.
    pub effective_on: Date,
    /// Minor units, charged at once.
    pub net: i64,
    /// Minor units, with it.
    pub tax: i64,
    /// ISO 4217.
    pub currency: String,
    /// Who asked; none for trials and what follows from unpaid statements.
    pub requested_by: Option<MemberId>,
    /// When they asked.
    pub created_at: Timestamp,
    /// When it was done, failed or taken back.
    pub resolved_at: Option<Timestamp>,
    /// Why it failed, in capitals.
    pub error_code: Option<String>,
}

/// The order of [`list`], as [`Request::new`] wants it: the newest first.
pub const ORDER: (&str, SortKind) = ("license_change.created_at.desc", SortKind::Instant);

/// A page of an account's changes, the newest first, each with its cursor. The caller has looked at the right to read licences.
pub async fn list(
    conn: &mut PgConnection,
    account: AccountId,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, LicenseChange)>> {
    let mut statement = QueryBuilder::new(
        "SELECT change_id, kind, status, product_id, CASE WHEN kind IN ('REMOVE', 'DISABLE') THEN -quantity ELSE quantity END AS delta, \
         effective_on, net, tax, currency, requested_by, created_at, resolved_at, error_code FROM license_change WHERE account_id = ",
    );
    statement.push_bind(account.0);
    request.push_to(&mut statement, "created_at", "change_id", true);
    let changes: Vec<LicenseChange> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request
        .page(changes)
        .map(|change| (Cursor::new(ORDER.0, SortValue::Instant(change.created_at), change.change_id.0), change)))
}

/// Changes by their ids.
pub async fn read_many(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[ChangeId],
) -> sqlx::Result<Vec<LicenseChange>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        LicenseChange,
        r#"SELECT change_id AS "change_id: ChangeId", kind AS "kind: ChangeKind", status AS "status: ChangeStatus", product_id,
                  CASE WHEN kind IN ('REMOVE', 'DISABLE') THEN -quantity ELSE quantity END AS "delta!", effective_on AS "effective_on: Date",
                  net, tax, currency, requested_by AS "requested_by: MemberId", created_at, resolved_at, error_code
           FROM license_change WHERE account_id = $1 AND change_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await
}

/// A change to be written.
struct NewChange<'a> {
    kind: &'static str,
    status: &'static str,
    quote_id: Option<QuoteId>,
    product_id: Option<&'a str>,
    quantity: i32,
    net: i64,
    tax: i64,
    currency: &'a str,
    terms: Value,
    requested_by: Option<MemberId>,
    effective_on: Date,
}

async fn insert(change: &mut Change, new: NewChange<'_>) -> Result<ChangeId> {
    let (account, now, id) = (change.account(), change.now(), ChangeId::new());
    sqlx::query!(
        "INSERT INTO license_change (account_id, change_id, kind, status, quote_id, product_id, quantity, net, tax, currency, terms,
                                     requested_by, created_at, effective_on, resolved_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::timestamptz, $14, CASE WHEN $4::text = 'APPLIED' THEN $13::timestamptz END)",
        account.0,
        id.0,
        new.kind,
        new.status,
        new.quote_id.map(|id| id.0),
        new.product_id,
        new.quantity,
        new.net,
        new.tax,
        new.currency,
        new.terms,
        new.requested_by.map(|id| id.0),
        now as Timestamp,
        new.effective_on as Date,
    )
    .execute(change.conn())
    .await?;
    Ok(id)
}

/// What an event tells of a change.
fn told(change: &mut Change, kind: EventKind, id: ChangeId, detail: Value) {
    change.record(NewEvent::new(kind).subject(id.0).detail(detail));
}

/// Confirms a quote: an addition is charged, by a job; a removal and a plan wait for the period's end.
///
/// # Errors
/// At `quoteId` NOT_FOUND, QUOTE_MISMATCH when it is of another kind, QUOTE_EXPIRED, QUOTE_USED, QUOTE_STALE; LICENSE_CHANGE_PENDING;
/// NOT_PERMITTED, and whatever the quote would be refused for by now.
pub async fn confirm(change: &mut Change, actor: &Actor, kind: QuoteKind, id: QuoteId) -> Result<ChangeId> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let (account, now) = (change.account(), change.now());
    let quote = quote::read(change.conn(), account, id).await?;
    let at = |code| Error::from(Refused::new(code).at("quoteId"));
    let quote = quote.ok_or_else(|| at(Code::NotFound))?;
    if quote.kind != kind {
        return Err(at(Code::QuoteMismatch));
    }
    // Looked up under the lock that all of an account's changes go through.
    billing::lock(change).await?;
    let open = sqlx::query!(
        r#"SELECT coalesce(bool_or(quote_id = $2), false) AS "used!", coalesce(bool_or(status = 'PENDING'), false) AS "pending!",
                  coalesce(bool_or(status = 'SCHEDULED' AND kind = 'PLAN'), false) AS "planned!"
           FROM license_change WHERE account_id = $1 AND (quote_id = $2 OR status IN ('PENDING', 'SCHEDULED'))"#,
        account.0,
        id.0,
    )
    .fetch_one(change.conn())
    .await?;
    if open.used {
        return Err(at(Code::QuoteUsed));
    }
    if quote.expires_at <= now {
        return Err(at(Code::QuoteExpired));
    }
    let terms = terms::reckon(change, actor, &quote.wish, Some(quote.quoted_on)).await?;
    if open.pending || (open.planned && kind == QuoteKind::Plan) {
        return Err(Code::LicenseChangePending.into());
    }
    if terms != quote.terms {
        return Err(at(Code::QuoteStale));
    }
    match kind {
        QuoteKind::Add | QuoteKind::Enable => begin(change, actor, &quote).await,
        QuoteKind::Remove => schedule(change, actor, Some(quote.quote_id), &quote.terms).await,
        QuoteKind::Plan => schedule_plan(change, actor, &quote).await,
    }
}

/// Seats exist only once they are charged.
async fn begin(change: &mut Change, actor: &Actor, quote: &Quote) -> Result<ChangeId> {
    let terms = &quote.terms;
    let first = terms.lines.first().ok_or(Error::Stale)?;
    let new = NewChange {
        kind: quote.kind.as_str(),
        status: "PENDING",
        quote_id: Some(quote.quote_id),
        product_id: Some(&first.product_id),
        quantity: first.quantity,
        net: terms.net(),
        tax: terms.tax(),
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    told(change, EventKind::LicenseChangePending, id, facts(quote.kind.as_str(), terms));
    if terms.net() + terms.tax() == 0 {
        let billing = billing::lock(change).await?;
        apply(change, &billing, id, false).await?;
    } else {
        charge::enqueue(change, Subject::Change { change_id: id });
    }
    Ok(id)
}

fn facts(kind: &str, terms: &Terms) -> Value {
    let products = terms.lines.iter().map(|line| json!({ "product": line.product_id, "quantity": line.quantity }));
    let reductions = terms.reductions.iter().map(|one| json!({ "product": one.product_id, "quantity": -one.quantity }));
    let plan = (kind == "PLAN").then_some((terms.interval, &terms.plan_currency));
    json!({
        "interval": plan.map(|(interval, _)| interval),
        "currency": plan.map(|(_, currency)| currency),
        "change": kind,
        "licenses": products.chain(reductions).collect::<Vec<_>>(),
        "charge": told_money(terms.net() + terms.tax(), &terms.currency),
        "effectiveOn": terms.effective_on,
    })
}

/// Removes as many paid base seats at the period's end as were just freed, without a quote: it costs nothing. Billing must be locked.
///
/// # Errors
/// NOT_PERMITTED, BILLING_CATCHING_UP; NOT_REMOVABLE and LAST_SEAT at `removeSeat`.
pub(crate) async fn remove_freed(change: &mut Change, actor: &Actor, count: usize) -> Result<()> {
    let wish = Wish {
        change: QuoteKind::Remove,
        product_id: Some(BASE.to_owned()),
        quantity: Some(i32::try_from(count).expect("bounded by the limit on bulk")),
        releases: Vec::new(),
        interval: None,
        currency: None,
    };
    let terms = terms::reckon(change, actor, &wish, None).await.map_err(|error| match error {
        Error::Refused(list) => {
            let moved = list.into_iter().map(|refused| Refused { field: vec!["removeSeat".to_owned()], ..refused });
            Error::Refused(moved.collect())
        }
        other => other,
    })?;
    schedule(change, actor, None, &terms).await.map(drop)
}

async fn schedule(change: &mut Change, actor: &Actor, quote: Option<QuoteId>, terms: &Terms) -> Result<ChangeId> {
    let first = terms.reductions.first().ok_or(Error::Stale)?;
    let new = NewChange {
        kind: "REMOVE",
        status: "SCHEDULED",
        quote_id: quote,
        product_id: Some(&first.product_id),
        quantity: first.quantity,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    name(change, id, terms).await?;
    told(change, EventKind::LicenseChangeScheduled, id, facts("REMOVE", terms));
    Ok(id)
}

/// Writes down what is to be removed, and who loses theirs. The pools must be locked.
async fn name(change: &mut Change, id: ChangeId, terms: &Terms) -> Result<()> {
    let account = change.account();
    for reduction in &terms.reductions {
        let named: Vec<_> = terms.named.iter().filter(|named| named.product_id == reduction.product_id).collect();
        let members: Vec<Uuid> = named.iter().map(|named| named.member_id.0).collect();
        let successors: Vec<Option<Uuid>> = named.iter().map(|named| named.successor_id.map(|id| id.0)).collect();
        sqlx::query!(
            "WITH named AS (
                 INSERT INTO license_named (account_id, product_id, change_id, member_id, successor_id)
                 SELECT $1, $2, $4, * FROM unnest($5::uuid[], $6::uuid[]))
             UPDATE license_pool SET scheduled = scheduled + $3, named_held = named_held + cardinality($5::uuid[])
             WHERE account_id = $1 AND product_id = $2",
            account.0,
            reduction.product_id,
            reduction.quantity,
            id.0,
            &members,
            &successors as &[Option<Uuid>],
        )
        .execute(change.conn())
        .await?;
    }
    Ok(())
}

async fn schedule_plan(change: &mut Change, actor: &Actor, quote: &Quote) -> Result<ChangeId> {
    let terms = &quote.terms;
    let new = NewChange {
        kind: "PLAN",
        status: if terms.opens_period { "APPLIED" } else { "SCHEDULED" },
        quote_id: Some(quote.quote_id),
        product_id: None,
        quantity: 0,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: Some(actor.member_id),
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    let detail = facts("PLAN", terms);
    if terms.opens_period {
        set_plan(change, terms).await?;
        told(change, EventKind::LicenseChangeApplied, id, detail);
    } else {
        told(change, EventKind::LicenseChangeScheduled, id, detail);
    }
    Ok(id)
}

async fn set_plan(change: &mut Change, terms: &Terms) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "UPDATE account_billing SET currency = $2, billing_interval = $3, version = version + 1 WHERE account_id = $1",
        account.0,
        terms.plan_currency,
        terms.interval.as_str(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// A change that waits, under lock.
struct Waiting {
    kind: ChangeKind,
    terms: Terms,
}

async fn waiting(change: &mut Change, id: ChangeId, status: &str) -> Result<Option<Waiting>> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: ChangeKind", terms FROM license_change WHERE account_id = $1 AND change_id = $2 AND status = $3 FOR NO KEY UPDATE"#,
        account.0,
        id.0,
        status,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let terms = serde_json::from_value(row.terms).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(Waiting { kind: row.kind, terms }))
}

async fn resolve(change: &mut Change, id: ChangeId, status: &str, code: Option<&str>) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE license_change SET status = $3, resolved_at = $4, error_code = $5 WHERE account_id = $1 AND change_id = $2",
        account.0,
        id.0,
        status,
        now as Timestamp,
        code,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Applies an addition that is charged: its lines, its licences. Answers false when the account has ended meanwhile: it fails then.
pub(crate) async fn apply(change: &mut Change, billing: &Billing, id: ChangeId, collected: bool) -> Result<bool> {
    lock(change).await?;
    let Some(waiting) = waiting(change, id, "PENDING").await? else { return Ok(true) };
    let terms = waiting.terms;
    if billing.ended {
        resolve(change, id, "FAILED", Some("ACCOUNT_ENDED")).await?;
        told(change, EventKind::LicenseChangeFailed, id, json!({ "reason": "ACCOUNT_ENDED" }));
        return Ok(false);
    }
    let running = if let Some(period) = &billing.period {
        period.clone()
    } else {
        // The account's first paid licences, or the first since it had none: periods are counted from the day of the quote.
        let first = Period { period_no: billing.next_period_no, ..terms.period.clone() };
        period::open(change, &first).await?;
        first
    };
    let in_time = running.starts_on == terms.period.starts_on && running.currency == terms.period.currency;
    let mut lines = Vec::new();
    for line in &terms.lines {
        lines.push(added(line, &terms, id, collected, !in_time));
        if in_time {
            period::add(change, running.period_no, &line.product_id, line.unit_price, line.share).await?;
        } else {
            lines.extend(missed(change, line, &terms, id).await?);
        }
    }
    statement::add(change, &running.currency, &lines).await?;
    for line in &terms.lines {
        grow(change, &line.product_id, line.quantity).await?;
    }
    resolve(change, id, "APPLIED", None).await?;
    let kind = if waiting.kind == ChangeKind::Enable { "ENABLE" } else { "ADD" };
    told(change, EventKind::LicenseChangeApplied, id, facts(kind, &terms));
    Ok(true)
}

/// The quoted line. One that comes to a later statement keeps the tax that was charged.
fn added(line: &Line, terms: &Terms, id: ChangeId, paid: bool, late: bool) -> NewLine {
    NewLine {
        kind: LineKind::Added,
        product_id: line.product_id.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        from_on: line.from_on,
        until_on: line.until_on,
        of_days: line.of_days,
        net: line.net,
        tax_rate: terms.tax_rate,
        fixed_tax: late.then_some(line.tax),
        paid,
        change_id: Some(id),
    }
}

/// A recurring line for each period that was opened since: those were billed without these licences.
async fn missed(change: &mut Change, line: &Line, terms: &Terms, id: ChangeId) -> Result<Vec<NewLine>> {
    let account = change.account();
    let periods = sqlx::query_as!(
        Period,
        r#"SELECT period_no, anchor_on AS "anchor_on: Date", months, billing_interval AS "interval: crate::billing::calendar::Interval", currency,
                  starts_on AS "starts_on: Date", ends_on AS "ends_on: Date", ends_at, time_zone
           FROM billing_period WHERE account_id = $1 AND starts_on >= $2 ORDER BY period_no"#,
        account.0,
        terms.period.ends_on as Date,
    )
    .fetch_all(change.conn())
    .await?;
    let mut lines = Vec::with_capacity(periods.len());
    for period in periods {
        let (unit_price, _) = terms::price_in(change, &period, false, &line.product_id, period.starts_on).await?;
        lines.push(recurring(&period, &line.product_id, line.quantity, unit_price, terms.tax_rate, Some(id)));
    }
    Ok(lines)
}

/// The line of a whole period.
pub(crate) fn recurring(
    period: &Period,
    product: &str,
    quantity: i32,
    unit_price: i64,
    tax_rate: i32,
    change_id: Option<ChangeId>,
) -> NewLine {
    NewLine {
        kind: LineKind::Recurring,
        product_id: product.to_owned(),
        quantity,
        unit_price,
        from_on: period.starts_on,
        until_on: period.ends_on,
        of_days: period.days(),
        net: unit_price * i64::from(quantity),
        tax_rate,
        fixed_tax: None,
        paid: false,
        change_id,
    }
}

/// More paid licences of a product; its pool, if it is the first time.
async fn grow(change: &mut Change, product: &str, quantity: i32) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO license_pool AS p (account_id, product_id, granted, paid) VALUES ($1, $2, 0, $3)
         ON CONFLICT (account_id, product_id) DO UPDATE SET paid = p.paid + excluded.paid",
        account.0,
        product,
        quantity,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// An addition that the gateway declined. Whoever asked is told by mail.
pub(crate) async fn fail(change: &mut Change, id: ChangeId, code: &str) -> Result<()> {
    if waiting(change, id, "PENDING").await?.is_none() {
        return Ok(());
    }
    resolve(change, id, "FAILED", Some(code)).await?;
    told(change, EventKind::LicenseChangeFailed, id, json!({ "reason": code }));
    notice::enqueue(change, &Notice::ChargeFailed { change_id: id }).await
}

/// Takes back what waits for the period's end.
///
/// # Errors
/// NOT_PERMITTED; at `changeId` NOT_FOUND, CHANGE_FINAL.
pub async fn cancel(change: &mut Change, actor: &Actor, id: ChangeId) -> Result<()> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    billing::lock(change).await?;
    lock(change).await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::ManageLicenses, Target::Account)?;
    let account = change.account();
    let Some(waiting) = waiting(change, id, "SCHEDULED").await? else {
        let known = read_many(change.conn(), account, &[id]).await?;
        let code = if known.is_empty() { Code::NotFound } else { Code::ChangeFinal };
        return Err(Refused::new(code).at("changeId").into());
    };
    unname(change, id, &waiting.terms).await?;
    if waiting.kind == ChangeKind::Disable {
        let products: Vec<String> = waiting.terms.reductions.iter().map(|one| one.product_id.clone()).collect();
        sqlx::query!(
            "UPDATE license_pool SET closing = false WHERE account_id = $1 AND product_id = ANY($2)",
            account.0,
            &products
        )
        .execute(change.conn())
        .await?;
    }
    resolve(change, id, "CANCELED", None).await?;
    told(change, EventKind::LicenseChangeCanceled, id, json!({}));
    Ok(())
}

/// Nobody is named by a change any more, and nothing is removed by it.
async fn unname(change: &mut Change, id: ChangeId, terms: &Terms) -> Result<()> {
    let account = change.account();
    let products: Vec<String> = terms.reductions.iter().map(|one| one.product_id.clone()).collect();
    let quantities: Vec<i32> = terms.reductions.iter().map(|one| one.quantity).collect();
    sqlx::query!(
        "WITH gone AS (DELETE FROM license_named WHERE account_id = $1 AND change_id = $2 RETURNING product_id)
         UPDATE license_pool p
         SET scheduled = p.scheduled - u.quantity, named_held = p.named_held - (SELECT count(*)::int FROM gone g WHERE g.product_id = p.product_id)
         FROM unnest($3::text[], $4::int[]) u(product_id, quantity) WHERE p.account_id = $1 AND p.product_id = u.product_id",
        account.0,
        id.0,
        &products,
        &quantities,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// What takes effect at a period's end: removals and closings first, then the plan. Billing and pools must be locked. Returns the plan
/// that holds from then on, if it changes.
pub(crate) async fn take_effect(change: &mut Change, on: Date) -> Result<()> {
    let account = change.account();
    let due = sqlx::query_scalar!(
        r#"SELECT change_id AS "change_id: ChangeId" FROM license_change
           WHERE account_id = $1 AND status = 'SCHEDULED' AND effective_on <= $2 ORDER BY created_at, change_id"#,
        account.0,
        on as Date,
    )
    .fetch_all(change.conn())
    .await?;
    for id in due {
        let Some(waiting) = waiting(change, id, "SCHEDULED").await? else { continue };
        if waiting.kind == ChangeKind::Plan {
            set_plan(change, &waiting.terms).await?;
        } else {
            take_away(change, id, &waiting).await?;
        }
        resolve(change, id, "APPLIED", None).await?;
        let kind = match waiting.kind {
            ChangeKind::Disable => "DISABLE",
            ChangeKind::Plan => "PLAN",
            _ => "REMOVE",
        };
        told(change, EventKind::LicenseChangeApplied, id, facts(kind, &waiting.terms));
    }
    Ok(())
}

/// Takes licences from those who are still named, and fewer are paid for.
async fn take_away(change: &mut Change, id: ChangeId, waiting: &Waiting) -> Result<()> {
    let account = change.account();
    let named = sqlx::query!(
        r#"SELECT product_id, member_id AS "member_id: MemberId", successor_id AS "successor_id: MemberId"
           FROM license_named WHERE account_id = $1 AND change_id = $2 ORDER BY member_id"#,
        account.0,
        id.0,
    )
    .fetch_all(change.conn())
    .await?;
    let leavers: Vec<(MemberId, Option<MemberId>)> =
        named.iter().filter(|row| row.product_id == BASE).map(|row| (row.member_id, row.successor_id)).collect();
    // Whoever is taken out gives everything back, linked licences as well.
    crate::member::life::take_out_named(change, &leavers).await?;
    unname(change, id, &waiting.terms).await?;
    for reduction in &waiting.terms.reductions {
        let holders: Vec<MemberId> = named
            .iter()
            .filter(|row| row.product_id == reduction.product_id && reduction.product_id != BASE)
            .map(|row| row.member_id)
            .collect();
        release_of(change, &holders, Some(&reduction.product_id)).await?;
        sqlx::query!(
            "UPDATE license_pool SET paid = paid - $3 WHERE account_id = $1 AND product_id = $2",
            account.0,
            reduction.product_id,
            reduction.quantity,
        )
        .execute(change.conn())
        .await?;
    }
    if waiting.kind == ChangeKind::Disable {
        for reduction in &waiting.terms.reductions {
            close_pool(change, &reduction.product_id).await?;
        }
    }
    Ok(())
}

/// Takes all licences of a product that is closed from whoever still holds one.
async fn close_pool(change: &mut Change, product: &str) -> Result<()> {
    let account = change.account();
    sqlx::query!("DELETE FROM license_allocation WHERE account_id = $1 AND product_id = $2", account.0, product,)
        .execute(change.conn())
        .await?;
    sqlx::query!("DELETE FROM license_pool WHERE account_id = $1 AND product_id = $2", account.0, product)
        .execute(change.conn())
        .await?;
    Ok(())
}

/// Closes a linked product at the period's end; until then its holders keep theirs, and nobody is given one.
///
/// # Errors
/// NOT_PERMITTED; at `productId` NOT_FOUND, PRODUCT_CLOSING, NOT_LINKED; BILLING_CATCHING_UP.
pub async fn disable(change: &mut Change, actor: &Actor, product: &str) -> Result<ChangeId> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let now = change.now();
    let billing = billing::lock(change).await?;
    lock(change).await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::ManageLicenses, Target::Account)?;
    if billing.period.as_ref().is_some_and(|period| period.ends_at <= now) {
        return Err(Code::BillingCatchingUp.into());
    }
    let account = change.account();
    let pools = billing::pool_states(change.conn(), account).await?;
    let refused = |code| Error::from(Refused::new(code).at("productId"));
    let pool = pools.get(product).ok_or_else(|| refused(Code::NotFound))?;
    if pool.kind != crate::catalogue::product::ProductKind::Linked {
        return Err(refused(Code::NotLinked));
    }
    if pool.closing {
        return Err(refused(Code::ProductClosing));
    }
    close(change, &billing, product, pool.paid - pool.scheduled, Some(actor.member_id)).await
}

/// Closes a product that was not paid for, at the period's end.
pub(crate) async fn close_product(change: &mut Change, billing: &Billing, product: &str) -> Result<()> {
    lock(change).await?;
    let account = change.account();
    let pools = billing::pool_states(change.conn(), account).await?;
    if let Some(pool) = pools.get(product).filter(|pool| !pool.closing && product != BASE) {
        close(change, billing, product, pool.paid - pool.scheduled, None).await?;
    }
    Ok(())
}

/// All paid licences that are not yet about to be removed go; those that are held are named by the closing itself.
async fn close(
    change: &mut Change,
    billing: &Billing,
    product: &str,
    quantity: i32,
    by: Option<MemberId>,
) -> Result<ChangeId> {
    let (account, now) = (change.account(), change.now());
    let today = Date::at(now, &billing.time_zone);
    let period = billing.period.clone().unwrap_or_else(|| Period::first(billing, today));
    let effective_on = if billing.period.is_some() { period.ends_on } else { today };
    let mut terms = Terms {
        currency: period.currency.clone(),
        interval: billing.interval,
        opens_period: billing.period.is_none(),
        effective_on,
        tax_rate: billing.tax_rate,
        lines: Vec::new(),
        reductions: vec![terms::Reduction { product_id: product.to_owned(), quantity }],
        named: Vec::new(),
        pools: Vec::new(),
        next: None,
        plan_currency: billing.currency.clone(),
        period,
    };
    let holders = sqlx::query!(
        r#"SELECT a.member_id AS "member_id: MemberId", m.status AS "status: crate::member::Status" FROM license_allocation a
           JOIN member m USING (account_id, member_id)
           WHERE a.account_id = $1 AND a.product_id = $2
             AND NOT EXISTS (SELECT FROM license_named n WHERE n.account_id = $1 AND n.product_id = $2 AND n.member_id = a.member_id)
           ORDER BY a.member_id LIMIT $3"#,
        account.0,
        product,
        i64::from(quantity),
    )
    .fetch_all(change.conn())
    .await?;
    let named = holders.into_iter().map(|row| terms::Named {
        product_id: product.to_owned(),
        member_id: row.member_id,
        successor_id: None,
        status: row.status,
    });
    terms.named = named.collect();
    let new = NewChange {
        kind: "DISABLE",
        status: "SCHEDULED",
        quote_id: None,
        product_id: Some(product),
        quantity,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(&terms).expect("plain data"),
        requested_by: by,
        effective_on,
    };
    let id = insert(change, new).await?;
    name(change, id, &terms).await?;
    sqlx::query!(
        "UPDATE license_pool SET closing = true WHERE account_id = $1 AND product_id = $2",
        account.0,
        product
    )
    .execute(change.conn())
    .await?;
    told(change, EventKind::LicenseChangeScheduled, id, facts("DISABLE", &terms));
    if terms.opens_period {
        // Nothing is paid for, so there is no period to wait for.
        take_effect(change, today).await?;
    }
    Ok(id)
}

/// Writes down a trial whose licences are paid for from now on.
pub(super) async fn insert_trial(
    change: &mut Change,
    product: &str,
    quantity: i32,
    (net, tax): (i64, i64),
    terms: &Terms,
) -> Result<()> {
    let new = NewChange {
        kind: "TRIAL",
        status: "APPLIED",
        quote_id: None,
        product_id: Some(product),
        quantity,
        net,
        tax,
        currency: &terms.currency,
        terms: serde_json::to_value(terms).expect("plain data"),
        requested_by: None,
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    told(change, EventKind::LicenseChangeApplied, id, facts("TRIAL", terms));
    Ok(())
}
