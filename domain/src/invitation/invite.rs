//! Inviting people, one or many at once.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::lapse::{UNDELIVERABLE_AFTER, lapse_addresses};
use super::{NewInvitation, State, create, remove_members};
use crate::account;
use crate::actor::{Action, Actor, Standing, Target};
use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{InvitationId, MemberId};
use crate::infra::clock::Date;
use crate::infra::email_address::EmailAddress;
use crate::infra::personal_domain::DomainPolicy;
use crate::license::{self, Wanted, wish};
use crate::member::place::may_give;
use crate::member::{Place, Status, Validity};
use crate::profile::{self, Profile, SubscriptionType};
use crate::rate;

/// Somebody to invite, as typed.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Address.
    pub email: String,
    /// First name, if known.
    pub first_name: Option<String>,
    /// Last name, if known.
    pub last_name: Option<String>,
    /// A personal message: plain, at most 500 characters.
    pub message: Option<String>,
    /// Attorney or not.
    pub subscription_type: Option<SubscriptionType>,
    /// At least one role; units and groups, if any.
    pub place: Place,
    /// From when until when they are to be a member.
    pub validity: Validity,
    /// Add-ons that they are given when they accept, if any is free then.
    pub wishes: Vec<String>,
}

/// What becomes of the good ones when others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// They are invited.
    Partial,
    /// Nobody is.
    AllOrNothing,
}

/// Who was invited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invited {
    /// The new invitations, in the order asked for.
    pub invitations: Vec<InvitationId>,
    /// The others, by `invitations.<index>`.
    pub refused: Vec<Refused>,
}

/// Invites people: each becomes an invited member with a reserved seat, and, if `send`, gets a mail. Somebody whose
/// invitation has lapsed is invited anew.
///
/// # Errors
/// With [`ErrorPolicy::AllOrNothing`] every refusal; otherwise only what concerns all. Per person: what is wrong with a
/// field, PERSONAL_DOMAIN, DOMAIN_NOT_ALLOWED, ALREADY_MEMBER, ALREADY_INVITED, MEMBER_INACTIVE, DUPLICATE_ADDRESS,
/// ROLE_REQUIRED, NOT_FOUND, NOT_PERMITTED, MAIL_LIMIT, SEAT_SHORTAGE.
pub async fn invite(
    change: &mut Change,
    actor: &Actor,
    invites: &[Invite],
    send: bool,
    policy: ErrorPolicy,
) -> Result<Invited> {
    actor.may(Action::Invite, Target::Anywhere)?;
    let mut batch = Batch { policy, refused: Vec::new() };
    let account = change.account();
    let account = account::read(change.conn(), account).await?;
    let today = Date::at(change.now(), &account.time_zone);
    let mut items = batch.validate(invites, &account.policy.domains(change.db()), today);
    batch.check_wishes(change, invites, &mut items).await?;
    batch.check_addresses(change, &mut items).await?;
    batch.settle()?;
    let wanted = i32::try_from(items.len()).expect("bounded by the limit on bulk");
    let seats =
        license::take(change, if policy == ErrorPolicy::Partial { Wanted::UpTo(wanted) } else { Wanted::All(wanted) })
            .await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::Invite, Target::Anywhere)?;
    batch.check_grants(change, &standing, invites, &mut items).await?;
    batch.settle()?;
    batch.give_seats(change, &mut items, seats, send).await?;
    batch.settle()?;
    let replaced: Vec<Lapsed> = items.iter().filter_map(|(_, _, lapsed)| *lapsed).collect();
    replace(change, &replaced).await?;
    let products: Vec<&[String]> = items.iter().map(|(index, ..)| invites[*index].wishes.as_slice()).collect();
    let new: Vec<NewInvitation> = items.into_iter().map(|(_, item, _)| item).collect();
    let ids = create(change, Some(actor.member_id), &new, send).await?;
    let wished: Vec<(InvitationId, &[String])> = ids.iter().map(|(invitation, _)| *invitation).zip(products).collect();
    wish::write(change, &wished).await?;
    Ok(Invited { invitations: ids.into_iter().map(|(invitation, _)| invitation).collect(), refused: batch.refused })
}

