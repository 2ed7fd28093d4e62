//! A random walk over invitations, statuses and roles beside a small model of them: after each step the answer, the members, their
//! seats, roles and invitations must be what the model says, and the promises about seats, owner and invitations must hold.
//! Members who change roles meet a refusal exactly where the model says that they would give more than they hold, and what
//! anybody is given or loses binds the session that they have.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::app::{App, Options, Person};

const SEATS: usize = 6;
const SLOTS: usize = 9;
const LIFETIME: i64 = 24 * 60;
const DAY: i64 = 24 * 60;
const RESENDS_PER_DAY: usize = 5;

/// Permissions that one role tells from another, and one that stands for all that only the same roles hold.
const KINDS: [&str; 8] = [
    "members.read",
    "roles.assign",
    "resources.read",
    "groups.manage",
    "licenses.allocate",
    "licenses.read",
    "imports.read",
    "activity.read",
];
/// The first of [`KINDS`] can be held within a unit, the others for the whole account only.
const LIMITABLE: u16 = 0b0_0000_0111 | EVERYTHING;
const ASSIGN: u16 = 0b0_0000_0010;
/// What is declared later as well.
const EVERYTHING: u16 = 0b1_0000_0000;
/// What roles hold of [`KINDS`], the first one in the lowest bit.
const ROLES: [(SystemRole, u16); 5] = [
    (SystemRole::Administrator, 0b1_1111_1111),
    (SystemRole::MemberManager, 0b0_0101_1111),
    (SystemRole::BillingManager, 0b0_0011_0001),
    (SystemRole::Auditor, 0b0_1110_0101),
    (SystemRole::Standard, 0),
];
const ADMINISTRATOR: Given = (0, ACCOUNT);
const STANDARD: Given = (4, ACCOUNT);
/// The scope of the whole account; the units are those after it.
const ACCOUNT: usize = 0;
const SCOPES: usize = 3;

/// A role of [`ROLES`] in a scope.
type Given = (usize, usize);

/// What somebody holds by assignments of each scope.
#[derive(Clone, Copy, Debug, Default)]
struct Held([u16; SCOPES]);

impl Held {
    fn of(roles: &BTreeSet<Given>) -> Self {
        let mut held = Self::default();
        for (role, scope) in roles {
            held.0[*scope] |= ROLES[*role].1 & if *scope == ACCOUNT { u16::MAX } else { LIMITABLE };
        }
        held
    }

    fn covers(self, other: Self) -> bool {
        (0..SCOPES).all(|scope| other.0[scope] & !(self.0[ACCOUNT] | self.0[scope]) == 0)
    }

    fn assigns_in(self, scope: usize) -> bool {
        (self.0[ACCOUNT] | self.0[scope]) & ASSIGN != 0
    }

    fn assigns_in_all(self, given: &BTreeSet<Given>) -> bool {
        given.iter().all(|(_, scope)| self.assigns_in(*scope))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotSent,
    /// Until this minute.
    Pending(i64),
    Expired,
    Accepted,
    Revoked,
    Declined,
}

#[derive(Clone, Debug)]
struct Invitation {
    id: String,
    state: State,
    resent: Vec<i64>,
    /// Who must hold what it gives when it is accepted.
    inviter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Invited,
    Active,
    Suspended,
    Deactivated,
}

#[derive(Clone, Debug)]
struct Member {
    id: String,
    status: Status,
    prior: Option<Status>,
    seat: bool,
    roles: BTreeSet<Given>,
    units: BTreeSet<usize>,
}

/// An address: who is behind it now, the newest invitation, and the newest link that went there with what it leads to.
#[derive(Clone, Debug, Default)]
struct Slot {
    email: String,
    member: Option<Member>,
    invitations: Vec<Invitation>,
    link: Option<(String, usize)>,
}

impl Slot {
    fn open(&mut self) -> Option<&mut Invitation> {
        let last = self.invitations.last_mut()?;
        matches!(last.state, State::NotSent | State::Pending(_) | State::Expired).then_some(last)
    }

