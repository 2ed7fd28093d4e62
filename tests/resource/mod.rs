//! Things of the host product: registered, opened, asked for, priced.

mod access;
mod host;
mod rates;
mod registering;
pub(crate) mod world;
