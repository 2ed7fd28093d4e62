//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod catalogue;
mod invitation;
mod migrations;
mod schema;
