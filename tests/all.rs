//! Tests of the whole: the program and its crates against real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "what fails in a test ends it")]
#![expect(clippy::print_stdout, reason = "races and measurements print their figures and seeds")]
#![expect(clippy::print_stderr, reason = "seeds and figures are for whoever reads the run")]

mod support;

mod access;
mod account;
mod billing;
mod catalogue;
mod chaos;
mod dev;
mod drain;
mod email_change;
mod event;
mod export;
mod fail_points;
mod group;
mod guard;
mod health;
mod hostile;
mod idempotency;
mod import;
mod invitation;
mod kills;
mod live;
mod mail;
mod mail_job;
mod mail_transport;
mod member;
mod metrics;
mod migrations;
mod node;
mod operating;
mod operator;
mod overload;
mod page;
mod pages;
mod password;
mod permission;
mod races;
mod readme;
mod recovery;
mod resource;
mod role;
mod rolling;
mod schema;
mod secrets;
mod session;
mod sign_in_diagnosis;
mod sign_up;
mod socket;
mod spine;
mod statements;
mod sweep;
mod traces;
mod transport;
mod unit;
mod verify;
