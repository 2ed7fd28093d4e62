//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod import;
mod migrations;
