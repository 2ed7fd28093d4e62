//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "what fails in a test ends it")]
#![expect(clippy::print_stdout, reason = "races and measurements print their figures and seeds")]

mod support;

mod catalogue;
mod import;
mod invitation;
mod kills;
mod mail;
mod member;
mod migrations;
mod operator;
mod password;
mod races;
mod schema;
mod session;
mod sign_up;
mod spine;
mod sweep;
