//! The list of members: filtered, sorted, paged, in one statement whatever is asked for.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::row::{Row, select};
use super::sight::Sight;
use super::{Include, Member, Status, attach_lists};
use crate::actor::Actor;
use crate::error::{Refused, Result};
use crate::id::{GroupId, RoleId, UnitId};
use crate::infra::page::{Cursor, Page, Request, SortKind};
use crate::permission::Permission;
use crate::profile::SubscriptionType;

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Last name, then first name.
    Name,
    /// Address.
    Email,
    /// When they were invited, imported, or founded the account.
    CreatedAt,
    /// When they accepted; who has not stands before everybody.
    JoinedAt,
    /// When they were last active; who never was stands before everybody.
    LastActivity,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Name, Self::Email, Self::CreatedAt, Self::JoinedAt, Self::LastActivity];

    /// Part of the cursors.
    pub fn key(self, descending: bool) -> String {
        let name = match self {
            Self::Name => "m.sort_name",
            Self::Email => "m.email",
            Self::CreatedAt => "m.created_at",
            Self::JoinedAt => "m.joined_at",
            Self::LastActivity => "a.last_activity_at",
        };
        format!("member.{name}.{}", if descending { "desc" } else { "asc" })
    }

    /// What [`Request::new`] wants to know of it.
    pub const fn kind(self) -> SortKind {
        match self {
            Self::Name | Self::Email => SortKind::Text,
            Self::CreatedAt | Self::JoinedAt | Self::LastActivity => SortKind::Instant,
        }
    }

    /// The value and the id to sort by, as the indexes have them.
    const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Name => ("m.sort_name", "m.member_id"),
            Self::Email => ("m.email", "m.member_id"),
            Self::CreatedAt => ("m.created_at", "m.member_id"),
            Self::JoinedAt => ("coalesce(m.joined_at, '1970-01-01 00:00:00+00'::timestamptz)", "m.member_id"),
            Self::LastActivity => {
                ("coalesce(a.last_activity_at, '1970-01-01 00:00:00+00'::timestamptz)", "a.member_id")
            }
        }
    }
}

/// Which members are wanted.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Any of these; empty for all.
    pub statuses: Vec<Status>,
    /// Who have this role.
    pub role_id: Option<RoleId>,
    /// Who are in this group.
    pub group_id: Option<GroupId>,
    /// Who belong to this unit.
    pub unit_id: Option<UnitId>,
    /// Who hold a licence of any of these products; empty for all.
    pub products: Vec<String>,
    /// Whose subscription covers this.
    pub subscription_type: Option<SubscriptionType>,
    /// Part of the name or the address, in any letter case.
    pub text: Option<String>,
}

/// A page of the members an actor may see, each with its cursor: at most two statements. Any order but that by name would tell what
/// only readers of profiles may know, and is of those they may read.
///
/// # Errors
/// NOT_PERMITTED in such an order for who may read nobody's profile.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    (order, descending): (Order, bool),
    request: &Request,
    include: Include,
) -> Result<Page<(Cursor, Member)>> {
    let mut statement = Asked { filter, order, descending, request }.statement("", actor)?;
    // Planned for these very values: which index is best depends on them.
    let rows: Vec<Row> = statement.build_query_as().persistent(false).fetch_all(&mut *conn).await?;
    let key = order.key(descending);
    let page = request.page(rows).map(|row| (Cursor::new(&key, row.sort_value(order), row.member_id.0), row.seen()));
    let (cursors, mut members): (Vec<Cursor>, Vec<Member>) = page.rows.into_iter().unzip();
    attach_lists(conn, actor.account_id, &mut members, include).await?;
    let rows = cursors.into_iter().zip(members).collect();
    Ok(Page { rows, has_previous: page.has_previous, has_next: page.has_next })
}

/// What a page is to hold.
struct Asked<'a> {
    filter: &'a Filter,
    order: Order,
    descending: bool,
    request: &'a Request,
}

impl Asked<'_> {
    fn statement(&self, prefix: &str, actor: &Actor) -> Result<QueryBuilder<Postgres>> {
        let sight = Sight::of(actor);
        let mut statement = select(prefix, actor, &sight, Some(self.order));
        if self.order != Order::Name {
            if !sight.reads_any() {
                return Err(Refused::missing(vec![Permission::MembersRead]).into());
            }
            sight.push_readable(&mut statement);
        }
        push_filter(&mut statement, &sight, self.filter);
        let (value, id) = self.order.columns();
        self.request.push_to(&mut statement, value, id, self.descending);
        Ok(statement)
    }
}

