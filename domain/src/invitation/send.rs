//! Sending open invitations, for the first time or again, many at once: the statements do not grow with them, because the pool is
//! locked meanwhile.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::invite::{count_mails, mail_limits};
use super::open::{Open, lock_many, may_handle_all};
use super::{State, enqueue_mail};
use crate::actor::{Action, Actor, Standing, Target};
use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{InvitationId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::Purpose;
use crate::license::{self, Wanted};

/// Between two mails of one invitation.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// Mails asked for again, in a day.
const RESENDS_PER_DAY: usize = 5;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What became of several invitations, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handled {
    /// Those that were handled.
    pub invitations: Vec<InvitationId>,
    /// The others, by `invitationIds.<index>`.
    pub refused: Vec<Refused>,
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
    actor.may(Action::Invite, Target::Anywhere)?;
    each(change, Who::Actor(actor), ids, Sending::First).await
}

/// As [`send`], for a member who asked for it before and may not be signed in any more.
pub(crate) async fn send_for(change: &mut Change, member: MemberId, ids: &[InvitationId]) -> Result<Handled> {
    each(change, Who::Member(member), ids, Sending::First).await
}

/// Sends invitations again, with a new link; the old one is dead at once. A lapsed one needs a seat.
///
/// # Errors
/// As [`send`]; INVITATION_NOT_SENT, SEAT_SHORTAGE, and MAIL_LIMIT within a minute or after five in 24 hours.
pub async fn resend(change: &mut Change, actor: &Actor, ids: &[InvitationId]) -> Result<Handled> {
    actor.may(Action::Invite, Target::Anywhere)?;
    each(change, Who::Actor(actor), ids, Sending::Again).await
}

/// Who sends.
#[derive(Clone, Copy)]
enum Who<'a> {
    Actor(&'a Actor),
    Member(MemberId),
}

impl Who<'_> {
    async fn standing(self, change: &mut Change) -> Result<Standing> {
        let standing = match self {
            Self::Actor(actor) => change.standing(actor).await?,
            Self::Member(member) => {
                let missing = || Refused::missing(Action::Invite.permissions().to_vec());
                change.standing_of(member).await?.ok_or_else(missing)?
            }
        };
        standing.may(Action::Invite, Target::Anywhere)?;
        Ok(standing)
    }
}

async fn each(change: &mut Change, who: Who<'_>, ids: &[InvitationId], sending: Sending) -> Result<Handled> {
    let mut batch = Batch::new(ids, sending);
    if sending == Sending::Again {
        // Lapsed ones take a seat, and the pool comes before members in the order of locks.
        license::lock(change).await?;
    }
    let (opens, seats) = batch.lock(change).await?;
    let standing = who.standing(change).await?;
    let good = batch.judge(change, &standing, opens).await?;
    let good = batch.give_seats(change, good, seats).await?;
    count_mails(change, &addresses(&good)).await?;
    let revived = good.iter().filter(|(_, open)| open.state == State::Expired).map(|(_, open)| open.member_id);
    license::allocate(change, &revived.collect::<Vec<_>>(), true).await?;
    let again = sending == Sending::Again;
    let links: Vec<Link<'_>> = good.iter().map(|(_, open)| Link { open, email: &open.email }).collect();
    queue(change, standing.member_id, &links, again).await?;
    let kind = if again { EventKind::InvitationResent } else { EventKind::InvitationSent };
    for (_, open) in &good {
        let detail = json!({ "invitation": open.invitation_id });
        change.record(NewEvent::new(kind).subject(open.member_id.0).detail(detail));
    }
    Ok(batch.end(good))
}

/// An invitation that is still good: its index in the request.
type Item = (usize, Open);

fn addresses(items: &[Item]) -> Vec<&EmailAddress> {
    items.iter().map(|(_, open)| &open.email).collect()
}

struct Batch {
    sending: Sending,
    /// Each once, by its first index in the request.
    wanted: Vec<(usize, InvitationId)>,
    refused: Vec<(usize, Refused)>,
}

