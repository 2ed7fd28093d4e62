//! Licences and money: what is quoted is charged, each period is billed once, and the books agree, whatever dies in between.

mod alert;
mod calendar;
mod credit;
mod ending;
mod example;
mod gateway;
mod kills;
mod quoting;
mod races;
mod removing;
mod trial;
pub(crate) mod world;
