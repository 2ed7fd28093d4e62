//! The rows of a file in batches, each row checked by itself, read ahead while the batch before is being written.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::column::Header;
use super::duplicates::SeenAddresses;
use super::fate::Judged;
use super::file::MemberFile;
use super::row::judge;
use super::run::{Halt, Source};
use crate::account;
use crate::id::AccountId;
use crate::infra::db::Db;
use crate::infra::personal_domain::DomainPolicy;

/// Batches that wait to be taken. With the one that is being read and the one that is being written there are three in memory.
const WAITING: usize = 1;

/// Bytes of names of roles and groups after which a batch ends: a row may have a thousand of them.
const NAME_BYTES: usize = 4 * 1024 * 1024;

/// A file that somebody else reads.
pub(super) struct Batches {
    header: Arc<Header>,
    read: mpsc::Receiver<Result<Vec<Judged>, Halt>>,
    /// None once the file has ended.
    reader: Option<JoinHandle<()>>,
}

impl Batches {
    /// Begins to read a file in batches of `size`, after a row whose address and those before were `seen`.
    pub(super) fn read(
        (db, account): (Db, AccountId),
        file: MemberFile<Source>,
        seen: SeenAddresses,
        size: usize,
    ) -> Self {
        let header = Arc::clone(file.header());
        let (sender, read) = mpsc::channel(WAITING);
        let mut reader = Reader { db, account, file, seen, size };
        let task = async move {
            loop {
                let batch = reader.batch().await;
                let over = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.send(batch).await.is_err() || over {
                    break;
                }
            }
        };
        Self { header, read, reader: Some(tokio::spawn(task.in_current_span())) }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The next batch; an empty one at the end of the file, and after an error.
    pub(super) async fn next(&mut self) -> Result<Vec<Judged>, Halt> {
        if let Some(batch) = self.read.recv().await {
            return batch;
        }
        // A reader that did not come to its end must not look like the end of the file.
        if let Some(Err(stopped)) = futures::future::OptionFuture::from(self.reader.take()).await {
            std::panic::resume_unwind(stopped.into_panic());
        }
        Ok(Vec::new())
    }
}

struct Reader {
    db: Db,
    account: AccountId,
    file: MemberFile<Source>,
    seen: SeenAddresses,
    size: usize,
}

impl Reader {
    async fn batch(&mut self) -> Result<Vec<Judged>, Halt> {
        let domains = domains(&self.db, self.account).await?;
        let (mut batch, mut names) = (Vec::with_capacity(self.size), 0);
        while batch.len() < self.size
            && names < NAME_BYTES
            && let Some(record) = self.file.next().await?
        {
            let earlier = self.seen.note(&record);
            let checked = judge(&record, &domains, earlier);
            names += checked.names().map(|name| size_of::<String>() + name.len()).sum::<usize>();
            batch.push(Judged { row: record.row, end: record.end, checked });
        }
        Ok(batch)
    }
}

/// Which addresses the account accepts: it may have changed since the last batch.
async fn domains(db: &Db, account: AccountId) -> Result<DomainPolicy, Halt> {
    let account = account::read(&mut *db.pool.acquire().await?, account).await?;
    Ok(account.policy.domains(db))
}