    /// Ends the open invitation without a yes.
    fn end(&mut self, state: State) {
        self.open().expect("an open invitation").state = state;
        self.member = None;
    }
}

/// A small generator: its sequence is the whole of a walk's randomness.
struct Random(u64);

impl Random {
    /// Of `xorshift64*`, the upper bits.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(bits).unwrap() % bound
    }
}

/// A wish to change somebody's roles.
#[derive(Clone, Copy)]
struct Assigning<'a> {
    by: &'a str,
    id: &'a str,
    of_owner: bool,
    units: &'a BTreeSet<usize>,
    before: &'a BTreeSet<Given>,
    given: &'a BTreeSet<Given>,
    mode: &'static str,
}

impl Assigning<'_> {
    fn outcome(&self) -> BTreeSet<Given> {
        match self.mode {
            "ADD" => self.before.union(self.given).copied().collect(),
            "REMOVE" => self.before.difference(self.given).copied().collect(),
            _ => self.given.clone(),
        }
    }
}

struct Walk<'a> {
    app: &'a App,
    owner: Person,
    owner_roles: BTreeSet<Given>,
    /// By scope; of the whole account there is none.
    units: [String; SCOPES],
    random: Random,
    /// Minutes the clock was moved.
    now: i64,
    slots: Vec<Slot>,
    /// Addresses that were used and are walked on no more.
    left: Vec<Slot>,
    addresses: usize,
    tally: BTreeMap<String, usize>,
}

type Codes = Vec<String>;

