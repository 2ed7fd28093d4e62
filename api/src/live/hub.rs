//! The hub of one account: its followers, and what was handed out to them so far.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::across::Position;
use domain::event::live::{Ask, Look, NO_EVENTS, look};
use domain::event::read::Event;
use domain::id::{AccountId, SessionId};
use domain::infra::clock::Timestamp;
use domain::infra::db::Db;
use domain::infra::metrics;
use domain::permission::PermissionSet;
use domain::session::{self, Authenticated};
use sqlx::PgConnection;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow follower; who falls further behind reads the table.
const BUFFERED: usize = 256;
/// Events read by a look: fewer than are buffered, so that followers who keep up do so through a burst.
const LOOK: i64 = 100;
/// Between two looks at an account that does not come to rest.
const PAUSE: Duration = Duration::from_millis(3);

/// A session that follows, on one socket or several.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) session: SessionId,
    pub(super) ended: CancellationToken,
    known: Mutex<Known>,
}

/// What is known of a follower.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// What they could do when they began to follow; with less they may not go on.
    held: PermissionSet,
    /// The access version that was read at.
    version: i64,
    /// When the session ends by itself, unless it is used until then.
    until: Timestamp,
}

#[derive(Debug)]
struct State {
    /// The newest event that was handed out, or that nobody waited for.
    seq: Option<i64>,
    /// The access version at which all followers had their rights.
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
    events: broadcast::Sender<Arc<Event>>,
    moved: watch::Sender<(i64, i64)>,
}

impl Follower {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self, now: PermissionSet) -> bool {
        now.covers(self.known().held)
    }
}

impl Hub {
    pub(super) fn new(account: AccountId) -> Self {
        let state = State { seq: None, version: i64::MAX, followers: HashMap::new(), looking: Looking::No };
        Self {
            account,
            state: Mutex::new(state),
            begun: OnceCell::new(),
            events: broadcast::Sender::new(BUFFERED),
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
            let (held, version) = (PermissionSet::default(), actor.rights.version);
            Arc::new(Follower {
                session: actor.session_id,
                ended: CancellationToken::new(),
                known: Mutex::new(Known { held, version, until: session.until }),
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
        let (hub, db) = (Rest(Arc::clone(self)), db.clone());
        tokio::spawn(async move {
            loop {
                let more = hub.0.look(&db).await.unwrap_or_else(|error| {
                    metrics::feed_look_failed();
                    tracing::warn!(%error, account.id = %hub.0.account, "an account could not be looked at");
                    false
                });
                if !hub.0.goes_on(more) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    fn goes_on(&self, more: bool) -> bool {
        let mut state = self.state();
        let goes_on = more || state.looking == Looking::Again;
        state.looking = if goes_on { Looking::Yes } else { Looking::No };
        goes_on
    }

    /// Reads and hands out; whether there is more to do at once.
    async fn look(&self, db: &Db) -> sqlx::Result<bool> {
        let (after, seen, sessions) = {
            let mut state = self.state();
            state.followers.retain(|_, follower| follower.strong_count() > 0);
            let heard = self.events.receiver_count() > 0;
            let after = state.seq.filter(|_| heard).unwrap_or(NO_EVENTS);
            (after, state.version, state.followers.keys().copied().collect::<Vec<_>>())
        };
        let ask =
            Ask { account: self.account, after, up_to: i64::MAX, kinds: &[], limit: LOOK, seen, sessions: &sessions };
        let look = look(&mut *db.pool.acquire().await?, &ask).await?;
        Ok(self.hand_out(after, &sessions, look))
    }

    fn hand_out(&self, after: i64, asked: &[SessionId], look: Look) -> bool {
        let mut state = self.state();
        if !end_lesser(&mut state, asked, &look) {
            return true;
        }
        state.version = look.access_version;
        let newest = look.next_seq - 1;
        if state.seq.is_some_and(|seq| seq > newest) {
            // The database has gone back in time, to a backup or a replica: nothing that was handed out can be relied on.
            state.followers.drain().filter_map(|(_, follower)| follower.upgrade()).for_each(|f| f.ended.cancel());
            state.seq = Some(newest);
            return false;
        }
        let full = i64::try_from(look.events.len()) == Ok(LOOK);
        if after == NO_EVENTS {
            if state.seq.is_some() && self.events.receiver_count() > 0 {
                // Somebody began to listen while nothing was read for them.
                return state.seq != Some(newest);
            }
            state.seq = Some(newest);
        }
        for event in look.events {
            state.seq = Some(event.seq);
            // Nobody listening is no error.
            let _ = self.events.send(Arc::new(event));
        }
        let moved = (look.next_seq, look.access_version);
        self.moved.send_if_modified(|last| std::mem::replace(last, moved) != moved);
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
        self.events.subscribe()
    }

    pub(super) fn moved(&self) -> watch::Receiver<(i64, i64)> {
        self.moved.subscribe()
    }
}

/// Takes note of a look at a session. Under the hub's lock, so that no look at the hub falls between.
fn note(state: &mut State, follower: &Follower, session: &Authenticated) {
    let mut known = follower.known();
    known.held.extend(session.actor.rights.permissions);
    known.version = known.version.max(session.actor.rights.version);
    known.until = known.until.max(session.until);
    state.version = state.version.min(session.actor.rights.version);
}

/// Ends who may do less than when they began. False when somebody came while the statement ran and was not asked about: then
/// nothing of it may be handed out.
fn end_lesser(state: &mut State, asked: &[SessionId], look: &Look) -> bool {
    let Some(standings) = &look.standings else { return true };
    let asked: HashSet<&SessionId> = asked.iter().collect();
    if state.followers.keys().any(|session| !asked.contains(session)) {
        return false;
    }
    state.followers.retain(|session, follower| {
        let Some(follower) = follower.upgrade() else { return false };
        // Who was looked at later than this statement looked is judged by the next one.
        let judged = follower.known().version <= look.access_version;
        let stays = !judged || standings.get(session).is_some_and(|now| follower.holds(*now));
        if !stays {
            follower.ended.cancel();
        }
        stays
    });
    true
}

/// Puts a hub to rest when its task ends in any way.
struct Rest(Arc<Hub>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.state().looking = Looking::No;
    }
}
