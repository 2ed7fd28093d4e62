//! When sessions and members were last active: remembered here, written in one batch now and then, so that reads stay reads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use uuid::Uuid;

use crate::across::{self, Uses};
use crate::actor::Actor;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;

/// How often uses are written.
pub const FLUSH: Duration = Duration::from_secs(30);

/// How much later a session may have been used than is written: the last flush may be late, or have failed. By so much its end for
/// disuse is put off, so that no session ends while it is in use.
pub(super) const UNWRITTEN: SignedDuration = SignedDuration::from_secs(2 * FLUSH.as_secs().cast_signed());

/// Uses of sessions that are not written yet.
#[derive(Debug, Default)]
pub struct Activity {
    /// By account and session: the member, and the last use.
    pending: Mutex<HashMap<(Uuid, Uuid), (Uuid, Timestamp)>>,
}

impl Activity {
    /// Remembers that a session was used.
    pub fn note(&self, actor: &Actor) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.insert((actor.account_id.0, actor.session_id.0), (actor.member_id.0, actor.now));
    }

    /// Writes what was noted since. To be called every [`FLUSH`] and before the process ends.
    pub async fn flush(&self, db: &Db) -> sqlx::Result<()> {
        let noted = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(());
        }
        let mut uses = Uses::default();
        for ((account, session), (member, used)) in &noted {
            uses.accounts.push(*account);
            uses.sessions.push(*session);
            uses.members.push(*member);
            uses.at.push(*used);
        }
        let written = across::write_activity(&db.pool, &uses).await;
        if written.is_err() {
            // They are written with the next batch; what was noted since is newer.
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for (session, used) in noted {
                pending.entry(session).or_insert(used);
            }
        }
        written
    }
}
