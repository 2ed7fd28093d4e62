//! Why somebody can, or cannot, sign in with an address, as far as this account may know: what is found is about the account's own
//! members and invitations, never about other accounts or about people who are not in this one.

use sqlx::PgConnection;

use crate::actor::{Action, Actor, Target};
use crate::email_change;
use crate::error::{Code, Refused, Result};
use crate::id::{InvitationId, MemberId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::invitation::{self, Invitation, State};
use crate::member::Status;
use crate::rate;

mod look;

use look::Found;

/// What was found out about an address.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The address, as it is compared.
    pub email: String,
    /// The member who has it here.
    pub member_id: Option<MemberId>,
    /// What is the case, the most important first; at least one.
    pub findings: Vec<Finding>,
}

/// One thing that is the case.
#[derive(Clone, Debug)]
pub enum Finding {
    /// Nobody here has the address.
    NoSuchMember,
    /// Somebody here has the same name at another domain, or the same address in another spelling.
    InvitedAtAnotherAddress {
        /// The member or invited person.
        member_id: MemberId,
        /// Their address.
        email: String,
        /// When they were invited or imported.
        at: Timestamp,
    },
    /// Somebody here had the address, and was given another one.
    AddressChanged {
        /// The member.
        member_id: MemberId,
        /// Their address now.
        email: String,
        /// When.
        at: Timestamp,
    },
    /// A change of a login e-mail waits for its confirmation.
    NewAddressNotConfirmed {
        /// The member.
        member_id: MemberId,
        /// The address to be.
        email: String,
        /// Until when it can be confirmed.
        until: Timestamp,
    },
    /// Invited without a mail.
    InvitationNotSent(Box<Invitation>),
    /// Invited, and not answered.
    InvitationPending(Box<Invitation>),
    /// Invited, and not answered in time.
    InvitationLapsed(Box<Invitation>),
    /// No mail server takes the invitation.
    InvitationUndeliverable(Box<Invitation>),
    /// Shut out by hand.
    Suspended,
    /// Taken out.
    Deactivated,
    /// May enter from that day on.
    NotYetValid {
        /// The first day, in the account's time zone.
        from: Date,
    },
    /// Might enter until that day.
    ValidityOver {
        /// The last day, in the account's time zone.
        until: Date,
    },
    /// Too many wrong passwords: refused until then, where they came from.
    Locked {
        /// When the last lock ends.
        until: Timestamp,
    },
    /// Joined, and never signed in to this account.
    NeverSignedIn,
    /// Nothing keeps them out.
    NothingWrong,
}

/// Finds out why somebody can, or cannot, sign in with an address.
///
/// # Errors
/// NOT_PERMITTED without `members.read`; INVALID_EMAIL at `email`.
pub async fn diagnose(db: &Db, actor: &Actor, email: &str) -> Result<Diagnosis> {
    actor.may(Action::ReadMembers, Target::Anywhere)?;
    let email = EmailAddress::parse(email).map_err(|_| Refused::new(Code::InvalidEmail).at("email"))?;
    let mut conn = db.pool.acquire().await?;
    let found = look::member(&mut conn, actor, email.as_str()).await?;
    let mut findings = match &found {
        Some(found) => of_member(db, &mut conn, actor, found).await?,
        None => of_nobody(&mut conn, actor, email.as_str()).await?,
    };
    if findings.is_empty() {
        findings.push(Finding::NothingWrong);
    }
    Ok(Diagnosis { email: email.as_str().to_owned(), member_id: found.map(|found| found.member_id), findings })
}

/// Of an address that nobody here has: where it leads to, or who might be meant.
async fn of_nobody(conn: &mut PgConnection, actor: &Actor, email: &str) -> sqlx::Result<Vec<Finding>> {
    let mut findings = look::changes(conn, actor, email).await?;
    if findings.is_empty() {
        findings.push(Finding::NoSuchMember);
        findings.extend(look::similar(conn, actor, email).await?);
    }
    Ok(findings)
}

async fn of_member(db: &Db, conn: &mut PgConnection, actor: &Actor, found: &Found) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    match found.status {
        Status::Suspended => findings.push(Finding::Suspended),
        Status::Deactivated => findings.push(Finding::Deactivated),
        Status::Invited | Status::Active => {}
    }
    findings.extend(found.not_before.map(|from| Finding::NotYetValid { from }));
    findings.extend(found.not_after.map(|until| Finding::ValidityOver { until }));
    if let Some(id) = found.invitation_id {
        findings.extend(of_invitation(conn, actor, id).await?);
        return Ok(findings);
    }
    if let Some(until) = rate::sign_in_locked_until(db, conn, &found.email, actor.now).await? {
        findings.push(Finding::Locked { until });
    }
    let pending = email_change::of_members(conn, actor, &[found.member_id]).await?;
    findings.extend(pending.into_values().map(|pending| Finding::NewAddressNotConfirmed {
        member_id: found.member_id,
        email: pending.new_email,
        until: pending.expires_at,
    }));
    if !found.has_signed_in {
        findings.push(Finding::NeverSignedIn);
    }
    Ok(findings)
}

async fn of_invitation(conn: &mut PgConnection, actor: &Actor, id: InvitationId) -> sqlx::Result<Option<Finding>> {
    let Some(invitation) = invitation::read_many(conn, actor, &[id], false).await?.pop() else { return Ok(None) };
    let lapsed = invitation.expires_at.is_some_and(|at| at <= actor.now);
    let refused = invitation.delivery == Some(invitation::Delivery::Failed);
    let (state, undeliverable) = (invitation.state, invitation.undeliverable);
    let invitation = Box::new(invitation);
    Ok(Some(match state {
        State::NotSent => Finding::InvitationNotSent(invitation),
        State::Pending | State::Expired if refused || undeliverable => Finding::InvitationUndeliverable(invitation),
        State::Pending if lapsed => Finding::InvitationLapsed(invitation),
        State::Pending => Finding::InvitationPending(invitation),
        State::Expired => Finding::InvitationLapsed(invitation),
        State::Accepted | State::Revoked | State::Declined => return Ok(None),
    }))
}
