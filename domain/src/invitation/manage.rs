//! What administrators do with an invitation that is still open: send, resend, correct, withdraw.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::invite::{address_states, count_mail};
use super::{State, enqueue_mail, remove_members};
use crate::account;
use crate::actor::{Action, Actor, Assignment, Grants, Standing, Target, of_members};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, InvitationId, MemberId, RoleId, UnitId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::Purpose;
use crate::license::{self, Wanted};
use crate::member::place::{self, may_give};
use crate::member::{Place, Status, Validity, validity};
use crate::profile::{self, SubscriptionType};

/// Between two mails of one invitation.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// Mails asked for again, in a day.
const RESENDS_PER_DAY: usize = 5;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An open invitation under lock, with its member.
struct Open {
    invitation_id: InvitationId,
    member_id: MemberId,
    email: EmailAddress,
    first_name: Option<String>,
    last_name: Option<String>,
    message: Option<String>,
    subscription_type: Option<SubscriptionType>,
    validity: Validity,
    state: State,
    generation: i32,
    queued_at: Option<Timestamp>,
    resent_at: Vec<Timestamp>,
    assignments: Vec<Assignment>,
    units: Vec<UnitId>,
    groups: Vec<GroupId>,
    suspended: bool,
}

/// What became of several invitations, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handled {
    /// Those that were handled.
    pub invitations: Vec<InvitationId>,
    /// The others, by `invitationIds.<index>`.
    pub refused: Vec<Refused>,
}

fn roles_of(assignments: &[Assignment]) -> Vec<RoleId> {
    assignments.iter().map(|one| one.role_id).collect()
}

async fn lock(change: &mut Change, id: InvitationId) -> Result<Open> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT i.invitation_id AS "invitation_id: InvitationId", m.member_id AS "member_id: MemberId", i.email, i.state AS "state: State",
                  i.generation, i.queued_at, i.resent_at, m.status AS "status: Status", i.first_name, i.last_name, i.message,
                  m.subscription_type AS "subscription_type: SubscriptionType", m.valid_from, m.valid_until
           FROM member m JOIN invitation i USING (account_id, member_id)
           WHERE i.account_id = $1 AND i.invitation_id = $2 AND i.finished_at IS NULL
           FOR NO KEY UPDATE OF m, i"#,
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(row) = row else {
        let known =
            sqlx::query!("SELECT state FROM invitation WHERE account_id = $1 AND invitation_id = $2", account.0, id.0);
        let known = known.fetch_optional(change.conn()).await?.is_some();
        return Err(if known { Code::InvitationNotOpen } else { Code::NotFound }.into());
    };
    // In a statement of its own: within the one that waits for the lock it would show the roles from before the wait.
    let place = sqlx::query!(
        r#"SELECT ARRAY(SELECT role_id FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id, unit_id)
                      AS "roles!: Vec<RoleId>",
                  ARRAY(SELECT unit_id FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id, unit_id)
                      AS "role_units!: Vec<UnitId>",
                  ARRAY(SELECT unit_id FROM member_unit WHERE account_id = $1 AND member_id = $2) AS "units!: Vec<UnitId>",
                  ARRAY(SELECT group_id FROM group_member WHERE account_id = $1 AND member_id = $2) AS "groups!: Vec<GroupId>""#,
        account.0,
        row.member_id.0,
    )
    .fetch_one(change.conn())
    .await?;
    let assignments = place.roles.into_iter().zip(place.role_units);
    Ok(Open {
        invitation_id: row.invitation_id,
        member_id: row.member_id,
        email: EmailAddress::parse(&row.email).expect("stored addresses are normalised"),
        state: row.state,
        generation: row.generation,
        queued_at: row.queued_at,
        resent_at: row.resent_at,
        first_name: row.first_name,
        last_name: row.last_name,
        message: row.message,
        subscription_type: row.subscription_type,
        validity: Validity { from: row.valid_from, until: row.valid_until },
        assignments: assignments.map(|(role_id, unit_id)| Assignment { role_id, unit_id }).collect(),
        units: place.units,
        groups: place.groups,
        suspended: row.status == Status::Suspended,
    })
}