impl Batch {
    fn new(ids: &[InvitationId], sending: Sending) -> Self {
        let mut wanted: Vec<(usize, InvitationId)> = ids.iter().copied().enumerate().collect();
        wanted.sort_by_key(|(_, id)| *id);
        wanted.dedup_by_key(|(_, id)| *id);
        Self { sending, wanted, refused: Vec::new() }
    }

    fn refuse(&mut self, index: usize, error: Error) -> Result<()> {
        let Error::Refused(list) = error else { return Err(error) };
        self.refused.extend(list.into_iter().map(|refused| (index, refused.at(index).at("invitationIds"))));
        Ok(())
    }

    /// Takes seats for those that have lapsed, as many as there are, and locks the open ones. Taking some may lapse others, whose
    /// seats are free then: so it comes first.
    async fn lock(&mut self, change: &mut Change) -> Result<(Vec<Item>, i32)> {
        let ids: Vec<InvitationId> = self.wanted.iter().map(|(_, id)| *id).collect();
        let again = self.sending == Sending::Again;
        let known = if again { lapsed(change, &ids).await? } else { 0 };
        let mut seats = license::take(change, Wanted::UpTo(known)).await?;
        let mut opens = lock_many(change, &ids).await?;
        let found = opens.values().filter(|open| matches!(open, Ok(open) if open.state == State::Expired)).count();
        let found = i32::try_from(found).expect("bounded by the limit on bulk");
        if again && found > known {
            seats += license::take(change, Wanted::UpTo(found - known)).await?;
        }
        let mut items = Vec::with_capacity(ids.len());
        for (index, id) in self.wanted.clone() {
            match opens.remove(&id).unwrap_or_else(|| Err(Code::NotFound.into())) {
                Ok(open) => items.push((index, open)),
                Err(error) => self.refuse(index, error)?,
            }
        }
        Ok((items, seats))
    }

    /// Those that may be sent, as far as seats and mails do not matter.
    async fn judge(&mut self, change: &mut Change, standing: &Standing, opens: Vec<Item>) -> Result<Vec<Item>> {
        let allowed = may_handle_all(change, standing, opens.iter().map(|(_, open)| open)).await?;
        let now = change.now();
        let mut good = Vec::with_capacity(opens.len());
        for ((index, open), allowed) in opens.into_iter().zip(allowed) {
            match self.check(&open, allowed, now) {
                Ok(()) => good.push((index, open)),
                Err(error) => self.refuse(index, error)?,
            }
        }
        Ok(good)
    }

    fn check(&self, open: &Open, allowed: Result<()>, now: Timestamp) -> Result<()> {
        match (self.sending, open.state) {
            (Sending::First, State::NotSent) | (Sending::Again, State::Pending | State::Expired) => {}
            (Sending::First, _) => return Err(Code::InvitationLive.into()),
            (Sending::Again, _) => return Err(Code::InvitationNotSent.into()),
        }
        if open.suspended {
            return Err(Code::InvitationSuspended.into());
        }
        allowed?;
        if self.sending == Sending::Again { check_pause(open, now) } else { Ok(()) }
    }

    /// Those that may get a mail and, if they have lapsed, get a seat; what is left over of the seats goes back.
    async fn give_seats(&mut self, change: &mut Change, items: Vec<Item>, seats: i32) -> Result<Vec<Item>> {
        let limits = mail_limits(change, &addresses(&items)).await?;
        let required = items.iter().filter(|(_, open)| open.state == State::Expired).count();
        let required = i32::try_from(required).expect("bounded by the limit on bulk");
        let (mut left, mut good) = (seats, Vec::with_capacity(items.len()));
        for ((index, open), limit) in items.into_iter().zip(limits) {
            let needs = i32::from(open.state == State::Expired);
            if needs > left {
                let detail = Detail::Seats { required, available: seats };
                self.refuse(index, Refused { detail, ..Refused::new(Code::SeatShortage) }.into())?;
            } else if let Err(refused) = limit {
                self.refuse(index, refused.into())?;
            } else {
                left -= needs;
                good.push((index, open));
            }
        }
        license::give_back(change, left).await?;
        Ok(good)
    }

