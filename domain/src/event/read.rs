//! Events as they are read: the lasting row, and its personal part unless that was erased.

use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::{Cursor, EventKind};
use crate::actor::Author;
use crate::id::{AccountId, EventId, MemberId, ServiceTokenId};
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
    pub(crate) actor_id: Option<Uuid>,
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
            ("MEMBER", Some(member)) => Author::Member(MemberId(member)),
            ("HOST", Some(token)) => Author::Host(ServiceTokenId(token)),
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

/// Some events of a feed, and how far it reaches, as of one moment.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Whether there are more after them.
    pub has_next: bool,
    /// Whether events before them are kept.
    pub has_previous: bool,
    /// The place before the oldest event that is kept.
    pub oldest: Cursor,
    /// The place after the newest event.
    pub newest: Cursor,
}

/// Why a feed cannot be read from a cursor.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Events after it are purged.
    #[error("events after the cursor are no longer kept")]
    CursorExpired {
        /// From which everything that is kept can be read.
        oldest: Cursor,
    },
    /// The feed never had its event, or not any more: it is of another account, or of a past that the restore of a backup undid.
    #[error("the cursor is of no event of this feed")]
    CursorUnknown {
        /// From which everything that is kept can be read.
        oldest: Cursor,
    },
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

/// A row of [`page`]: the feed, which is there even if no event is.
struct PageRow {
    oldest_seq: i64,
    next_seq: i64,
    /// The event that the cursor names.
    cursor_id: Option<EventId>,
    newest_id: Option<EventId>,
    event: Option<Row>,
}

impl FromRow<'_, PgRow> for PageRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let some = row.try_get::<Option<i64>, _>("seq")?.is_some();
        Ok(Self {
            oldest_seq: row.try_get("oldest_seq")?,
            next_seq: row.try_get("next_seq")?,
            cursor_id: row.try_get("cursor_id")?,
            newest_id: row.try_get("newest_id")?,
            event: if some { Some(Row::from_row(row)?) } else { None },
        })
    }
}

/// The first events of an account after a cursor, or the oldest kept; of some kinds only, unless `kinds` is empty. One
/// statement reads them with the ends of the feed, so that a purge at the same time is seen whole or not at all.
pub async fn page(
    conn: &mut PgConnection,
    account: AccountId,
    after: Option<Cursor>,
    kinds: &[EventKind],
    limit: usize,
) -> Result<Page, ReadError> {
    let mut statement = QueryBuilder::<Postgres>::new("SELECT f.oldest_seq, f.next_seq, ");
    let id_of = "(SELECT i.event_id FROM event i WHERE i.account_id = f.account_id AND i.seq = ";
    statement.push(id_of).push_bind(after.map(Cursor::seq)).push(") AS cursor_id, ");
    statement.push(id_of).push("f.next_seq - 1) AS newest_id, ").push(COLUMNS);
    statement.push(
        " FROM account_feed f
          LEFT JOIN LATERAL (SELECT * FROM event x WHERE x.account_id = f.account_id AND x.seq >= f.oldest_seq AND x.seq > ",
    );
    statement.push_bind(after.map_or(0, Cursor::seq));
    if !kinds.is_empty() {
        let keys: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        statement.push(" AND x.kind = ANY(").push_bind(keys).push(")");
    }
    // One more than wanted, to know whether there are more.
    let read = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    statement.push(" ORDER BY x.seq LIMIT ").push_bind(read);
    statement.push(
        ") e ON true LEFT JOIN event_personal p ON p.account_id = e.account_id AND p.event_id = e.event_id
          WHERE f.account_id = ",
    );
    statement.push_bind(account.0).push(" ORDER BY e.seq");
    let rows: Vec<PageRow> = statement.build_query_as().fetch_all(conn).await?;
    page_of(rows, after, limit)
}

fn page_of(rows: Vec<PageRow>, after: Option<Cursor>, limit: usize) -> Result<Page, ReadError> {
    let feed = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let oldest = Cursor::at(feed.oldest_seq - 1, None);
    let newest = Cursor::at(feed.next_seq - 1, feed.newest_id);
    let oldest_seq = feed.oldest_seq;
    if let Some(after) = after {
        if after.seq() < oldest.seq() {
            return Err(ReadError::CursorExpired { oldest });
        }
        // The event right before the oldest one is gone, and with it what could be compared.
        let known = after.seq() == oldest.seq() || feed.cursor_id.is_some_and(|id| after.is_of(id));
        if after.seq() > newest.seq() || !known {
            return Err(ReadError::CursorUnknown { oldest });
        }
    }
    let mut events: Vec<Event> = rows.into_iter().filter_map(|row| row.event).map(Event::from).collect();
    let has_next = events.len() > limit;
    events.truncate(limit);
    let has_previous = after.is_some_and(|after| after.seq() >= oldest_seq);
    Ok(Page { events, has_next, has_previous, oldest, newest })
}