/// Whether an invitation would be sent for the first time or again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    First,
    Again,
}

/// Sends invitations that were made without a mail.
///
/// # Errors
/// Per invitation NOT_FOUND, INVITATION_NOT_OPEN, INVITATION_ALREADY_SENT, INVITATION_SUSPENDED, MAIL_LIMIT, NOT_PERMITTED.
pub async fn send(change: &mut Change, actor: &Actor, ids: &[InvitationId]) -> Result<Handled> {
    each(change, actor, ids, Sending::First).await
}

/// Sends invitations again, with a new link; the old one is dead at once. A lapsed one needs a seat.
///
/// # Errors
/// As [`send`]; INVITATION_NOT_SENT, SEAT_SHORTAGE, and MAIL_LIMIT within a minute or after five in 24 hours.
pub async fn resend(change: &mut Change, actor: &Actor, ids: &[InvitationId]) -> Result<Handled> {
    each(change, actor, ids, Sending::Again).await
}

async fn each(change: &mut Change, actor: &Actor, ids: &[InvitationId], sending: Sending) -> Result<Handled> {
    actor.may(Action::Invite, Target::Anywhere)?;
    let mut order: Vec<(usize, InvitationId)> = ids.iter().copied().enumerate().collect();
    // One order for all, so that two requests never wait for each other in a circle.
    order.sort_by_key(|(_, id)| *id);
    order.dedup_by_key(|(_, id)| *id);
    // A lapsed one takes a seat, and the pool comes before members in the order of locks.
    license::lock(change).await?;
    let standing = change.standing(actor).await?;
    let (mut sent, mut refused) = (Vec::new(), Vec::new());
    for (index, id) in order {
        match send_one(change, &standing, id, sending).await {
            Ok(()) => sent.push((index, id)),
            Err(Error::Refused(list)) => {
                refused.extend(list.into_iter().map(|refused| (index, refused.at(index).at("invitationIds"))));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Handled { invitations: as_asked(sent), refused: as_asked(refused) })
}

/// In the order of the request.
fn as_asked<T>(mut found: Vec<(usize, T)>) -> Vec<T> {
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, one)| one).collect()
}

/// Everything that can be refused is looked at before anything is written, so a refusal leaves nothing behind.
async fn send_one(change: &mut Change, standing: &Standing, id: InvitationId, sending: Sending) -> Result<()> {
    let open = lock(change, id).await?;
    match (sending, open.state) {
        (Sending::First, State::NotSent) | (Sending::Again, State::Pending | State::Expired) => {}
        (Sending::First, _) => return Err(Code::InvitationLive.into()),
        (Sending::Again, _) => return Err(Code::InvitationNotSent.into()),
    }
    if open.suspended {
        return Err(Code::InvitationSuspended.into());
    }
    may_handle(change, standing, &open).await?;
    let resent_at = if sending == Sending::Again { check_pause(&open, change.now())? } else { open.resent_at.clone() };
    if open.state == State::Expired {
        license::take(change, Wanted::All(1)).await?;
    }
    if let Err(refused) = count_mail(change, &open.email).await? {
        if open.state == State::Expired {
            license::give_back(change, 1).await?;
        }
        return Err(refused.into());
    }
    if open.state == State::Expired {
        license::allocate(change, &[open.member_id], true).await?;
    }
    let kind = if sending == Sending::First { EventKind::InvitationSent } else { EventKind::InvitationResent };
    queue(change, standing.member_id, &open, &open.email, &resent_at).await?;
    change.record(NewEvent::new(kind).subject(open.member_id.0).detail(json!({ "invitation": open.invitation_id })));
    Ok(())
}

