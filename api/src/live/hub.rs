//! The hub of one account: its followers, and what was handed out to them so far.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use domain::across::Position;
use domain::actor::Grants;
use domain::event::live::{Ask, Look, NO_EVENTS, look};
use domain::event::read::Event;
use domain::id::{AccountId, EventId, SessionId};
use domain::infra::clock::Timestamp;
use domain::infra::db::Db;
use domain::infra::metrics;
use domain::session::{self, Authenticated};
use sqlx::PgConnection;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow follower; who falls further behind reads the table.
const BUFFERED: usize = 256;
/// Events read by a look: fewer than are buffered, so that followers who keep up do so through a burst.
const LOOK: usize = 100;
/// A statement that has no answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at an account that does not come to rest.
const PAUSE: Duration = Duration::from_millis(3);
/// How often, at most, a look waits as long again for followers to take what they have not taken yet.
const BREATHS: usize = 15;

/// A session that follows, on one socket or several.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) session: SessionId,
    pub(super) ended: CancellationToken,
    known: Mutex<Known>,
}

/// What is known of a follower.
#[derive(Clone, Debug)]
struct Known {
    /// What they could do when they began to follow, on any of their sockets; with less they may not go on.
    held: Grants,
    /// The access version up to which they had all of that.
    judged: i64,
    /// The newest access version at which anything of it was read: an older statement does not judge them.
    newest: i64,
    /// When the session ends by itself, unless it is used until then.
    until: Timestamp,
}

#[derive(Debug)]
struct State {
    /// The newest event that was handed out, or that nobody waited for.
    seq: Option<i64>,
    /// The event of that number.
    seq_id: Option<EventId>,
    /// The access version up to which all followers were judged.
    version: i64,
    followers: HashMap<SessionId, Weak<Follower>>,
    looking: Looking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looking {
    No,
    Yes,
    /// And something has happened since it began.
    Again,
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) account: AccountId,
    state: Mutex<State>,
    begun: OnceCell<()>,
    /// Made when somebody listens: it takes room for all that may wait.
    events: OnceLock<broadcast::Sender<Arc<Event>>>,
    moved: watch::Sender<(i64, i64)>,
}

impl Follower {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they have, as of an access version, what they had when they began; `None` when more was read of them since.
    pub(super) fn holds(&self, now: Option<&Grants>, version: i64) -> Option<bool> {
        let known = self.known();
        (known.newest <= version).then(|| now.is_some_and(|now| now.covers(&known.held)))
    }
}

