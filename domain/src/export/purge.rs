//! Files go when their time is over, or when somebody in them is erased.

use std::collections::HashSet;

use jiff::SignedDuration;
use uuid::Uuid;

use crate::across;
use crate::actor::Origin;
use crate::change::{Change, Kind};
use crate::error::Result;
use crate::id::{AccountId, ExportId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::Files;

/// How old a file is that no export names, before it is taken for a left-over: longer than any takes to be written.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Deletes exports that are over, with their files, and files that no export names. Returns how many there were.
pub async fn purge_expired(db: &Db, files: &Files, now: Timestamp) -> Result<usize> {
    let (mut purged, mut failure) = (0, None);
    // The list begins with what is oldest: a round in which something failed is the last one.
    while failure.is_none() {
        let expired = across::expired_exports(&db.pool, now).await?;
        if expired.is_empty() {
            break;
        }
        for (account, export) in expired {
            match purge(db, files, account, export, now).await {
                Ok(()) => purged += 1,
                Err(error) => {
                    tracing::error!(%error, account.id = %account, "an export was not purged");
                    failure = Some(error);
                }
            }
        }
    }
    let abandoned = delete_abandoned(db, files).await?;
    failure.map_or(Ok(purged + abandoned), Err)
}

/// Deletes an export of an account at once, if it is over by now.
pub async fn purge_one(db: &Db, files: &Files, account: AccountId, export: ExportId) -> Result<()> {
    let now = db.now().await?;
    purge(db, files, account, export, now).await
}

/// A link to a file that is gone is answered as one to an export that is; so the file goes first.
async fn purge(db: &Db, files: &Files, account: AccountId, export: ExportId, now: Timestamp) -> Result<()> {
    let found = sqlx::query!(
        "SELECT file_key FROM export WHERE account_id = $1 AND export_id = $2 AND expires_at <= $3",
        account.0,
        export.0,
        now,
    )
    .fetch_optional(&db.pool)
    .await?;
    let Some(found) = found else { return Ok(()) };
    if let Some(key) = found.file_key {
        files.delete(&key).await?;
    }
    fail_point!("export.after_deletion");
    let mut change = Change::begin(db, account, Kind::System, Origin::system(), Some(now)).await?;
    change.take_long().await?;
    let over = sqlx::query!(
        "SELECT FROM export WHERE account_id = $1 AND export_id = $2 AND expires_at <= $3 FOR UPDATE",
        account.0,
        export.0,
        now,
    );
    if over.fetch_optional(change.conn()).await?.is_none() {
        return Ok(());
    }
    sqlx::query!("DELETE FROM export_member WHERE account_id = $1 AND export_id = $2", account.0, export.0)
        .execute(change.conn())
        .await?;
    sqlx::query!("DELETE FROM export WHERE account_id = $1 AND export_id = $2", account.0, export.0)
        .execute(change.conn())
        .await?;
    change.commit().await
}

/// A process that died between a file and its row leaves such files.
async fn delete_abandoned(db: &Db, files: &Files) -> Result<usize> {
    let mut deleted = 0;
    let old = files.older_than("exports", ABANDONED_AFTER).await?;
    for keys in old.chunks(1_000) {
        let ids: Vec<(AccountId, ExportId)> = keys.iter().filter_map(|key| ids(key)).collect();
        let named: HashSet<String> = across::export_files(&db.pool, &ids).await?.into_iter().collect();
        for key in keys.iter().filter(|key| !named.contains(*key)) {
            files.delete(key).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Account and export of a file's key.
fn ids(key: &str) -> Option<(AccountId, ExportId)> {
    let mut parts = key.split('/').skip(1).map(Uuid::try_parse);
    Some((AccountId(parts.next()?.ok()?), ExportId(parts.next()?.ok()?)))
}
