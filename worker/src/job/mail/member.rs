//! Mails to members about their place in an account.

use domain::id::{AccountId, MemberId};
use domain::infra::clock::Timestamp;
use domain::job::{Claimed, JobKind};
use domain::member::{successor, validity};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{Letter, MailKind, Mailer};
use crate::mail::Mail;

/// Notice that somebody took over what others were responsible for. It names nobody: those may be deleted by now.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Succession {
    member_id: MemberId,
    resources: u32,
    at: Timestamp,
}

impl MailKind for Succession {
    const KIND: JobKind = JobKind::MailSuccession;

    async fn prepare(
        &self,
        _mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = successor::mail(conn, AccountId(job.account_id), self.member_id).await?;
        Ok(found.map(|found| Letter {
            name: found.first_name.clone(),
            mail: Mail::Succession {
                account_name: found.account_name,
                first_name: found.first_name,
                things: self.resources,
            },
            address: found.email,
            id: format!("{}.{}", self.member_id, self.at.as_microsecond()),
            date: now,
        }))
    }
}

/// Notice that a membership ends by its date.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValidityEnd {
    member_id: MemberId,
    until: i32,
}

impl MailKind for ValidityEnd {
    const KIND: JobKind = JobKind::MailValidityEnd;

    async fn prepare(
        &self,
        _mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = validity::mail(conn, AccountId(job.account_id), self.member_id, self.until).await?;
        Ok(found.map(|(found, last_day)| Letter {
            name: found.first_name.clone(),
            mail: Mail::ValidityEnd { account_name: found.account_name, first_name: found.first_name, last_day },
            address: found.email,
            id: format!("{}.{}", self.member_id, self.until),
            date: now,
        }))
    }
}
