//! The list of members: filtered, sorted, paged, in one statement whatever is asked for.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use super::{Include, Member, Status, Visibility, attach_lists, visibility};
use crate::actor::{Action, Actor};
use crate::id::{MemberId, RoleId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};
use crate::profile::{Profile, SubscriptionType};

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Last name, then first name.
    Name,
    /// Address.
    Email,
    /// When they were invited, imported, or founded the account.
    CreatedAt,
}

impl Order {
    /// Part of the cursors.
    pub fn key(self, descending: bool) -> String {
        format!("member.{}.{}", self.column(), if descending { "desc" } else { "asc" })
    }

    /// What [`Request::new`] wants to know of it.
    pub const fn kind(self) -> SortKind {
        match self {
            Self::Name | Self::Email => SortKind::Text,
            Self::CreatedAt => SortKind::Instant,
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Name => "m.sort_name",
            Self::Email => "m.email",
            Self::CreatedAt => "m.created_at",
        }
    }
}

/// Which members are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these; empty for all.
    pub statuses: Vec<Status>,
    /// Who have this role.
    pub role_id: Option<RoleId>,
    /// Part of the name or the address, in any letter case.
    pub text: Option<String>,
}

macro_rules! select {
    () => {
        "SELECT m.member_id, m.user_id, m.email, m.status, m.first_name, m.last_name, m.initials, m.time_zone, m.address, m.city, \
         m.state, m.zip, m.country, m.phone, m.job_title, m.subscription_type, m.version, m.created_at, m.joined_at, m.sort_name, \
         a.last_sign_in_at, a.last_activity_at, o.member_id IS NOT NULL AS owner \
         FROM member m LEFT JOIN member_activity a USING (account_id, member_id) \
         LEFT JOIN account_owner o USING (account_id, member_id) WHERE m.account_id = "
    };
}

pub(super) const SELECT_BY_ID: &str = concat!(select!(), "$1 AND m.member_id = ANY($2)");

#[derive(FromRow)]
pub(super) struct Row {
    member_id: MemberId,
    user_id: Option<UserId>,
    email: String,
    status: Status,
    first_name: Option<String>,
    last_name: Option<String>,
    initials: Option<String>,
    time_zone: Option<String>,
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
    phone: Option<String>,
    job_title: Option<String>,
    subscription_type: Option<SubscriptionType>,
    version: i32,
    created_at: Timestamp,
    joined_at: Option<Timestamp>,
    sort_name: String,
    last_sign_in_at: Option<Timestamp>,
    last_activity_at: Option<Timestamp>,
    owner: bool,
}

impl Row {
    fn sort_value(&self, order: Order) -> SortValue {
        match order {
            Order::Name => SortValue::Text(self.sort_name.clone()),
            Order::Email => SortValue::Text(self.email.clone()),
            Order::CreatedAt => SortValue::Instant(self.created_at),
        }
    }

    /// The member with no more than the actor may see; `None` where they may not know of them.
    pub(super) fn seen_by(self, actor: &Actor) -> Option<Member> {
        let visibility = visibility(actor, self.member_id);
        let basic = visibility == Visibility::Basic;
        if basic && self.status != Status::Active {
            return None;
        }
        let hide = |value: Option<String>| if basic { None } else { value };
        Some(Member {
            member_id: self.member_id,
            visibility,
            user_id: if basic { None } else { self.user_id },
            email: hide(Some(self.email)),
            status: self.status,
            owner: self.owner,
            profile: Profile {
                first_name: self.first_name,
                last_name: self.last_name,
                job_title: self.job_title,
                initials: hide(self.initials),
                time_zone: hide(self.time_zone),
                address: hide(self.address),
                city: hide(self.city),
                state: hide(self.state),
                zip: hide(self.zip),
                country: hide(self.country),
                phone: hide(self.phone),
                subscription_type: if basic { None } else { self.subscription_type },
            },
            version: (!basic).then_some(self.version),
            created_at: (!basic).then_some(self.created_at),
            joined_at: if basic { None } else { self.joined_at },
            last_sign_in_at: if basic { None } else { self.last_sign_in_at },
            last_activity_at: if basic { None } else { self.last_activity_at },
            roles: None,
            licenses: None,
        })
    }
}

/// A page of the members an actor may see, each with its cursor: at most two statements.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    (order, descending): (Order, bool),
    request: &Request,
    include: Include,
) -> sqlx::Result<Page<(Cursor, Member)>> {
    let mut statement = QueryBuilder::new(select!());
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, actor, filter);
    request.push_to(&mut statement, order.column(), "m.member_id", descending);
    let rows: Vec<Row> = statement.build_query_as().fetch_all(&mut *conn).await?;
    let key = order.key(descending);
    let page = request.page(rows).map(|row| (Cursor::new(&key, row.sort_value(order), row.member_id.0), row));
    let (mut cursors, mut members) = (Vec::with_capacity(page.rows.len()), Vec::with_capacity(page.rows.len()));
    for (cursor, row) in page.rows {
        if let Some(member) = row.seen_by(actor) {
            cursors.push(cursor);
            members.push(member);
        }
    }
    attach_lists(conn, actor.account_id, &mut members, include).await?;
    let rows = cursors.into_iter().zip(members).collect();
    Ok(Page { rows, has_previous: page.has_previous, has_next: page.has_next })
}

/// How many members there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> sqlx::Result<i64> {
    let mut statement = QueryBuilder::new("SELECT count(*) FROM member m WHERE m.account_id = ");
    statement.push_bind(actor.account_id.0);
    push_filter(&mut statement, actor, filter);
    statement.build_query_scalar().fetch_one(conn).await
}

fn push_filter(statement: &mut QueryBuilder<Postgres>, actor: &Actor, filter: &Filter) {
    if !actor.can(Action::ReadMembers) {
        statement.push(" AND (m.status = 'ACTIVE' OR m.member_id = ").push_bind(actor.member_id.0).push(")");
    }
    if !filter.statuses.is_empty() {
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        statement.push(" AND m.status = ANY(").push_bind(statuses).push(")");
    }
    if let Some(role) = filter.role_id {
        statement.push(" AND EXISTS (SELECT FROM member_role r WHERE r.account_id = m.account_id AND r.member_id = m.member_id AND r.role_id = ");
        statement.push_bind(role.0).push(")");
        if !actor.can(Action::ReadMembers) {
            // Who has which role is not theirs to find out by filtering.
            statement.push(" AND m.member_id = ").push_bind(actor.member_id.0);
        }
    }
    // No name and no address holds a control character, and the database takes no NUL.
    let text = filter.text.as_deref().map(|text| text.replace(char::is_control, " "));
    if let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        let pattern = format!("%{}%", escape_like(&text.to_lowercase()));
        statement
            .push(" AND (lower(coalesce(m.first_name, '') || ' ' || coalesce(m.last_name, '')) LIKE ")
            .push_bind(pattern.clone());
        if actor.can(Action::ReadMembers) {
            statement.push(" OR m.email LIKE ").push_bind(pattern);
        }
        statement.push(")");
    }
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
