//! Wake-ups between and within processes. They only shorten waits: whoever is woken reads the tables, and polls them anyway.

mod redis_bus;

use std::str::FromStr;

use secrecy::SecretString;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::job::Lane;

/// Wake-ups that wait for a slow subscriber or a slow Redis; later ones are dropped.
const BUFFERED: usize = 1024;

/// Something happened that somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// A job of this lane was written.
    WorkDue(Lane),
    /// Ids of this lane were handed to the queue.
    Queued(Lane),
    /// Events or rights of this account changed.
    AccountMoved(Uuid),
    /// Wake-ups may have got lost: look at everything.
    Missed,
}

impl Wake {
    /// As sent to other processes.
    fn encode(self) -> String {
        match self {
            Self::WorkDue(lane) => format!("due {lane}"),
            Self::Queued(lane) => format!("queued {lane}"),
            Self::AccountMoved(account) => format!("account {account}"),
            Self::Missed => "missed".to_owned(),
        }
    }
}

impl FromStr for Wake {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(' ') {
            Some(("due", lane)) => lane.parse().map(Self::WorkDue).map_err(|_| ()),
            Some(("queued", lane)) => lane.parse().map(Self::Queued).map_err(|_| ()),
            Some(("account", account)) => account.parse().map(Self::AccountMoved).map_err(|_| ()),
            None if text == "missed" => Ok(Self::Missed),
            _ => Err(()),
        }
    }
}

/// What waits to be published.
#[derive(Debug)]
enum Outgoing {
    Wake(Wake),
    /// Dropped once everything before it was published, or given up.
    Mark(#[expect(dead_code, reason = "its end is the message")] oneshot::Sender<()>),
}

/// Wakes others after a commit. Cheap to clone, never waits, never fails.
#[derive(Clone, Debug)]
pub struct Waker {
    local: broadcast::Sender<Wake>,
    remote: Option<mpsc::Sender<Outgoing>>,
}

impl Waker {
    /// Wakes within this process only.
    pub fn local() -> Self {
        Self { local: broadcast::Sender::new(BUFFERED), remote: None }
    }

    /// Wakes every process that uses the same Redis and prefix, until `shutdown`. Redis being away is no error.
    /// Called within the runtime, whose tasks do the sending.
    pub fn connect(url: &SecretString, prefix: &str, shutdown: &CancellationToken) -> redis::RedisResult<Self> {
        let local = broadcast::Sender::new(BUFFERED);
        let remote = redis_bus::start(url, prefix, local.clone(), shutdown)?;
        Ok(Self { local, remote: Some(remote) })
    }

    /// A job of this lane was committed.
    pub fn work_due(&self, lane: Lane) {
        self.send(Wake::WorkDue(lane));
    }

    /// Ids of this lane are in the queue.
    pub fn queued(&self, lane: Lane) {
        self.send(Wake::Queued(lane));
    }

    /// A change of this account was committed.
    pub fn account_moved(&self, account_id: Uuid) {
        self.send(Wake::AccountMoved(account_id));
    }

    /// Wake-ups of this process and, with Redis, of the others, from now on.
    pub fn subscribe(&self) -> Wakes {
        Wakes { receiver: self.local.subscribe() }
    }

    /// Waits until every wake-up so far was published or given up, within a second: for a process that is about to end.
    pub async fn flush(&self) {
        if let Some(remote) = &self.remote {
            let (mark, gone) = oneshot::channel();
            let _ = remote.send(Outgoing::Mark(mark)).await;
            let _ = gone.await;
        }
    }

    fn send(&self, wake: Wake) {
        // Nobody listening, or a full buffer, is fine: everybody polls.
        let _ = self.local.send(wake);
        if let Some(remote) = &self.remote {
            let _ = remote.try_send(Outgoing::Wake(wake));
        }
    }
}

/// Wake-ups as they come.
#[derive(Debug)]
pub struct Wakes {
    receiver: broadcast::Receiver<Wake>,
}

impl Wakes {
    /// The next one; [`Wake::Missed`] in place of those that came too fast. Waits for ever once every [`Waker`] is gone.
    pub async fn next(&mut self) -> Wake {
        match self.receiver.recv().await {
            Ok(wake) => wake,
            Err(broadcast::error::RecvError::Lagged(_)) => Wake::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Whether Redis answers in this time.
pub async fn answers(url: &SecretString, patience: std::time::Duration) -> bool {
    use secrecy::ExposeSecret as _;
    let ask = async {
        let client = redis::Client::open(url.expose_secret())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await
    };
    tokio::time::timeout(patience, ask).await.is_ok_and(|pong| pong.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_survives_the_wire() {
        for wake in
            [Wake::WorkDue(Lane::Bulk), Wake::Queued(Lane::Money), Wake::AccountMoved(Uuid::max()), Wake::Missed]
        {
            assert_eq!(wake.encode().parse(), Ok(wake));
        }
        for garbage in ["", "due", "due NOWHERE", "account 1", "missed x"] {
            assert_eq!(garbage.parse::<Wake>(), Err(()));
        }
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_that_it_missed_some() {
        let waker = Waker::local();
        let mut subscriber = waker.subscribe();
        for _ in 0..=BUFFERED {
            waker.work_due(Lane::Bulk);
        }
        assert_eq!(subscriber.next().await, Wake::Missed);
        assert_eq!(subscriber.next().await, Wake::WorkDue(Lane::Bulk));
    }
}