impl Hub {
    pub(super) fn new(account: AccountId) -> Self {
        let state =
            State { seq: None, seq_id: None, version: i64::MAX, followers: HashMap::new(), looking: Looking::No };
        Self {
            account,
            state: Mutex::new(state),
            begun: OnceCell::new(),
            events: OnceLock::new(),
            moved: watch::Sender::new((0, 0)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a follower. Their rights are looked at again unless they were read at the version the hub has seen.
    pub(super) fn enter(&self, session: &Authenticated) -> Arc<Follower> {
        let actor = &session.actor;
        let mut state = self.state();
        let known = state.followers.get(&actor.session_id).and_then(Weak::upgrade);
        let follower = known.filter(|follower| !follower.ended.is_cancelled()).unwrap_or_else(|| {
            let (held, judged, newest) = (actor.rights.grants.clone(), session.looked_at, actor.rights.version);
            Arc::new(Follower {
                session: actor.session_id,
                ended: CancellationToken::new(),
                known: Mutex::new(Known { held, judged, newest, until: session.until }),
            })
        });
        state.followers.insert(actor.session_id, Arc::downgrade(&follower));
        note(&mut state, &follower, session);
        follower
    }

    pub(super) fn renew(&self, follower: &Follower, session: &Authenticated) {
        note(&mut self.state(), follower, session);
    }

    /// The first look, which everybody waits for: from here on no event is missed.
    pub(super) async fn begin(&self, db: &Db) -> sqlx::Result<()> {
        self.begun
            .get_or_try_init(|| async {
                while self.look(db).await? {}
                Ok(())
            })
            .await
            .copied()
    }

    pub(super) fn is_behind(&self, position: Position) -> bool {
        let state = self.state();
        state.seq != Some(position.next_seq - 1) || state.version != position.access_version
    }

    /// Looks in a task of its own, and again for as long as more happens.
    pub(super) fn look_soon(self: &Arc<Self>, db: &Db) {
        if !self.begun.initialized() {
            return;
        }
        {
            let mut state = self.state();
            if state.looking != Looking::No {
                state.looking = Looking::Again;
                return;
            }
            state.looking = Looking::Yes;
        }
        let (hub, db) = (Arc::clone(self), db.clone());
        tokio::spawn(async move {
            let mut rest = Rest(Some(&hub));
            loop {
                let more = hub.look(&db).await.unwrap_or_else(|error| {
                    metrics::feed_look_failed();
                    tracing::warn!(%error, account.id = %hub.account, "an account could not be looked at");
                    false
                });
                if !hub.goes_on(more) {
                    rest.0 = None;
                    return;
                }
                hub.breathe().await;
            }
        });
    }

    /// A pause; longer while followers have yet to take what was handed out, so that a burst does not throw them all off.
    async fn breathe(&self) {
        for _ in 0..BREATHS {
            tokio::time::sleep(PAUSE).await;
            let waiting = self.events.get().map_or(0, broadcast::Sender::len);
            if waiting + LOOK <= BUFFERED {
                return;
            }
        }
    }

    fn goes_on(&self, more: bool) -> bool {
        let mut state = self.state();
        let goes_on = more || state.looking == Looking::Again;
        state.looking = if goes_on { Looking::Yes } else { Looking::No };
        goes_on
    }

    fn is_heard(&self) -> bool {
        self.events.get().is_some_and(|events| events.receiver_count() > 0)
    }

    /// Reads and hands out; whether there is more to do at once.
    async fn look(&self, db: &Db) -> sqlx::Result<bool> {
        let (after, seen, sessions) = {
            let mut state = self.state();
            state.followers.retain(|_, follower| follower.strong_count() > 0);
            let after = state.seq.filter(|_| self.is_heard()).unwrap_or(NO_EVENTS);
            (after, state.version, state.followers.keys().copied().collect::<Vec<_>>())
        };
        let (account, up_to, limit) = (self.account, i64::MAX, i64::try_from(LOOK).unwrap_or(i64::MAX));
        let ask = Ask { account, after, up_to, kinds: &[], limit, seen, sessions: &[] };
        let mut look = read(db, &ask).await?;
        if look.standings.is_some() {
            // Only now it matters who follows: the sessions of all would be much to send each time.
            look = read(db, &Ask { sessions: &sessions, ..ask }).await?;
        }
        Ok(self.hand_out(&ask, &sessions, look))
    }

    fn hand_out(&self, ask: &Ask<'_>, asked: &[SessionId], look: Look) -> bool {
        let mut state = self.state();
        if !judge(&mut state, ask.seen, asked, &look) {
            return true;
        }
        let newest = look.next_seq - 1;
        if has_gone_back(&state, ask.after, &look) {
            // To a backup or a replica: nothing that was handed out can be relied on.
            state.followers.drain().filter_map(|(_, follower)| follower.upgrade()).for_each(|f| f.ended.cancel());
            (state.seq, state.seq_id) = (Some(newest), look.newest_id);
            return false;
        }
        let moved = (look.next_seq, look.access_version);
        self.moved.send_if_modified(|last| std::mem::replace(last, moved) != moved);
        if ask.after == NO_EVENTS {
            if state.seq.is_some() && self.is_heard() {
                // Somebody began to listen while nothing was read for them.
                return state.seq != Some(newest);
            }
            (state.seq, state.seq_id) = (Some(newest), look.newest_id);
        }
        let full = look.events.len() == LOOK;
        for event in look.events {
            (state.seq, state.seq_id) = (Some(event.seq), Some(event.id));
            if let Some(events) = self.events.get() {
                // Nobody listening any more is no error.
                let _ = events.send(Arc::new(event));
            }
        }
        full
    }

    /// Ends sessions whose time is over, unless they were used meanwhile, here or elsewhere.
    pub(super) async fn end_expired(&self, conn: &mut PgConnection, now: Timestamp) -> sqlx::Result<()> {
        let due: Vec<Arc<Follower>> = {
            let state = self.state();
            let followers = state.followers.values().filter_map(Weak::upgrade);
            followers.filter(|follower| follower.known().until <= now).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let sessions: Vec<SessionId> = due.iter().map(|follower| follower.session).collect();
        let ends = session::ends_of(conn, self.account, &sessions).await?;
        for follower in due {
            match ends.get(&follower.session).filter(|until| **until > now) {
                Some(until) => follower.known().until = *until,
                None => follower.ended.cancel(),
            }
        }
        Ok(())
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.get_or_init(|| broadcast::Sender::new(BUFFERED)).subscribe()
    }

    pub(super) fn moved(&self) -> watch::Receiver<(i64, i64)> {
        self.moved.subscribe()
    }
}

/// Asks the database, but not for ever: over a connection that is cut off without a word an answer never comes.
pub(super) async fn read(db: &Db, ask: &Ask<'_>) -> sqlx::Result<Look> {
    within(async { look(&mut *db.pool.acquire().await?, ask).await }).await
}

/// What takes longer than an answer may take has failed.
pub(super) async fn within<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Takes note of a look at a session. Under the hub's lock, so that no look at the hub falls between.
fn note(state: &mut State, follower: &Follower, session: &Authenticated) {
    let (mut known, rights) = (follower.known(), &session.actor.rights);
    if !known.held.covers(&rights.grants) {
        known.held.extend(&rights.grants);
        known.judged = known.judged.min(session.looked_at);
    }
    known.newest = known.newest.max(rights.version);
    known.until = known.until.max(session.until);
    state.version = state.version.min(known.judged);
}

/// Ends who may do less than when they began. False when somebody is there whom this statement did not ask about, or who came with
/// rights of a time before it: then nothing of it may be handed out.
fn judge(state: &mut State, seen: i64, asked: &[SessionId], look: &Look) -> bool {
    if look.standings.is_none() && state.version == seen {
        return true;
    }
    let asked: HashSet<&SessionId> = asked.iter().collect();
    let mut all = true;
    state.followers.retain(|session, follower| {
        let Some(follower) = follower.upgrade() else { return false };
        if follower.known().judged >= look.access_version {
            return true;
        }
        let standing = look.standings.as_ref().filter(|_| asked.contains(session));
        let holds = standing.and_then(|now| follower.holds(now.get(session), look.access_version));
        match holds {
            Some(true) => follower.known().judged = look.access_version,
            Some(false) => follower.ended.cancel(),
            None => all = false,
        }
        holds != Some(false)
    });
    if all {
        state.version = look.access_version;
    }
    all
}

/// Whether the feed is not the one that was read before: its end is earlier, or another event has a number that was handed out.
fn has_gone_back(state: &State, after: i64, look: &Look) -> bool {
    let Some(seq) = state.seq else { return false };
    let kept = after == seq && seq >= look.oldest_seq && state.seq_id.is_some();
    seq > look.next_seq - 1 || (kept && look.after_id != state.seq_id)
}

/// Puts a hub to rest when its task ends otherwise than it should.
struct Rest<'h>(Option<&'h Hub>);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Some(hub) = self.0 {
            hub.state().looking = Looking::No;
        }
    }
}

#[cfg(test)]
mod tests;
