//! What one follower is handed: first the past after their cursor, from the table, then what the hub hands out; the table again
//! when they fall behind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::event::live::{Ask, Look, NEVER_SEEN, NO_EVENTS, look};
use domain::event::read::{self, Event, ReadError};
use domain::event::{Cursor, EventKind};
use domain::infra::metrics;
use futures::{Stream, stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Watch;

/// Events of the past that are read at once.
const REPLAY: i64 = 100;
/// Numbers that are gone through at once, however few of them are of the kinds wanted.
const WINDOW: i64 = 20_000;
/// Between two updates of an account that does not come to rest.
const BETWEEN_UPDATES: Duration = Duration::from_millis(500);

/// A follower of events.
struct Follow {
    watch: Arc<Watch>,
    receiver: broadcast::Receiver<Arc<Event>>,
    kinds: Vec<EventKind>,
    /// The newest event they have seen, or that is not of their kinds; `None` for whatever is newest.
    last: Option<i64>,
    waiting: VecDeque<Arc<Event>>,
    /// Whether everything up to what the hub hands out was read.
    caught_up: bool,
}

impl Watch {
    /// The account's events after a cursor, or from now on; only of some kinds unless `kinds` is empty. In order, each once.
    ///
    /// # Errors
    /// [`ReadError`], also later: then as the last item.
    pub async fn events(
        self: &Arc<Self>,
        after: Option<Cursor>,
        kinds: Vec<EventKind>,
    ) -> Result<impl Stream<Item = Result<Arc<Event>, ReadError>> + use<>, ReadError> {
        if after.is_some() {
            // Is it a place in this feed?
            let mut conn = self.live.0.db.pool.acquire().await?;
            read::page(&mut conn, self.hub.account, after, &[], 1).await?;
        }
        let mut follow = Follow {
            watch: Arc::clone(self),
            // Before the past is read, so that nothing falls between.
            receiver: self.hub.events(),
            kinds,
            last: after.map(Cursor::seq),
            waiting: VecDeque::new(),
            caught_up: false,
        };
        metrics::feed_replay(false);
        follow.catch_up().await?;
        Ok(stream::unfold(Some(follow), |follow| async move {
            let mut follow = follow?;
            match follow.next().await {
                Ok(Some(event)) => {
                    metrics::events_handed_out(1);
                    Some((Ok(event), Some(follow)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// An item at once, and another one whenever something in the account has changed since, at most twice a second.
    pub fn updates(self: &Arc<Self>) -> impl Stream<Item = ()> + use<> {
        let watch = Arc::clone(self);
        let mut moved = self.hub.moved();
        moved.mark_changed();
        stream::unfold((watch, moved, true), |(watch, mut moved, first)| async move {
            if !first {
                tokio::time::sleep(BETWEEN_UPDATES).await;
            }
            moved.changed().await.ok()?;
            moved.borrow_and_update();
            Some(((), (watch, moved, false)))
        })
    }
}

impl Follow {
    /// The next event; `None` when the hub has ended.
    async fn next(&mut self) -> Result<Option<Arc<Event>>, ReadError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            if !self.caught_up {
                self.catch_up().await?;
                continue;
            }
            match self.receiver.recv().await {
                Ok(event) if self.last.is_some_and(|last| event.seq <= last) => {}
                Ok(event) if self.last.is_some_and(|last| event.seq > last + 1) => self.fall_behind(),
                Ok(event) => {
                    self.last = Some(event.seq);
                    if self.wants(&event) {
                        return Ok(Some(event));
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    self.receiver = self.receiver.resubscribe();
                    self.fall_behind();
                }
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    fn fall_behind(&mut self) {
        metrics::feed_replay(true);
        self.caught_up = false;
    }

    fn wants(&self, event: &Event) -> bool {
        self.kinds.is_empty() || event.known_kind().is_some_and(|kind| self.kinds.contains(&kind))
    }

    /// Reads some of the past, with the follower's own rights in the same statement.
    async fn catch_up(&mut self) -> Result<(), ReadError> {
        let after = self.last.unwrap_or(NO_EVENTS);
        let up_to = after.saturating_add(WINDOW);
        let look = self.look(after, up_to).await?;
        let session = self.watch.follower.session;
        let standing = look.standings.as_ref().and_then(|standings| standings.get(&session));
        if !standing.is_some_and(|now| self.watch.follower.holds(*now)) {
            self.watch.follower.ended.cancel();
            // Whoever holds the socket closes it; nothing comes from here any more.
            return std::future::pending().await;
        }
        let newest = look.next_seq - 1;
        if let Some(last) = self.last {
            let oldest = Cursor::at(look.oldest_seq - 1, None);
            if last < oldest.seq() {
                return Err(ReadError::CursorExpired { oldest });
            }
            if last > newest {
                return Err(ReadError::CursorUnknown { oldest });
            }
        }
        let full = i64::try_from(look.events.len()) == Ok(REPLAY);
        let reached = look.events.last().filter(|_| full).map_or(newest.min(up_to), |event| event.seq);
        self.caught_up = reached == newest;
        self.last = Some(reached);
        self.waiting = look.events.into_iter().map(Arc::new).collect();
        Ok(())
    }

    async fn look(&self, after: i64, up_to: i64) -> sqlx::Result<Look> {
        let live = &self.watch.live.0;
        let _place = live.replays.acquire().await.expect("the semaphore is never closed");
        let ask = Ask {
            account: self.watch.hub.account,
            after,
            up_to,
            kinds: &self.kinds,
            limit: REPLAY,
            seen: NEVER_SEEN,
            sessions: &[self.watch.follower.session],
        };
        look(&mut *live.db.pool.acquire().await?, &ask).await
    }
}
