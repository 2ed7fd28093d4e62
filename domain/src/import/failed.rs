//! The rejected rows of an import as a file: read again from the uploaded one as it is sent, so that it takes no memory and no space.
//! Where all rows were to take effect or none, none did, and all have to be uploaded again: then the others are in it, too.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use super::column::Header;
use super::encoding::Encoding;
use super::file::{FileLimits, MemberFile, Record};
use super::look::{head, open};
use super::report::ErrorReport;
use super::row::RowFault;
use super::run::{Halt, Source};
use super::shortage::Shortage;
use crate::error::Result;
use crate::id::{AccountId, ImportId};
use crate::infra::db::Db;
use crate::infra::files::Files;
use crate::upload;

/// Rejected rows that are in memory together.
const PAGE: i64 = 500;
/// Bytes that are sent together.
const CHUNK: usize = 16 * 1024;

/// Where the report is.
struct Reading {
    db: Db,
    account: AccountId,
    import: ImportId,
    file: MemberFile<Source>,
    header: Arc<Header>,
    /// Whether it has the other rows as well.
    whole: bool,
    /// Rejected rows that were not yet found in the file.
    rejected: VecDeque<(i32, Vec<RowFault>)>,
    /// The last of those; none when there are no more.
    after: Option<i32>,
    /// How many seats are missing, if any are.
    shortage: Option<Shortage>,
    /// What is to be sent before the rows.
    begun: bool,
}

/// The rejected rows of an import in the form of its file, with what is wrong with each; all rows, if all were to take effect or none.
/// `None`: there is no such import, its file
/// could not be read as one, or is deleted by now.
pub async fn failed_rows(
    db: Db,
    files: &Files,
    limits: FileLimits,
    (account, import): (AccountId, ImportId),
) -> Result<Option<impl Stream<Item = Result<Bytes>> + Send + use<>>> {
    let mut conn = db.pool.acquire().await?;
    let Some(head) = head(&mut conn, account, import).await? else { return Ok(None) };
    let stored = upload::find_file(&mut conn, account, head.upload_id).await?;
    let shortage = shortage(&db, &mut conn, account, head.rows_without_seat).await?;
    drop(conn);
    let (Some(stored), Some(encoding)) = (stored, head.encoding) else { return Ok(None) };
    let Some(file) = open_file(files, &stored, encoding, limits).await? else { return Ok(None) };
    let header = Arc::clone(file.header());
    let (whole, rejected, after) = (head.options.all_or_nothing() && !head.options.dry_run, VecDeque::new(), Some(0));
    let reading = Reading { db, account, import, file, header, whole, rejected, after, shortage, begun: false };
    Ok(Some(futures::stream::try_unfold(reading, |mut reading| async move {
        let chunk = reading.next().await?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), reading)))
    })))
}

async fn shortage(
    db: &Db,
    conn: &mut sqlx::PgConnection,
    account: AccountId,
    missing: i32,
) -> Result<Option<Shortage>> {
    if missing == 0 {
        return Ok(None);
    }
    let now = db.now_on(conn).await?;
    Shortage::of(db, conn, account, now, missing).await.map(Some)
}

async fn open_file(
    files: &Files,
    stored: &upload::Stored,
    encoding: Encoding,
    limits: FileLimits,
) -> Result<Option<MemberFile<Source>>> {
    match open(files, stored, encoding, limits).await {
        Ok(file) => Ok(Some(file)),
        Err(Halt::Error(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Reading {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Vec<u8>> {
        let mut chunk = Vec::new();
        let header = Arc::clone(&self.header);
        let report = ErrorReport::new(&header);
        if !std::mem::replace(&mut self.begun, true) {
            chunk.extend(report.header());
        }
        while chunk.len() < CHUNK {
            self.look().await?;
            if self.rejected.is_empty() && !self.whole {
                break;
            }
            let Some(record) = self.record().await? else { break };
            match self.faults(record.row) {
                Some(faults) => chunk.extend(report.row(&record, &faults)),
                None if self.whole => chunk.extend(report.row(&record, &[])),
                None => {}
            }
        }
        Ok(chunk)
    }

    /// What is wrong with a row, if anything is.
    fn faults(&mut self, row: u32) -> Option<Vec<RowFault>> {
        let row = i32::try_from(row).expect("bounded by the limit on rows");
        while self.rejected.pop_front_if(|(rejected, _)| *rejected < row).is_some() {}
        self.rejected.pop_front_if(|(rejected, _)| *rejected == row).map(|(_, faults)| faults)
    }

    /// The next row of the file. It was read to its end before, unless the limits are others by now: then it ends there.
    async fn record(&mut self) -> Result<Option<Record>> {
        match self.file.next().await.map_err(Halt::from) {
            Ok(record) => Ok(record),
            Err(Halt::Error(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Reads further rejected rows, when those before were found.
    async fn look(&mut self) -> Result<()> {
        let Some(after) = self.after.filter(|_| self.rejected.is_empty()) else { return Ok(()) };
        let rows = sqlx::query!(
            r#"SELECT row_no, faults AS "faults: sqlx::types::Json<Vec<RowFault>>" FROM member_import_row
               WHERE account_id = $1 AND import_id = $2 AND outcome = 'REJECTED' AND row_no > $3 ORDER BY row_no LIMIT $4"#,
            self.account.0,
            self.import.0,
            after,
            PAGE,
        )
        .fetch_all(&self.db.pool)
        .await?;
        self.after = rows.last().map(|last| last.row_no);
        let shortage = self.shortage;
        self.rejected.extend(rows.into_iter().map(|row| {
            let mut faults = row.faults.0;
            if let Some(shortage) = shortage {
                for fault in &mut faults {
                    fault.name(&shortage);
                }
            }
            (row.row_no, faults)
        }));
        Ok(())
    }
}

/// Whether the file of an import is still there.
pub async fn has_file(conn: &mut sqlx::PgConnection, account: AccountId, import: ImportId) -> sqlx::Result<bool> {
    let Some(head) = head(conn, account, import).await? else { return Ok(false) };
    Ok(upload::find_file(conn, account, head.upload_id).await?.is_some())
}
