//! Mails about licences and money.

use domain::billing::notice::{self, Notice};
use domain::id::{AccountId, MemberId};
use domain::infra::clock::Timestamp;
use domain::job::{Claimed, JobKind};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{Letter, MailKind, Mailer};
use crate::mail::Mail;

/// Something that the owner and those who manage billing are told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Billing {
    member_id: MemberId,
    notice: Notice,
}

impl MailKind for Billing {
    const KIND: JobKind = JobKind::MailBilling;

    async fn prepare(
        &self,
        _mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = notice::mail(conn, AccountId(job.account_id), self.member_id, &self.notice).await?;
        Ok(found.map(|(member, told)| Letter {
            name: member.first_name.clone(),
            mail: Mail::Billing { account_name: member.account_name, first_name: member.first_name, told },
            address: member.email,
            id: job.job_id.to_string(),
            date: now,
        }))
    }
}
