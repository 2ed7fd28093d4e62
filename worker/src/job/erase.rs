//! Uploaded files that have rows of people who were deleted.

use domain::id::{AccountId, UploadId};
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::job::{Claimed, JobKind, Verdict};
use domain::upload;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::handler::Registry;
use crate::sweeps::code;

/// When it is looked again whether an import has ended.
const AGAIN: SignedDuration = SignedDuration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    upload_id: UploadId,
}

/// Adds the handler that deletes such a file, with what is quoted of it.
#[must_use]
pub(super) fn register(registry: Registry, db: Db, files: Files) -> Registry {
    registry.with(JobKind::EraseUpload, move |job: Claimed| {
        let (db, files) = (db.clone(), files.clone());
        async move {
            let payload: Payload = match job.read() {
                Ok(payload) => payload,
                Err(verdict) => return verdict,
            };
            match upload::purge_one(&db, &files, AccountId(job.account_id), payload.upload_id).await {
                Ok(true) => Verdict::Done,
                // The import still reads the file, as long as that takes. One that nobody works is ended by a sweep.
                Ok(false) => Verdict::Wait { code: "IMPORT_RUNNING", after: AGAIN },
                Err(error) => Verdict::Retry { code: code(&error), after: None },
            }
        }
    })
}
