//! The mail that tells what an import came to.

use domain::id::{AccountId, ImportId};
use domain::import::{State, summary};
use domain::infra::clock::Timestamp;
use domain::job::{Claimed, JobKind};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{Letter, MailKind, Mailer};
use crate::mail::{ImportSummary, Mail};

/// What an import came to, for whoever started it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    import_id: ImportId,
}

impl MailKind for Summary {
    const KIND: JobKind = JobKind::MailImportSummary;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = summary::mail(&mailer.db, conn, AccountId(job.account_id), self.import_id).await?;
        let Some(found) = found else { return Ok(None) };
        let import = found.import;
        let ended = import.finished_at.map_or(0, |at| at.as_microsecond());
        Ok(Some(Letter {
            name: found.first_name.clone(),
            mail: Mail::ImportSummary(ImportSummary {
                account_name: found.account_name,
                first_name: found.first_name,
                dry_run: import.dry_run,
                applied: import.applied,
                canceled: import.state == State::Canceled,
                problem: import.error_message.or(found.shortage.map(|shortage| shortage.to_string())),
                rows: import.rows_total,
                invited: import.rows_invited,
                updated: import.rows_updated,
                unchanged: import.rows_unchanged,
                rejected: import.rows_rejected,
                failed_rows_url: found.failed_rows.map(|path| format!("{}/member-imports/{path}", mailer.public_url)),
            }),
            address: found.email,
            // One that was taken up again ends twice.
            id: format!("{}.{ended}", self.import_id),
            date: now,
        }))
    }
}
