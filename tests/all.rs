//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod access;
mod catalogue;
mod import;
mod invitation;
mod member;
mod migrations;
mod operator;
mod password;
mod schema;
mod session;
mod sign_up;
mod spine;
mod statements;
mod transport;
