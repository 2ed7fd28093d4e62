//! Changes of licences: confirmed, charged or scheduled, applied.

mod apply;
mod close;
mod confirm;
mod effect;

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::lock;
use super::terms::{Named, Terms};
use crate::actor::{Action, Actor, Target};
use crate::billing;
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, ChangeId, MemberId, QuoteId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::money;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};

pub(super) use apply::insert_trial;
pub(crate) use apply::{apply, fail, recurring};
pub(crate) use close::close_product;
pub use close::disable;
pub use confirm::confirm;
pub(crate) use confirm::remove_freed;
pub(crate) use effect::take_effect;

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
    /// Who was named to lose a licence by it.
    pub named: Json<Vec<Named>>,
}

macro_rules! select {
    () => {
        "SELECT change_id, kind, status, product_id, CASE WHEN kind IN ('REMOVE', 'DISABLE') THEN -quantity ELSE quantity END AS delta, \
         effective_on, net, tax, currency, requested_by, created_at, resolved_at, error_code, terms->'named' AS named \
         FROM license_change WHERE account_id = "
    };
}

/// The order of [`list`], as [`Request::new`] wants it: the newest first.
pub const ORDER: (&str, SortKind) = ("license_change.created_at.desc", SortKind::Instant);

/// A page of an account's changes, the newest first, each with its cursor. The caller has looked at the right to read licences.
pub async fn list(
    conn: &mut PgConnection,
    account: AccountId,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, LicenseChange)>> {
    let mut statement = QueryBuilder::new(select!());
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
    sqlx::query_as(concat!(select!(), "$1 AND change_id = ANY($2)")).bind(account.0).bind(&ids).fetch_all(conn).await
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

fn facts(kind: &str, terms: &Terms) -> Value {
    let products = terms.lines.iter().map(|line| json!({ "product": line.product_id, "quantity": line.quantity }));
    let reductions = terms.reductions.iter().map(|one| json!({ "product": one.product_id, "quantity": -one.quantity }));
    let plan = (kind == "PLAN").then_some((terms.interval, &terms.plan_currency));
    json!({
        "interval": plan.map(|(interval, _)| interval),
        "currency": plan.map(|(_, currency)| currency),
        "change": kind,
        "licenses": products.chain(reductions).collect::<Vec<_>>(),
        "charge": money::told(terms.net() + terms.tax(), &terms.currency),
        "effectiveOn": terms.effective_on,
    })
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
