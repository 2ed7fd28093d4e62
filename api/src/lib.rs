//! HTTP: the GraphQL API and the hosted pages. No rules and no SQL.

pub mod pages;