/// How the database goes about a page, and what that took: for those who measure it.
pub async fn explain(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    (order, descending): (Order, bool),
    request: &Request,
) -> Result<Vec<String>> {
    let mut statement =
        Asked { filter, order, descending, request }.statement("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) ", actor)?;
    Ok(statement.build_query_scalar().persistent(false).fetch_all(conn).await?)
}

/// How many members there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> sqlx::Result<i64> {
    let sight = Sight::of(actor);
    let mut statement = QueryBuilder::new("SELECT count(*) FROM member m WHERE m.account_id = ");
    statement.push_bind(actor.account_id.0);
    sight.push_seen(&mut statement);
    push_filter(&mut statement, &sight, filter);
    statement.build_query_scalar().persistent(false).fetch_one(conn).await
}

/// How many members of each status an actor sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Who have joined.
    pub active: i64,
    /// Who were asked to.
    pub invited: i64,
    /// Who are shut out.
    pub suspended: i64,
    /// Who were taken out.
    pub deactivated: i64,
}

/// Counts members by status.
pub async fn counts(conn: &mut PgConnection, actor: &Actor) -> sqlx::Result<Counts> {
    let mut statement = QueryBuilder::new("SELECT m.status, count(*) FROM member m WHERE m.account_id = ");
    statement.push_bind(actor.account_id.0);
    Sight::of(actor).push_seen(&mut statement);
    statement.push(" GROUP BY m.status");
    let rows: Vec<(Status, i64)> = statement.build_query_as().persistent(false).fetch_all(conn).await?;
    let mut counts = Counts::default();
    for (status, count) in rows {
        match status {
            Status::Active => counts.active = count,
            Status::Invited => counts.invited = count,
            Status::Suspended => counts.suspended = count,
            Status::Deactivated => counts.deactivated = count,
        }
    }
    Ok(counts)
}

pub(crate) fn push_filter(statement: &mut QueryBuilder<Postgres>, sight: &Sight, filter: &Filter) {
    match &filter.statuses[..] {
        [] => {}
        // By itself it can be part of an ordered index.
        [status] => {
            statement.push(" AND m.status = ").push_bind(status.as_str());
        }
        several => {
            let statuses: Vec<&str> = several.iter().map(|status| status.as_str()).collect();
            statement.push(" AND m.status = ANY(").push_bind(statuses).push(")");
        }
    }
    if let Some(role) = filter.role_id {
        push_listed(statement, "member_role", "role_id", role.0);
    }
    if let Some(group) = filter.group_id {
        push_listed(statement, "group_member", "group_id", group.0);
    }
    if let Some(unit) = filter.unit_id {
        push_listed(statement, "member_unit", "unit_id", unit.0);
    }
    if let Some(subscription) = filter.subscription_type {
        statement.push(" AND m.subscription_type = ").push_bind(subscription.as_str());
    }
    if !filter.products.is_empty() {
        statement.push(
            " AND EXISTS (SELECT FROM license_allocation f WHERE f.account_id = m.account_id AND f.member_id = m.member_id AND f.product_id = ANY(",
        );
        statement.push_bind(filter.products.clone()).push("))");
    }
    let of_profile =
        [!filter.products.is_empty(), filter.role_id.is_some(), filter.group_id.is_some(), filter.unit_id.is_some()];
    if of_profile.contains(&true) || filter.subscription_type.is_some() {
        // What is hidden of somebody is not to be found out by filtering.
        sight.push_readable(statement);
    }
    push_text(statement, sight, filter.text.as_deref());
}

fn push_listed(statement: &mut QueryBuilder<Postgres>, table: &str, column: &str, id: uuid::Uuid) {
    statement.push(format_args!(
        " AND EXISTS (SELECT FROM {table} f WHERE f.account_id = m.account_id AND f.member_id = m.member_id AND f.{column} = "
    ));
    statement.push_bind(id).push(")");
}

fn push_text(statement: &mut QueryBuilder<Postgres>, sight: &Sight, text: Option<&str>) {
    // No name and no address holds a control character, and the database takes no NUL.
    let text = text.map(|text| text.replace(char::is_control, " "));
    let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else { return };
    let pattern = format!("%{}%", escape_like(&text.to_lowercase()));
    statement
        .push(" AND (lower(coalesce(m.first_name, '') || ' ' || coalesce(m.last_name, '')) LIKE ")
        .push_bind(pattern.clone());
    statement.push(" OR (m.email LIKE ").push_bind(pattern).push(" AND ");
    sight.push_or_false(statement);
    statement.push("))");
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
