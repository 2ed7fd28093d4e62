//! Imports of members, from the upload to the last seat.
#![expect(clippy::unwrap_used, reason = "what fails in a test ends it")]

mod columns;
mod interrupted;
mod mails;
mod readers;
mod rows;
mod seats;
mod uploads;
mod world;
