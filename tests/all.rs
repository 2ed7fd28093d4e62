//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as tests do")]
#![expect(clippy::print_stderr, reason = "seeds and figures are for whoever reads the run")]

mod support;

mod catalogue;
mod import;
mod invitation;
mod mail_job;
mod mail_transport;
mod member;
mod migrations;
mod operator;
mod pages;
mod password;
mod schema;
mod session;
mod sign_up;
mod spine;
