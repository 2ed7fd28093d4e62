//! HTTP and GraphQL: transports, guards, authentication, hosted pages. No rules and no SQL.

pub mod auth;
pub mod graphql;
pub mod pages;
pub mod state;
