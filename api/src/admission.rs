//! How many requests are worked on at once. More than the machine can do in parallel only makes all of them slow: so a few wait
//! for their turn, in order, and whoever comes on top of those is refused at once and may come again later. That way the work
//! done per second stays near its peak however many come.

use std::sync::Arc;

use domain::infra::metrics::{self, Cause};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission {
    working: Arc<Semaphore>,
    /// One for each request that is here: worked on, or waiting.
    present: Arc<Semaphore>,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    _working: OwnedSemaphorePermit,
    _present: OwnedSemaphorePermit,
}

impl Admission {
    /// So many are worked on at once, and twice as many wait.
    pub fn new(at_once: usize) -> Self {
        Self { working: Arc::new(Semaphore::new(at_once)), present: Arc::new(Semaphore::new(3 * at_once)) }
    }

    /// Waits for a place; `None`, at once, when too many wait already.
    pub async fn admit(&self) -> Option<Admitted> {
        let present = Arc::clone(&self.present).try_acquire_owned();
        let present = present.inspect_err(|_| metrics::refused(Cause::Overload)).ok()?;
        let working = Arc::clone(&self.working).acquire_owned().await.expect("the semaphore is never closed");
        Some(Admitted { _working: working, _present: present })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn works_on_some_lets_twice_as_many_wait_and_refuses_the_rest() {
        let admission = Admission::new(2);
        let first = admission.admit().await.expect("a place");
        let _second = admission.admit().await.expect("a place");
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(admission.admit())).collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        assert!(admission.admit().await.is_none());
        // Whoever gives up makes room to wait, and whoever is done makes room to work.
        waiting.pop();
        let mut late = Box::pin(admission.admit());
        assert!(futures::poll!(late.as_mut()).is_pending());
        drop(first);
        assert!(waiting.remove(0).await.is_some());
        assert!(futures::poll!(late.as_mut()).is_pending(), "those who came before it are first");
    }
}
