//! What one follower is handed: first the past after their cursor, from the table, then what the hub hands out; the table again
//! when they fall behind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::event::live::{Ask, Look, NEVER_SEEN, NO_EVENTS};
use domain::event::read::{self as feed, Event, ReadError};
use domain::event::{Cursor, EventKind};
use domain::id::EventId;
use domain::infra::metrics;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Watch;
use super::hub::{read, within};

/// Events of the past that are read at once.
const REPLAY: i64 = 100;
/// Numbers that are gone through at once, however few of them are of the kinds wanted.
const WINDOW: i64 = 20_000;
/// Between two updates of an account that does not come to rest.
const BETWEEN_UPDATES: Duration = Duration::from_millis(500);

/// Between two tries to read the past while the database is away.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// A follower of events.
struct Follow {
    watch: Arc<Watch>,
    receiver: broadcast::Receiver<Arc<Event>>,
    kinds: Vec<EventKind>,
    /// The newest event they have seen, or that is not of their kinds; `None` for whatever is newest.
    last: Option<i64>,
    /// The event of that number, if it is known.
    last_id: Option<EventId>,
    waiting: VecDeque<Arc<Event>>,
    /// Whether everything up to what the hub hands out was read.
    caught_up: bool,
}

impl Watch {
    /// The account's events after a cursor, or from now on; only of some kinds unless `kinds` is empty. In order, each once. Boxed,
    /// since there are many who wait: a follower that waits holds none of what reading the past needs.
    ///
    /// # Errors
    /// [`ReadError`], also later: then as the last item.
    pub async fn events(
        self: &Arc<Self>,
        after: Option<Cursor>,
        kinds: Vec<EventKind>,
    ) -> Result<BoxStream<'static, Result<Arc<Event>, ReadError>>, ReadError> {
        if after.is_some() {
            self.check(after).await?;
        }
        let mut follow = Follow {
            watch: Arc::clone(self),
            // Before the past is read, so that nothing falls between.
            receiver: self.hub.events(),
            kinds,
            last: after.map(Cursor::seq),
            last_id: None,
            waiting: VecDeque::new(),
            caught_up: false,
        };
        metrics::feed_replay(false);
        follow.catch_up().await?;
        let events = stream::unfold(Some(follow), |follow| async move {
            let mut follow = follow?;
            match follow.next().await {
                Ok(Some(event)) => {
                    metrics::events_handed_out(1);
                    Some((Ok(event), Some(follow)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(events.boxed())
    }

    /// Whether a cursor is a place in this feed.
    async fn check(&self, after: Option<Cursor>) -> Result<(), ReadError> {
        let live = &self.live.0;
        let _place = live.replays.acquire().await.expect("the semaphore is never closed");
        let read = async {
            let mut conn = live.db.pool.acquire().await?;
            Ok(feed::page(&mut conn, self.hub.account, after, &[], 1).await.map(drop))
        };
        within(read).await?
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
            if !first {
                // Not all followers of an account at once.
                tokio::time::sleep(Duration::from_millis(u64::from(random()))).await;
            }
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
                match Box::pin(self.catch_up()).await {
                    Err(ReadError::Database(error)) => {
                        // It may be back in a moment, and then nothing was missed.
                        metrics::feed_look_failed();
                        tracing::debug!(%error, account.id = %self.watch.hub.account, "the past could not be read");
                        tokio::time::sleep(BETWEEN_TRIES).await;
                    }
                    done => done?,
                }
                continue;
            }
            match self.receiver.recv().await {
                Ok(event) if self.last.is_some_and(|last| event.seq <= last) => {}
                Ok(event) if self.last.is_some_and(|last| event.seq > last + 1) => self.fall_behind(),
                Ok(event) => {
                    (self.last, self.last_id) = (Some(event.seq), Some(event.id));
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
        let follower = &self.watch.follower;
        let standing = look.standings.as_ref().and_then(|standings| standings.get(&follower.session));
        match follower.holds(standing, look.access_version) {
            Some(true) => {}
            Some(false) => {
                follower.ended.cancel();
                // Whoever holds the socket closes it; nothing comes from here any more.
                return std::future::pending().await;
            }
            // This statement is older than what is known of them: again.
            None => return Ok(()),
        }
        let newest = look.next_seq - 1;
        if let Some(last) = self.last {
            let oldest = Cursor::at(look.oldest_seq - 1, None);
            if last < oldest.seq() {
                return Err(ReadError::CursorExpired { oldest });
            }
            let another = self.last_id.is_some() && last > oldest.seq() && look.after_id != self.last_id;
            if last > newest || another {
                return Err(ReadError::CursorUnknown { oldest });
            }
        }
        let full = i64::try_from(look.events.len()) == Ok(REPLAY);
        let reached = look.events.last().filter(|_| full).map_or(newest.min(up_to), |event| event.seq);
        self.caught_up = reached == newest;
        self.last_id =
            if self.caught_up { look.newest_id } else { look.events.last().filter(|_| full).map(|last| last.id) };
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
        read(&live.db, &ask).await
    }
}

fn random() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("the operating system gives random bytes");
    byte[0]
}
