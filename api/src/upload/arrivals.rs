//! The files that arrive in a process: one for each upload, and not more than so many, of which an account has half at most. Each takes
//! memory and disk for as long as its sender likes, within the time limit.
//!
//! The newest file of an upload is the one that counts: whoever lost the connection puts it again at once, and what was left of the
//! first try ends there. Of files that arrive in different processes, the one that is complete last counts. Senders are not told to wait, because nobody knows how long others take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::id::{AccountId, UploadId};
use tokio_util::sync::CancellationToken;

/// The places of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Arrivals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    here: Mutex<HashMap<UploadId, Here>>,
    /// Tells apart who came one after another.
    came: AtomicU64,
}

#[derive(Debug)]
struct Here {
    account: AccountId,
    number: u64,
    cut: CancellationToken,
}

/// A file that arrives, until this is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    arrivals: Arrivals,
    upload: UploadId,
    number: u64,
    cut: CancellationToken,
}

impl Arrivals {
    /// So many at once; half of them, or a single one where that is less, for an account.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, here: Mutex::default(), came: AtomicU64::default() }))
    }

    /// Takes a place, that of an earlier file of the upload if one is arriving, which is cut off. `None`: there is none.
    pub(super) fn enter(&self, account: AccountId, upload: UploadId) -> Option<Arrival> {
        let mut here = self.here();
        match here.get(&upload) {
            Some(before) => before.cut.cancel(),
            None if here.len() >= self.0.most => return None,
            None if here.values().filter(|one| one.account == account).count() >= self.0.most.div_ceil(2) => {
                return None;
            }
            None => {}
        }
        let number = self.0.came.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        here.insert(upload, Here { account, number, cut: cut.clone() });
        Some(Arrival { arrivals: self.clone(), upload, number, cut })
    }

    fn here(&self) -> MutexGuard<'_, HashMap<UploadId, Here>> {
        self.0.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// Cancelled when another file comes for the same upload.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut here = self.arrivals.here();
        if here.get(&self.upload).is_some_and(|one| one.number == self.number) {
            here.remove(&self.upload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_an_upload_takes_the_place_of_the_one_before() {
        let arrivals = Arrivals::new(1);
        let (account, upload) = (AccountId::new(), UploadId::new());
        let first = arrivals.enter(account, upload).expect("a place");
        let second = arrivals.enter(account, upload).expect("the same place");
        assert!(first.cut().is_cancelled() && !second.cut().is_cancelled());
        drop(first);
        assert!(arrivals.enter(account, UploadId::new()).is_none(), "the place is still taken");
        let third = arrivals.enter(account, upload).expect("the same place");
        assert!(second.cut().is_cancelled());
        drop(third);
        let fourth = arrivals.enter(account, upload).expect("a place");
        drop(second);
        assert!(arrivals.enter(account, UploadId::new()).is_none(), "one that was cut long ago frees nobody's place");
        drop(fourth);
        assert!(arrivals.here().is_empty());
        assert!(arrivals.enter(account, UploadId::new()).is_some());
    }

    #[test]
    fn an_account_has_half_of_the_places_and_all_together_no_more_than_there_are() {
        let arrivals = Arrivals::new(3);
        let (greedy, other) = (AccountId::new(), AccountId::new());
        let mut of_greedy: Vec<_> = (0..3).filter_map(|_| arrivals.enter(greedy, UploadId::new())).collect();
        assert_eq!(of_greedy.len(), 2);
        let _of_other = arrivals.enter(other, UploadId::new()).expect("a place");
        assert!(arrivals.enter(other, UploadId::new()).is_none(), "all are taken");
        of_greedy.pop();
        assert!(arrivals.enter(other, UploadId::new()).is_some());
    }
}
