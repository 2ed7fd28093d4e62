//! Statements to be taken along: what is on one, read in one look.

use sqlx::types::Uuid;

use super::{Kind, create};
use crate::account;
use crate::actor::{Action, Actor, Target};
use crate::billing::profile;
use crate::billing::statement::{self, Line, Statement};
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::id::{AccountId, ExportId, StatementId};
use crate::infra::clock::Date;
use crate::infra::db::Db;

/// A statement with all that a file says of it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The account's name.
    pub account_name: String,
    /// The statement; that of a draft is for whom it would be issued now.
    pub statement: Statement,
    /// Its lines, in their order.
    pub lines: Vec<Line>,
    /// The first day of its period, and the first day that is not in it; none for a draft whose period did not begin.
    pub period: Option<(Date, Date)>,
}

/// Asks for a file of a statement: PDF or CSV.
///
/// # Errors
/// `NOT_PERMITTED`; `NOT_FOUND` at `statementId`; `RATE_LIMITED`.
pub async fn create_statement(
    change: &mut Change,
    actor: &Actor,
    statement: StatementId,
    kind: Kind,
) -> Result<ExportId> {
    debug_assert_ne!(kind, Kind::Members, "a list of members is about no statement");
    actor.may(Action::ReadBilling, Target::Account)?;
    change.standing(actor).await?.may(Action::ReadBilling, Target::Account)?;
    let account = change.account();
    if statement::read_many(change.conn(), account, &[statement]).await?.is_empty() {
        return Err(Refused::new(Code::NotFound).at("statementId").into());
    }
    create(change, actor, kind, Some(statement.0), None).await
}

/// Reads the statement of an export. None: it is gone, as a draft that came to nothing.
pub async fn read_statement(db: &Db, account: AccountId, statement: Uuid) -> Result<Option<Issued>> {
    let mut look = db.begin().await?;
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *look).await?;
    let id = StatementId(statement);
    let Some(mut found) = statement::read_many(&mut look, account, &[id]).await?.pop() else { return Ok(None) };
    let lines = statement::lines(&mut look, account, &[id]).await?;
    let period = sqlx::query!(
        r#"SELECT starts_on AS "starts_on: Date", ends_on AS "ends_on: Date" FROM billing_period WHERE account_id = $1 AND period_no = $2"#,
        account.0,
        found.period_no,
    )
    .fetch_optional(&mut *look)
    .await?;
    if found.number.is_none() {
        let now = profile::read(&mut look, account, db.billing.tax_rate.0).await?;
        (found.name, found.address, found.tax_id) = (now.name, now.address, now.tax_id);
    }
    let account_name = account::read(&mut look, account).await?.name;
    look.rollback().await?;
    let period = period.map(|period| (period.starts_on, period.ends_on));
    Ok(Some(Issued { account_name, statement: found, lines, period }))
}
