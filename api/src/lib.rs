//! HTTP and GraphQL, without rules and without SQL.

pub mod upload;
