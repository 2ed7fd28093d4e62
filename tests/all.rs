//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

mod support;

mod import;
mod invitation;
mod kills;
mod mail;
mod migrations;
mod races;
mod spine;
mod sweep;
