//! Statements: one per account and period. A draft collects what is added in a period; when that ends it gets the recurring lines of the
//! next one and a number, and is owed.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::ledger::{self, Reason};
use super::{Draft, proration};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, ChangeId, CreditId, StatementId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::money::told;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LineKind {
    /// The licences of a period, in advance.
    Recurring,
    /// Licences that were added within a period.
    Added,
    /// Licences of a trial that ended.
    Trial,
    /// Something that is given back.
    Credit,
}

impl LineKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recurring => "RECURRING",
            Self::Added => "ADDED",
            Self::Trial => "TRIAL",
            Self::Credit => "CREDIT",
        }
    }
}

/// Where a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// It collects what happens in the running period.
    Draft,
    /// It is owed.
    Open,
    /// It is paid.
    Paid,
    /// It was not paid in time.
    PastDue,
}

/// A line to be written.
#[derive(Clone, Debug)]
pub(crate) struct NewLine {
    pub kind: LineKind,
    pub product_id: String,
    pub quantity: i32,
    pub unit_price: i64,
    pub from_on: Date,
    pub until_on: Date,
    /// Days of the period that the price is for.
    pub of_days: i32,
    pub net: i64,
    pub tax_rate: i32,
    /// The tax that was charged with it already; otherwise it bears its part of the tax on the statement's sum.
    pub fixed_tax: Option<i64>,
    pub paid: bool,
    pub change_id: Option<ChangeId>,
    /// The credit that it uses.
    pub credit_id: Option<CreditId>,
}

/// Opens the draft that collects the changes of the period before `period_no`.
pub(super) async fn open_draft(change: &mut Change, period_no: i32, currency: &str) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO statement (account_id, statement_id, period_no, currency, state) VALUES ($1, $2, $3, $4, 'DRAFT')",
        account.0,
        StatementId::new().0,
        period_no,
        currency,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// The account's draft, if a period runs.
