//! Groups of members: they open resources to all their members, and carry rates.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::actor::{Action, Actor};
use crate::id::{GroupId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{self, Cursor, Page, Request, SortKind, SortValue};

mod manage;

pub(crate) use manage::put_in;
pub use manage::{Moved, NewGroup, Update, add_members, archive, create, remove_members, unarchive, update};

/// A set of members.
#[derive(Clone, Debug, FromRow)]
pub struct Group {
    /// Its id.
    pub group_id: GroupId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether no custom rate applies to its members by it.
    pub excluded_from_custom_rates: bool,
    /// Grows with each change.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it grants nothing and takes no members.
    pub archived_at: Option<Timestamp>,
    /// How many members it has, invited ones included.
    pub members: i64,
    sort_name: String,
}

/// Which groups are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Archived ones, or those that are not; both unless given.
    pub archived: Option<bool>,
    /// Part of the name, in any letter case.
    pub text: Option<String>,
}

/// Part of the cursors: groups are listed by name.
pub const ORDER: (&str, SortKind) = ("group.name.asc", SortKind::Text);
/// Part of the cursors: members of a group are listed by name.
pub const MEMBERS_ORDER: (&str, SortKind) = ("group.members.name.asc", SortKind::Text);

macro_rules! select {
    () => {
        "SELECT g.group_id, g.name, g.description, g.excluded_from_custom_rates, g.version, g.created_at, g.archived_at, \
         (SELECT count(*) FROM group_member m WHERE m.account_id = g.account_id AND m.group_id = g.group_id) AS members, \
         lower(g.name) AS sort_name FROM member_group g WHERE g.account_id = "
    };
}

fn push_filter(statement: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(archived) = filter.archived {
        statement.push(" AND (g.archived_at IS NOT NULL) = ").push_bind(archived);
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        statement.push(" AND lower(g.name) LIKE ").push_bind(page::containing(text));
    }
}

/// Reads groups by id, in the order asked for; those that do not exist in the account are left out, as is everything for whoever
/// may not read members.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[GroupId]) -> sqlx::Result<Vec<Group>> {
    if !actor.can(Action::ReadMembers) {
        return Ok(Vec::new());
    }
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut groups: Vec<Group> = sqlx::query_as(concat!(select!(), "$1 AND g.group_id = ANY($2)"))
        .bind(actor.account_id.0)
        .bind(&raw)
        .fetch_all(conn)
        .await?;
    groups.sort_by_key(|group| ids.iter().position(|id| *id == group.group_id));
    Ok(groups)
}

/// A page of an account's groups by name, each with its cursor: one statement. The caller has looked at the right to read them.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, Group)>> {
    let mut statement = QueryBuilder::new(select!());
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, filter);
    request.push_to(&mut statement, "lower(g.name)", "g.group_id", false);
    let rows: Vec<Group> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request
        .page(rows)
        .map(|group| (Cursor::new(ORDER.0, SortValue::Text(group.sort_name.clone()), group.group_id.0), group)))
}

/// How many groups there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> sqlx::Result<i64> {
    let mut statement = QueryBuilder::new("SELECT count(*) FROM member_group g WHERE g.account_id = ");
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, filter);
    statement.build_query_scalar().fetch_one(conn).await
}

/// A page of the members of a group by name, each with its cursor. The caller has looked at the right to read them.
pub async fn members(
    conn: &mut PgConnection,
    actor: &Actor,
    group: GroupId,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, MemberId)>> {
    let mut statement = QueryBuilder::new(
        "SELECT m.member_id, m.sort_name FROM group_member g JOIN member m USING (account_id, member_id) WHERE g.account_id = ",
    );
    statement.push_bind(actor.account_id.0).push(" AND g.group_id = ").push_bind(group.0);
    request.push_to(&mut statement, "m.sort_name", "m.member_id", false);
    let rows: Vec<(MemberId, String)> = statement.build_query_as().fetch_all(conn).await?;
    let cursor =
        |(member, name): (MemberId, String)| (Cursor::new(MEMBERS_ORDER.0, SortValue::Text(name), member.0), member);
    Ok(request.page(rows).map(cursor))
}