    fn end(self, sent: Vec<Item>) -> Handled {
        let sent = sent.into_iter().map(|(index, open)| (index, open.invitation_id)).collect();
        Handled { invitations: as_asked(sent), refused: as_asked(self.refused) }
    }
}

/// In the order of the request.
fn as_asked<T>(mut found: Vec<(usize, T)>) -> Vec<T> {
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, one)| one).collect()
}

/// How many of some invitations have lapsed. The pool is locked, so that none does meanwhile.
async fn lapsed(change: &mut Change, ids: &[InvitationId]) -> Result<i32> {
    let account = change.account();
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let lapsed = sqlx::query_scalar!(
        r#"SELECT count(*)::int AS "count!" FROM invitation
           WHERE account_id = $1 AND invitation_id = ANY($2) AND state = 'EXPIRED' AND finished_at IS NULL"#,
        account.0,
        &ids,
    )
    .fetch_one(change.conn())
    .await?;
    Ok(lapsed)
}

/// Not within a minute of the last mail, and not more than five times a day.
fn check_pause(open: &Open, now: Timestamp) -> Result<()> {
    let last = open.resent_at.last().copied().or(open.queued_at);
    if let Some(last) = last.filter(|last| *last + PAUSE > now) {
        return Err(Refused::new(Code::MailLimit).retry_at(last + PAUSE).into());
    }
    let mut of_today = open.resent_at.iter().copied().filter(|at| *at + DAY > now);
    let oldest = of_today.next();
    match oldest {
        Some(oldest) if 1 + of_today.count() >= RESENDS_PER_DAY => {
            Err(Refused::new(Code::MailLimit).retry_at(oldest + DAY).into())
        }
        _ => Ok(()),
    }
}

/// An invitation whose link is to be made anew, and where it goes.
pub(super) struct Link<'a> {
    pub(super) open: &'a Open,
    pub(super) email: &'a EmailAddress,
}

/// Makes the next generation of links and asks for their mails. From now on the actor is answerable for what they grant. Whether
/// they are sent again on demand counts against the limit of a day.
pub(super) async fn queue(change: &mut Change, actor: MemberId, links: &[Link<'_>], again: bool) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let (account, now) = (change.account(), change.now());
    let key = std::sync::Arc::clone(&change.db().key);
    let ids: Vec<_> = links.iter().map(|link| link.open.invitation_id.0).collect();
    let generations: Vec<i32> = links.iter().map(|link| link.open.generation + 1).collect();
    let tokens: Vec<Vec<u8>> = ids
        .iter()
        .zip(&generations)
        .map(|(id, generation)| key.derive(Purpose::Invitation, Some(account), *id, *generation).hash())
        .collect();
    let emails: Vec<String> = links.iter().map(|link| link.email.as_str().to_owned()).collect();
    let queued = sqlx::query!(
        "UPDATE invitation i SET state = 'PENDING', generation = u.generation, token_hash = u.token_hash, token_key_version = $6,
                queued_at = $7, sent_at = NULL, expires_at = NULL, delivery = 'QUEUED', delivery_reply = NULL, delivery_at = NULL,
                undeliverable = false, invited_by = $8, email = u.email,
                resent_at = CASE WHEN $9 THEN ARRAY(SELECT t FROM unnest(i.resent_at) t WHERE t > $10 ORDER BY t) || $7::timestamptz
                                 ELSE i.resent_at END
         FROM unnest($2::uuid[], $3::int[], $4::bytea[], $5::text[]) u (invitation_id, generation, token_hash, email)
         WHERE i.account_id = $1 AND i.invitation_id = u.invitation_id AND i.generation = u.generation - 1
           AND i.finished_at IS NULL",
        account.0,
        &ids,
        &generations,
        &tokens,
        &emails,
        key.version,
        now,
        actor.0,
        again,
        now - DAY,
    )
    .execute(change.conn())
    .await?;
    if queued.rows_affected() != links.len() as u64 {
        return Err(Error::Stale);
    }
    for (link, generation) in links.iter().zip(generations) {
        enqueue_mail(change, link.open.invitation_id, generation);
    }
    Ok(())
}
