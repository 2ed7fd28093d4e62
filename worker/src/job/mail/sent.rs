//! Records that mails of invitations were taken: those of an account that were taken while the ones before were being written,
//! together. A commit for each would be the slowest part of sending them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::actor::Origin;
use domain::change::{self, Change, Kind};
use domain::error::{Error, Result};
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::invitation::{SentMail, record_sent};
use domain::job::{Claimed, Verdict};
use domain::outbox;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

/// Accounts written at once. Each takes a connection of those that handlers use.
const WRITERS: usize = 4;

/// Most mails written together.
const BATCH: usize = 200;

/// What was taken and is not yet written.
#[derive(Clone)]
pub(super) struct Sent(Arc<Inner>);

struct Inner {
    db: Db,
    writers: Semaphore,
    /// By account. An account is in here for as long as somebody writes for it.
    waiting: Mutex<HashMap<AccountId, Vec<Taken>>>,
}

/// A mail that was taken.
struct Taken {
    /// Its job's id and claim.
    key: (Uuid, Uuid),
    mail: SentMail,
    written: oneshot::Sender<Result<()>>,
}

impl Sent {
    pub(super) fn new(db: Db) -> Self {
        Self(Arc::new(Inner { db, writers: Semaphore::new(WRITERS), waiting: Mutex::default() }))
    }

    /// Finishes a mail's job and says on its invitation that it was sent, in one transaction, unless the claim is somebody else's by
    /// now. Returns when that is committed.
    pub(super) async fn record(&self, job: &Claimed, mail: SentMail) -> Result<Verdict> {
        let account = AccountId(job.account_id);
        let (written, told) = oneshot::channel();
        let taken = Taken { key: (job.job_id, job.claim), mail, written };
        let first = {
            let mut waiting = self.0.waiting();
            let first = !waiting.contains_key(&account);
            waiting.entry(account).or_default().push(taken);
            first
        };
        if first {
            tokio::spawn(Writer { inner: Arc::clone(&self.0), account, ended: false }.run());
        }
        told.await.unwrap_or_else(|_| Err(Error::Busy)).map(|()| Verdict::Settled)
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<AccountId, Vec<Taken>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes for an account until nothing is left.
struct Writer {
    inner: Arc<Inner>,
    account: AccountId,
    ended: bool,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let inner = Arc::clone(&self.inner);
            let _place = inner.writers.acquire().await.expect("the semaphore is never closed");
            let Some(batch) = self.next() else { return };
            let together = change::persist(|| self.write(&batch)).await.is_ok();
            for taken in batch {
                // None fails for another's fault.
                let alone = || self.write(std::slice::from_ref(&taken));
                let written = if together { Ok(()) } else { change::persist(alone).await };
                // Whoever waited may have run out of time.
                let _ = taken.written.send(written);
            }
        }
    }

    /// What is to be written next; when there is nothing the account is free for another writer.
    fn next(&mut self) -> Option<Vec<Taken>> {
        let mut waiting = self.inner.waiting();
        let mails = waiting.get_mut(&self.account)?;
        if mails.is_empty() {
            waiting.remove(&self.account);
            self.ended = true;
            return None;
        }
        let rest = mails.split_off(mails.len().min(BATCH));
        Some(std::mem::replace(mails, rest))
    }

    /// The jobs' rows first: whoever lost the claim has nothing to say.
    async fn write(&self, batch: &[Taken]) -> Result<()> {
        let mut change = Change::begin(&self.inner.db, self.account, Kind::System, Origin::system(), None).await?;
        let keys: Vec<_> = batch.iter().map(|taken| taken.key).collect();
        let finished = outbox::finish(change.conn(), &keys).await?;
        let mails: Vec<_> =
            batch.iter().filter(|taken| finished.contains(&taken.key.0)).map(|taken| taken.mail.clone()).collect();
        if mails.len() < batch.len() {
            let count = batch.len() - mails.len();
            tracing::warn!(count, "jobs are somebody else's by now; what became of their mails is not recorded");
        }
        record_sent(&mut change, &mails).await?;
        change.commit().await
    }
}

impl Drop for Writer {
    /// After a panic what is left fails, and the next mail of the account begins anew.
    fn drop(&mut self) {
        if !self.ended {
            self.inner.waiting().remove(&self.account);
        }
    }
}
