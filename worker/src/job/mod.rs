//! What the worker does, one file per noun.

mod charge;
mod erase;
pub mod export;
pub mod import;
mod mail;

use std::sync::Arc;

use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files::Files;
use tokio_util::sync::CancellationToken;

use crate::handler::Registry;

pub use mail::MailerError;

/// The handlers of a process, which gives long work back on `shutdown`.
pub fn registry(
    db: &Db,
    config: &Config,
    files: &Files,
    shutdown: &CancellationToken,
) -> Result<Registry, MailerError> {
    let mailer = Arc::new(mail::Mailer::new(db.clone(), config)?);
    let registry = mail::register(Registry::default(), &mailer);
    let registry = charge::register(registry, db, config);
    let registry = erase::register(registry, db.clone(), files.clone());
    let registry = export::register(registry, db, files, shutdown);
    Ok(import::register(registry, db.clone(), files.clone(), &config.limits, shutdown.clone()))
}
