//! GraphQL: the protocol, its guards, the schema.

pub mod document;
pub mod error;
pub mod graphiql;
pub mod guard;
pub mod http;
