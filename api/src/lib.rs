//! HTTP and GraphQL: transports, guards, authentication. No rules and no SQL.

pub mod graphql;
