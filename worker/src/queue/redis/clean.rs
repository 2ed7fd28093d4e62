//! What the library leaves behind: ids that are done, and whatever a consumer that failed or died had in its hands.

use std::collections::HashMap;
use std::time::Duration;

use redis::AsyncCommands as _;

use super::{Arrival, Intake, RedisQueue, decode, foreign};
use crate::queue::QueueError;

/// Ids deleted at once: no command blocks Redis for long.
const CHUNK: usize = 500;

/// Pause between cleanings.
const EVERY: Duration = Duration::from_secs(2);

/// Looks without a new sign of life after which a consumer is taken for dead: half a minute in which Redis answers and six
/// beats were due.
const SILENT_LOOKS: u32 = 15;

/// The last sign of life of each consumer: the clock of its host, which is compared with itself only.
#[derive(Debug, Default)]
struct Signs(HashMap<String, (f64, u32)>);

impl Signs {
    /// Takes what is seen now; answers who has been silent for too long.
    fn look(&mut self, beats: Vec<(String, f64)>) -> Vec<String> {
        let before = std::mem::take(&mut self.0);
        let mut silent = Vec::new();
        for (name, beat) in beats {
            let looks = match before.get(&name) {
                // The library writes whole seconds.
                Some((last, looks)) if (last - beat).abs() < 0.5 => looks + 1,
                _ => 0,
            };
            if looks >= SILENT_LOOKS {
                silent.push(name);
            } else {
                self.0.insert(name, (beat, looks));
            }
        }
        silent
    }
}

impl RedisQueue {
    /// Deletes what is done, for ever, and gives back what the dead had in their hands. The library keeps the one, its vacuum
    /// deletes what is not done as well, and it gives back what the living have in their hands if their clocks differ.
    pub(super) async fn keep_clean(&self, lost: Intake) {
        let mut signs = Signs::default();
        loop {
            tokio::time::sleep(EVERY).await;
            if let Ok(silent) = self.silent(&mut signs).await {
                for name in silent {
                    // Whoever only was slow notices, and goes on under another name.
                    let _ = self.clear(&name, &lost).await;
                }
            }
            for set in [self.config.done_jobs_set(), self.config.dead_jobs_set()] {
                // A fault shows in the consumer; the next round goes on.
                let _ = self.empty(&set).await;
            }
        }
    }

    async fn silent(&self, signs: &mut Signs) -> Result<Vec<String>, QueueError> {
        let beats = self.connection.clone().zrange_withscores(self.config.workers_set(), 0, -1).await?;
        Ok(signs.look(beats))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_signs_of_life_lives_whatever_its_clock_says() {
        let mut signs = Signs::default();
        let beats = |number: u32| {
            let behind = f64::from(number) * 2.0 - 7200.0;
            vec![("behind".to_owned(), behind), ("back".to_owned(), -behind), ("dead".to_owned(), 7200.0)]
        };
        for number in 0..SILENT_LOOKS {
            assert_eq!(signs.look(beats(number)), Vec::<String>::new());
        }
        assert_eq!(signs.look(beats(SILENT_LOOKS)), ["dead"]);
    }
}
