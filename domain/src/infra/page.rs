//! Pages of a list that is sorted by one value and then by id: the next page begins after a cursor, wherever that row is by now.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::error::{Code, Refused, Result};
use crate::infra::clock::Timestamp;

/// Rows of a page when the client does not say.
pub const DEFAULT_SIZE: usize = 20;
/// Rows of a page at most.
pub const MAX_SIZE: usize = 100;

/// The value a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortValue {
    /// A text.
    Text(String),
    /// An instant.
    Instant(Timestamp),
    /// A number.
    Number(i32),
}

/// What kind of value a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKind {
    /// A text.
    Text,
    /// An instant, not before 1970.
    Instant,
    /// A number.
    Number,
}

/// Where a row stands in its list: opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The order it was made for.
    order: String,
    value: SortValue,
    id: Uuid,
}

impl Cursor {
    /// The place of a row.
    pub fn new(order: &str, value: SortValue, id: Uuid) -> Self {
        Self { order: order.to_owned(), value, id }
    }

    /// As clients see it.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("plain data"))
    }

    /// Reads a cursor of this order; whatever a client may have made of it, the database can compare its value.
    fn decode(text: &str, order: &str, kind: SortKind) -> Option<Self> {
        let cursor: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let comparable = match (&cursor.value, kind) {
            (SortValue::Text(text), SortKind::Text) => !text.contains('\0'),
            (SortValue::Instant(at), SortKind::Instant) => at.0 >= jiff::Timestamp::UNIX_EPOCH,
            (SortValue::Number(_), SortKind::Number) => true,
            _ => false,
        };
        (comparable && cursor.order == order).then_some(cursor)
    }
}

/// What a client asks for, in the words of the Relay connection.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Rows after `after`.
    pub first: Option<i32>,
    /// A cursor.
    pub after: Option<String>,
    /// Rows before `before`.
    pub last: Option<i32>,
    /// A cursor.
    pub before: Option<String>,
}

/// How many rows the argument `name` asks for.
///
/// # Errors
/// OUT_OF_RANGE outside 1–100.
pub fn size(asked: Option<i32>, name: &str) -> Result<usize> {
    let Some(size) = asked else { return Ok(DEFAULT_SIZE) };
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size));
    size.ok_or_else(|| Refused::new(Code::OutOfRange).at(name).into())
}

/// A page to be read.
#[derive(Clone, Debug)]
pub struct Request {
    size: usize,
    backwards: bool,
    from: Option<Cursor>,
}

impl Request {
    /// Checks what a client asks for.
    ///
    /// # Errors
    /// OUT_OF_RANGE for a size outside 1–100 or for both directions at once; INVALID_CURSOR for a cursor of another order.
    pub fn new(arguments: &Arguments, (order, kind): (&str, SortKind)) -> Result<Self> {
        let backwards = arguments.last.is_some() || arguments.before.is_some();
        if backwards && (arguments.first.is_some() || arguments.after.is_some()) {
            return Err(Refused::new(Code::OutOfRange).at("last").into());
        }
        let (name, asked) = if backwards { ("last", arguments.last) } else { ("first", arguments.first) };
        let size = size(asked, name)?;
        let (name, cursor) = if backwards { ("before", &arguments.before) } else { ("after", &arguments.after) };
        let from = match cursor {
            None => None,
            Some(text) => {
                Some(Cursor::decode(text, order, kind).ok_or_else(|| Refused::new(Code::InvalidCursor).at(name))?)
            }
        };
        Ok(Self { size, backwards, from })
    }

    /// Adds to a statement that ends in a `WHERE` with at least one condition: the place to begin, the order, the limit. One row
    /// more than the page is read, to know whether there is a further page.
    pub fn push_to(&self, statement: &mut QueryBuilder<Postgres>, sort: &str, id: &str, descending: bool) {
        let down = descending != self.backwards;
        if let Some(from) = &self.from {
            statement.push(format_args!(" AND ({sort}, {id}) {} (", if down { "<" } else { ">" }));
            match &from.value {
                SortValue::Text(text) => statement.push_bind(text.clone()),
                SortValue::Instant(instant) => statement.push_bind(*instant),
                SortValue::Number(number) => statement.push_bind(*number),
            };
            statement.push(", ").push_bind(from.id).push(")");
        }
        let direction = if down { "DESC" } else { "ASC" };
        statement.push(format_args!(" ORDER BY {sort} {direction}, {id} {direction} LIMIT {}", self.size + 1));
    }

    /// Makes a page of the rows that were read.
    pub fn page<T>(&self, mut rows: Vec<T>) -> Page<T> {
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        if self.backwards {
            rows.reverse();
        }
        let came_from_somewhere = self.from.is_some();
        let (has_previous, has_next) =
            if self.backwards { (more, came_from_somewhere) } else { (came_from_somewhere, more) };
        Page { rows, has_previous, has_next }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Its rows, in the list's order.
    pub rows: Vec<T>,
    /// Whether there are rows before.
    pub has_previous: bool,
    /// Whether there are rows after.
    pub has_next: bool,
}

impl<T> Page<T> {
    /// The same page of other rows.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            rows: self.rows.into_iter().map(convert).collect(),
            has_previous: self.has_previous,
            has_next: self.has_next,
        }
    }
}
/// A LIKE pattern for a part of a text that is kept in lower case. No stored name holds a control character, and the database takes no
/// NUL.
pub(crate) fn containing(text: &str) -> String {
    let text = text.replace(char::is_control, " ").to_lowercase();
    format!("%{}%", text.trim().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}