/// Whether the actor may touch an invitation: it is to a unit of theirs, and grants nothing they do not hold.
async fn may_handle(change: &mut Change, standing: &Standing, open: &Open) -> Result<()> {
    let account = change.account();
    let held = of_members(change.conn(), account, &[open.member_id]).await?.remove(&open.member_id).unwrap_or_default();
    let target = Target::Member { member_id: open.member_id, owner: false, units: &open.units, held: &held };
    standing.may(Action::Invite, target)
}

/// Whoever may invite may withdraw, whatever the invitation grants.
fn may_withdraw(standing: &Standing, open: &Open) -> Result<()> {
    let nothing = Grants::default();
    let target = Target::Member { member_id: open.member_id, owner: false, units: &open.units, held: &nothing };
    standing.may(Action::Invite, target)
}

/// The times of the last day's resends with this one.
fn check_pause(open: &Open, now: Timestamp) -> Result<Vec<Timestamp>> {
    let last = open.resent_at.last().copied().or(open.queued_at);
    if let Some(last) = last.filter(|last| *last + PAUSE > now) {
        return Err(Refused::new(Code::MailLimit).retry_at(last + PAUSE).into());
    }
    let mut of_today: Vec<Timestamp> = open.resent_at.iter().copied().filter(|at| *at + DAY > now).collect();
    if of_today.len() >= RESENDS_PER_DAY {
        return Err(Refused::new(Code::MailLimit).retry_at(of_today[0] + DAY).into());
    }
    of_today.push(now);
    Ok(of_today)
}

/// Makes the next generation of the link and asks for its mail. From now on the actor is answerable for what it grants.
async fn queue(
    change: &mut Change,
    actor: MemberId,
    open: &Open,
    email: &EmailAddress,
    resent_at: &[Timestamp],
) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let generation = open.generation + 1;
    let token = change.db().key.derive(Purpose::Invitation, Some(account), open.invitation_id.0, generation);
    let key_version = change.db().key.version;
    let queued = sqlx::query!(
        "UPDATE invitation SET state = 'PENDING', generation = $3, token_hash = $4, token_key_version = $5, queued_at = $6, sent_at = NULL,
                expires_at = NULL, delivery = 'QUEUED', delivery_reply = NULL, delivery_at = NULL, undeliverable = false,
                resent_at = $7, invited_by = $8, email = $9
         WHERE account_id = $1 AND invitation_id = $2 AND generation = $3 - 1 AND finished_at IS NULL",
        account.0,
        open.invitation_id.0,
        generation,
        token.hash(),
        key_version,
        now,
        &resent_at.to_vec(),
        actor.0,
        email.as_str(),
    )
    .execute(change.conn())
    .await?;
    if queued.rows_affected() == 0 {
        return Err(Error::Stale);
    }
    enqueue_mail(change, open.invitation_id, generation);
    Ok(())
}

/// What of an open invitation is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// A new address restarts the invitation: the old link is dead, and, unless it was never sent, a mail goes to the new one.
    pub email: Option<String>,
    /// Empty clears it.
    pub first_name: Option<String>,
    /// Empty clears it.
    pub last_name: Option<String>,
    /// Empty clears it.
    pub message: Option<String>,
    /// Attorney or not.
    pub subscription_type: Option<SubscriptionType>,
    /// The roles it will give for the whole account, instead of those before.
    pub role_ids: Option<Vec<RoleId>>,
    /// The roles it will give within units, instead of those before.
    pub unit_roles: Option<Vec<Assignment>>,
    /// The units they will belong to, instead of those before.
    pub unit_ids: Option<Vec<UnitId>>,
    /// The groups they will be in, instead of those before.
    pub group_ids: Option<Vec<GroupId>>,
    /// The first day of the membership; an inner `None` clears it.
    pub valid_from: Option<Option<Date>>,
    /// The last day of the membership; an inner `None` clears it.
    pub valid_until: Option<Option<Date>>,
}