impl Walk<'_> {
    fn in_use(&self) -> usize {
        let members = self.slots.iter().chain(&self.left).filter_map(|slot| slot.member.as_ref());
        1 + members.filter(|member| member.seat).count()
    }

    fn lapse(&mut self) -> i32 {
        let mut lapsed = 0;
        for slot in self.slots.iter_mut().chain(&mut self.left) {
            let now = self.now;
            let Some(open) = slot.open() else { continue };
            if matches!(open.state, State::Pending(until) if until <= now) {
                open.state = State::Expired;
                slot.member.as_mut().expect("an open invitation has a member").seat = false;
                lapsed += 1;
            }
        }
        lapsed
    }

    /// Whether a seat can be had; overdue invitations lapse when there is none.
    fn take_seat(&mut self) -> bool {
        if self.in_use() < SEATS {
            return true;
        }
        self.lapse();
        self.in_use() < SEATS
    }

    fn pass(&mut self, minutes: i64) {
        self.app.pass(SignedDuration::from_mins(minutes));
        self.now += minutes;
    }

    async fn link(&self, slot: usize) -> Result<Option<(String, usize)>> {
        let slot = &self.slots[slot];
        let token = self.app.letter(&slot.email).await?.token();
        Ok(Some((token, slot.invitations.len() - 1)))
    }

    fn some_given(&mut self, most: usize) -> BTreeSet<Given> {
        let many = 1 + self.random.below(most);
        (0..many).map(|_| (self.random.below(ROLES.len()), self.random.below(SCOPES))).collect()
    }

    /// As input: `roleIds` and `unitRoles`.
    fn named(&self, given: &BTreeSet<Given>) -> (Vec<String>, Vec<Value>) {
        let id = |role: usize| ROLES[role].0.id().to_string();
        let wide = given.iter().filter(|(_, scope)| *scope == ACCOUNT).map(|(role, _)| id(*role)).collect();
        let limited = given.iter().filter(|(_, scope)| *scope != ACCOUNT);
        (wide, limited.map(|(role, scope)| json!({ "roleId": id(*role), "unitId": self.units[*scope] })).collect())
    }

    /// What a member holds who may use it now.
    fn held_by(&self, id: &str) -> Held {
        if id == self.owner.member_id {
            return Held::of(&self.owner_roles);
        }
        let members = self.slots.iter().filter_map(|slot| slot.member.as_ref());
        let active = members.filter(|member| member.id == id && member.status == Status::Active);
        active.map(|member| Held::of(&member.roles)).next().unwrap_or_default()
    }

    /// A session of a slot's member, if they may have one.
    async fn session(&self, slot: usize) -> Result<Option<String>> {
        let active = self.slots[slot].member.as_ref().is_some_and(|member| member.status == Status::Active);
        if active { Ok(Some(self.app.sign_in(&self.slots[slot].email).await?)) } else { Ok(None) }
    }

    /// What was done to somebody binds the session that they had.
    async fn check_session(&self, slot: usize, session: Option<String>) -> Result<()> {
        let Some(token) = session else { return Ok(()) };
        let document = "{ viewer { permissions unitPermissions { unitId permissions } } }";
        let answer = self.app.graphql(Some(&token), document, Value::Null).await?;
        let Some(member) = self.slots[slot].member.as_ref().filter(|member| member.status == Status::Active) else {
            assert_eq!(answer.errors(), ["UNAUTHENTICATED"], "{}", answer.body);
            return Ok(());
        };
        let of_kinds = |keys: &Value| -> u16 {
            let held = |kind: &str| keys.as_array().unwrap().iter().any(|key| key == kind);
            KINDS.iter().enumerate().map(|(bit, kind)| u16::from(held(kind)) << bit).sum()
        };
        let wanted = Held::of(&member.roles).0;
        assert_eq!(of_kinds(answer.data("/viewer/permissions")), wanted[ACCOUNT] & !EVERYTHING, "{}", answer.body);
        let units = answer.data("/viewer/unitPermissions").as_array().unwrap();
        let shown: BTreeMap<&str, u16> =
            units.iter().map(|unit| (unit["unitId"].as_str().unwrap(), of_kinds(&unit["permissions"]))).collect();
        let scopes: BTreeSet<usize> =
            member.roles.iter().map(|(_, scope)| *scope).filter(|scope| *scope != ACCOUNT).collect();
        let wanted: BTreeMap<&str, u16> =
            scopes.iter().map(|scope| (self.units[*scope].as_str(), wanted[*scope] & !EVERYTHING)).collect();
        assert_eq!(shown, wanted, "{}", answer.body);
        Ok(())
    }

    /// Changes roles of a slot's member or, rarely, of the owner: as the owner, or as any active member.
    async fn assign(&mut self, slot: usize) -> Result<Option<(Codes, Codes)>> {
        let of_owner = self.random.below(10) == 0;
        let actor = self.random.below(SLOTS * 2);
        let (by, token) = match self.slots.get(actor).and_then(|slot| slot.member.clone()) {
            Some(member) if member.status == Status::Active => {
                (member.id, self.session(actor).await?.context("an active member signs in")?)
            }
            _ => (self.owner.member_id.clone(), self.owner.token.clone()),
        };
        let (id, before, units) = match &self.slots[slot].member {
            _ if of_owner => (self.owner.member_id.clone(), self.owner_roles.clone(), BTreeSet::new()),
            Some(member) => (member.id.clone(), member.roles.clone(), member.units.clone()),
            None => return Ok(None),
        };
        let session = if of_owner { None } else { self.session(slot).await? };
        let mode = ["ADD", "REMOVE", "SET"][self.random.below(3)];
        // What is taken away is mostly something that they have.
        let given = match before.iter().nth(self.random.below(before.len() * 2)) {
            Some(one) if mode == "REMOVE" => BTreeSet::from([*one]),
            _ => self.some_given(2),
        };
        let (wide, limited) = self.named(&given);
        let input = json!({ "memberId": id, "mode": mode, "roleIds": wide, "unitRoles": limited });
        let answer = self.app.mutate(Some(&token), "memberAssignRoles", input, "member { id }").await?;
        let wish = Assigning { by: &by, id: &id, of_owner, units: &units, before: &before, given: &given, mode };
        let (after, wanted) = (wish.outcome(), self.verdict(&wish));
        if wanted.is_empty() && of_owner {
            self.owner_roles = after;
        } else if wanted.is_empty() && after != before {
            self.slots[slot].member.as_mut().expect("they are there").roles = after;
            if let Some(open) = self.slots[slot].open() {
                open.inviter = by;
            }
        }
        self.check_session(slot, session).await?;
        Ok(Some((answer.codes(), codes(wanted))))
    }

    /// What the model says of a wish to change roles.
    fn verdict(&self, wish: &Assigning<'_>) -> &'static str {
        let Assigning { by, id, of_owner, units, before, given, mode } = *wish;
        let after = wish.outcome();
        let held = self.held_by(by);
        let found = held.assigns_in(ACCOUNT) || units.iter().any(|unit| held.assigns_in(*unit));
        let escalates = mode != "REMOVE" && !held.covers(Held::of(given));
        let lost: BTreeSet<Given> = before.difference(&after).copied().collect();
        match () {
            () if (0..SCOPES).all(|scope| !held.assigns_in(scope)) => "NOT_PERMITTED",
            () if !held.assigns_in_all(given) || escalates => "NOT_PERMITTED",
            () if by != id && !found => "NOT_FOUND",
            () if by != id && of_owner => "OWNER_PROTECTED",
            () if by != id && !held.covers(Held::of(before)) => "NOT_PERMITTED",
            () if after == *before => "",
            () if !held.assigns_in_all(&lost) => "NOT_PERMITTED",
            () if of_owner && !after.contains(&ADMINISTRATOR) => "OWNER_PROTECTED",
            () if after.is_empty() => "ROLE_REQUIRED",
            () => "",
        }
    }

    /// Invites an address; answers the codes that came and those that the model wants.
    async fn invite(&mut self, slot: usize) -> Result<(Codes, Codes)> {
        let send = self.random.below(4) > 0;
        let roles = if self.random.below(2) == 0 { BTreeSet::from([STANDARD]) } else { self.some_given(2) };
        let units: BTreeSet<usize> = (1..SCOPES).filter(|_| self.random.below(3) == 0).collect();
        let (wide, limited) = self.named(&roles);
        let unit_ids: Vec<&String> = units.iter().map(|unit| &self.units[*unit]).collect();
        let item =
            json!({ "email": self.slots[slot].email, "roleIds": wide, "unitRoles": limited, "unitIds": unit_ids });
        let input = json!({ "invitations": [item], "send": send });
        let answer =
            self.app.mutate(Some(&self.owner.token), "memberInvite", input, "invitations { id member { id } }").await?;
        let now = self.now;
        let overdue =
            matches!(self.slots[slot].open(), Some(Invitation { state: State::Pending(until), .. }) if *until <= now);
        if let Some(member) =
            self.slots[slot].member.as_mut().filter(|member| overdue && member.status == Status::Invited)
        {
            member.seat = false;
            self.slots[slot].open().expect("it is overdue").state = State::Expired;
        }
        let lapsed = matches!(self.slots[slot].open(), Some(Invitation { state: State::Expired, .. }));
        let wanted = match self.slots[slot].member.clone() {
            Some(Member { status: Status::Active, .. }) => "ALREADY_MEMBER",
            Some(Member { status: Status::Suspended | Status::Deactivated, .. }) => "MEMBER_INACTIVE",
            Some(Member { status: Status::Invited, .. }) if !lapsed => "ALREADY_INVITED",
            _ if !self.take_seat() => "SEAT_SHORTAGE",
            _ => "",
        };
        if wanted.is_empty() && answer.codes().is_empty() {
            if self.slots[slot].member.is_some() {
                self.slots[slot].end(State::Revoked);
            }
            let state = if send { State::Pending(self.now + LIFETIME) } else { State::NotSent };
            let id = answer.text("/memberInvite/invitations/0/id");
            let inviter = self.owner.member_id.clone();
            self.slots[slot].invitations.push(Invitation { id, state, resent: Vec::new(), inviter });
            let id = answer.text("/memberInvite/invitations/0/member/id");
            self.slots[slot].member =
                Some(Member { id, status: Status::Invited, prior: None, seat: true, roles, units });
            if send {
                self.slots[slot].link = self.link(slot).await?;
            }
        }
        Ok((answer.codes(), codes(wanted)))
    }

    async fn send(&mut self, slot: usize, mutation: &str) -> Result<Option<(Codes, Codes)>> {
        let Some(invitation) = self.slots[slot].invitations.last().cloned() else { return Ok(None) };
        let input = json!({ "invitationIds": [invitation.id] });
        let answer = self.app.mutate(Some(&self.owner.token), mutation, input, "invitations { id }").await?;
        let suspended = self.slots[slot].member.as_ref().is_some_and(|member| member.status == Status::Suspended);
        let first = mutation == "invitationSend";
        let today = invitation.resent.iter().filter(|at| **at + DAY > self.now).count();
        let wanted = match invitation.state {
            State::Accepted | State::Revoked | State::Declined => "INVITATION_NOT_OPEN",
            State::Pending(_) | State::Expired if first => "INVITATION_ALREADY_SENT",
            State::NotSent if !first => "INVITATION_NOT_SENT",
            _ if suspended => "INVITATION_SUSPENDED",
            _ if !first && today >= RESENDS_PER_DAY => "MAIL_LIMIT",
            State::Expired if !self.take_seat() => "SEAT_SHORTAGE",
            _ => "",
        };
        if wanted.is_empty() {
            let (now, inviter) = (self.now, self.owner.member_id.clone());
            let slot_now = &mut self.slots[slot];
            slot_now.member.as_mut().context("an open invitation has a member")?.seat = true;
            let open = slot_now.open().expect("it is open");
            open.state = State::Pending(now + LIFETIME);
            open.inviter = inviter;
            if !first {
                open.resent.push(now);
            }
            self.slots[slot].link = self.link(slot).await?;
        }
        Ok(Some((answer.codes(), codes(wanted))))
    }

    async fn answer(&mut self, slot: usize, accept: bool) -> Result<Option<(Codes, Codes)>> {
        let Some((token, index)) = self.slots[slot].link.clone() else { return Ok(None) };
        let answer = if accept {
            self.app.accept(&token, "Jo", "Doe").await?
        } else {
            self.app.mutate(None, "invitationDecline", json!({ "token": token }), "declined").await?
        };
        let state = self.slots[slot].invitations[index].state;
        let suspended = self.slots[slot].member.as_ref().is_some_and(|member| member.status == Status::Suspended);
        let inviter = self.held_by(&self.slots[slot].invitations[index].inviter);
        let given = self.slots[slot].member.as_ref().map(|member| Held::of(&member.roles)).unwrap_or_default();
        let wanted = match state {
            State::Accepted => "INVITATION_USED",
            State::Declined => "INVITATION_DECLINED",
            State::Revoked => "INVITATION_REVOKED",
            State::Expired => "INVITATION_EXPIRED",
            State::Pending(_) if suspended => "INVITATION_SUSPENDED",
            State::Pending(until) if until <= self.now => "INVITATION_EXPIRED",
            State::Pending(_) if accept && !inviter.covers(given) => "INVITER_LOST_RIGHTS",
            State::Pending(_) => "",
            State::NotSent => unreachable!("no link leads to an invitation without one"),
        };
        if wanted.is_empty() && accept {
            self.slots[slot].open().expect("it is open").state = State::Accepted;
            self.slots[slot].member.as_mut().expect("somebody is invited").status = Status::Active;
        } else if wanted.is_empty() {
            self.slots[slot].end(State::Declined);
        }
        Ok(Some((answer.codes(), codes(wanted))))
    }

    async fn revoke(&mut self, slot: usize) -> Result<Option<(Codes, Codes)>> {
        let Some(invitation) = self.slots[slot].invitations.last().cloned() else { return Ok(None) };
        let input = json!({ "invitationId": invitation.id });
        let answer = self.app.mutate(Some(&self.owner.token), "invitationRevoke", input, "invitation { id }").await?;
        let open = self.slots[slot].open().is_some();
        if open {
            self.slots[slot].end(State::Revoked);
        }
        Ok(Some((answer.codes(), codes(if open { "" } else { "INVITATION_NOT_OPEN" }))))
    }

    async fn status(&mut self, slot: usize, mutation: &str) -> Result<Option<(Codes, Codes)>> {
        let Some(member) = self.slots[slot].member.clone() else { return Ok(None) };
        let session = self.session(slot).await?;
        let input = json!({ "memberId": member.id });
        let answer = self.app.mutate(Some(&self.owner.token), mutation, input, "member { id }").await?;
        let joined = member.status == Status::Active || member.prior == Some(Status::Active);
        let (wanted, after) = match (mutation, member.status) {
            ("memberSuspend", Status::Invited | Status::Active) => {
                ("", Some((Status::Suspended, Some(member.status), member.seat)))
            }
            ("memberActivate", Status::Suspended) => ("", Some((member.prior.unwrap(), None, member.seat))),
            ("memberDeactivate", Status::Active | Status::Suspended) if joined => {
                ("", Some((Status::Deactivated, Some(member.status), false)))
            }
            ("memberReactivate", Status::Deactivated) if !self.take_seat() => ("SEAT_SHORTAGE", None),
            ("memberReactivate", Status::Deactivated) => {
                let prior = member.prior.unwrap();
                ("", Some((prior, (prior == Status::Suspended).then_some(Status::Active), true)))
            }
            _ => ("WRONG_STATUS", None),
        };
        if let Some((status, prior, seat)) = after {
            self.slots[slot].member = Some(Member { status, prior, seat, ..member });
        }
        self.check_session(slot, session).await?;
        Ok(Some((answer.codes(), codes(wanted))))
    }

    /// Deletes somebody, whatever their status; what is left of them are invitations that have ended.
    async fn delete(&mut self, slot: usize) -> Result<Option<(Codes, Codes)>> {
        let Some(member) = self.slots[slot].member.clone() else { return Ok(None) };
        let session = self.session(slot).await?;
        let input = json!({ "memberId": member.id });
        let answer = self.app.mutate(Some(&self.owner.token), "memberDelete", input, "deletedIds").await?;
        let fresh = self.fresh();
        self.slots[slot] = fresh;
        self.check_session(slot, session).await?;
        let events = format!(
            "SELECT count(*) FROM event_personal WHERE subject_id = '{}' AND body - 'networkAddress' <> '{{}}'",
            member.id.parse::<domain::id::MemberId>()?.0
        );
        assert_eq!(self.app.look(&events).await?.as_deref(), Some("0"), "something personal is left");
        Ok(Some((answer.codes(), codes(""))))
    }

    /// Lets an active member leave by themselves; nobody else can sign in.
    async fn leave(&mut self, slot: usize) -> Result<Option<(Codes, Codes)>> {
        let Some(member) = self.slots[slot].member.clone() else { return Ok(None) };
        if member.status == Status::Invited
            || (member.status == Status::Suspended && member.prior == Some(Status::Invited))
        {
            return Ok(None);
        }
        let input = json!({ "email": self.slots[slot].email, "password": crate::support::app::PASSWORD });
        let signed_in = self.app.mutate(None, "sessionCreate", input, "token").await?;
        if member.status != Status::Active {
            return Ok(Some((signed_in.codes(), codes("NO_USABLE_MEMBERSHIP"))));
        }
        let token = signed_in.text("/sessionCreate/token");
        let answer = self.app.mutate(Some(&token), "memberLeave", json!({}), "memberId").await?;
        let after = self.app.graphql(Some(&token), "{ viewer { permissions } }", serde_json::Value::Null).await?;
        assert_eq!(after.errors(), ["UNAUTHENTICATED"], "the session outlives the membership");
        let (status, prior) = (Status::Deactivated, Some(Status::Active));
        self.slots[slot].member = Some(Member { status, prior, seat: false, ..member });
        Ok(Some((answer.codes(), codes(""))))
    }

    async fn step(&mut self) -> Result<(String, Option<(Codes, Codes)>)> {
        let slot = self.random.below(SLOTS);
        let names = [
            "invite",
            "invite",
            "invitationSend",
            "invitationResend",
            "accept",
            "accept",
            "decline",
            "revoke",
            "time",
            "sweep",
            "memberSuspend",
            "memberActivate",
            "memberDeactivate",
            "memberReactivate",
            "memberDelete",
            "memberLeave",
            "memberAssignRoles",
            "memberAssignRoles",
            "memberAssignRoles",
            "another address",
        ];
        let name = names[self.random.below(names.len())];
        let outcome = match name {
            "invite" => Some(self.invite(slot).await?),
            "invitationSend" => self.send(slot, name).await?,
            "invitationResend" => {
                self.pass(2);
                self.send(slot, name).await?
            }
            "accept" => self.answer(slot, true).await?,
            "decline" => self.answer(slot, false).await?,
            "revoke" => self.revoke(slot).await?,
            "time" => {
                let hours = i64::try_from(self.random.below(24))?;
                self.pass(60 * hours);
                None
            }
            "sweep" => {
                let swept = self.app.sweep("invitations.lapse").await?;
                Some((vec![swept.to_string()], vec![self.lapse().to_string()]))
            }
            "another address" => {
                let gone = self.slots[slot].member.as_ref().is_some_and(|m| m.status == Status::Deactivated);
                if gone {
                    let fresh = self.fresh();
                    self.left.push(std::mem::replace(&mut self.slots[slot], fresh));
                }
                None
            }
            "memberDelete" => self.delete(slot).await?,
            "memberLeave" => self.leave(slot).await?,
            "memberAssignRoles" => self.assign(slot).await?,
            status => self.status(slot, status).await?,
        };
        Ok((format!("{name} of {}", self.slots[slot].email), outcome))
    }

    fn fresh(&mut self) -> Slot {
        self.addresses += 1;
        Slot { email: format!("p{:04}@harborandfinch.example", self.addresses), ..Slot::default() }
    }

    /// The database against the model and against the promises.
    async fn check(&self) -> Result<()> {
        let pool = &self.app.db.pool;
        let (granted, in_use, held): (i32, i32, i64) = sqlx::query_as(
            "SELECT granted + paid, in_use, (SELECT count(*) FROM license_allocation) FROM license_pool",
        )
        .fetch_one(pool)
        .await?;
        assert!((0..=granted).contains(&in_use) && i64::from(in_use) == held, "{in_use} of {granted}, {held} held");
        assert_eq!(usize::try_from(in_use)?, self.in_use(), "seats in use");
        let owners: Vec<(String, bool)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT m.status, EXISTS (SELECT FROM member_role r WHERE (r.account_id, r.member_id) = (m.account_id, m.member_id)
                                      AND r.role_id = '{}')
             FROM account_owner o JOIN member m USING (account_id, member_id)",
            SystemRole::Administrator.id().0
        )))
        .fetch_all(pool)
        .await?;
        assert_eq!(owners, [("ACTIVE".to_owned(), true)], "one owner, an active administrator");
        let twice = "SELECT string_agg(email, ',') FROM (SELECT email FROM invitation WHERE finished_at IS NULL
                     GROUP BY account_id, email HAVING count(*) > 1) d";
        assert_eq!(self.app.look(twice).await?, None, "one live invitation per address");
        let stored: Vec<Stored> = sqlx::query_as(
            "SELECT m.email, m.status, m.prior_status,
                    (SELECT state FROM invitation i WHERE (i.account_id, i.member_id) = (m.account_id, m.member_id) AND i.finished_at IS NULL),
                    EXISTS (SELECT FROM license_allocation l WHERE (l.account_id, l.member_id) = (m.account_id, m.member_id))
             FROM member m WHERE NOT EXISTS (SELECT FROM account_owner o WHERE o.member_id = m.member_id) ORDER BY m.email",
        )
        .fetch_all(pool)
        .await?;
        let mut wanted: Vec<_> = self.slots.iter().chain(&self.left).filter_map(stored_form).collect();
        wanted.sort();
        assert_eq!(stored, wanted);
        self.check_roles().await
    }

    async fn check_roles(&self) -> Result<()> {
        let stored: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT m.email, r.role_id::text, r.unit_id::text FROM member_role r JOIN member m USING (account_id, member_id)
             ORDER BY 1, 2, 3",
        )
        .fetch_all(&self.app.db.pool)
        .await?;
        let members =
            self.slots.iter().chain(&self.left).filter_map(|slot| Some((&slot.email, &slot.member.as_ref()?.roles)));
        let mut wanted = Vec::new();
        for (email, roles) in members.chain([(&self.owner.email, &self.owner_roles)]) {
            for (role, scope) in roles {
                let unit = match *scope {
                    ACCOUNT => uuid::Uuid::nil(),
                    unit => self.units[unit].parse::<domain::id::UnitId>()?.0,
                };
                wanted.push((email.clone(), ROLES[*role].0.id().0.to_string(), unit.to_string()));
            }
        }
        wanted.sort();
        assert_eq!(stored, wanted, "who has which roles");
        Ok(())
    }
}

