//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod invitation;
mod member;
mod migrations;
mod password;
mod session;
mod sign_up;
