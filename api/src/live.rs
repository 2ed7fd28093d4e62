//! Who follows which account live. One hub per account and process reads new events and the rights of all its followers in one
//! statement; followers whose rights are gone end before anything of that moment is handed out. Wake-ups only shorten the wait:
//! every half second one statement asks how far all followed accounts have come.

mod follow;
mod hub;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::across;
use domain::error::Result;
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::infra::metrics;
use domain::infra::wake::Wake;
use domain::session::Authenticated;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::hub::{Follower, Hub};

/// How often all followed accounts are asked for, woken or not.
const TICK: Duration = Duration::from_millis(500);
/// Connections of the hubs: requests must not keep them waiting.
pub const CONNECTIONS: u32 = 4;
/// Of these, how many may read the past for followers who have fallen behind.
const REPLAYS: usize = 2;

/// The hubs of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    replays: Semaphore,
    hubs: Mutex<HashMap<AccountId, Weak<Hub>>>,
}

/// A signed-in session that follows its account: one for each socket. Dropping it ends the following.
#[derive(Debug)]
pub struct Watch {
    live: Live,
    hub: Arc<Hub>,
    follower: Arc<Follower>,
}

impl Live {
    /// No hub yet.
    pub fn new(db: &Db) -> Self {
        let db = db.with_own_connections(CONNECTIONS);
        Self(Arc::new(Inner { db, replays: Semaphore::new(REPLAYS), hubs: Mutex::default() }))
    }

    /// Begins to follow the account of a session.
    ///
    /// # Errors
    /// The database's: nobody is let in before their rights were looked at here.
    pub async fn watch(&self, session: &Authenticated) -> Result<Watch> {
        let hub = self.hub_of(session.actor.account_id);
        let follower = hub.enter(session);
        hub.begin(&self.0.db).await?;
        // What happened since the session was looked at has its look now.
        hub.look_soon(&self.0.db);
        Ok(Watch { live: self.clone(), hub, follower })
    }

    /// How many accounts are followed.
    pub fn followed(&self) -> usize {
        self.all().len()
    }

    /// The connections of the hubs.
    pub fn pool(&self) -> &PgPool {
        &self.0.db.pool
    }

    /// Keeps the hubs up to date until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.listen() => {}
            () = self.tick() => {}
        }
    }

    async fn listen(&self) {
        let mut wakes = self.0.db.waker.subscribe();
        loop {
            match wakes.next().await {
                Wake::AccountMoved(account) => {
                    if let Some(hub) = self.known(AccountId(account)) {
                        hub.look_soon(&self.0.db);
                    }
                }
                Wake::Missed => self.all().iter().for_each(|hub| hub.look_soon(&self.0.db)),
                Wake::WorkDue(_) | Wake::Queued(_) => {}
            }
        }
    }

    async fn tick(&self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            metrics::feed_hubs(self.followed());
            if let Err(error) = self.ask().await {
                metrics::feed_look_failed();
                tracing::warn!(%error, "followed accounts could not be looked at");
            }
        }
    }

    /// One statement for all followed accounts; a look for those that have moved, and for sessions whose time is over.
    async fn ask(&self) -> sqlx::Result<()> {
        let hubs: HashMap<AccountId, Arc<Hub>> = self.all().into_iter().map(|hub| (hub.account, hub)).collect();
        if hubs.is_empty() {
            return Ok(());
        }
        let accounts: Vec<AccountId> = hubs.keys().copied().collect();
        let mut conn = self.0.db.pool.acquire().await?;
        let (positions, now) = across::feed_positions(&mut conn, &accounts).await?;
        for position in positions {
            if let Some(hub) = hubs.get(&position.account_id).filter(|hub| hub.is_behind(position)) {
                hub.look_soon(&self.0.db);
            }
        }
        if let Some(now) = now {
            let now = self.0.db.clock.business(now);
            for hub in hubs.values() {
                hub.end_expired(&mut conn, now).await?;
            }
        }
        Ok(())
    }

    fn hub_of(&self, account: AccountId) -> Arc<Hub> {
        let mut hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(&account).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let hub = Arc::new(Hub::new(account));
        hubs.insert(account, Arc::downgrade(&hub));
        hub
    }

    fn known(&self, account: AccountId) -> Option<Arc<Hub>> {
        self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner).get(&account).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Hub>> {
        let hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.values().filter_map(Weak::upgrade).collect()
    }
}

impl Watch {
    /// Returns once the session may not follow its account any more: it has ended, or its member may do less than when it began.
    pub async fn ended(&self) {
        self.follower.ended.cancelled().await;
    }

    /// Whether [`Watch::ended`] returns at once.
    pub fn has_ended(&self) -> bool {
        self.follower.ended.is_cancelled()
    }

    /// Takes note of a later look at the same session: what its member may do now counts from here on.
    pub fn renew(&self, session: &Authenticated) {
        self.hub.renew(&self.follower, session);
    }
}
