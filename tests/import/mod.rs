//! Imports of members, from the upload to the last seat.

mod asked;
mod codes;
mod columns;
mod interrupted;
mod mails;
mod readers;
mod rows;
mod seats;
mod uploads;
mod world;
