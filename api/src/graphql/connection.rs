//! Lists as Relay connections.

use async_graphql::OutputType;
use async_graphql::connection::{Connection, ConnectionNameType, Edge, EdgeNameType, EmptyFields};
use domain::infra::page::{Arguments, Cursor, Page};

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

/// The paging arguments of a list.
pub fn arguments(first: Option<i32>, after: Option<String>, last: Option<i32>, before: Option<String>) -> Arguments {
    Arguments { first, after, last, before }
}
