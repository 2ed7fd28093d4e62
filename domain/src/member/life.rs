//! The steps of a member's life that others take for them, one by one or many at once: shut out and let in, taken out and back, deleted.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::status::{Locked, lock_many};
use super::{Status, erase, successor};
use crate::across;
use crate::actor::{Action, Actor, Standing, Target};
use crate::billing;
use crate::change::Change;
use crate::error::{AtField as _, Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::MemberId;
use crate::invitation::{self, ErrorPolicy};
use crate::license::{self, Wanted};
use crate::session;

/// What is done to members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Shuts members and invited people out; the seat is kept.
    Suspend,
    /// Gives suspended ones the status before; a lapsed invitation comes back lapsed, and a mail that was held back is sent.
    Activate,
    /// Takes members out and frees their seats.
    Deactivate,
    /// Takes seats again and gives the status before: who was suspended comes back suspended.
    Reactivate,
    /// Deletes them for good, with their personal data.
    Delete,
}

/// Where somebody stands afterwards, and where they stood before if they can come back there.
pub(super) type Stand = (Status, Option<Status>);

impl Step {
    /// What the actor must be allowed.
    pub const fn action(self) -> Action {
        match self {
            Self::Suspend | Self::Activate => Action::Suspend,
            Self::Deactivate | Self::Reactivate => Action::Deactivate,
            Self::Delete => Action::Delete,
        }
    }

    /// Where somebody stands afterwards; none if the step cannot be taken from where they are. Who is deleted stands nowhere, which is
    /// no reason to refuse: they are answered as they are.
    pub(super) fn from(self, status: Status, prior: Option<Status>) -> Option<Stand> {
        match (self, status, prior) {
            (Self::Suspend, Status::Invited | Status::Active, _) => Some((Status::Suspended, Some(status))),
            (Self::Activate, Status::Suspended, Some(prior)) => Some((prior, None)),
            (Self::Deactivate, Status::Active, _) | (Self::Deactivate, Status::Suspended, Some(Status::Active)) => {
                Some((Status::Deactivated, Some(status)))
            }
            (Self::Reactivate, Status::Deactivated, Some(prior)) => {
                Some((prior, (prior == Status::Suspended).then_some(Status::Active)))
            }
            (Self::Delete, ..) => Some((status, prior)),
            _ => None,
        }
    }

    const fn kind(self) -> EventKind {
        match self {
            Self::Suspend => EventKind::MemberSuspended,
            Self::Activate => EventKind::MemberActivated,
            Self::Deactivate => EventKind::MemberDeactivated,
            Self::Reactivate => EventKind::MemberReactivated,
            Self::Delete => EventKind::MemberDeleted,
        }
    }

    /// Whether somebody else must take over what they are responsible for.
    const fn ends_work(self) -> bool {
        matches!(self, Self::Deactivate | Self::Delete)
    }
}

/// To whom it is done.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// The members.
    pub members: Vec<MemberId>,
    /// Whether they were asked for as a list: refusals then stand at `memberIds.<index>`, otherwise at `memberId`.
    pub listed: bool,
    /// What becomes of the good ones when others are refused.
    pub policy: ErrorPolicy,
    /// Who takes over what they are responsible for.
    pub successor: Option<MemberId>,
    /// Whether they may lose licences of linked products with their seat.
    pub release_linked: bool,
    /// Whether a paid seat for each of them is removed at the period's end, when they are deactivated.
    pub remove_seats: bool,
}

impl Subjects {
    /// One member.
    pub fn one(member: MemberId) -> Self {
        Self {
            members: vec![member],
            listed: false,
            policy: ErrorPolicy::AllOrNothing,
            successor: None,
            release_linked: false,
            remove_seats: false,
        }
    }
}

/// What became of several members, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// With whom it was done.
    pub members: Vec<MemberId>,
    /// The others, by their place in the request.
    pub refused: Vec<Refused>,
}

