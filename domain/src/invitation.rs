//! Invitations: an invited member with a reserved seat, a mail with a link, and the answer.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, InvitationId, MemberId};
use crate::infra::clock::Date;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::Purpose;
use crate::job::{JobKind, NewJob};
use crate::license;
use crate::member::{Place, Validity, place};
use crate::profile::Profile;

mod answer;
mod delivery;
mod invite;
mod lapse;
mod list;
mod manage;
mod open;
mod send;
mod settle;
mod verdict;

pub use answer::{Acceptance, Accepted, Preview, accept, by_token, decline};
pub(crate) use delivery::send_held;
pub use delivery::{InvitationMail, Outcome, SentMail, mail, record_delivery, record_sent};
pub use invite::{ErrorPolicy, Invite, Invited, invite};
pub(crate) use invite::{Lapsed, count_mails, mail_limits, replace};
pub(crate) use lapse::{UNDELIVERABLE_AFTER, count_overdue, lapse_addresses};
pub use lapse::{lapse_account, lapse_overdue};
pub use list::{Filter, Invitation, Order, count, list, read_many};
pub(crate) use manage::revoke_of;
pub use manage::{Update, revoke, update};
pub(crate) use send::send_for;
pub use send::{Handled, resend, send};
pub(crate) use settle::settle;
pub use verdict::{Invitee, Wish, verdict};

/// Where an invitation stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type, serde::Serialize, serde::Deserialize,
)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Made without a mail: no link, no lifetime.
    NotSent,
    /// The mail was asked for.
    Pending,
    /// Lapsed; can be sent again if there is a seat.
    Expired,
    /// The person joined.
    Accepted,
    /// Withdrawn.
    Revoked,
    /// The person said no.
    Declined,
}

impl State {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "NOT_SENT",
            Self::Pending => "PENDING",
            Self::Expired => "EXPIRED",
            Self::Accepted => "ACCEPTED",
            Self::Revoked => "REVOKED",
            Self::Declined => "DECLINED",
        }
    }

    /// Whether it can still be sent, corrected and revoked.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::NotSent | Self::Pending | Self::Expired)
    }
}

/// How far the mail got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Delivery {
    /// Waits to be sent, or to be tried again.
    Queued,
    /// A mail server took it.
    Sent,
    /// A mail server refused it for good.
    Failed,
}

/// Somebody to be invited, with everything checked and a seat taken.
#[derive(Clone, Debug)]
pub(crate) struct NewInvitation {
    pub email: EmailAddress,
    pub profile: Profile,
    pub message: Option<String>,
    pub place: Place,
    pub validity: Validity,
}

/// Writes invited members with their invitations, roles and reservations, in a fixed number of statements. Seats must have
/// been taken, and every right looked at.
///
/// # Errors
/// [`Error::Stale`] when somebody else used one of the addresses first.
pub(crate) async fn create(
    change: &mut Change,
    invited_by: Option<MemberId>,
    items: &[NewInvitation],
    send: bool,
) -> Result<Vec<(InvitationId, MemberId)>> {
    let ids: Vec<(InvitationId, MemberId)> = items.iter().map(|_| (InvitationId::new(), MemberId::new())).collect();
    let members: Vec<MemberId> = ids.iter().map(|(_, member)| *member).collect();
    insert_members(change, items, &members).await?;
    let places: Vec<(MemberId, &Place)> = members.iter().copied().zip(items.iter().map(|item| &item.place)).collect();
    place::insert(change, &places).await?;
    insert_invitations(change, invited_by, items, &ids, send).await?;
    license::allocate(change, &members, true).await?;
    for (item, (invitation, member)) in items.iter().zip(&ids) {
        change.record(
            NewEvent::new(EventKind::InvitationCreated)
                .subject(member.0)
                .detail(json!({ "invitation": invitation, "roles": item.place.roles(), "unitRoles": item.place.limited(),
                                "units": item.place.units, "groups": item.place.groups, "sent": send }))
                .personal(json!({ "email": item.email, "firstName": item.profile.first_name, "lastName": item.profile.last_name })),
        );
        if send {
            enqueue_mail(change, *invitation, FIRST_GENERATION);
        }
    }
    Ok(ids)
}

/// Of the link in an invitation's first mail.
pub(crate) const FIRST_GENERATION: i32 = 1;

fn enqueue_mail(change: &mut Change, invitation: InvitationId, generation: i32) {
    enqueue_mail_as(change, invitation, generation, format!("{invitation}:{generation}"));
}

fn enqueue_mail_as(change: &mut Change, invitation: InvitationId, generation: i32, dedupe_key: String) {
    change.enqueue(NewJob {
        account_id: change.account().0,
        kind: JobKind::MailInvitation,
        payload: json!({ "invitationId": invitation, "generation": generation }),
        dedupe_key,
    });
}

