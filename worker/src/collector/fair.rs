//! Jobs that wait for a free hand, taken in turn of their accounts.

use std::collections::{HashMap, VecDeque};

use domain::job::Claimed;
use uuid::Uuid;

/// First in, first out within an account; accounts in turn.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    jobs: HashMap<Uuid, VecDeque<Claimed>>,
    turns: VecDeque<Uuid>,
    len: usize,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, job: Claimed) {
        let jobs = self.jobs.entry(job.account_id).or_default();
        if jobs.is_empty() {
            self.turns.push_back(job.account_id);
        }
        jobs.push_back(job);
        self.len += 1;
    }

    /// The next job of the next account that `may` go on.
    pub(super) fn pop(&mut self, may: impl Fn(Uuid) -> bool) -> Option<Claimed> {
        let turn = self.turns.iter().position(|account| may(*account))?;
        let account = self.turns.remove(turn)?;
        let jobs = self.jobs.get_mut(&account)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            self.jobs.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        self.len -= 1;
        Some(job)
    }

    /// Id and claim of each.
    pub(super) fn claims(&self) -> impl Iterator<Item = (Uuid, Uuid)> {
        self.jobs.values().flatten().map(|job| (job.job_id, job.claim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_take_turns() {
        let mut queue = FairQueue::default();
        for (account, job) in [(1, 11), (1, 12), (1, 13), (2, 21), (3, 31)] {
            queue.push(Claimed {
                job_id: Uuid::from_u128(job),
                claim: Uuid::nil(),
                account_id: Uuid::from_u128(account),
                kind: String::new(),
                payload: serde_json::Value::Null,
                attempts: 1,
                left_long: false,
                request_id: None,
                trace_context: None,
            });
        }
        assert_eq!((queue.len(), queue.claims().count()), (5, 5));
        let first = queue.pop(|account| account.as_u128() == 2).map(|job| job.job_id.as_u128());
        assert_eq!(first, Some(21), "others have no hands");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(|_| true)).map(|job| job.job_id.as_u128()).collect();
        assert_eq!(order, [11, 31, 12, 13]);
        assert_eq!((queue.len(), queue.claims().count()), (0, 0));
    }
}
