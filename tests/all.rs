//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod account;
mod event;
mod idempotency;
mod invitation;
mod member;
mod migrations;
mod node;
mod page;
mod password;
mod secrets;
mod session;
mod sign_up;
