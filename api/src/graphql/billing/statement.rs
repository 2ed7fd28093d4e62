//! Statements: what an account owes, period by period.

use std::collections::HashMap;

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::billing::TaxRate;
use domain::billing::statement::{self, LineKind, State};
use domain::id::{AccountId, StatementId};
use domain::infra::page::{Arguments, Page, Request};
use sqlx::PgConnection;

use crate::graphql::connection::connection;
use crate::graphql::context::{ContextExt as _, parse_id};
use crate::graphql::error::{failed, top_level};
use crate::graphql::license::money;
use crate::graphql::money::Money;
use crate::graphql::scalar::{Date, DateTime, Decimal};

/// Where a statement stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "State")]
pub enum StatementState {
    /// It collects what happens in the running period.
    Draft,
    /// It is owed.
    Open,
    /// It is paid.
    Paid,
    /// It was not paid in time.
    PastDue,
}

/// What a line of a statement is for.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "LineKind")]
pub enum StatementLineKind {
    /// The licences of a period, in advance.
    Recurring,
    /// Licences that were added within a period.
    Added,
    /// Licences of a trial that ended.
    Trial,
    /// Something that is given back.
    Credit,
}

/// What an account owes for a period: its licences in advance, and what was added in the period before.
#[derive(SimpleObject, Clone, Debug)]
pub struct Statement {
    /// Opaque id.
    pub id: ID,
    /// 1, 2, 3 … without gaps; null for the draft.
    number: Option<i32>,
    /// Where it stands.
    state: StatementState,
    /// When it was issued; null for the draft.
    issued_at: Option<DateTime>,
    /// The day it was issued for; null for the draft.
    issued_on: Option<Date>,
    /// To whom; null for the draft, and where the account has told no name.
    bill_to_name: Option<String>,
    /// Their address.
    bill_to_address: Option<String>,
    /// Their tax id.
    bill_to_tax_id: Option<String>,
    /// What the lines come to, without tax.
    net: Money,
    /// The tax on it.
    tax: Money,
    /// Both together.
    total: Money,
    /// What is still to be paid.
    due: Money,
    /// What it lists.
    lines: Vec<StatementLine>,
}

/// A line of a statement.
#[derive(SimpleObject, Clone, Debug)]
pub struct StatementLine {
    /// What for.
    kind: StatementLineKind,
    /// Key of the product.
    product_id: Option<String>,
    /// The product's name.
    product_name: Option<String>,
    /// How many licences.
    quantity: i32,
    /// What one costs for a whole period.
    unit_price: Money,
    /// The first day that is paid for.
    from_on: Date,
    /// The first day that is not.
    until_on: Date,
    /// Days of the period that the price is for.
    days_of_period: i32,
    /// What it comes to, without tax.
    net: Money,
    /// Tax, in percent.
    tax_rate: Decimal,
    /// The tax: its part of the tax on the statement's sum.
    tax: Money,
    /// Whether it was paid when it was confirmed.
    paid: bool,
    /// The change that it is for.
    change_id: Option<ID>,
    /// Of a credit, why it was given.
    reason: Option<String>,
}

fn line(line: statement::Line, currency: &str) -> Result<StatementLine> {
    Ok(StatementLine {
        kind: line.kind.into(),
        product_id: line.product_id,
        product_name: line.product_name,
        quantity: line.quantity,
        unit_price: money(line.unit_price, currency)?,
        from_on: line.from_on.into(),
        until_on: line.until_on.into(),
        days_of_period: line.of_days,
        net: money(line.net, currency)?,
        tax_rate: Decimal(TaxRate(line.tax_rate).to_string()),
        tax: money(line.tax, currency)?,
        paid: line.paid,
        change_id: line.change_id.map(|id| id.to_string().into()),
        reason: line.reason,
    })
}

fn shown(one: statement::Statement, lines: Vec<statement::Line>) -> Result<Statement> {
    let currency = one.currency;
    let amount = |minor| money(minor, &currency);
    Ok(Statement {
        id: one.statement_id.to_string().into(),
        number: one.number,
        state: one.state.into(),
        issued_at: one.issued_at.map(Into::into),
        issued_on: one.issued_on.map(Into::into),
        bill_to_name: one.name,
        bill_to_address: one.address,
        bill_to_tax_id: one.tax_id,
        net: amount(one.net)?,
        tax: amount(one.tax)?,
        total: amount(one.net + one.tax)?,
        due: amount(one.due)?,
        lines: lines.into_iter().map(|one| line(one, &currency)).collect::<Result<_>>()?,
    })
}

async fn lines(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[StatementId],
) -> Result<HashMap<StatementId, Vec<statement::Line>>> {
    let mut all: HashMap<StatementId, Vec<statement::Line>> = HashMap::new();
    for line in statement::lines(conn, account, ids).await.map_err(failed)? {
        all.entry(line.statement_id).or_default().push(line);
    }
    Ok(all)
}

/// Reads a page of statements with their lines, the draft first, then the newest: two statements. Needs `billing.read` or
/// `billing.manage`.
pub async fn page(ctx: &Context<'_>, arguments: &Arguments) -> Result<Connection<String, Statement>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadBilling, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, statement::ORDER).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = statement::list(&mut conn, actor.account_id, &request).await.map_err(failed)?;
    let ids: Vec<StatementId> = page.rows.iter().map(|(_, one)| one.statement_id).collect();
    let mut lines = lines(&mut conn, actor.account_id, &ids).await?;
    let (has_previous, has_next) = (page.has_previous, page.has_next);
    let rows = page.rows.into_iter().map(|(cursor, one)| {
        let lines = lines.remove(&one.statement_id).unwrap_or_default();
        Ok((cursor, shown(one, lines)?))
    });
    Ok(connection(Page { rows: rows.collect::<Result<_>>()?, has_previous, has_next }, |one| one))
}

/// Reads a statement.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<Statement>> {
    ctx.actor()?.may(Action::ReadBilling, Target::Account).map_err(top_level)?;
    Ok(read_many(ctx, &[parse_id(id)]).await?.pop())
}

/// Reads statements by their ids, with their lines; none when the viewer may not read them.
pub async fn read_many(ctx: &Context<'_>, ids: &[StatementId]) -> Result<Vec<Statement>> {
    let actor = ctx.actor()?;
    if !actor.can(Action::ReadBilling) {
        return Ok(Vec::new());
    }
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let found = statement::read_many(&mut conn, actor.account_id, ids).await.map_err(failed)?;
    let mut lines = lines(&mut conn, actor.account_id, ids).await?;
    found
        .into_iter()
        .map(|one| {
            let lines = lines.remove(&one.statement_id).unwrap_or_default();
            shown(one, lines)
        })
        .collect()
}
