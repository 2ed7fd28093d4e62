//! Ending a job for good together with what hangs on it.

use uuid::Uuid;

use crate::actor::Origin;
use crate::billing::charge;
use crate::change::{Change, Kind};
use crate::error::Result;
use crate::export;
use crate::id::AccountId;
use crate::import;
use crate::infra::db::Db;
use crate::infra::metrics;
use crate::job::{Claimed, JobKind};

/// Ends an unfinished job for good; if it runs now, its outcome is discarded. False: there is no such unfinished job.
pub async fn bury_by_operator(db: &Db, job_id: Uuid) -> Result<bool> {
    let row =
        sqlx::query!("SELECT account_id, kind, payload FROM outbox WHERE job_id = $1 AND wake_at IS NOT NULL", job_id)
            .fetch_optional(&db.pool)
            .await?;
    let Some(row) = row else { return Ok(false) };
    let body = Body { job_id, claim: None, account_id: row.account_id, kind: row.kind, payload: row.payload };
    body.bury(db, Origin::operator(), "BURIED").await
}

/// Ends a claimed job for good. False: the claim is somebody else's by now.
pub async fn bury_claimed(db: &Db, job: Claimed, code: &str) -> Result<bool> {
    let origin = Origin { request_id: job.request_id, ..Origin::system() };
    let body = Body {
        job_id: job.job_id,
        claim: Some(job.claim),
        account_id: job.account_id,
        kind: job.kind,
        payload: job.payload,
    };
    body.bury(db, origin, code).await
}

/// A job that ends.
struct Body {
    job_id: Uuid,
    claim: Option<Uuid>,
    account_id: Uuid,
    kind: String,
    payload: serde_json::Value,
}

impl Body {
    /// Locks the job's row, then what hangs on it (an import's pool), as the job's own handler does.
    async fn bury(self, db: &Db, origin: Origin, code: &str) -> Result<bool> {
        let mut change = if self.account_id.is_nil() {
            Change::begin_identity(db, origin, None).await?
        } else {
            Change::begin(db, AccountId(self.account_id), Kind::System, origin, None).await?
        };
        let buried = sqlx::query!(
            r#"UPDATE outbox SET claim = NULL, hinted = false, wake_at = NULL, dead_at = now(), last_error_code = $3
               WHERE job_id = $1 AND wake_at IS NOT NULL AND ($2::uuid IS NULL OR claim = $2)"#,
            self.job_id,
            self.claim,
            code,
        )
        .execute(change.conn())
        .await?;
        if buried.rows_affected() == 0 {
            return Ok(false);
        }
        if [JobKind::ChargeChange, JobKind::ChargeStatement].iter().any(|kind| self.kind == kind.as_str()) {
            charge::abandon(&mut change, self.payload.clone()).await?;
        }
        let mut is_import = false;
        match self.kind.parse() {
            Ok(JobKind::ImportMembers) => {
                if let Ok(payload) = serde_json::from_value::<import::Payload>(self.payload) {
                    is_import = import::abandon(&mut change, payload.import_id).await?;
                }
            }
            Ok(JobKind::MakeExport) => {
                if let Ok(payload) = serde_json::from_value::<export::Payload>(self.payload) {
                    export::abandon(&mut change, payload.export_id).await?;
                }
            }
            _ => {}
        }
        change.commit().await?;
        if is_import {
            metrics::import_ended("failed");
        }
        Ok(true)
    }
}
