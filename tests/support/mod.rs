//! What tests stand on.

pub(crate) mod app;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod dice;
pub(crate) mod firm;
pub(crate) mod guard;
pub(crate) mod introspection;
pub(crate) mod log;
pub(crate) mod mail_server;
pub(crate) mod mailbox;
pub(crate) mod process;
pub(crate) mod scrape;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod stage;
pub(crate) mod statements;