pub(crate) async fn draft(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Draft>> {
    let row = sqlx::query_scalar!(
        r#"SELECT statement_id AS "statement_id: StatementId" FROM statement WHERE account_id = $1 AND state = 'DRAFT'"#,
        account.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match row {
        Some(statement) => sums(conn, account, statement).await.map(Some),
        None => Ok(None),
    }
}

/// What a statement's lines come to.
async fn sums(conn: &mut PgConnection, account: AccountId, statement: StatementId) -> sqlx::Result<Draft> {
    let rows = sqlx::query!(
        r#"SELECT tax_rate, count(*)::int AS "lines!", coalesce(sum(net) FILTER (WHERE NOT fixed_tax), 0)::bigint AS "taxed!",
                  sum(net)::bigint AS "net!", sum(tax)::bigint AS "tax!", coalesce(sum(net + tax) FILTER (WHERE paid), 0)::bigint AS "paid!"
           FROM statement_line WHERE account_id = $1 AND statement_id = $2 GROUP BY tax_rate"#,
        account.0,
        statement.0,
    )
    .fetch_all(conn)
    .await?;
    let mut draft = Draft { statement_id: statement, lines: 0, taxed: BTreeMap::new(), net: 0, tax: 0, paid: 0 };
    for row in rows {
        draft.lines += row.lines;
        draft.taxed.insert(row.tax_rate, row.taxed);
        draft.net += row.net;
        draft.tax += row.tax;
        draft.paid += row.paid;
    }
    Ok(draft)
}

/// Adds lines to the draft, each with its tax, and enters what is owed in the books. Billing must be locked. Returns net and tax of all.
pub(crate) async fn add(change: &mut Change, currency: &str, lines: &[NewLine]) -> Result<(i64, i64)> {
    let account = change.account();
    let mut draft = draft(change.conn(), account).await?.ok_or(Error::Stale)?;
    let (mut net, mut tax) = (0, 0);
    for line in lines {
        let taxed = draft.taxed.entry(line.tax_rate).or_default();
        let of_line = match line.fixed_tax {
            Some(fixed) => fixed,
            None => proration::tax(*taxed, line.net, line.tax_rate),
        };
        if line.fixed_tax.is_none() {
            *taxed += line.net;
        }
        draft.lines += 1;
        write(change, draft.statement_id, draft.lines, line, of_line).await?;
        let reason = Reason { statement_id: Some(draft.statement_id), change_id: line.change_id, attempt_id: None };
        ledger::write(change, currency, reason, &ledger::owed(line.net, of_line)).await?;
        net += line.net;
        tax += of_line;
    }
    Ok((net, tax))
}

async fn write(change: &mut Change, statement: StatementId, position: i32, line: &NewLine, tax: i64) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "INSERT INTO statement_line (account_id, statement_id, position, kind, product_id, quantity, unit_price, from_on, until_on, of_days,
                                     net, tax_rate, tax, fixed_tax, paid, change_id, credit_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        account.0,
        statement.0,
        position,
        line.kind.as_str(),
        line.product_id,
        line.quantity,
        line.unit_price,
        line.from_on as Date,
        line.until_on as Date,
        line.of_days,
        line.net,
        line.tax_rate,
        tax,
        line.fixed_tax.is_some(),
        line.paid,
        line.change_id.map(|id| id.0),
        line.credit_id.map(|id| id.0),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Gives the draft its number and makes it owed; an empty one goes. Billing must be locked. Its collection is due at once, or on account
/// after the days of payment.
pub(crate) async fn issue(change: &mut Change, gateway: &str, on: Date) -> Result<Option<StatementId>> {
    let (account, now) = (change.account(), change.now());
    let draft = draft(change.conn(), account).await?.ok_or(Error::Stale)?;
    if draft.lines == 0 {
        sqlx::query!(
            "DELETE FROM statement WHERE account_id = $1 AND statement_id = $2",
            account.0,
            draft.statement_id.0
        )
        .execute(change.conn())
        .await?;
        return Ok(None);
    }
    let total = draft.net + draft.tax;
    let due = (total - draft.paid).max(0);
    let days = if gateway == "account" { change.db().billing.payment_days } else { 0 };
    let issued = sqlx::query!(
        r#"WITH taken AS (
               UPDATE account_billing SET next_statement_no = next_statement_no + 1 WHERE account_id = $1
               RETURNING next_statement_no - 1 AS number, name, address, tax_id)
           UPDATE statement s SET state = CASE WHEN $3::bigint = 0 THEN 'PAID' ELSE 'OPEN' END, number = taken.number, issued_at = $4::timestamptz,
                                  issued_on = $5, total = $6, due = $3, name = taken.name, address = taken.address, tax_id = taken.tax_id,
                                  next_try_at = CASE WHEN $3::bigint > 0 THEN $4::timestamptz + $7::float8 * interval '1 day' END
           FROM taken WHERE s.account_id = $1 AND s.statement_id = $2 RETURNING s.number AS "number!", s.currency"#,
        account.0,
        draft.statement_id.0,
        due,
        now,
        on as Date,
        total,
        f64::from(days),
    )
    .fetch_one(change.conn())
    .await?;
    let detail = json!({
        "number": issued.number, "total": told(total, &issued.currency), "due": told(due, &issued.currency),
    });
    change.record(NewEvent::new(EventKind::StatementIssued).subject(draft.statement_id.0).detail(detail));
    Ok(Some(draft.statement_id))
}

/// A statement as it is shown. What a draft comes to is what is on it so far.
#[derive(Clone, Debug, FromRow)]
pub struct Statement {
    /// Its id.
    pub statement_id: StatementId,
    /// Without gaps, from 1; none for a draft.
    pub number: Option<i32>,
    /// Where it stands.
    pub state: State,
    /// The period whose recurring lines it lists.
    pub period_no: i32,
    /// ISO 4217.
    pub currency: String,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// The day it was issued for: the first of the period.
    pub issued_on: Option<Date>,
    /// Minor units, without tax.
    pub net: i64,
    /// Minor units of tax.
    pub tax: i64,
    /// Minor units that are owed; of a draft, that will be.
    pub due: i64,
    /// To whom it was issued.
    pub name: Option<String>,
    /// Where they are.
    pub address: Option<String>,
    /// Their tax id.
    pub tax_id: Option<String>,
}

/// A line as it is shown.
#[derive(Clone, Debug)]
pub struct Line {
    /// Of which statement.
    pub statement_id: StatementId,
    /// 1, 2, 3 …
    pub position: i32,
    /// What for.
    pub kind: LineKind,
    /// The product's key.
    pub product_id: Option<String>,
    /// The product's name.
    pub product_name: Option<String>,
    /// How many.
    pub quantity: i32,
    /// Minor units for one and a whole period.
    pub unit_price: i64,
    /// The first day that is paid for.
    pub from_on: Date,
    /// The first day that is not.
    pub until_on: Date,
    /// Days of the period that the price is for.
    pub of_days: i32,
    /// Minor units without tax.
    pub net: i64,
    /// In parts of a million.
    pub tax_rate: i32,
    /// Minor units of tax.
    pub tax: i64,
    /// Whether it was paid when it was confirmed.
    pub paid: bool,
    /// The change that it is for.
    pub change_id: Option<ChangeId>,
    /// Of a credit, why it was given.
    pub reason: Option<String>,
}

/// The order of [`list`], as [`Request::new`] wants it: the newest first.
pub const ORDER: (&str, SortKind) = ("statement.period_no.desc", SortKind::Number);

/// A page of an account's statements, the draft first, then the newest, each with its cursor. The caller has looked at the right to read
/// them.
pub async fn list(
    conn: &mut PgConnection,
    account: AccountId,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, Statement)>> {
    let mut statement = QueryBuilder::new(
        "SELECT s.statement_id, number, state, period_no, currency, issued_at, issued_on, l.net, l.tax, coalesce(s.due, l.unpaid) AS due, \
                name, address, tax_id \
         FROM statement s \
         CROSS JOIN LATERAL ( \
             SELECT coalesce(sum(net), 0)::bigint AS net, coalesce(sum(tax), 0)::bigint AS tax, \
                    coalesce(sum(net + tax) FILTER (WHERE NOT paid), 0)::bigint AS unpaid \
             FROM statement_line l WHERE l.account_id = s.account_id AND l.statement_id = s.statement_id) l \
         WHERE s.account_id = ",
    );
    statement.push_bind(account.0);
    request.push_to(&mut statement, "s.period_no", "s.statement_id", true);
    let rows: Vec<Statement> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request.page(rows).map(|row| (Cursor::new(ORDER.0, SortValue::Number(row.period_no), row.statement_id.0), row)))
}

