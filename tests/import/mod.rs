//! Imports of members, from the upload to the last seat.

mod asked;
mod canceled;
mod codes;
mod columns;
mod existing;
mod followed;
mod formats;
mod hostile;
mod interrupted;
mod mails;
mod mended;
mod planned;
mod readers;
mod rows;
mod seats;
mod template;
mod uploads;
mod whole;
mod world;