/// Corrects an open invitation.
///
/// # Errors
/// NOT_FOUND, INVITATION_NOT_OPEN, INVITATION_SUSPENDED (for a new address), and whatever inviting refuses.
pub async fn update(change: &mut Change, actor: &Actor, id: InvitationId, update: &Update) -> Result<()> {
    actor.may(Action::Invite, Target::Anywhere)?;
    if update.email.is_some() {
        license::lock(change).await?;
    }
    let open = lock(change, id).await.at("invitationId")?;
    let standing = change.standing(actor).await?;
    may_handle(change, &standing, &open).await.at("invitationId")?;
    let mut differences = update_text(change, &open, update).await?;
    differences.validity = update_validity(change, &open, update).await?;
    differences.place = update_place(change, &standing, &open, update).await?;
    if let Some(email) = &update.email {
        update_email(change, &standing, &open, email).await.map(|email| differences.email = email).at("email")?;
    }
    if let Some(event) = differences.event(&open) {
        change.record(event);
    }
    Ok(())
}

/// What an update makes different: each field with its value from now on.
#[derive(Default)]
struct Differences {
    email: Option<EmailAddress>,
    texts: Vec<(&'static str, Option<String>, Option<String>)>,
    subscription_type: Option<SubscriptionType>,
    place: Option<Place>,
    validity: Option<Validity>,
}

impl Differences {
    /// The event that tells them; none if nothing differs.
    fn event(self, open: &Open) -> Option<NewEvent> {
        let (mut before, mut after) = (serde_json::Map::new(), serde_json::Map::new());
        if let Some(email) = self.email {
            before.insert("email".to_owned(), json!(open.email));
            after.insert("email".to_owned(), json!(email));
        }
        for (name, old, new) in self.texts {
            before.insert(name.to_owned(), json!(old));
            after.insert(name.to_owned(), json!(new));
        }
        let mut detail = json!({ "invitation": open.invitation_id });
        if let Some(place) = &self.place {
            detail["roles"] = json!({ "before": roles_of(&open.assignments), "after": place.roles() });
            detail["units"] = json!({ "before": open.units, "after": place.units });
            detail["groups"] = json!({ "before": open.groups, "after": place.groups });
        }
        if let Some(subscription) = self.subscription_type {
            detail["subscriptionType"] = json!({ "before": open.subscription_type, "after": subscription });
        }
        for (name, old, new) in self.validity.iter().flat_map(|new| {
            [("validFrom", open.validity.from, new.from), ("validUntil", open.validity.until, new.until)]
        }) {
            if old != new {
                detail[name] = json!({ "before": old, "after": new });
            }
        }
        let typed = self.place.is_some() || self.subscription_type.is_some() || self.validity.is_some();
        if before.is_empty() && !typed {
            return None;
        }
        let event = NewEvent::new(EventKind::InvitationUpdated).subject(open.member_id.0).detail(detail);
        Some(if before.is_empty() { event } else { event.personal(json!({ "before": before, "after": after })) })
    }
}

async fn update_text(change: &mut Change, open: &Open, update: &Update) -> Result<Differences> {
    let text = |name,
                given: &Option<String>,
                held: &Option<String>,
                parse: fn(&str) -> Result<String, profile::FieldFault>| {
        let new = match given {
            None => return Ok(None),
            Some(text) => field(name, profile::optional(text, parse))?,
        };
        Ok::<_, Error>((new != *held).then(|| (name, held.clone(), new)))
    };
    let first = text("firstName", &update.first_name, &open.first_name, profile::person_name)?;
    let last = text("lastName", &update.last_name, &open.last_name, profile::person_name)?;
    let message = text("message", &update.message, &open.message, profile::message)?;
    let subscription_type =
        update.subscription_type.filter(|subscription| Some(*subscription) != open.subscription_type);
    let value = |difference: &Option<(&str, Option<String>, Option<String>)>, held: &Option<String>| match difference {
        Some((_, _, new)) => new.clone(),
        None => held.clone(),
    };
    let account = change.account();
    sqlx::query!(
        "WITH i AS (
             UPDATE invitation SET first_name = $3, last_name = $4, message = $5 WHERE account_id = $1 AND invitation_id = $2)
         UPDATE member SET first_name = $3, last_name = $4, subscription_type = coalesce($6, subscription_type), version = version + 1
         WHERE account_id = $1 AND member_id = $7",
        account.0,
        open.invitation_id.0,
        value(&first, &open.first_name),
        value(&last, &open.last_name),
        value(&message, &open.message),
        subscription_type.map(SubscriptionType::as_str),
        open.member_id.0,
    )
    .execute(change.conn())
    .await?;
    let texts = [first, last, message].into_iter().flatten().collect();
    Ok(Differences { texts, subscription_type, ..Differences::default() })
}

