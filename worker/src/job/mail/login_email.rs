//! The mails of a change of the login e-mail: to the new address, which confirms it, and to the old one.

use domain::email_change::{self, Notice as Said};
use domain::id::EmailChangeId;
use domain::infra::clock::Timestamp;
use domain::job::{Claimed, JobKind};
use serde::Deserialize;
use sqlx::PgConnection;

use super::wording::{lifetime, link};
use super::{Letter, MailKind, Mailer};
use crate::mail::Mail;

/// The link that confirms a new login e-mail.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Confirm {
    email_change_id: EmailChangeId,
}

impl MailKind for Confirm {
    const KIND: JobKind = JobKind::MailLoginEmailConfirm;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        _job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = email_change::confirmation_mail(&mailer.db, conn, self.email_change_id, now).await?;
        let own_page = mailer.links.login_email_confirm.as_deref();
        Ok(found.map(|found| Letter {
            mail: Mail::LoginEmailConfirm {
                account_name: found.account_name,
                url: link(own_page, &mailer.public_url, "login-email-confirm", &found.token),
                valid_for: lifetime(found.expires_at.duration_since(now.0)),
            },
            name: None,
            address: found.email,
            id: self.email_change_id.to_string(),
            date: now,
        }))
    }
}

/// What the old login e-mail is told, or asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notice {
    email_change_id: EmailChangeId,
    step: i32,
}

impl MailKind for Notice {
    const KIND: JobKind = JobKind::MailLoginEmailNotice;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        _job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = email_change::notice_mail(&mailer.db, conn, self.email_change_id, self.step, now).await?;
        let Some(said) = found else { return Ok(None) };
        let revert =
            |token| link(mailer.links.login_email_revert.as_deref(), &mailer.public_url, "login-email-revert", token);
        let valid_for = |until: Timestamp| lifetime(until.duration_since(now.0));
        // What it says depends on what is the case when it is sent: so does its id, by its last part.
        let (address, mail, what) = match said {
            Said::Requested(letter) => {
                let url = revert(&letter.token);
                let (account_name, new_email) = (letter.account_name, letter.new_email);
                (letter.email, Mail::LoginEmailRequested { account_name, new_email, url }, "told")
            }
            Said::MustAgree(letter) => {
                let own_page = mailer.links.login_email_approve.as_deref();
                let url = link(own_page, &mailer.public_url, "login-email-approve", &letter.token);
                let (account_name, new_email) = (letter.account_name, letter.new_email);
                let valid_for = valid_for(letter.expires_at);
                (letter.email, Mail::LoginEmailApprove { account_name, new_email, url, valid_for }, "asked")
            }
            Said::Changed(letter, when) => {
                let (url, valid_for) = (revert(&letter.token), valid_for(letter.expires_at));
                (letter.email, Mail::LoginEmailChanged { new_email: letter.new_email, when, url, valid_for }, "done")
            }
        };
        let id = format!("{}.{}.{what}", self.email_change_id, self.step);
        Ok(Some(Letter { mail, name: None, address, id, date: now }))
    }
}
