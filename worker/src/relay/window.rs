//! How many ids may be in the queue: what is taken out of it in half a second. The queue is first in, first out, so whoever comes
//! last waits for all that is in it; slow jobs get a short queue, quick ones a long one.

use std::collections::VecDeque;
use std::time::Duration;

use domain::outbox::HINT_LEASE;
use tokio::time::Instant;

/// What is in the queue should be gone after this time.
const HORIZON: f64 = 0.5;

/// What an account has on its way should be claimed after this time: twice the pause before the queue is filled up.
const ACCOUNT_HORIZON: f64 = 0.1;

/// Shorter spans are measured together with the next.
const SPAN: Duration = Duration::from_millis(20);

/// Measures how fast the queue empties.
#[derive(Debug)]
pub(super) struct Window {
    floor: usize,
    ceiling: usize,
    /// Ids a second.
    rate: f64,
    mark: Option<Mark>,
    /// When how many ids were put in, as long as some of them may still be on their way.
    recent: VecDeque<(Instant, usize)>,
}

/// Where a measurement began.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    depth: usize,
    pushed: usize,
}

impl Window {
    /// At least `floor` (enough to keep everybody busy), at most `ceiling`.
    pub(super) fn new(floor: usize, ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self { floor: floor.clamp(1, ceiling), ceiling, rate: 0.0, mark: None, recent: VecDeque::new() }
    }

    /// Notes that ids were put in.
    pub(super) fn pushed(&mut self, now: Instant, ids: usize) {
        self.recent.push_back((now, ids));
        if let Some(mark) = &mut self.mark {
            mark.pushed += ids;
        }
    }

    /// How many ids fit in, with `depth` in the queue.
    pub(super) fn room(&mut self, now: Instant, depth: usize) -> usize {
        match self.mark {
            Some(mark) if now - mark.at < SPAN => {}
            Some(mark) => {
                let taken = u32::try_from((mark.depth + mark.pushed).saturating_sub(depth)).unwrap_or(u32::MAX);
                let rate = f64::from(taken) / (now - mark.at).as_secs_f64();
                self.rate = f64::midpoint(self.rate, rate);
                self.mark = Some(Mark { at: now, depth, pushed: 0 });
            }
            None => {
                self.mark = Some(Mark { at: now, depth, pushed: 0 });
            }
        }
        self.size().saturating_sub(depth)
    }

    /// How many ids of one account may be on their way to those who claim them, in the queue and after it: what is taken out of the
    /// queue in a shorter time, which is still longer than it takes to fill up. What fills the way only, and is not claimed, counts
    /// among them: so a way that fills up is not taken for one that is quick.
    pub(super) fn of_account(&self) -> usize {
        self.taken_in(ACCOUNT_HORIZON).clamp(self.floor.div_ceil(2), self.ceiling)
    }

    /// Whether so many ids were put in of late that an account may have all it may have on their way, and due jobs left.
    pub(super) fn is_crowded(&mut self, now: Instant) -> bool {
        let lease = Duration::try_from(HINT_LEASE).expect("it is positive");
        while self.recent.front().is_some_and(|(at, _)| now - *at > lease) {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, ids)| ids).sum::<usize>() >= self.of_account()
    }

    fn size(&self) -> usize {
        self.taken_in(HORIZON).clamp(self.floor, self.ceiling)
    }

    fn taken_in(&self, seconds: f64) -> usize {
        let ceiling = u32::try_from(self.ceiling).unwrap_or(u32::MAX);
        let taken = (self.rate * seconds).clamp(0.0, f64::from(ceiling));
        // Within 0 and a u32 by the line above.
        format!("{taken:.0}").parse().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a queue that loses `rate` ids a second for a while and answers the depth it is kept at.
    fn settle(rate: u64, floor: usize, ceiling: usize) -> usize {
        let mut window = Window::new(floor, ceiling);
        let mut now = Instant::now();
        let mut depth = 0;
        for _ in 0..200 {
            let room = window.room(now, depth);
            window.pushed(now, room);
            depth += room;
            now += Duration::from_millis(50);
            depth -= depth.min(usize::try_from(rate / 20).expect("small"));
        }
        let room = window.room(now, depth);
        depth + room
    }

    #[test]
    fn an_account_has_part_of_the_queue() {
        let mut window = Window::new(32, 2000);
        let mut now = Instant::now();
        assert_eq!((window.of_account(), window.is_crowded(now)), (16, false));
        window.pushed(now, 15);
        assert!(!window.is_crowded(now));
        window.pushed(now, 1);
        assert!(window.is_crowded(now));
        now += Duration::from_secs(16);
        assert!(!window.is_crowded(now), "their hints have lapsed");
        window.rate = 1000.0;
        assert_eq!((window.of_account(), window.size()), (100, 500));
        assert_eq!(Window::new(2, 2000).of_account(), 1);
    }

    #[test]
    fn a_slow_queue_is_kept_short_and_a_quick_one_full() {
        assert_eq!(settle(20, 32, 2000), 32);
        assert_eq!(settle(1000, 32, 2000), 500);
        assert_eq!(settle(20_000, 32, 2000), 2000);
        assert_eq!(settle(20_000, 32, 10), 10);
        assert_eq!(settle(0, 32, 2000), 32);
    }
}