/// Answers the validity if it differs from the one before.
async fn update_validity(change: &mut Change, open: &Open, update: &Update) -> Result<Option<Validity>> {
    let validity = Validity {
        from: update.valid_from.unwrap_or(open.validity.from),
        until: update.valid_until.unwrap_or(open.validity.until),
    };
    if validity == open.validity {
        return Ok(None);
    }
    validity.check(validity::today(change).await?)?;
    let account = change.account();
    sqlx::query!(
        "UPDATE member SET valid_from = $3, valid_until = $4 WHERE account_id = $1 AND member_id = $2",
        account.0,
        open.member_id.0,
        validity.from as Option<Date>,
        validity.until as Option<Date>,
    )
    .execute(change.conn())
    .await?;
    Ok(Some(validity))
}

/// Answers the place if it differs from the one before.
async fn update_place(change: &mut Change, standing: &Standing, open: &Open, update: &Update) -> Result<Option<Place>> {
    let (limited, wide): (Vec<Assignment>, Vec<Assignment>) =
        open.assignments.iter().copied().partition(|one| one.unit().is_some());
    let named = update.role_ids.as_ref().map(|roles| roles.iter().copied().map(Assignment::wide).collect());
    let mut assignments: Vec<Assignment> = named.unwrap_or(wide);
    assignments.extend(update.unit_roles.clone().unwrap_or(limited));
    let wanted = Place {
        assignments,
        units: update.unit_ids.clone().unwrap_or_else(|| open.units.clone()),
        groups: update.group_ids.clone().unwrap_or_else(|| open.groups.clone()),
    };
    let mut wanted = wanted.distinct()?;
    let asked = update.role_ids.is_some() || update.unit_roles.is_some() || update.unit_ids.is_some();
    if !asked && update.group_ids.is_none() {
        return Ok(None);
    }
    // Groups that stay are nobody's to judge again.
    let groups = if update.group_ids.is_some() { wanted.groups.clone() } else { Vec::new() };
    may_give(change, standing, Action::Invite, &Place { groups, ..wanted.clone() }).await?;
    wanted.assignments.sort_unstable();
    let same = wanted.assignments == open.assignments
        && same_members(&wanted.units, &open.units)
        && same_members(&wanted.groups, &open.groups);
    if same {
        return Ok(None);
    }
    place::replace(change, open.member_id, &wanted).await?;
    let account = change.account();
    // From now on the actor is answerable for what it grants.
    sqlx::query!(
        "UPDATE invitation SET invited_by = $3 WHERE account_id = $1 AND invitation_id = $2",
        account.0,
        open.invitation_id.0,
        standing.member_id.0,
    )
    .execute(change.conn())
    .await?;
    Ok(Some(wanted))
}

/// Whether two lists hold the same, in whatever order.
fn same_members<T: Ord + Copy>(one: &[T], other: &[T]) -> bool {
    let sorted = |list: &[T]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    sorted(one) == sorted(other)
}