/// A lapsed invitation that a new one replaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lapsed {
    pub member_id: MemberId,
    pub invitation_id: InvitationId,
}

/// An item that is still good: its index in the request, what to write, what it replaces.
type Item = (usize, NewInvitation, Option<Lapsed>);

fn addresses(items: &[Item]) -> Vec<&EmailAddress> {
    items.iter().map(|(_, item, _)| &item.email).collect()
}

struct Batch {
    policy: ErrorPolicy,
    refused: Vec<Refused>,
}

impl Batch {
    fn refuse(&mut self, index: usize, refused: Refused) {
        self.refused.push(refused.at(index).at("invitations"));
    }

    /// Under [`ErrorPolicy::AllOrNothing`] the first stage that refused anything ends the whole.
    fn settle(&mut self) -> Result<()> {
        if self.policy == ErrorPolicy::AllOrNothing && !self.refused.is_empty() {
            return Err(Error::Refused(std::mem::take(&mut self.refused)));
        }
        Ok(())
    }

    fn validate(&mut self, invites: &[Invite], domains: &DomainPolicy, today: Date) -> Vec<Item> {
        let mut seen = HashSet::new();
        let mut items = Vec::with_capacity(invites.len());
        for (index, invite) in invites.iter().enumerate() {
            match check(invite, domains, today) {
                Ok(item) if seen.insert(item.email.clone()) => items.push((index, item, None)),
                Ok(_) => self.refuse(index, Refused::new(Code::DuplicateAddress).at("email")),
                Err(list) => list.into_iter().for_each(|refused| self.refuse(index, refused)),
            }
        }
        items
    }

    async fn check_wishes(&mut self, change: &mut Change, invites: &[Invite], items: &mut Vec<Item>) -> Result<()> {
        if invites.iter().all(|invite| invite.wishes.is_empty()) {
            return Ok(());
        }
        let sold = wish::sold(change.conn()).await?;
        items.retain(|(index, _, _)| match wish::check(&invites[*index].wishes, &sold) {
            Ok(()) => true,
            Err(refused) => {
                self.refuse(*index, refused);
                false
            }
        });
        Ok(())
    }

    async fn check_addresses(&mut self, change: &mut Change, items: &mut Vec<Item>) -> Result<()> {
        let emails: Vec<String> = items.iter().map(|(_, item, _)| item.email.as_str().to_owned()).collect();
        let taken = address_states(change, &emails).await?;
        items.retain_mut(|(index, item, lapsed)| match taken.get(item.email.as_str()) {
            None => true,
            Some(Ok(replaceable)) => {
                *lapsed = Some(*replaceable);
                true
            }
            Some(Err(code)) => {
                self.refuse(*index, Refused::new(*code).at("email"));
                false
            }
        });
        Ok(())
    }

    /// By the places as they were asked for, so that the path of an unknown role fits the input.
    async fn check_grants(
        &mut self,
        change: &mut Change,
        standing: &Standing,
        invites: &[Invite],
        items: &mut Vec<Item>,
    ) -> Result<()> {
        let mut known: HashMap<&Place, Option<Refused>> = HashMap::new();
        for (index, _, _) in items.iter() {
            let place = &invites[*index].place;
            if known.contains_key(place) {
                continue;
            }
            let refused = match may_give(change, standing, Action::Invite, place).await {
                Ok(_) => None,
                Err(Error::Refused(list)) => list.into_iter().next(),
                Err(other) => return Err(other),
            };
            known.insert(place, refused);
        }
        items.retain(|(index, _, _)| match &known[&invites[*index].place] {
            None => true,
            Some(refused) => {
                self.refuse(*index, refused.clone());
                false
            }
        });
        Ok(())
    }

