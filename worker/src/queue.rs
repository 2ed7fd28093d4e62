//! How ids of due jobs get from the relay to whoever has hands free: through Redis, or in memory where one process does both.
//! An id is a hint, never the truth: it may come twice, late, or not at all.

mod memory;
mod redis;

pub use memory::MemoryQueue;
pub use redis::RedisQueue;

use domain::outbox::Hinted;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The queue does not work.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis is away or refused a command.
    #[error("Redis failed: {0}")]
    Redis(#[from] ::redis::RedisError),
}

/// What a consumer finds in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The hint of a job.
    Hint(Uuid),
    /// The hint of a job that was in the hands of a consumer that failed.
    Lost(Uuid),
    /// Something that is no hint; the id is made from it.
    Foreign(Uuid),
}

/// Where a consumer puts what it finds. Bounded, so that it takes no more than can be worked on.
pub type Intake = mpsc::Sender<Arrival>;

/// A queue of one lane.
pub trait Queue: Send + Sync + 'static {
    /// Whether other processes consume it too, so that one of them should fill it.
    fn is_shared(&self) -> bool;

    /// Puts hints in, oldest first.
    fn push(&self, hints: Vec<Hinted>) -> BoxFuture<'_, Result<(), QueueError>>;

    /// Hints that nobody took yet.
    fn depth(&self) -> BoxFuture<'_, Result<usize, QueueError>>;

    /// Takes hints out until `shutdown`, whatever fails meanwhile.
    fn consume(&self, intake: Intake, shutdown: CancellationToken) -> BoxFuture<'_, ()>;
}
