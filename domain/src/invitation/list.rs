//! The list of invitations: open ones, and those that have ended.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Delivery, State};
use crate::actor::Actor;
use crate::id::{InvitationId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};
use crate::member::sight::Sight;

/// An invitation as administrators see it.
#[derive(Clone, Debug, FromRow)]
pub struct Invitation {
    /// Its id.
    pub invitation_id: InvitationId,
    /// The invited member, while it is open or accepted.
    pub member_id: Option<MemberId>,
    /// To whom.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// The personal message.
    pub message: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Who is answerable for it; none: an operator.
    pub invited_by: Option<MemberId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was accepted, revoked or declined.
    pub finished_at: Option<Timestamp>,
    /// When a mail server took the mail.
    pub sent_at: Option<Timestamp>,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
    /// How far the mail got.
    pub delivery: Option<Delivery>,
    /// What the mail server said last.
    pub delivery_reply: Option<String>,
    /// When it said so.
    pub delivery_at: Option<Timestamp>,
    /// Whether it lapsed because no mail server took the mail for 72 hours.
    pub undeliverable: bool,
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// When it was made.
    CreatedAt,
    /// Address.
    Email,
}

impl Order {
    /// Part of the cursors.
    pub fn key(self, descending: bool) -> String {
        format!("invitation.{}.{}", self.column(), if descending { "desc" } else { "asc" })
    }

    /// What [`Request::new`] wants to know of it.
    pub const fn kind(self) -> SortKind {
        match self {
            Self::CreatedAt => SortKind::Instant,
            Self::Email => SortKind::Text,
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::Email => "email",
        }
    }
}

/// Which invitations are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these; empty for all.
    pub states: Vec<State>,
    /// Those whose mail was refused for good, or that lapsed undelivered.
    pub undeliverable: Option<bool>,
}

const SELECT: &str = "SELECT invitation_id, member_id, email, first_name, last_name, message, state, invited_by, created_at, finished_at, sent_at, \
    expires_at, delivery, delivery_reply, delivery_at, undeliverable FROM invitation WHERE account_id = ";

/// Reads invitations by id, in the order asked for; those that do not exist in the account, or are of members whom the actor may not
/// read, are left out. Who reads some units sees those of people who are in one of them, so none that ended without an answer of yes.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[InvitationId]) -> sqlx::Result<Vec<Invitation>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(actor.account_id.0);
    Sight::of(actor).push_readable_others(&mut statement, "member_id");
    statement.push(" AND invitation_id = ANY(").push_bind(raw).push(")");
    let mut rows: Vec<Invitation> = statement.build_query_as().fetch_all(conn).await?;
    rows.sort_by_key(|row| ids.iter().position(|id| *id == row.invitation_id));
    Ok(rows)
}

/// A page of the invitations of members whom the actor may read, each with its cursor: one statement. The caller has looked at the right
/// to read them.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    filter: &Filter,
    (order, descending): (Order, bool),
    request: &Request,
) -> sqlx::Result<Page<(Cursor, Invitation)>> {
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(actor.account_id.0);
    Sight::of(actor).push_readable_others(&mut statement, "member_id");
    push_filter(&mut statement, filter);
    request.push_to(&mut statement, order.column(), "invitation_id", descending);
    let rows: Vec<Invitation> = statement.build_query_as().fetch_all(conn).await?;
    let key = order.key(descending);
    Ok(request.page(rows).map(|row| {
        let value = match order {
            Order::CreatedAt => SortValue::Instant(row.created_at),
            Order::Email => SortValue::Text(row.email.clone()),
        };
        (Cursor::new(&key, value, row.invitation_id.0), row)
    }))
}

/// How many invitations there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, actor: &Actor, filter: &Filter) -> sqlx::Result<i64> {
    let mut statement = QueryBuilder::new("SELECT count(*) FROM invitation WHERE account_id = ");
    statement.push_bind(actor.account_id.0);
    Sight::of(actor).push_readable_others(&mut statement, "member_id");
    push_filter(&mut statement, filter);
    statement.build_query_scalar().fetch_one(conn).await
}

fn push_filter(statement: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if !filter.states.is_empty() {
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        statement.push(" AND state = ANY(").push_bind(states).push(")");
    }
    if let Some(undeliverable) = filter.undeliverable {
        statement.push(" AND (undeliverable OR delivery IS NOT DISTINCT FROM 'FAILED') = ").push_bind(undeliverable);
    }
}
