//! Runs jobs: the relay, the handlers, the sweeps and the mail.

pub mod mail;
