//! What every request needs, made once per process.

use std::sync::Arc;

use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::infra::presence::Presence;
use domain::password::Passwords;
use domain::session::Activity;

use crate::admission::Admission;
use crate::asker::Askers;
use crate::graphql::ws::OpenSockets;
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
    /// How many sockets are open.
    pub sockets: Arc<OpenSockets>,
    /// Who follows which account.
    pub live: Live,
    /// How many requests are worked on.
    pub admission: Admission,
    /// How many of those that compute a password's hash: they have places of their own, so that a flood of sign-ins takes none
    /// of the others'.
    pub hashing: Admission,
    /// Whose share of the places a request takes.
    pub askers: Arc<Askers>,
    /// Whether the database answers.
    pub presence: Presence,
}

impl State {
    /// The state of a process.
    pub fn new(db: Db, config: Arc<Config>, files: Files) -> Self {
        let (live, passwords) = (Live::new(&db), Passwords::new(config.password));
        let at_once = config.limits.concurrent_requests;
        let (admission, hashing) = (Admission::new(at_once), Admission::new((at_once / 4).max(1)));
        let (activity, sockets) = (Arc::default(), Arc::default());
        let (askers, presence) = (Arc::default(), Presence::default());
        Self { db, passwords, config, files, activity, sockets, live, admission, hashing, askers, presence }
    }
}