    /// Seats go to the first ones who may get a mail; what is left over goes back. Mails are counted under the pool's lock, as
    /// whoever sends later counts them, and only for those who get a seat.
    async fn give_seats(&mut self, change: &mut Change, items: &mut Vec<Item>, seats: i32, send: bool) -> Result<()> {
        let required = i32::try_from(items.len()).expect("bounded by the limit on bulk");
        let mut left = seats;
        let limits = if send { mail_limits(change, &addresses(items)).await? } else { vec![Ok(()); items.len()] };
        for ((index, item, lapsed), limit) in std::mem::take(items).into_iter().zip(limits) {
            if left == 0 {
                let detail = Detail::Seats { required, available: seats };
                self.refuse(index, Refused { detail, ..Refused::new(Code::SeatShortage) });
                continue;
            }
            if let Err(refused) = limit {
                self.refuse(index, refused.at("email"));
                continue;
            }
            left -= 1;
            items.push((index, item, lapsed));
        }
        if send {
            count_mails(change, &addresses(items)).await?;
        }
        license::give_back(change, left).await
    }
}

/// Checks one person's fields; all faults at once.
fn check(invite: &Invite, domains: &DomainPolicy, today: Date) -> Result<NewInvitation, Vec<Refused>> {
    let mut faults = Vec::new();
    let mut keep = |error: Error| match error {
        Error::Refused(list) => faults.extend(list),
        other => unreachable!("validation only refuses: {other}"),
    };
    let email = field("email", EmailAddress::parse(&invite.email).map_err(Into::into))
        .and_then(|email| field("email", domains.check(&email).map_err(Into::into)).map(|()| email))
        .map_err(&mut keep);
    let mut text = |name: &str, value: &Option<String>, parse: fn(&str) -> Result<String, profile::FieldFault>| {
        let value = value.as_deref().unwrap_or_default();
        field(name, profile::optional(value, parse)).map_err(&mut keep).ok().flatten()
    };
    let first_name = text("firstName", &invite.first_name, profile::person_name);
    let last_name = text("lastName", &invite.last_name, profile::person_name);
    let message = text("message", &invite.message, profile::message);
    let place = invite.place.distinct().map_err(&mut keep);
    let valid = invite.validity.check(today).map_err(|refused| keep(refused.into()));
    match (email, place, valid) {
        (Ok(email), Ok(place), Ok(())) if faults.is_empty() => {
            let profile =
                Profile { first_name, last_name, subscription_type: invite.subscription_type, ..Profile::default() };
            Ok(NewInvitation { email, profile, message, place, validity: invite.validity })
        }
        _ => Err(faults),
    }
}

/// Which of some addresses may get another invitation mail of the account, in their order.
pub(crate) async fn mail_limits(change: &mut Change, emails: &[&EmailAddress]) -> Result<Vec<Result<(), Refused>>> {
    let (db, now, subjects) = (change.db().clone(), change.now(), subjects(change, emails));
    let limits = rate::look_each(&db, change.conn(), rate::MAIL_ACCOUNT_ADDRESS, &subjects, now).await?;
    let refused = |limit: Result<(), rate::Reached>| {
        limit.map_err(|reached| Refused::new(Code::MailLimit).retry_at(reached.retry_at))
    };
    Ok(limits.into_iter().map(refused).collect())
}

/// Counts one more invitation mail of the account to each of some addresses, which are all different and may get one.
///
/// # Errors
/// [`Error::Stale`] when another transaction has counted one of them meanwhile, and reached the limit.
pub(crate) async fn count_mails(change: &mut Change, emails: &[&EmailAddress]) -> Result<()> {
    let (db, now, subjects) = (change.db().clone(), change.now(), subjects(change, emails));
    let allowed = rate::hit_each(&db, change.conn(), rate::MAIL_ACCOUNT_ADDRESS, &subjects, now).await?;
    if allowed { Ok(()) } else { Err(Error::Stale) }
}

fn subjects(change: &Change, emails: &[&EmailAddress]) -> Vec<String> {
    emails.iter().map(|email| format!("{} {}", change.account(), email.as_str())).collect()
}

