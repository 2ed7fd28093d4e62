//! Imports of members, from the upload to the last seat.

mod asked;
mod interrupted;
mod rows;
mod seats;
mod uploads;
mod world;