/// Statements by their ids.
pub async fn read_many(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[StatementId],
) -> sqlx::Result<Vec<Statement>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Statement,
        r#"SELECT s.statement_id AS "statement_id: StatementId", number, state AS "state: State", period_no, currency, issued_at,
                  issued_on AS "issued_on: Date", l.net AS "net!", l.tax AS "tax!", coalesce(s.due, l.unpaid) AS "due!", name, address, tax_id
           FROM statement s
           CROSS JOIN LATERAL (
               SELECT coalesce(sum(net), 0)::bigint AS net, coalesce(sum(tax), 0)::bigint AS tax,
                      coalesce(sum(net + tax) FILTER (WHERE NOT paid), 0)::bigint AS unpaid
               FROM statement_line l WHERE l.account_id = s.account_id AND l.statement_id = s.statement_id) l
           WHERE s.account_id = $1 AND s.statement_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await
}

/// The lines of statements, in their order.
pub async fn lines(conn: &mut PgConnection, account: AccountId, ids: &[StatementId]) -> sqlx::Result<Vec<Line>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Line,
        r#"SELECT l.statement_id AS "statement_id: StatementId", l.position, l.kind AS "kind: LineKind", l.product_id, p.name AS "product_name?",
                  l.quantity, l.unit_price, l.from_on AS "from_on: Date", l.until_on AS "until_on: Date", l.of_days, l.net, l.tax_rate, l.tax,
                  l.paid, l.change_id AS "change_id: ChangeId", c.reason AS "reason?"
           FROM statement_line l LEFT JOIN product p USING (product_id) LEFT JOIN billing_credit c USING (account_id, credit_id)
           WHERE l.account_id = $1 AND l.statement_id = ANY($2) ORDER BY l.statement_id, l.position"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await
}
