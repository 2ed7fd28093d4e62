//! What every request needs, made once per process.

use std::sync::Arc;

use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::password::Passwords;
use domain::session::Activity;

use crate::live::Live;

/// Shared by all requests; clones share everything.
#[derive(Clone, Debug)]
pub struct State {
    /// The database, its clock and wake-ups.
    pub db: Db,
    /// Password hashes.
    pub passwords: Passwords,
    /// Settings.
    pub config: Arc<Config>,
    /// Uploaded files.
    pub files: Files,
    /// Uses of sessions that are not written yet.
    pub activity: Arc<Activity>,
    /// Who follows which account.
    pub live: Live,
}

impl State {
    /// The state of a process.
    pub fn new(db: Db, config: Arc<Config>, files: Files) -> Self {
        let (live, passwords) = (Live::new(&db), Passwords::new(config.password));
        Self { db, passwords, config, files, activity: Arc::default(), live }
    }
}