/// Takes a step of members' lives. Locks people if any may be erased, then pool, members in the order of their ids, and the rest.
///
/// # Errors
/// With [`ErrorPolicy::AllOrNothing`] every refusal; otherwise only what concerns all: NOT_PERMITTED, and what is wrong with the
/// successor or with removing their seats. Per member NOT_FOUND, NOT_PERMITTED, OWN_STATUS, OWNER_PROTECTED, WRONG_STATUS, SEAT_SHORTAGE,
/// VALIDITY_OVER, SUCCESSOR_REQUIRED, LINKED_LICENSE_HELD.
pub async fn take(change: &mut Change, actor: &Actor, step: Step, subjects: &Subjects) -> Result<Taken> {
    actor.may(step.action(), Target::Anywhere)?;
    let mut batch = Batch::new(subjects);
    let removes_seats = subjects.remove_seats && step == Step::Deactivate;
    if removes_seats {
        billing::lock(change).await?;
    }
    let people = if step == Step::Delete { erase::lock_people(change, &batch.wanted()).await? } else { Vec::new() };
    let seats = prepare_pool(change, step, batch.open.len()).await?;
    let mut ids = batch.wanted();
    ids.extend(subjects.successor);
    let locked = lock_many(change, &ids).await?;
    let standing = change.standing(actor).await?;
    if let Some(successor) = subjects.successor {
        successor::check(&standing, step.action(), &locked, successor, &batch.wanted()).at("successorId")?;
    }
    batch.judge(&standing, step, &locked);
    if step == Step::Reactivate {
        super::validity::refuse_ended(change, &mut batch.open, &mut batch.refused, &locked).await?;
        batch.share_seats(change, seats).await?;
    }
    if step.ends_work() && subjects.successor.is_none() {
        let busy = successor::responsible(change, &batch.wanted()).await?;
        batch.refuse_where(Code::SuccessorRequired, |member| busy.contains(&member));
    }
    if step.ends_work() && !subjects.release_linked {
        let holders = license::allocate::holders_of_linked(change, &batch.wanted()).await?;
        batch.refuse_where(Code::LinkedLicenseHeld, |member| holders.contains(&member));
    }
    let done = batch.settle(subjects)?;
    let members: Vec<MemberId> = done.members.clone();
    if members.is_empty() {
        return Ok(done);
    }
    if let Some(successor) = subjects.successor.filter(|_| step.ends_work()) {
        successor::move_all(change, &members, successor).await?;
    }
    if step == Step::Delete {
        erase::erase(change, &members, &locked, &people).await?;
    } else {
        apply(change, step, &members, &locked).await?;
    }
    if removes_seats {
        license::change::remove_freed(change, actor, members.len()).await?;
    }
    Ok(done)
}

/// The pool comes before members. Seats are taken for all who may come back; what is left over goes back.
async fn prepare_pool(change: &mut Change, step: Step, count: usize) -> Result<i32> {
    match step {
        Step::Suspend | Step::Activate => Ok(0),
        Step::Deactivate | Step::Delete => license::lock(change).await.map(|()| 0),
        Step::Reactivate => {
            license::lock(change).await?;
            license::take(change, Wanted::UpTo(i32::try_from(count).expect("bounded by the limit on bulk"))).await
        }
    }
}