/// A member as [`Walk::check`] reads them: address, status, status before, state of the open invitation, whether they hold a
/// seat.
type Stored = (String, String, Option<String>, Option<String>, bool);

/// What should be stored of an address.
fn stored_form(slot: &Slot) -> Option<Stored> {
    let member = slot.member.as_ref()?;
    let word = |status: Status| format!("{status:?}").to_uppercase();
    let state = match slot.invitations.last()?.state {
        State::NotSent => Some("NOT_SENT"),
        State::Pending(_) => Some("PENDING"),
        State::Expired => Some("EXPIRED"),
        State::Accepted | State::Revoked | State::Declined => None,
    };
    let state = state.map(str::to_owned);
    Some((slot.email.clone(), word(member.status), member.prior.map(word), state, member.seat))
}

fn codes(code: &str) -> Codes {
    if code.is_empty() { Vec::new() } else { vec![code.to_owned()] }
}

/// Walks so many steps from a seed.
async fn walk(seed: u64, steps: usize) -> Result<()> {
    let app =
        App::with(Options { configure: |config| config.limits.rate_limits = false, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", i32::try_from(SEATS)?).await?;
    let mut units = [const { String::new() }; SCOPES];
    for (number, unit) in units.iter_mut().enumerate().skip(1) {
        let input = json!({ "name": format!("Unit {number}") });
        let made = app.mutate(Some(&owner.token), "unitCreate", input, "unit { id }").await?;
        *unit = made.text("/unitCreate/unit/id");
    }
    let mut walk = Walk {
        app: &app,
        owner,
        owner_roles: BTreeSet::from([ADMINISTRATOR]),
        units,
        random: Random(seed | 1),
        now: 0,
        slots: Vec::new(),
        left: Vec::new(),
        addresses: 0,
        tally: BTreeMap::new(),
    };
    walk.slots = (0..SLOTS).map(|_| walk.fresh()).collect();
    for number in 0..steps {
        if number % 20 == 0 {
            // Weeks pass in a walk, and no session lasts as long.
            walk.owner.token = app.sign_in("olivia@harborandfinch.example").await?;
        }
        let (name, outcome) = walk.step().await?;
        if let Some((came, wanted)) = outcome {
            assert_eq!(came, wanted, "seed {seed}, step {number}: {name}");
            let kind = name.split(' ').next().unwrap();
            *walk.tally.entry(format!("{kind} {}", wanted.join(" "))).or_default() += 1;
        }
        walk.check().await.with_context(|| format!("seed {seed}, step {number}: {name}"))?;
    }
    eprintln!("{:#?}", walk.tally);
    for met in ["memberAssignRoles ", "memberAssignRoles NOT_PERMITTED", "accept "] {
        assert!(steps < 2_000 || walk.tally.contains_key(met), "the walk never meets {met}");
    }
    app.finish().await
}

#[tokio::test]
async fn invitations_statuses_and_roles_follow_their_model() -> Result<()> {
    let seed = match std::env::var("MUSTER_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    let steps = if std::env::var("MUSTER_TEST_FULL").is_ok_and(|full| full == "1") { 100_000 } else { 2_000 };
    eprintln!("seed {seed}: set MUSTER_TEST_SEED to it to walk this way again");
    walk(seed, steps).await
}