/// Answers the address if it differs from the one before.
async fn update_email(
    change: &mut Change,
    standing: &Standing,
    open: &Open,
    email: &str,
) -> Result<Option<EmailAddress>> {
    let email = EmailAddress::parse(email).map_err(profile::FieldFault::from)?;
    if email == open.email {
        return Ok(None);
    }
    if open.suspended {
        return Err(Code::InvitationSuspended.into());
    }
    let account = change.account();
    let policy = account::read(change.conn(), account).await?.policy;
    policy.domains(change.db()).check(&email).map_err(profile::FieldFault::from)?;
    match address_states(change, &[email.as_str().to_owned()]).await?.remove(email.as_str()) {
        None => {}
        Some(Ok(lapsed)) => super::invite::replace(change, &[lapsed]).await?,
        Some(Err(code)) => return Err(code.into()),
    }
    let moved = sqlx::query!(
        "UPDATE member SET email = $3 WHERE account_id = $1 AND member_id = $2",
        account.0,
        open.member_id.0,
        email.as_str(),
    );
    moved.execute(change.conn()).await?;
    if open.state == State::NotSent {
        sqlx::query!(
            "UPDATE invitation SET email = $3 WHERE account_id = $1 AND invitation_id = $2",
            account.0,
            open.invitation_id.0,
            email.as_str(),
        )
        .execute(change.conn())
        .await?;
        return Ok(Some(email));
    }
    if let Err(refused) = count_mail(change, &email).await? {
        return Err(refused.into());
    }
    if open.state == State::Expired {
        license::take(change, Wanted::All(1)).await?;
        license::allocate(change, &[open.member_id], true).await?;
    }
    queue(change, standing.member_id, open, &email, &open.resent_at).await?;
    Ok(Some(email))
}

/// Withdraws an open invitation: the link is dead, the seat is free, the member is gone, the invitation stays listed. Anybody
/// who may invite may do this.
///
/// # Errors
/// NOT_FOUND, INVITATION_NOT_OPEN.
pub async fn revoke(change: &mut Change, actor: &Actor, id: InvitationId) -> Result<()> {
    actor.may(Action::Invite, Target::Anywhere)?;
    license::lock(change).await?;
    let open = lock(change, id).await.at("invitationId")?;
    let standing = change.standing(actor).await?;
    may_withdraw(&standing, &open).at("invitationId")?;
    finish(change, &open, State::Revoked, EventKind::InvitationRevoked).await
}

async fn finish(change: &mut Change, open: &Open, state: State, kind: EventKind) -> Result<()> {
    end(change, open.invitation_id, open.member_id, state).await?;
    change.record(
        NewEvent::new(kind)
            .subject(open.member_id.0)
            .detail(json!({ "invitation": open.invitation_id, "roles": roles_of(&open.assignments) })),
    );
    Ok(())
}

/// Ends an open invitation without an answer of yes. The pool must be locked, then the member.
pub(super) async fn end(change: &mut Change, id: InvitationId, member: MemberId, state: State) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    // Whoever declines has the mail, also where nobody could write down yet that it was sent.
    let ended = sqlx::query!(
        "UPDATE invitation SET state = $3, finished_at = $4, former_member_id = member_id, member_id = NULL,
                delivery = CASE WHEN $5 THEN 'SENT' ELSE delivery END,
                sent_at = CASE WHEN $5 THEN coalesce(sent_at, $4) ELSE sent_at END,
                delivery_at = CASE WHEN $5 AND sent_at IS NULL THEN $4 ELSE delivery_at END,
                delivery_reply = CASE WHEN $5 AND sent_at IS NULL THEN NULL ELSE delivery_reply END
         WHERE account_id = $1 AND invitation_id = $2 AND finished_at IS NULL",
        account.0,
        id.0,
        state.as_str(),
        now,
        state == State::Declined,
    )
    .execute(change.conn())
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::Stale);
    }
    remove_members(change, &[member]).await?;
    Ok(())
}
