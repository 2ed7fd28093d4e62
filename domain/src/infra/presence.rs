//! Whether the database answers, known before anybody has to wait for it: what is asked of a database that is stopped, or takes
//! connections and stays silent, would otherwise hang until it times out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// A database that has not answered in this time is away. With the pause it makes less than the 2 s in which a request is refused.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A third of that is for the connection it is asked over, which may have been cut off without a word.
const PING_PATIENCE: Duration = Duration::from_millis(500);

/// What is known of the database's presence. Clones know the same.
#[derive(Clone, Debug)]
pub struct Presence {
    away: Arc<watch::Sender<bool>>,
    /// When it last answered anybody.
    heard: Arc<Mutex<Instant>>,
}

impl Default for Presence {
    /// Until somebody asks, the database counts as present.
    fn default() -> Self {
        Self { away: Arc::new(watch::channel(false).0), heard: Arc::new(Mutex::new(Instant::now())) }
    }
}

impl Presence {
    /// Asks the database a few times a second, over a connection and on a thread of its own, until `shutdown`: among the requests of
    /// a busy process the question would come late, and the answer be noticed late, and the database would count as away for that.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn watch(&self, options: PgConnectOptions, shutdown: CancellationToken) {
        let known = self.clone();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let ask = move || {
            runtime.block_on(shutdown.run_until_cancelled(keep_asking(&options, &known)));
        };
        std::thread::Builder::new().name("presence".to_owned()).spawn(ask).expect("a thread can be started");
    }

    /// It has just answered somebody: then it is not away, although the answer to the question here may be late.
    pub fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn was_heard_lately(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < PATIENCE
    }

    /// Waits until the database is away: not at all, while it is.
    pub async fn lost(&self) {
        let mut away = self.away.subscribe();
        // The sender is here.
        let _ = away.wait_for(|away| *away).await;
    }
}

async fn keep_asking(options: &PgConnectOptions, known: &Presence) {
    let mut connection = None;
    loop {
        let asked = tokio::time::timeout(PATIENCE, ask(options, &mut connection)).await;
        let away = match asked {
            Ok(Ok(())) => false,
            // It answers, if only that it has no room.
            Ok(Err(sqlx::Error::Database(refusal))) => refusal.code().is_some_and(|code| code.starts_with("57P")),
            Ok(Err(_)) => true,
            Err(_elapsed) => !known.was_heard_lately(),
        };
        if away {
            // The next question starts over: this connection may stay silent for ever.
            connection = None;
        }
        if known.away.send_replace(away) != away {
            if away {
                tracing::error!("the database does not answer; requests are refused until it does");
            } else {
                tracing::info!("the database answers again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks over the connection there is. One that broke, or is silent, says nothing about the database; a new one does.
async fn ask(options: &PgConnectOptions, connection: &mut Option<PgConnection>) -> sqlx::Result<()> {
    if let Some(mut open) = connection.take()
        && tokio::time::timeout(PING_PATIENCE, open.ping()).await.is_ok_and(|pong| pong.is_ok())
    {
        *connection = Some(open);
        return Ok(());
    }
    let mut fresh = options.connect().await?;
    fresh.ping().await?;
    *connection = Some(fresh);
    Ok(())
}
