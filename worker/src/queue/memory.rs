//! The queue of an installation without Redis.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::outbox::Hinted;
use futures::future::{self, BoxFuture};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Arrival, Intake, Queue, QueueError};

/// Ids in memory.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    ids: Mutex<VecDeque<Uuid>>,
    filled: Notify,
}

impl MemoryQueue {
    fn ids(&self) -> MutexGuard<'_, VecDeque<Uuid>> {
        // Whole ids go in and out: a panic elsewhere leaves nothing half done.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hand_over(&self, intake: &Intake) {
        loop {
            let next = self.ids().pop_front();
            match next {
                None => self.filled.notified().await,
                Some(id) if intake.send(Arrival::Hint(id)).await.is_err() => return,
                Some(_) => {}
            }
        }
    }
}

impl Queue for MemoryQueue {
    fn is_shared(&self) -> bool {
        false
    }

    fn push(&self, hints: Vec<Hinted>) -> BoxFuture<'_, Result<(), QueueError>> {
        self.ids().extend(hints.iter().map(|hint| hint.job_id));
        self.filled.notify_one();
        Box::pin(future::ready(Ok(())))
    }

    fn depth(&self) -> BoxFuture<'_, Result<usize, QueueError>> {
        Box::pin(future::ready(Ok(self.ids().len())))
    }

    fn consume(&self, intake: Intake, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            shutdown.run_until_cancelled(self.hand_over(&intake)).await;
            // The rest is due again at once rather than when its hints lapse.
            let rest: Vec<_> = self.ids().drain(..).collect();
            for id in rest {
                if intake.send(Arrival::Lost(id)).await.is_err() {
                    break;
                }
            }
        })
    }
}
