//! What stands in Redis while the load runs, read as a client reads it.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, bail};
use redis::aio::MultiplexedConnection;
use redis::{Client, Value, cmd};
use tokio_util::sync::CancellationToken;

/// Pause between looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Every key, field and value that was seen.
#[derive(Default)]
pub(super) struct Contents(HashSet<Vec<u8>>);

impl Contents {
    /// Looks again and again. Redis being away is no fault: it is disturbed as well.
    pub(super) async fn watch(&mut self, url: &str, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.look(url)).await;
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }

    /// Looks once.
    pub(super) async fn look(&mut self, url: &str) -> Result<()> {
        let mut redis = Client::open(url)?.get_multiplexed_async_connection().await?;
        let mut cursor = 0;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) =
                cmd("SCAN").arg(cursor).arg("COUNT").arg(500).query_async(&mut redis).await?;
            for key in keys {
                let value = read(&mut redis, &key).await?;
                self.0.insert(key);
                self.take(value);
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn take(&mut self, value: Value) {
        match value {
            Value::BulkString(bytes) => {
                self.0.insert(bytes);
            }
            Value::Array(items) | Value::Set(items) => items.into_iter().for_each(|item| self.take(item)),
            Value::Map(pairs) => pairs.into_iter().for_each(|(field, value)| {
                self.take(field);
                self.take(value);
            }),
            // Numbers and the like hold no secret.
            _ => {}
        }
    }

    /// How many different ones, and all of them, a line each.
    pub(super) fn all(&self) -> (usize, Vec<u8>) {
        (self.0.len(), self.0.iter().fold(Vec::new(), |all, one| [all.as_slice(), one, b"\n"].concat()))
    }
}

/// The whole value of a key; nothing if it has gone meanwhile.
async fn read(redis: &mut MultiplexedConnection, key: &[u8]) -> Result<Value> {
    let kind: String = cmd("TYPE").arg(key).query_async(redis).await?;
    let command = match kind.as_str() {
        "string" => cmd("GET").arg(key).to_owned(),
        "hash" => cmd("HGETALL").arg(key).to_owned(),
        "set" => cmd("SMEMBERS").arg(key).to_owned(),
        "list" => cmd("LRANGE").arg(key).arg(0).arg(-1).to_owned(),
        "zset" => cmd("ZRANGE").arg(key).arg(0).arg(-1).to_owned(),
        "none" => return Ok(Value::Nil),
        other => bail!("a value of another kind: {other}"),
    };
    Ok(command.query_async(redis).await?)
}
