//! When the consumer looks into Redis: when nudged, and every second.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{PollSnapshot, PollStrategy};
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Interval, MissedTickBehavior, Sleep};

/// How long a look into Redis may have been under way when the nudge came.
const SECOND_LOOK: Duration = Duration::from_millis(10);

/// The library's own strategies lose wake-ups: they arm a timer that nobody polls. Every source here is polled until it is
/// pending, so that each has this task's waker. A nudge that arrives during a look counts for nothing, hence a second look.
pub(super) struct Nudged {
    filled: Arc<Notify>,
    nudge: Pin<Box<OwnedNotified>>,
    again: Option<Pin<Box<Sleep>>>,
    every: Interval,
}

impl Nudged {
    pub(super) fn new(filled: Arc<Notify>) -> Self {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { nudge: Box::pin(Arc::clone(&filled).notified_owned()), filled, again: None, every }
    }
}

impl fmt::Debug for Nudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nudged").finish_non_exhaustive()
    }
}

impl PollStrategy for Nudged {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut look = false;
        while self.every.poll_tick(cx).is_ready() {
            look = true;
        }
        while self.nudge.poll_unpin(cx).is_ready() {
            self.nudge = Box::pin(Arc::clone(&self.filled).notified_owned());
            self.again = Some(Box::pin(tokio::time::sleep(SECOND_LOOK)));
            look = true;
        }
        if self.again.as_mut().is_some_and(|again| again.poll_unpin(cx).is_ready()) {
            self.again = None;
            look = true;
        }
        if look { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}
