//! HTTP and GraphQL: transports, guards, authentication, hosted pages. No rules and no SQL.

pub mod admission;
pub mod asker;
pub mod auth;
pub mod connection;
pub mod exposition;
pub mod graphql;
pub mod health;
pub mod live;
pub mod pages;
pub mod server;
pub mod socket;
pub mod state;
pub mod trace;
pub mod upload;