/// Of some addresses, those that are taken in the account: by a lapsed invitation that may be replaced, or by somebody. An
/// overdue invitation blocks nobody either, although no sweep has found it yet: it lapses first, under the pool's lock.
pub(super) async fn address_states(
    change: &mut Change,
    emails: &[String],
) -> Result<HashMap<String, Result<Lapsed, Code>>> {
    let taken = read_addresses(change, emails).await?;
    if taken.iter().any(|taken| taken.overdue) {
        license::lock(change).await?;
        lapse_addresses(change, emails).await?;
        return Ok(read_addresses(change, emails).await?.into_iter().map(Taken::answer).collect());
    }
    Ok(taken.into_iter().map(Taken::answer).collect())
}

/// Somebody who has an address in the account.
struct Taken {
    email: String,
    member_id: MemberId,
    status: Status,
    invitation_id: Option<InvitationId>,
    state: Option<State>,
    overdue: bool,
}

impl Taken {
    fn answer(self) -> (String, Result<Lapsed, Code>) {
        let answer = match (self.status, self.state, self.invitation_id) {
            (Status::Invited, Some(State::Expired), Some(invitation_id)) => {
                Ok(Lapsed { member_id: self.member_id, invitation_id })
            }
            (Status::Invited, _, _) => Err(Code::AlreadyInvited),
            (Status::Active, _, _) => Err(Code::AlreadyMember),
            (Status::Suspended | Status::Deactivated, _, _) => Err(Code::MemberInactive),
        };
        (self.email, answer)
    }
}

async fn read_addresses(change: &mut Change, emails: &[String]) -> sqlx::Result<Vec<Taken>> {
    let (account, now) = (change.account(), change.now());
    sqlx::query_as!(
        Taken,
        r#"SELECT m.email, m.member_id AS "member_id: MemberId", m.status AS "status: Status",
                  i.invitation_id AS "invitation_id?: InvitationId", i.state AS "state?: State",
                  (m.status = 'INVITED' AND i.state = 'PENDING'
                   AND (i.expires_at <= $3 OR (i.sent_at IS NULL AND i.queued_at <= $4))) IS TRUE AS "overdue!"
           FROM member m
           LEFT JOIN invitation i ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
           WHERE m.account_id = $1 AND m.email = ANY($2)"#,
        account.0,
        emails,
        now,
        now - UNDELIVERABLE_AFTER,
    )
    .fetch_all(change.conn())
    .await
}

/// Ends lapsed invitations whose people are invited anew.
pub(crate) async fn replace(change: &mut Change, lapsed: &[Lapsed]) -> Result<()> {
    if lapsed.is_empty() {
        return Ok(());
    }
    let (account, now) = (change.account(), change.now());
    let ids: Vec<_> = lapsed.iter().map(|l| l.invitation_id.0).collect();
    let members: Vec<MemberId> = lapsed.iter().map(|l| l.member_id).collect();
    let raw: Vec<_> = members.iter().map(|member| member.0).collect();
    let locked = sqlx::query!(
        "SELECT 1 AS one FROM member WHERE account_id = $1 AND member_id = ANY($2) AND status = 'INVITED' ORDER BY member_id FOR UPDATE",
        account.0,
        &raw
    )
    .fetch_all(change.conn())
    .await?;
    if locked.len() != lapsed.len() {
        return Err(Error::Stale);
    }
    let ended = sqlx::query!(
        "UPDATE invitation SET state = 'REVOKED', finished_at = $3, former_member_id = member_id, member_id = NULL
         WHERE account_id = $1 AND invitation_id = ANY($2) AND state = 'EXPIRED'",
        account.0,
        &ids,
        now,
    )
    .execute(change.conn())
    .await?;
    if ended.rows_affected() != lapsed.len() as u64 {
        return Err(Error::Stale);
    }
    for l in lapsed {
        let detail = serde_json::json!({ "invitation": l.invitation_id });
        change.record(NewEvent::new(EventKind::InvitationReplaced).subject(l.member_id.0).detail(detail));
    }
    remove_members(change, &members).await?;
    Ok(())
}
