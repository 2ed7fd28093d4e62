//! How many requests are worked on at once. More than the machine can do in parallel only makes all of them slow: so a few wait
//! for their turn, in order, and whoever comes on top of those is refused at once and may come again later. That way the work
//! done per second stays near its peak however many come.
//!
//! Nobody has more than half of the places, to work and to wait: what somebody sends on top of that waits behind what they sent
//! before, and then is refused, while others find the other half.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::infra::metrics::{self, Cause};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::asker::Asker;

/// Whoever has no place by then would have their answer too late.
const PATIENCE: Duration = Duration::from_secs(1);

/// The places of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    working: Arc<Semaphore>,
    present: Mutex<Present>,
    most: Most,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
struct Most {
    /// Requests that are here, worked on or waiting.
    present: usize,
    /// Those of one who asks.
    present_of_one: usize,
    /// Of these, how many are worked on.
    working_of_one: usize,
}

/// The requests that are here, counted.
#[derive(Debug, Default)]
struct Present {
    all: usize,
    /// Of whoever has any.
    by_asker: HashMap<Asker, Share>,
}

/// What is here of one who asks.
#[derive(Debug)]
struct Share {
    present: usize,
    /// Places to work.
    working: Arc<Semaphore>,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    _working: OwnedSemaphorePermit,
    _of_share: OwnedSemaphorePermit,
    // The last to go, because the share goes with it.
    _entered: Entered,
}

/// A request that is here: worked on, or waiting.
#[derive(Debug)]
struct Entered {
    places: Arc<Places>,
    asker: Asker,
}

impl Admission {
    /// So many are worked on at once, and twice as many wait; half of either for one who asks, or a single one where that is less.
    pub fn new(at_once: usize) -> Self {
        let half = (at_once / 2).max(1);
        let most = Most { present: 3 * at_once, present_of_one: half + at_once, working_of_one: half };
        Self(Arc::new(Places { working: Arc::new(Semaphore::new(at_once)), present: Mutex::default(), most }))
    }

    /// Waits for a place; `None` when too many wait already, at once, or when none becomes free in time.
    pub async fn admit(&self, asker: &Asker) -> Option<Admitted> {
        let admitted = self.place(asker).await;
        if let Err(cause) = admitted {
            metrics::refused(cause);
        }
        admitted.ok()
    }

    /// Waits for a place however long that takes: for work that nobody is waiting for at this moment.
    pub async fn wait(&self, asker: &Asker) -> Admitted {
        loop {
            if let Ok(admitted) = self.place(asker).await {
                return admitted;
            }
            tokio::time::sleep(PATIENCE).await;
        }
    }

    async fn place(&self, asker: &Asker) -> Result<Admitted, Cause> {
        let (entered, share) = self.enter(asker)?;
        let mut lacking = Cause::Share;
        let places = async {
            // The share first: who has used it up waits behind themselves, and before nobody else.
            let of_share = place_of(&share).await;
            lacking = Cause::Overload;
            (place_of(&self.0.working).await, of_share)
        };
        let (working, of_share) = timeout(PATIENCE, places).await.map_err(|_| lacking)?;
        Ok(Admitted { _working: working, _of_share: of_share, _entered: entered })
    }

    /// Counts a request as here, with the places to work of whoever asks.
    fn enter(&self, asker: &Asker) -> Result<(Entered, Arc<Semaphore>), Cause> {
        let most = self.0.most;
        let mut present = self.0.present();
        if present.by_asker.get(asker).is_some_and(|share| share.present >= most.present_of_one) {
            return Err(Cause::Share);
        }
        if present.all >= most.present {
            return Err(Cause::Overload);
        }
        present.all += 1;
        let share = present.by_asker.entry(asker.clone()).or_insert_with(|| Share::new(most.working_of_one));
        share.present += 1;
        Ok((Entered { places: Arc::clone(&self.0), asker: asker.clone() }, Arc::clone(&share.working)))
    }
}