/// Writes the new statuses and what goes with them.
async fn apply(
    change: &mut Change,
    step: Step,
    members: &[MemberId],
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<()> {
    let places: Vec<(MemberId, &Locked, Stand)> = members
        .iter()
        .filter_map(|member| {
            let locked = locked.get(member)?;
            Some((*member, locked, step.from(locked.status, locked.prior_status)?))
        })
        .collect();
    set_statuses(change, &places, step.kind()).await?;
    match step {
        Step::Suspend => session::end_of_members(change, members).await,
        Step::Activate => {
            let invited = places.iter().filter(|(.., place)| place.0 == Status::Invited).map(|(member, ..)| *member);
            invitation::send_held(change, &invited.collect::<Vec<_>>()).await
        }
        Step::Reactivate => license::allocate(change, members, false).await,
        Step::Deactivate | Step::Delete => {
            license::release(change, members).await?;
            session::end_of_members(change, members).await
        }
    }
}

/// Gives locked members their new statuses, with an event each.
pub(super) async fn set_statuses(
    change: &mut Change,
    places: &[(MemberId, &Locked, Stand)],
    kind: EventKind,
) -> Result<()> {
    let account = change.account();
    let ids: Vec<Uuid> = places.iter().map(|(member, ..)| member.0).collect();
    let from: Vec<String> = places.iter().map(|(_, locked, _)| locked.status.as_str().to_owned()).collect();
    let to: Vec<String> = places.iter().map(|(.., (to, _))| to.as_str().to_owned()).collect();
    let prior: Vec<Option<String>> =
        places.iter().map(|(.., (_, prior))| prior.map(|prior| prior.as_str().to_owned())).collect();
    let set = sqlx::query!(
        "UPDATE member m SET status = u.after, prior_status = u.prior
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) u(member_id, before, after, prior)
         WHERE m.account_id = $1 AND m.member_id = u.member_id AND m.status = u.before",
        account.0,
        &ids,
        &from,
        &to,
        &prior as &[Option<String>],
    )
    .execute(change.conn())
    .await?;
    if set.rows_affected() != places.len() as u64 {
        return Err(Error::Stale);
    }
    change.rights_changed();
    for (member, locked, (to, _)) in places {
        let detail = json!({ "before": locked.status, "after": to });
        change.record(NewEvent::new(kind).subject(member.0).detail(detail));
    }
    Ok(())
}

/// Members of a request that nothing has been said against yet, each with its place in the request.
struct Batch {
    listed: bool,
    open: Vec<(usize, MemberId)>,
    refused: Vec<(usize, Refused)>,
}

impl Batch {
    fn new(subjects: &Subjects) -> Self {
        let mut seen = HashSet::new();
        let each = subjects.members.iter().copied().enumerate();
        Self {
            listed: subjects.listed,
            open: each.filter(|(_, member)| seen.insert(*member)).collect(),
            refused: Vec::new(),
        }
    }

    fn wanted(&self) -> Vec<MemberId> {
        self.open.iter().map(|(_, member)| *member).collect()
    }

    fn judge(&mut self, standing: &Standing, step: Step, locked: &BTreeMap<MemberId, Locked>) {
        for (index, member) in std::mem::take(&mut self.open) {
            let judged = match locked.get(&member) {
                None => Err(Refused::new(Code::NotFound)),
                Some(locked) => super::verdict::judge(standing.member_id, &standing.rights, step, member, locked),
            };
            match judged {
                Ok(()) => self.open.push((index, member)),
                Err(refused) => self.refused.push((index, refused)),
            }
        }
    }

    fn refuse_where(&mut self, code: Code, wrong: impl Fn(MemberId) -> bool) {
        let refused = &mut self.refused;
        self.open.retain(|(index, member)| {
            let wrong = wrong(*member);
            if wrong {
                refused.push((*index, Refused::new(code)));
            }
            !wrong
        });
    }

    /// Seats go to the first ones.
    async fn share_seats(&mut self, change: &mut Change, seats: i32) -> Result<()> {
        let required = i32::try_from(self.open.len()).expect("bounded by the limit on bulk");
        let kept = usize::try_from(seats.min(required)).unwrap_or_default();
        for (index, _) in self.open.drain(kept..) {
            let detail = Detail::Seats { required, available: seats };
            self.refused.push((index, Refused { detail, ..Refused::new(Code::SeatShortage) }));
        }
        license::give_back(change, (seats - required).max(0)).await
    }

    fn settle(self, subjects: &Subjects) -> Result<Taken> {
        let listed = self.listed;
        let mut refused = self.refused;
        refused.sort_by_key(|(index, _)| *index);
        let at = |(index, refused): (usize, Refused)| {
            if listed { refused.at(index).at("memberIds") } else { refused.at("memberId") }
        };
        let refused: Vec<Refused> = refused.into_iter().map(at).collect();
        let nothing = !listed || subjects.policy == ErrorPolicy::AllOrNothing;
        if nothing && !refused.is_empty() {
            return Err(Error::Refused(refused));
        }
        Ok(Taken { members: self.open.into_iter().map(|(_, member)| member).collect(), refused })
    }
}

/// [`Step::Suspend`] of one member.
pub async fn suspend(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    take(change, actor, Step::Suspend, &Subjects::one(member)).await.map(drop)
}

