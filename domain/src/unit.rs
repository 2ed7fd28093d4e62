//! Organizational units of an account: flat parts of it that a role's assignment can be limited to.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::actor::{Action, Actor};
use crate::id::{AccountId, UnitId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};

mod manage;

pub use manage::{NewUnit, Update, add_members, archive, create, remove_members, unarchive, update};

/// A part of an account.
#[derive(Clone, Debug, FromRow)]
pub struct Unit {
    /// Its id.
    pub unit_id: UnitId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Grows with each change.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when what is limited to it grants nothing.
    pub archived_at: Option<Timestamp>,
    sort_name: String,
}

/// Which units are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Archived ones, or those that are not; both unless given.
    pub archived: Option<bool>,
    /// Part of the name, in any letter case.
    pub text: Option<String>,
}

/// Part of the cursors: units are listed by name.
pub const ORDER: (&str, SortKind) = ("unit.name.asc", SortKind::Text);

macro_rules! select {
    () => {
        "SELECT u.unit_id, u.name, u.description, u.version, u.created_at, u.archived_at, lower(u.name) AS sort_name \
         FROM unit u WHERE u.account_id = "
    };
}

/// Only units in which the actor may see members.
fn push_visible(statement: &mut QueryBuilder<Postgres>, actor: &Actor) {
    let (everywhere, units) = actor.reach(Action::ReadMembers).parts();
    if !everywhere {
        statement.push(" AND u.unit_id = ANY(").push_bind(units).push(")");
    }
}

fn push_filter(statement: &mut QueryBuilder<Postgres>, actor: &Actor, filter: &Filter) {
    push_visible(statement, actor);
    if let Some(archived) = filter.archived {
        statement.push(" AND (u.archived_at IS NOT NULL) = ").push_bind(archived);
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        let pattern = crate::infra::page::containing(text);
        statement.push(" AND lower(u.name) LIKE ").push_bind(pattern);
    }
}

/// Reads units by id, in the order asked for; those that do not exist, or are not the actor's to see, are left out.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[UnitId]) -> sqlx::Result<Vec<Unit>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut statement = QueryBuilder::new(select!());
    statement.push_bind(actor.account_id.0).push(" AND u.unit_id = ANY(").push_bind(raw).push(")");
    push_visible(&mut statement, actor);
    let mut units: Vec<Unit> = statement.build_query_as().fetch_all(conn).await?;
    units.sort_by_key(|unit| ids.iter().position(|id| *id == unit.unit_id));
    Ok(units)
}

/// A page of the units an actor may see, by name: one statement.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, Unit)>> {
    let mut statement = QueryBuilder::new(select!());
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, actor, filter);
    request.push_to(&mut statement, "lower(u.name)", "u.unit_id", false);
    let units: Vec<Unit> = statement.build_query_as().fetch_all(conn).await?;
    let cursor = |unit: &Unit| Cursor::new(ORDER.0, SortValue::Text(unit.sort_name.clone()), unit.unit_id.0);
    Ok(request.page(units).map(|unit| (cursor(&unit), unit)))
}

/// How many units there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> sqlx::Result<i64> {
    let mut statement = QueryBuilder::new("SELECT count(*) FROM unit u WHERE u.account_id = ");
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, actor, filter);
    statement.build_query_scalar().fetch_one(conn).await
}

/// Members of units, invited ones included, in the order asked for.
pub async fn member_counts(conn: &mut PgConnection, account: AccountId, units: &[UnitId]) -> sqlx::Result<Vec<i64>> {
    let ids: Vec<Uuid> = units.iter().map(|unit| unit.0).collect();
    sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM member_unit m WHERE m.account_id = $1 AND m.unit_id = w.unit_id) AS "count!"
           FROM unnest($2::uuid[]) WITH ORDINALITY w(unit_id, ord) ORDER BY w.ord"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await
}

/// Whether the account has any unit that is not archived: a frontend shows units only then.
pub async fn in_use(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM unit WHERE account_id = $1 AND archived_at IS NULL) AS "used!""#,
        account.0
    )
    .fetch_one(conn)
    .await
}