async fn place_of(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

impl Places {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn new(working: usize) -> Self {
        Self { present: 0, working: Arc::new(Semaphore::new(working)) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut present = self.places.present();
        present.all -= 1;
        if let Some(share) = present.by_asker.get_mut(&self.asker) {
            share.present -= 1;
            if share.present == 0 {
                present.by_asker.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use domain::id::UserId;
    use futures::FutureExt as _;

    use super::*;

    type Asking = Pin<Box<dyn Future<Output = Option<Admitted>>>>;

    fn ask(admission: &Admission, asker: &Asker) -> Asking {
        let (admission, asker) = (admission.clone(), asker.clone());
        Box::pin(async move { admission.admit(&asker).await })
    }

    fn somebody() -> Asker {
        Asker::User(UserId::new())
    }

    async fn waits(asking: &mut Asking) -> bool {
        futures::poll!(asking.as_mut()).is_pending()
    }

    /// So many places to work, and as many requests that wait for one.
    async fn fill(admission: &Admission, asker: &Asker, (work, wait): (usize, usize)) -> (Vec<Admitted>, Vec<Asking>) {
        let mut working = Vec::new();
        for _ in 0..work {
            working.push(ask(admission, asker).now_or_never().flatten().expect("a place"));
        }
        let mut waiting: Vec<_> = (0..wait).map(|_| ask(admission, asker)).collect();
        for one in &mut waiting {
            assert!(waits(one).await);
        }
        (working, waiting)
    }

    #[tokio::test]
    async fn works_on_some_lets_twice_as_many_wait_and_refuses_the_rest() {
        let admission = Admission::new(2);
        let (a, b, c) = (somebody(), somebody(), somebody());
        let (mut of_a, mut waiting) = fill(&admission, &a, (1, 2)).await;
        let (_of_b, _waiting) = fill(&admission, &b, (1, 2)).await;
        assert!(ask(&admission, &c).await.is_none());
        // Whoever gives up makes room to wait, and whoever is done makes room to work.
        waiting.pop();
        let mut late = ask(&admission, &c);
        assert!(waits(&mut late).await);
        of_a.clear();
        assert!(late.await.is_some());
    }

    #[tokio::test]
    async fn one_who_asks_too_much_is_refused_and_others_find_half_of_the_places() {
        let admission = Admission::new(4);
        let (greedy, other) = (somebody(), somebody());
        let (_working, waiting) = fill(&admission, &greedy, (2, 4)).await;
        assert!(ask(&admission, &greedy).now_or_never().expect("at once").is_none());
        let (_working, _waiting) = fill(&admission, &other, (2, 4)).await;
        assert!(ask(&admission, &somebody()).now_or_never().expect("at once").is_none(), "no place is left");
        drop(waiting);
    }

    #[tokio::test]
    async fn what_waits_for_its_share_waits_in_order_and_before_nobody_else() {
        let admission = Admission::new(2);
        let (greedy, other, third) = (somebody(), somebody(), somebody());
        let (mut working, mut waiting) = fill(&admission, &greedy, (1, 2)).await;
        let (mut others, _) = fill(&admission, &other, (1, 0)).await;
        let mut last = ask(&admission, &third);
        assert!(waits(&mut last).await);
        // A place that becomes free is for whoever may have it, however long the others have waited.
        others.clear();
        let _third = last.await.expect("a place");
        working.clear();
        assert!(waits(&mut waiting[1]).await, "what came before it is first");
        assert!(waiting.remove(0).await.is_some());
    }

    #[tokio::test]
    async fn whoever_has_left_leaves_nothing_behind() {
        let admission = Admission::new(1);
        for _ in 0..3 {
            let (working, waiting) = fill(&admission, &somebody(), (1, 1)).await;
            assert_eq!(admission.0.present().by_asker.len(), 1);
            drop((working, waiting));
            let present = admission.0.present();
            assert!(present.all == 0 && present.by_asker.is_empty(), "{present:?}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let admission = Admission::new(4);
        let greedy = somebody();
        let (_working, waiting) = fill(&admission, &greedy, (2, 4)).await;
        assert!(futures::future::join_all(waiting).await.iter().all(Option::is_none));
        assert_eq!(admission.0.present().all, 2);
        assert!(ask(&admission, &somebody()).await.is_some());
    }
}
