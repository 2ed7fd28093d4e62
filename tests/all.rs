//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod account;
mod catalogue;
mod event;
mod idempotency;
mod import;
mod invitation;
mod member;
mod migrations;
mod node;
mod operator;
mod page;
mod password;
mod schema;
mod secrets;
mod session;
mod sign_up;
mod spine;
