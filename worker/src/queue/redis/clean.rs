//! What the library leaves behind: ids that are done, and whatever a failed consumer had in its hands.

use std::time::Duration;

use redis::AsyncCommands as _;

use super::{Arrival, Intake, RedisQueue, decode, foreign};
use crate::queue::QueueError;

/// Ids deleted at once: no command blocks Redis for long.
const CHUNK: usize = 500;

/// Pause between cleanings.
const EVERY: Duration = Duration::from_secs(2);

impl RedisQueue {
    /// Deletes what is done, for ever. The library keeps it, and its vacuum deletes what is not done as well.
    pub(super) async fn keep_clean(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            for set in [self.config.done_jobs_set(), self.config.dead_jobs_set()] {
                // A fault shows in the consumer; the next round goes on.
                let _ = self.empty(&set).await;
            }
        }
    }

    async fn empty(&self, set: &str) -> Result<(), QueueError> {
        let mut connection = self.connection.clone();
        loop {
            // Taken out of the set last: whoever is stopped halfway, or meets another, leaves nothing that nobody finds.
            let ids: Vec<Vec<u8>> = redis::cmd("SRANDMEMBER").arg(set).arg(CHUNK).query_async(&mut connection).await?;
            if ids.is_empty() {
                return Ok(());
            }
            self.forget(&ids).await?;
            let _: () = connection.srem(set, &ids).await?;
            if ids.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Takes what the consumer `name` had in its hands, and all traces of it. Answers how many ids that were. Fails where Redis is
    /// away.
    pub(super) async fn clear(&self, name: &str, intake: &Intake) -> Result<usize, QueueError> {
        let mut connection = self.connection.clone();
        let held = format!("{}:{name}", self.config.inflight_jobs_set());
        let ids: Vec<Vec<u8>> = connection.smembers(&held).await?;
        self.forget(&ids).await?;
        redis::pipe()
            .del(&held)
            .ignore()
            .zrem(self.config.workers_set(), name)
            .ignore()
            .del(format!("{}:workers:metadata:{name}", self.config.queue.as_ref()))
            .ignore()
            .query_async::<()>(&mut connection)
            .await?;
        for id in &ids {
            let hint = std::str::from_utf8(id).ok().and_then(decode);
            let _ = intake.send(hint.map_or_else(|| foreign(id), Arrival::Lost)).await;
        }
        Ok(ids.len())
    }

    async fn forget(&self, ids: &[Vec<u8>]) -> Result<(), QueueError> {
        if ids.is_empty() {
            return Ok(());
        }
        let meta = self.config.job_meta_hash();
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| [meta.as_bytes(), b":", id].concat()).collect();
        redis::pipe()
            .hdel(self.config.job_data_hash(), ids)
            .ignore()
            .del(keys)
            .ignore()
            .query_async::<()>(&mut self.connection.clone())
            .await?;
        Ok(())
    }
}
