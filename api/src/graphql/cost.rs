//! What fields cost beyond being resolved: statements and rows. The library executes a field that stands twice in a selection
//! twice, so a short document could otherwise ask the database hundreds of times.

use domain::infra::page::{DEFAULT_SIZE, MAX_SIZE};

/// What a document may cost: 100 statements, or 20,000 fields of rows, or of both in between.
pub const MAX: usize = 20_000;

/// A statement of its own.
const STATEMENT: usize = 200;

/// A field that asks the database for one thing.
pub fn one(child_complexity: usize) -> usize {
    STATEMENT.saturating_add(child_complexity)
}

/// Kinds of nodes, each read by a statement of its own.
const KINDS: usize = 12;

/// Nodes by their ids.
pub fn nodes(ids: usize, child_complexity: usize) -> usize {
    (STATEMENT * ids.min(KINDS)).saturating_add(ids.saturating_mul(child_complexity))
}

/// A page: a statement for the rows, one for their lists, and each row with all that is asked of it, so that no document can
/// ask for pages of pages.
pub fn page(first: Option<i32>, last: Option<i32>, child_complexity: usize) -> usize {
    let rows = first.or(last).and_then(|rows| usize::try_from(rows).ok()).unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
    (2 * STATEMENT).saturating_add(rows.saturating_mul(child_complexity))
}
