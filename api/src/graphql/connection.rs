//! Lists as Relay connections.

use async_graphql::OutputType;
use async_graphql::connection::{Connection, ConnectionNameType, Edge, EdgeNameType, EmptyFields};
use domain::infra::page::{Arguments, Cursor, DEFAULT_SIZE, MAX_SIZE, Page};

/// Makes a connection of a page.
pub fn connection<T, N, C, E>(
    page: Page<(Cursor, T)>,
    convert: impl Fn(T) -> N,
) -> Connection<String, N, EmptyFields, EmptyFields, C, E>
where
    N: OutputType,
    C: ConnectionNameType,
    E: EdgeNameType,
{
    let mut connection = Connection::new(page.has_previous, page.has_next);
    let edges = page.rows.into_iter().map(|(cursor, row)| Edge::new(cursor.encode(), convert(row)));
    connection.edges.extend(edges);
    connection
}

/// What a page costs: each of its rows with all that is asked of it, so that no document can ask for pages of pages.
pub fn cost(first: Option<i32>, last: Option<i32>, child_complexity: usize) -> usize {
    let rows = first.or(last).and_then(|rows| usize::try_from(rows).ok()).unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
    10 + rows.saturating_mul(child_complexity)
}

/// The paging arguments of a list.
pub fn arguments(first: Option<i32>, after: Option<String>, last: Option<i32>, before: Option<String>) -> Arguments {
    Arguments { first, after, last, before }
}