/// [`Step::Activate`] of one member.
pub async fn activate(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    take(change, actor, Step::Activate, &Subjects::one(member)).await.map(drop)
}

/// [`Step::Deactivate`] of one member.
pub async fn deactivate(change: &mut Change, actor: &Actor, member: MemberId) -> Result<()> {
    take(change, actor, Step::Deactivate, &Subjects::one(member)).await.map(drop)
}

/// Leaves the account: as if deactivated, by oneself.
///
/// # Errors
/// NOT_FOUND and SUCCESSOR_INVALID at `successorId`, OWNER_PROTECTED, SUCCESSOR_REQUIRED.
pub async fn leave(change: &mut Change, actor: &Actor, successor: Option<MemberId>) -> Result<MemberId> {
    let me = actor.member_id;
    license::lock(change).await?;
    let ids: Vec<MemberId> = std::iter::once(me).chain(successor).collect();
    let locked = lock_many(change, &ids).await?;
    let standing = change.standing(actor).await?;
    if let Some(successor) = successor {
        successor::check(&standing, Action::ReadMembers, &locked, successor, &[me]).at("successorId")?;
    }
    let own = locked.get(&me).ok_or(Error::Unauthenticated)?;
    if own.owner {
        return Err(Code::OwnerProtected.into());
    }
    if own.status != Status::Active {
        return Err(Error::Stale);
    }
    match successor {
        Some(successor) => successor::move_all(change, &[me], successor).await?,
        None if !successor::responsible(change, &[me]).await?.is_empty() => {
            return Err(Refused::new(Code::SuccessorRequired).at("successorId").into());
        }
        None => {}
    }
    let place = (Status::Deactivated, Some(Status::Active));
    set_statuses(change, &[(me, own, place)], EventKind::MemberLeft).await?;
    license::release(change, &[me]).await?;
    session::end_of_members(change, &[me]).await?;
    Ok(me)
}

/// Takes out active and suspended members, as the system: the owner takes over their work. The pool must be locked.
pub(super) async fn take_out(change: &mut Change, members: &[MemberId]) -> Result<usize> {
    let account = change.account();
    let owner = across::owner_of(change.conn(), account).await?;
    let mut ids = members.to_vec();
    ids.push(owner);
    let mut locked = lock_many(change, &ids).await?;
    locked.retain(|member, locked| {
        *member != owner && Step::Deactivate.from(locked.status, locked.prior_status).is_some()
    });
    let members: Vec<MemberId> = locked.keys().copied().collect();
    if members.is_empty() {
        return Ok(0);
    }
    successor::move_all(change, &members, owner).await?;
    apply(change, Step::Deactivate, &members, &locked).await?;
    Ok(members.len())
}

/// Takes out, as the system, those whose seat is removed: members are deactivated and hand their work over to whom they are named with, or to
/// the owner; invitations are revoked. The pools must be locked.
pub(crate) async fn take_out_named(change: &mut Change, leavers: &[(MemberId, Option<MemberId>)]) -> Result<()> {
    if leavers.is_empty() {
        return Ok(());
    }
    let account = change.account();
    let owner = across::owner_of(change.conn(), account).await?;
    let mut ids: Vec<MemberId> = leavers.iter().flat_map(|(member, to)| std::iter::once(*member).chain(*to)).collect();
    ids.push(owner);
    ids.sort_unstable();
    ids.dedup();
    let locked = lock_many(change, &ids).await?;
    let leaving: Vec<MemberId> = leavers.iter().map(|(member, _)| *member).filter(|member| *member != owner).collect();
    let stays = |member: &MemberId| {
        !leaving.contains(member) && locked.get(member).is_some_and(|locked| locked.status == Status::Active)
    };
    for (member, to) in leavers.iter().filter(|(member, _)| *member != owner) {
        let Some(found) = locked.get(member) else { continue };
        if Step::Deactivate.from(found.status, found.prior_status).is_some() {
            successor::move_all(change, &[*member], to.filter(stays).unwrap_or(owner)).await?;
            apply(change, Step::Deactivate, &[*member], &locked).await?;
        } else {
            invitation::revoke_of(change, *member).await?;
        }
    }
    Ok(())
}
