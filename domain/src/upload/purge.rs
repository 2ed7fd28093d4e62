//! Files with rows of persons go when their time is over, and with them what an import's report quotes of them.

use std::collections::HashSet;

use jiff::SignedDuration;
use uuid::Uuid;

use crate::across;
use crate::actor::Origin;
use crate::change::{Change, Kind};
use crate::error::Result;
use crate::id::{AccountId, UploadId};
use crate::import;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::Files;

/// How old a file is that no upload names, before it is taken for a left-over: longer than anybody takes to put one.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Deletes uploads that are over, their files, and the rejected values in the reports of their imports; and files that no
/// upload names. A file of an import that still runs stays. Returns how many uploads and left-over files went.
pub async fn purge_expired(db: &Db, files: &Files, now: Timestamp) -> Result<usize> {
    let (mut purged, mut failure) = (0, None);
    // The list begins with what is oldest: a round in which something failed is the last one.
    while failure.is_none() {
        let expired = across::expired_uploads(&db.pool, now).await?;
        if expired.is_empty() {
            break;
        }
        for upload in expired {
            match purge(db, files, &upload, now).await {
                Ok(()) => purged += 1,
                Err(error) => {
                    tracing::error!(%error, account.id = %upload.account_id, "an upload was not purged");
                    failure = Some(error);
                }
            }
        }
    }
    let abandoned = delete_abandoned(db, files).await?;
    failure.map_or(Ok(purged + abandoned), Err)
}

/// Deletes an upload of an account at once, if it is over by now. Answers false while an import still runs over it.
pub async fn purge_one(db: &Db, files: &Files, account: AccountId, upload: UploadId) -> Result<bool> {
    let now = db.now().await?;
    let found = sqlx::query!(
        r#"SELECT u.object_key, EXISTS (SELECT FROM member_import i WHERE i.account_id = u.account_id AND i.upload_id = u.upload_id
                                        AND i.finished_at IS NULL) AS "running!"
           FROM upload u WHERE u.account_id = $1 AND u.upload_id = $2 AND u.expires_at <= $3"#,
        account.0,
        upload.0,
        now,
    )
    .fetch_optional(&db.pool)
    .await?;
    match found {
        None => Ok(true),
        Some(found) if found.running => Ok(false),
        Some(found) => {
            let over = across::ExpiredUpload { account_id: account, upload_id: upload, object_key: found.object_key };
            purge(db, files, &over, now).await.map(|()| true)
        }
    }
}

async fn purge(db: &Db, files: &Files, upload: &across::ExpiredUpload, now: Timestamp) -> Result<()> {
    if let Some(key) = &upload.object_key {
        files.delete(key).await?;
    }
    fail_point!("purge.after_file");
    let mut change = Change::begin(db, upload.account_id, Kind::System, Origin::system(), Some(now)).await?;
    change.take_long().await?;
    import::forget_values(&mut change, upload.upload_id).await?;
    sqlx::query!(
        "DELETE FROM upload WHERE account_id = $1 AND upload_id = $2 AND expires_at <= $3",
        upload.account_id.0,
        upload.upload_id.0,
        now
    )
    .execute(change.conn())
    .await?;
    change.commit().await
}

/// A process that died between a file and its row leaves such files.
async fn delete_abandoned(db: &Db, files: &Files) -> Result<usize> {
    let mut deleted = files.delete_unfinished(ABANDONED_AFTER).await?;
    let old = files.older_than("uploads", ABANDONED_AFTER).await?;
    for keys in old.chunks(1_000) {
        let ids: Vec<(AccountId, UploadId)> = keys.iter().filter_map(|key| ids(key)).collect();
        let named: HashSet<String> = across::upload_files(&db.pool, &ids).await?.into_iter().collect();
        for key in keys.iter().filter(|key| !named.contains(*key)) {
            files.delete(key).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Account and upload of a file's key.
fn ids(key: &str) -> Option<(AccountId, UploadId)> {
    let mut parts = key.split('/').skip(1).map(Uuid::try_parse);
    Some((AccountId(parts.next()?.ok()?), UploadId(parts.next()?.ok()?)))
}