async fn insert_members(change: &mut Change, items: &[NewInvitation], members: &[MemberId]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let emails: Vec<String> = items.iter().map(|item| item.email.as_str().to_owned()).collect();
    let column = |value: fn(&Profile) -> &Option<String>| -> Vec<Option<String>> {
        items.iter().map(|item| value(&item.profile).clone()).collect()
    };
    let subscriptions: Vec<Option<String>> = items
        .iter()
        .map(|item| item.profile.subscription_type.map(|subscription| subscription.as_str().to_owned()))
        .collect();
    let written = sqlx::query!(
        "WITH written AS (
         INSERT INTO member (account_id, member_id, email, status, first_name, last_name, initials, time_zone, address, city, state, zip,
                             country, phone, job_title, subscription_type, valid_from, valid_until, created_at)
         SELECT $1, u.id, u.email, 'INVITED', u.first_name, u.last_name, u.initials, u.time_zone, u.address, u.city, u.state, u.zip,
                u.country, u.phone, u.job_title, u.subscription_type, u.valid_from, u.valid_until, $2
         FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                     $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::date[], $18::date[])
              u(id, email, first_name, last_name, initials, time_zone, address, city, state, zip, country, phone, job_title,
                subscription_type, valid_from, valid_until)
         ON CONFLICT (account_id, email) DO NOTHING RETURNING account_id, member_id)
         INSERT INTO member_activity (account_id, member_id) SELECT account_id, member_id FROM written",
        account.0,
        now,
        &ids,
        &emails,
        &column(|p| &p.first_name) as &[Option<String>],
        &column(|p| &p.last_name) as &[Option<String>],
        &column(|p| &p.initials) as &[Option<String>],
        &column(|p| &p.time_zone) as &[Option<String>],
        &column(|p| &p.address) as &[Option<String>],
        &column(|p| &p.city) as &[Option<String>],
        &column(|p| &p.state) as &[Option<String>],
        &column(|p| &p.zip) as &[Option<String>],
        &column(|p| &p.country) as &[Option<String>],
        &column(|p| &p.phone) as &[Option<String>],
        &column(|p| &p.job_title) as &[Option<String>],
        &subscriptions as &[Option<String>],
        &items.iter().map(|item| item.validity.from).collect::<Vec<_>>() as &[Option<Date>],
        &items.iter().map(|item| item.validity.until).collect::<Vec<_>>() as &[Option<Date>],
    )
    .execute(change.conn())
    .await?;
    if written.rows_affected() == items.len() as u64 { Ok(()) } else { Err(Error::Stale) }
}

async fn insert_invitations(
    change: &mut Change,
    invited_by: Option<MemberId>,
    items: &[NewInvitation],
    ids: &[(InvitationId, MemberId)],
    send: bool,
) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let hashes: Vec<Option<Vec<u8>>> = ids
        .iter()
        .map(|(id, _)| {
            send.then(|| change.db().key.derive(Purpose::Invitation, Some(account), id.0, FIRST_GENERATION).hash())
        })
        .collect();
    let key_version = change.db().key.version;
    let (invitations, members): (Vec<Uuid>, Vec<Uuid>) = ids.iter().map(|(id, member)| (id.0, member.0)).unzip();
    let emails: Vec<String> = items.iter().map(|item| item.email.as_str().to_owned()).collect();
    let firsts: Vec<Option<String>> = items.iter().map(|item| item.profile.first_name.clone()).collect();
    let lasts: Vec<Option<String>> = items.iter().map(|item| item.profile.last_name.clone()).collect();
    let messages: Vec<Option<String>> = items.iter().map(|item| item.message.clone()).collect();
    sqlx::query!(
        "INSERT INTO invitation (account_id, invitation_id, member_id, email, first_name, last_name, message, state, invited_by, created_at,
                                 generation, token_hash, token_key_version, queued_at, delivery)
         SELECT $1, u.id, u.member_id, u.email, u.first_name, u.last_name, u.message, CASE WHEN $4 THEN 'PENDING' ELSE 'NOT_SENT' END, $2,
                $3::timestamptz,
                CASE WHEN $4 THEN $5 ELSE 0 END, u.token_hash, CASE WHEN $4 THEN $6::int END, CASE WHEN $4 THEN $3::timestamptz END,
                CASE WHEN $4 THEN 'QUEUED' END
         FROM unnest($7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[])
              u(id, member_id, email, first_name, last_name, message, token_hash)",
        account.0,
        invited_by.map(|member| member.0),
        now,
        send,
        FIRST_GENERATION,
        key_version,
        &invitations,
        &members,
        &emails,
        &firsts as &[Option<String>],
        &lasts as &[Option<String>],
        &messages as &[Option<String>],
        &hashes as &[Option<Vec<u8>>],
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Removes invited members whose invitations have ended without an answer; the invitations stay listed. Returns how many
/// seats came free. The pool must be locked.
pub(crate) async fn remove_members(change: &mut Change, members: &[MemberId]) -> Result<i32> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let freed = license::release(change, members).await?;
    // Data-modifying WITH parts see one snapshot but check foreign keys at the statement's end: one round trip.
    sqlx::query!(
        "WITH roles AS (DELETE FROM member_role WHERE account_id = $1 AND member_id = ANY($2)),
              units AS (DELETE FROM member_unit WHERE account_id = $1 AND member_id = ANY($2)),
              groups AS (DELETE FROM group_member WHERE account_id = $1 AND member_id = ANY($2)),
              resources AS (DELETE FROM resource_member WHERE account_id = $1 AND member_id = ANY($2)),
              responsible AS (UPDATE resource SET responsible_member_id = NULL WHERE account_id = $1 AND responsible_member_id = ANY($2))
         DELETE FROM member WHERE account_id = $1 AND member_id = ANY($2)",
        account.0,
        &ids,
    )
    .execute(change.conn())
    .await?;
    Ok(freed)
}

/// When an invitation that a mail server accepted at `sent_at` lapses.
pub(crate) async fn lifetime(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<jiff::SignedDuration> {
    let seconds =
        sqlx::query_scalar!("SELECT invitation_lifetime_seconds FROM account WHERE account_id = $1", account.0)
            .fetch_one(conn)
            .await?;
    Ok(jiff::SignedDuration::from_secs(i64::from(seconds)))
}
