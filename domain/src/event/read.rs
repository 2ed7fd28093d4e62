//! Events as they are read: the lasting row, and its personal part unless that was erased.

use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::EventKind;
use crate::actor::Author;
use crate::id::{AccountId, EventId, MemberId};
use crate::infra::clock::Timestamp;

/// An event of an account's feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the account: 1, 2, 3 …
    pub seq: i64,
    /// Its identifier.
    pub id: EventId,
    /// The key of its kind; of a newer version's, if this process does not know it.
    pub kind: String,
    /// Who caused it.
    pub author: Author,
    /// What it happened to: the member wherever there is one.
    pub subject: Option<Uuid>,
    /// The lasting part: ids, states, numbers.
    pub detail: Value,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// When the transaction that caused it began.
    pub occurred_at: Timestamp,
    /// Names and addresses.
    pub personal: Personal,
}

/// The personal part of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Personal {
    /// There never was one.
    None,
    /// An object: names, addresses, and `networkAddress` of whoever asked.
    Body(Value),
    /// There was one; it is erased.
    Erased,
}

impl Event {
    /// Its kind, unless that is of a newer version.
    pub fn known_kind(&self) -> Option<EventKind> {
        EventKind::from_key(&self.kind)
    }
}

/// An event as the statements of this module select it, see [`COLUMNS`].
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) event_id: EventId,
    pub(crate) kind: String,
    pub(crate) actor_kind: String,
    pub(crate) actor_id: Option<MemberId>,
    pub(crate) subject_id: Option<Uuid>,
    pub(crate) detail: Value,
    pub(crate) request_id: Option<String>,
    pub(crate) occurred_at: Timestamp,
    pub(crate) has_personal: bool,
    pub(crate) body: Option<Value>,
}

/// What [`Row`] is read from: `event e LEFT JOIN event_personal p USING (account_id, event_id)`.
pub(crate) const COLUMNS: &str = "e.seq, e.event_id, e.kind, e.actor_kind, e.actor_id, e.subject_id, e.detail, e.request_id, \
     e.occurred_at, e.personal_digest IS NOT NULL AS has_personal, p.body";

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        let author = match (row.actor_kind.as_str(), row.actor_id) {
            ("MEMBER", Some(member)) => Author::Member(member),
            ("OPERATOR", _) => Author::Operator,
            _ => Author::System,
        };
        let personal = match (row.has_personal, row.body) {
            (_, Some(body)) => Personal::Body(body),
            (true, None) => Personal::Erased,
            (false, None) => Personal::None,
        };
        Self {
            seq: row.seq,
            id: row.event_id,
            kind: row.kind,
            author,
            subject: row.subject_id,
            detail: row.detail,
            request_id: row.request_id,
            occurred_at: row.occurred_at,
            personal,
        }
    }
}

/// The first events of an account after a number, in order; of some kinds only, unless `kinds` is empty.
pub async fn after(
    conn: &mut PgConnection,
    account: AccountId,
    seq: i64,
    kinds: &[EventKind],
    limit: i64,
) -> sqlx::Result<Vec<Event>> {
    let mut statement = QueryBuilder::<Postgres>::new("SELECT ");
    statement
        .push(COLUMNS)
        .push(" FROM event e LEFT JOIN event_personal p USING (account_id, event_id) WHERE e.account_id = ");
    statement.push_bind(account.0).push(" AND e.seq > ").push_bind(seq);
    if !kinds.is_empty() {
        let keys: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        statement.push(" AND e.kind = ANY(").push_bind(keys).push(")");
    }
    statement.push(" ORDER BY e.seq LIMIT ").push_bind(limit);
    let rows: Vec<Row> = statement.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(Event::from).collect())
}
