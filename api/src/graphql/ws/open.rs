//! How many sockets there are, of whom.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::id::UserId;

/// The sockets of a process, counted.
#[derive(Debug, Default)]
pub struct OpenSockets {
    all: AtomicUsize,
    by_user: Mutex<HashMap<UserId, usize>>,
}

impl OpenSockets {
    /// Sockets that are open, whether or not somebody has signed in on them.
    pub fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Counts a socket as long as the value lives.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        self.all.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(self))
    }

    /// Counts a socket as a user's as long as the value lives; `None` if they have `limit` already.
    pub(super) fn seat(self: &Arc<Self>, user: UserId, limit: usize) -> Option<Seat> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_user.entry(user).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Seat { open: Arc::clone(self), user })
    }
}

/// A socket, counted.
pub(super) struct Entered(Arc<OpenSockets>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket of a user, counted.
pub(super) struct Seat {
    open: Arc<OpenSockets>,
    user: UserId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_user = self.open.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_seats_of_their_own_and_leaves_nothing_behind() {
        let open = Arc::new(OpenSockets::default());
        let (a, b) = (UserId::new(), UserId::new());
        let seats: Vec<_> = (0..2).map(|_| open.seat(a, 2).expect("a seat")).collect();
        assert!(open.seat(a, 2).is_none());
        assert!(open.seat(b, 2).is_some());
        drop(seats);
        assert!(open.seat(a, 2).is_some());
        assert!(open.by_user.lock().unwrap().is_empty());
    }
}
