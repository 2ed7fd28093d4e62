//! What the worker does, one file per noun.

mod mail;

use std::sync::Arc;

use domain::infra::config::Config;
use domain::infra::db::Db;

use crate::handler::Registry;

pub use mail::MailerError;

/// The handlers of a process.
pub fn registry(db: &Db, config: &Config) -> Result<Registry, MailerError> {
    let mailer = Arc::new(mail::Mailer::new(db.clone(), config)?);
    Ok(mail::register(Registry::default(), &mailer))
}
