//! The kinds of mail: what each reads, says and records.

use domain::actor::Origin;
use domain::change::{self, Change, Kind};
use domain::error::Error;
use domain::id::{AccountId, InvitationId, PasswordResetId, SignUpId, UserId};
use domain::infra::clock::Timestamp;
use domain::invitation::{self, Outcome, SentMail};
use domain::job::{Claimed, JobKind, Verdict};
use domain::{password_reset, sign_up};
use jiff::SignedDuration;
use serde::Deserialize;
use sqlx::PgConnection;

use super::wording::{lifetime, link};
use super::{Letter, MailKind, Mailer};
use crate::handler::settle;
use crate::mail::{Delivery, Mail};

/// The link to accept or decline. What became of the mail stands on the invitation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invitation {
    invitation_id: InvitationId,
    generation: i32,
}

impl MailKind for Invitation {
    const KIND: JobKind = JobKind::MailInvitation;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let account = AccountId(job.account_id);
        let found = invitation::mail(&mailer.db, conn, account, self.invitation_id, self.generation).await?;
        Ok(found.map(|found| Letter {
            name: found.first_name.clone(),
            mail: Mail::Invitation {
                account_name: found.account_name,
                inviter_name: found.inviter_name,
                first_name: found.first_name,
                message: found.message,
                url: link(mailer.links.invitation.as_deref(), &mailer.public_url, "invitation", &found.token),
                lifetime: lifetime(SignedDuration::from_secs(found.lifetime_seconds.into())),
            },
            address: found.email,
            id: format!("{}.{}", self.invitation_id, self.generation),
            date: now,
        }))
    }

    async fn record(&self, mailer: &Mailer, job: &Claimed, delivery: Delivery) -> Result<Verdict, Error> {
        let (outcome, verdict) = match delivery {
            Delivery::Accepted { reply } => {
                let mail = SentMail { invitation_id: self.invitation_id, generation: self.generation, reply };
                return mailer.sent.record(job, mail).await;
            }
            // What broke between us and the mail server is for operators, not for the account.
            Delivery::Deferred { code, reply } => {
                let reply = reply.filter(|_| code == "SMTP_TEMPORARY");
                (Outcome::Deferred { reply }, Verdict::Retry { code, after: None })
            }
            // The invitation says so; there is nothing for an operator to replay.
            Delivery::Refused { reply } => (Outcome::Refused { reply }, Verdict::Done),
        };
        // The mail has left: a transaction that loses against others is better made again than the mail sent again.
        change::persist(|| self.record_once(mailer, job, &outcome, &verdict)).await?;
        Ok(Verdict::Settled)
    }
}

impl Invitation {
    /// The job's row first: whoever lost the claim has nothing to say.
    async fn record_once(
        &self,
        mailer: &Mailer,
        job: &Claimed,
        outcome: &Outcome,
        verdict: &Verdict,
    ) -> Result<(), Error> {
        let origin = Origin { request_id: job.request_id.clone(), ..Origin::system() };
        let mut change = Change::begin(&mailer.db, AccountId(job.account_id), Kind::System, origin, None).await?;
        if !settle(change.conn(), job, Self::KIND, verdict).await? {
            tracing::warn!("the job is somebody else's by now; what became of its mail is not recorded");
            return Ok(());
        }
        invitation::record_delivery(&mut change, self.invitation_id, self.generation, outcome).await?;
        change.commit().await
    }
}

/// The link to confirm a sign-up. Whether the address has a login is looked at now: the mail then says so instead.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignUp {
    sign_up_id: SignUpId,
}

impl MailKind for SignUp {
    const KIND: JobKind = JobKind::MailSignUp;
    // Its request has limits, and a delayed link may have expired.
    const LIMITED: bool = false;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        _job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let Some(found) = sign_up::mail(&mailer.db, conn, self.sign_up_id, now).await? else {
            return Ok(None);
        };
        let letter = |mail, name, id| Letter { mail, name, address: found.email, id, date: now };
        if found.has_login {
            let mail = Mail::SignUpExisting { sign_in_url: mailer.links.sign_in.clone() };
            // Not the name that a stranger may have typed, and not the Message-ID of a mail that says something else.
            return Ok(Some(letter(mail, None, format!("{}.existing", self.sign_up_id))));
        }
        let mail = Mail::SignUpConfirm {
            first_name: found.first_name.clone(),
            account_name: found.account_name,
            url: link(mailer.links.sign_up.as_deref(), &mailer.public_url, "sign-up", &found.token),
            valid_for: lifetime(found.expires_at.duration_since(now.0)),
        };
        Ok(Some(letter(mail, Some(found.first_name), self.sign_up_id.to_string())))
    }
}

/// The link to choose a new password.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordReset {
    password_reset_id: PasswordResetId,
}

impl MailKind for PasswordReset {
    const KIND: JobKind = JobKind::MailPasswordReset;
    // As that of a sign-up.
    const LIMITED: bool = false;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        _job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let found = password_reset::mail(&mailer.db, conn, self.password_reset_id, now).await?;
        Ok(found.map(|found| Letter {
            mail: Mail::PasswordReset {
                url: link(mailer.links.password_reset.as_deref(), &mailer.public_url, "password-reset", &found.token),
                valid_for: lifetime(found.expires_at.duration_since(now.0)),
            },
            name: None,
            address: found.email,
            id: self.password_reset_id.to_string(),
            date: now,
        }))
    }
}

/// Notice that the password was changed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordChanged {
    user_id: UserId,
    changed_at: Timestamp,
}

impl MailKind for PasswordChanged {
    const KIND: JobKind = JobKind::MailPasswordChanged;

    async fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        _job: &Claimed,
        now: Timestamp,
    ) -> sqlx::Result<Option<Letter>> {
        let address = domain::user::email(conn, self.user_id).await?;
        Ok(address.map(|address| Letter {
            // A new password is asked for where people sign in; there is no hosted page for either.
            mail: Mail::PasswordChanged { when: self.changed_at, reset_url: mailer.links.sign_in.clone() },
            name: None,
            address,
            id: format!("{}.{}", self.user_id, self.changed_at.as_microsecond()),
            date: now,
        }))
    }
}
