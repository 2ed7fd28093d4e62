//! What administrators do with an invitation that is still open: send, resend, correct, withdraw.

use serde_json::json;

use super::invite::{address_states, count_mails, mail_limits};
use super::open::{Open, lock, may_handle, may_withdraw};
use super::send::{Link, queue};
use super::{State, remove_members};
use crate::account;
use crate::actor::{Action, Actor, Assignment, Standing, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, InvitationId, MemberId, RoleId, UnitId};
use crate::infra::clock::Date;
use crate::infra::email_address::EmailAddress;
use crate::license::{self, Wanted};
use crate::member::place::{self, may_give};
use crate::member::{Place, Validity, validity};
use crate::profile::{self, SubscriptionType};

fn roles_of(assignments: &[Assignment]) -> Vec<RoleId> {
    assignments.iter().map(|one| one.role_id).collect()
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
    mail_limits(change, &[&email]).await?.remove(0)?;
    count_mails(change, &[&email]).await?;
    if open.state == State::Expired {
        license::take(change, Wanted::All(1)).await?;
        license::allocate(change, &[open.member_id], true).await?;
    }
    queue(change, standing.member_id, &[Link { open, email: &email }], false).await?;
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

/// Withdraws the open invitation of a member, as the system: their seat is removed. The pools and the member must be locked.
pub(crate) async fn revoke_of(change: &mut Change, member: MemberId) -> Result<()> {
    let account = change.account();
    let id = sqlx::query_scalar!(
        r#"SELECT invitation_id AS "invitation_id: InvitationId" FROM invitation WHERE account_id = $1 AND member_id = $2 AND finished_at IS NULL"#,
        account.0,
        member.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(id) = id else { return Ok(()) };
    let open = lock(change, id).await?;
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
