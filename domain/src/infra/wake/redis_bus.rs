//! Wake-ups over Redis publish and subscribe. One channel; a message is `<sender> <wake>`, so that a process skips its own.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{BUFFERED, Outgoing, Wake};

/// A publish that takes longer is given up.
const PUBLISH_LIMIT: Duration = Duration::from_millis(200);

/// Pause before the subscription is tried again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Wake-ups of an equal kind that are published as one.
const BATCH: usize = 256;

struct Bus {
    client: redis::Client,
    channel: String,
    sender: Uuid,
}

/// Starts publishing what the returned channel takes, and sending what others publish to `local`.
pub(super) fn start(
    url: &SecretString,
    prefix: &str,
    local: broadcast::Sender<Wake>,
    shutdown: &CancellationToken,
) -> redis::RedisResult<mpsc::Sender<Outgoing>> {
    let client = redis::Client::open(url.expose_secret())?;
    let (remote, outgoing) = mpsc::channel(BUFFERED);
    let bus = std::sync::Arc::new(Bus { client, channel: format!("{prefix}:wake"), sender: Uuid::new_v4() });
    let publish = std::sync::Arc::clone(&bus);
    let stop = shutdown.clone();
    tokio::spawn(async move { stop.run_until_cancelled(publish.publish(outgoing)).await });
    let stop = shutdown.clone();
    tokio::spawn(async move { stop.run_until_cancelled(bus.subscribe(local)).await });
    Ok(remote)
}

impl Bus {
    async fn publish(&self, mut outgoing: mpsc::Receiver<Outgoing>) {
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(PUBLISH_LIMIT))
            .set_response_timeout(Some(PUBLISH_LIMIT));
        let mut connection: Option<ConnectionManager> = None;
        let mut batch = Vec::with_capacity(BATCH);
        while outgoing.recv_many(&mut batch, BATCH).await > 0 {
            let mut wakes: HashSet<Wake> = HashSet::new();
            // Dropped at the end of this round, which tells whoever waits.
            let mut marks = Vec::new();
            for outgoing in batch.drain(..) {
                match outgoing {
                    Outgoing::Wake(wake) => drop(wakes.insert(wake)),
                    Outgoing::Mark(_) => marks.push(outgoing),
                }
            }
            if wakes.is_empty() {
                continue;
            }
            if connection.is_none() {
                let connect = self.client.get_connection_manager_with_config(settings.clone());
                connection = tokio::time::timeout(PUBLISH_LIMIT, connect).await.ok().and_then(Result::ok);
            }
            let Some(open) = &mut connection else {
                continue;
            };
            let mut pipe = redis::pipe();
            for wake in wakes {
                pipe.publish(&self.channel, format!("{} {}", self.sender, wake.encode())).ignore();
            }
            let sent = tokio::time::timeout(PUBLISH_LIMIT, pipe.query_async::<()>(open)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::debug!("wake-up not published; others find out by polling");
            }
        }
    }

    async fn subscribe(&self, local: broadcast::Sender<Wake>) {
        loop {
            if let Err(error) = self.forward(&local).await {
                tracing::debug!(error = %error.category(), "wake-ups of other processes are away; polling");
            }
            tokio::time::sleep(RESUBSCRIBE_AFTER).await;
        }
    }

    async fn forward(&self, local: &broadcast::Sender<Wake>) -> redis::RedisResult<()> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(&self.channel).await?;
        // What was published in between is gone.
        let _ = local.send(Wake::Missed);
        let own = self.sender.to_string();
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let text: String = message.get_payload()?;
            let Some((sender, wake)) = text.split_once(' ') else {
                continue;
            };
            if let (false, Ok(wake)) = (sender == own, wake.parse()) {
                let _ = local.send(wake);
            }
        }
        Ok(())
    }
}
