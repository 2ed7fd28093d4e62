//! When sessions and members were last active: remembered here, written in one batch now and then, so that reads stay reads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::actor::Actor;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;

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

    /// Writes what was noted since. To be called every 30 seconds and before the process ends.
    pub async fn flush(&self, db: &Db) -> sqlx::Result<()> {
        let noted = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(());
        }
        let mut accounts = Vec::with_capacity(noted.len());
        let mut sessions = Vec::with_capacity(noted.len());
        let mut members = Vec::with_capacity(noted.len());
        let mut uses = Vec::with_capacity(noted.len());
        for ((account, session), (member, used)) in noted {
            accounts.push(account);
            sessions.push(session);
            members.push(member);
            uses.push(used);
        }
        // Sessions that ended meanwhile are left out; rows are taken in one order, so that two processes do not deadlock.
        sqlx::query!(
            "WITH used AS (
                 SELECT u.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) u(account_id, session_id, member_id, used_at)
                 JOIN session s USING (account_id, session_id) ORDER BY account_id, session_id FOR KEY SHARE OF s),
             sessions AS (
                 INSERT INTO session_activity AS a (account_id, session_id, last_used_at)
                 SELECT account_id, session_id, used_at FROM used
                 ON CONFLICT (account_id, session_id) DO UPDATE SET last_used_at = greatest(a.last_used_at, excluded.last_used_at))
             INSERT INTO member_activity AS a (account_id, member_id, last_activity_at)
             SELECT account_id, member_id, max(used_at) FROM used GROUP BY account_id, member_id ORDER BY account_id, member_id
             ON CONFLICT (account_id, member_id) DO UPDATE SET last_activity_at = greatest(a.last_activity_at, excluded.last_activity_at)",
            &accounts,
            &sessions,
            &members,
            &uses,
        )
        .execute(&db.pool)
        .await?;
        Ok(())
    }
}
