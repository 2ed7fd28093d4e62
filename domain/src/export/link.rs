//! Links to files, for a few minutes.

use object_store::Error as StoreError;
use tokio::io::AsyncRead;

use super::{Kind, scope};
use crate::actor::read_rights;
use crate::error::Result;
use crate::id::{AccountId, ExportId, MemberId, UnitId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::files::Files;
use crate::infra::link::{LIFETIME, Link};
use crate::infra::secret::Purpose;

/// The secret by which `reader` can read the file of an export from now on: the path of the address is `/export/` and this.
pub fn link(db: &Db, account: AccountId, export: ExportId, reader: MemberId, now: Timestamp) -> String {
    Link::new(account, export.0, reader, now + LIFETIME).write(&db.key, Purpose::Export)
}

/// A file that may be read.
#[derive(Clone, Debug)]
pub struct Download {
    /// What it is called.
    pub file_name: String,
    /// What is in it.
    pub kind: Kind,
    /// Its bytes.
    pub size: u64,
    key: String,
}

impl Download {
    /// Reads the file.
    pub async fn stream(&self, files: &Files) -> Result<impl AsyncRead + Send + Unpin + use<>, StoreError> {
        files.read(&self.key, 0, self.size).await
    }
}

/// Follows a link. `None`, whatever the reason: it is none of ours or over, its file is gone, or its reader is no active member any more
/// or may not read what is in the file.
pub async fn open(db: &Db, link: &str) -> Result<Option<Download>> {
    let Some(link) = Link::read(&db.key, Purpose::Export, link) else { return Ok(None) };
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    if link.is_over(now) {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: Kind", unit_ids AS "unit_ids: Vec<UnitId>", file_key AS "file_key!", file_name AS "file_name!",
                  size_bytes AS "size_bytes!"
           FROM export
           WHERE account_id = $1 AND export_id = $2 AND requested_by = $3 AND state = 'DONE' AND expires_at > $4"#,
        link.account.0,
        link.leads_to,
        link.reader.0,
        now,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let rights = read_rights(&mut conn, link.account, link.reader).await?;
    let allowed = match rights.and_then(|rights| scope(row.kind, &rights)) {
        None => false,
        Some(None) => true,
        Some(Some(now)) => row.unit_ids.is_some_and(|then| then.iter().all(|unit| now.contains(unit))),
    };
    Ok(allowed.then(|| Download {
        file_name: row.file_name,
        kind: row.kind,
        size: u64::try_from(row.size_bytes).expect("checked by the table"),
        key: row.file_key,
    }))
}
