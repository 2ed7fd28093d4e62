//! What becomes of a row: looked at together with everybody who is in the account.

use std::collections::{BTreeMap, HashMap};

use super::column::{Column, Header};
use super::existing::{self, Existing};
use super::list::Outcome;
use super::names::Names;
use super::options::Options;
use super::row::{Checked, RowFault, shown};
use crate::actor::{Action, Assignment, Grants, Standing, Target};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::id::{GroupId, MemberId, RoleId};
use crate::infra::email_address::EmailAddress;
use crate::invitation::{Lapsed, NewInvitation};
use crate::member::place::distinct;
use crate::member::status::{Locked, hold_many, lock_many, look_at_many};
use crate::member::{MAX_ROLES, Place, Status, Validity};
use crate::profile::{FieldFault, Profile};

/// A row that was checked by itself.
pub(super) struct Judged {
    /// The row as a spreadsheet shows it.
    pub(super) row: u32,
    /// Byte at which the next row begins.
    pub(super) end: u64,
    pub(super) checked: Checked,
}

/// What becomes of a row.
pub(super) enum Fate {
    /// A new member, in place of a lapsed invitation if there is one.
    Invited(Box<NewInvitation>, Option<Lapsed>),
    /// Somebody who is there gets other values, further roles or groups.
    Updated(Box<Edit>),
    /// Somebody is there as the row says.
    Unchanged(MemberId),
    Rejected(Vec<RowFault>),
}

impl Fate {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Invited(..) => Outcome::Invited,
            Self::Updated(_) => Outcome::Updated,
            Self::Unchanged(_) => Outcome::Unchanged,
            Self::Rejected(_) => Outcome::Rejected,
        }
    }
}

/// What a row changes of somebody who is there.
pub(super) struct Edit {
    pub(super) member_id: MemberId,
    pub(super) active: bool,
    pub(super) version: i32,
    pub(super) before: Profile,
    pub(super) after: Profile,
    /// Roles for the whole account, and those within units, which stay as they are.
    pub(super) roles_before: Vec<RoleId>,
    pub(super) unit_roles: Vec<Assignment>,
    pub(super) add_roles: Vec<RoleId>,
    pub(super) add_groups: Vec<GroupId>,
    pub(super) changed: Vec<Column>,
    /// What is wrong with the row apart from the importer's rights; none once those were looked at.
    faults: Vec<RowFault>,
}

impl Edit {
    pub(super) fn wanted(&self) -> Wanted {
        let profile = self.before != self.after;
        Wanted { member_id: self.member_id, profile, roles: !self.add_roles.is_empty() }
    }
}

/// Who is locked by whoever decides about rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody: nothing is written.
    Nobody,
    /// Everybody whom a row changes. What is overdue lapses first, under the pool's lock: the transaction is short.
    Batch,
    /// In a long transaction, those alone who are invited anew. Where an invitation is overdue and has not lapsed, the transaction fails.
    Replaced,
    /// At the end of that, those who get other values.
    Edited,
}

/// Looks at what depends on the account: roles, groups, and who is there already. All faults of a row are told.
pub(super) async fn decide(
    change: &mut Change,
    standing: &Standing,
    (options, header): (&Options, &Header),
    batch: &[Judged],
    hold: Hold,
) -> Result<Vec<Fate>> {
    let rows = || batch.iter().map(|judged| &judged.checked);
    let emails: Vec<String> =
        rows().filter_map(|row| row.email.as_ref()).map(|email| email.as_str().to_owned()).collect();
    let existing = existing::read(change, &emails, hold == Hold::Batch).await?;
    let names = Names::read(change, standing, rows()).await?;
    let judge = Judge { standing, options, header, names, place: options.place() };
    let mut fates = Vec::with_capacity(batch.len());
    for row in rows() {
        let found = row.email.as_ref().and_then(|email| existing.get(email.as_str()));
        fates.push(found.map_or_else(|| judge.new_member(row), |there| judge.known(row, there)));
    }
    judge.check_known(change, &mut fates, hold).await?;
    if hold != Hold::Nobody {
        check_replaced(change, &fates, &existing).await?;
    }
    for (row, fate) in rows().zip(&mut fates) {
        if let Fate::Rejected(faults) = fate {
            for fault in faults {
                quote(fault, row);
            }
        }
    }
    Ok(fates)
}

/// Whether those who are invited anew are, now that they are locked, still as they were when that was decided.
async fn check_replaced(change: &mut Change, fates: &[Fate], read: &HashMap<String, Existing>) -> Result<()> {
    let replaced = fates.iter().filter_map(|fate| match fate {
        Fate::Invited(item, Some(_)) => Some(item.email.as_str().to_owned()),
        _ => None,
    });
    let emails: Vec<String> = replaced.collect();
    if emails.is_empty() {
        return Ok(());
    }
    let now = existing::read(change, &emails, false).await?;
    if emails.iter().all(|email| now.get(email) == read.get(email)) { Ok(()) } else { Err(Error::Stale) }
}

/// Says which of a row's values is rejected, where that is known by the column alone.
fn quote(fault: &mut RowFault, row: &Checked) {
    if fault.value.is_some() {
        return;
    }
    let text = match fault.column {
        Some(Column::Email) => row.email.as_ref().map(|email| email.as_str().to_owned()),
        Some(Column::Roles) => Some(row.roles.join(" | ")),
        Some(Column::Groups) => Some(row.groups.join(" | ")),
        _ => None,
    };
    fault.value = text.filter(|text| !text.is_empty()).map(|text| shown(&text));
}

struct Judge<'a> {
    standing: &'a Standing,
    options: &'a Options,
    header: &'a Header,
    names: Names,
    place: Place,
}

impl Judge<'_> {
    fn new_member(&self, row: &Checked) -> Fate {
        let (roles, of_roles) = self.names.roles(row, &[]);
        let (groups, of_groups) = self.names.groups(row, &[]);
        let mut faults = row.faults.clone();
        faults.extend(of_roles.into_iter().chain(of_groups));
        let Some(email) = row.email.clone().filter(|_| faults.is_empty()) else { return Fate::Rejected(faults) };
        let mut place = if roles.is_empty() { self.place.clone() } else { Place::with_roles(roles) };
        place.groups = distinct(&[&self.place.groups[..], &groups].concat());
        let profile = row.profile.clone();
        let invitation = NewInvitation { email, profile, message: None, place, validity: Validity::default() };
        Fate::Invited(Box::new(invitation), None)
    }

    /// Whoever let an invitation lapse is invited anew, with what that gave them and what the row adds; the rest of it is known under
    /// lock. The rules of new members count again.
    fn anew(&self, row: &Checked, there: &Existing, lapsed: Lapsed, differs: Differs) -> Fate {
        let Differs { after, add_roles, add_groups, mut faults, .. } = differs;
        faults.extend(row.faults.iter().filter(|fault| fault.code.is_of_domain()).cloned());
        let groups = distinct(&[&there.groups[..], &self.place.groups, &add_groups].concat());
        if groups.len() > add_groups.len() && self.standing.may(Action::ManageGroups, Target::Account).is_err() {
            faults.push(RowFault::new(Some(Column::Groups), None, FieldFault::NotPermitted));
        }
        let Some(email) = row.email.clone().filter(|_| faults.is_empty()) else { return Fate::Rejected(faults) };
        let place = Place { groups, ..Place::with_roles(add_roles) };
        let message = there.message.clone();
        let invitation = NewInvitation { email, profile: after, message, place, validity: Validity::default() };
        Fate::Invited(Box::new(invitation), Some(lapsed))
    }

    fn known(&self, row: &Checked, there: &Existing) -> Fate {
        let mut differs = self.compare(row, there);
        if differs.faults.is_empty() && differs.changed.is_empty() {
            return Fate::Unchanged(there.member_id);
        }
        let assignments = usize::try_from(there.assignments).unwrap_or_default();
        if !differs.add_roles.is_empty() && assignments + differs.add_roles.len() > MAX_ROLES {
            differs.faults.push(RowFault::new(Some(Column::Roles), None, FieldFault::TooManyRoles));
        }
        if differs.changed.is_empty() && differs.faults.iter().all(|fault| fault.code == FieldFault::DuplicateInFile) {
            return Fate::Rejected(differs.faults);
        }
        if let Some(lapsed) = there.replaceable() {
            return self.anew(row, there, lapsed, differs);
        }
        let Differs { after, add_roles, add_groups, changed, mut faults } = differs;
        if let Some(code) = self.untouchable(there) {
            let email = row.email.as_ref().map(EmailAddress::as_str);
            faults.insert(0, RowFault::new(Some(Column::Email), email, code));
            return Fate::Rejected(faults);
        }
        Fate::Updated(Box::new(Edit {
            member_id: there.member_id,
            active: there.status == Status::Active,
            version: there.version,
            before: there.profile.clone(),
            after,
            roles_before: there.roles.clone(),
            unit_roles: Vec::new(),
            add_roles,
            add_groups,
            changed,
            faults,
        }))
    }

    fn compare(&self, row: &Checked, there: &Existing) -> Differs {
        let (add_roles, of_roles) = self.names.roles(row, &there.roles);
        let (add_groups, of_groups) = self.names.groups(row, &there.groups);
        let (after, mut changed) = merged(&there.profile, &row.profile, self.header);
        changed.extend((!add_roles.is_empty()).then_some(Column::Roles));
        changed.extend((!add_groups.is_empty()).then_some(Column::Groups));
        let mut faults: Vec<RowFault> = row.faults.iter().filter(|fault| there.has(fault)).cloned().collect();
        faults.extend(of_roles.into_iter().chain(of_groups));
        Differs { after, add_roles, add_groups, changed, faults }
    }

    /// Why somebody whose row differs keeps what is stored.
    fn untouchable(&self, there: &Existing) -> Option<FieldFault> {
        match there.status {
            Status::Suspended | Status::Deactivated => Some(FieldFault::NotImportable),
            Status::Active if !self.options.update_existing => Some(FieldFault::AlreadyMember),
            Status::Invited if !self.options.update_existing => Some(FieldFault::AlreadyInvited),
            Status::Active if there.owner => Some(FieldFault::OwnerProtected),
            Status::Active | Status::Invited => None,
        }
    }

    /// Whether the importer may change those who are there, and invite others anew: as they are under lock, where that is taken.
    async fn check_known(&self, change: &mut Change, fates: &mut [Fate], hold: Hold) -> Result<()> {
        let there = there(change, fates, hold).await?;
        for fate in fates {
            let faults = match fate {
                Fate::Updated(edit) => {
                    let there = there.get(&edit.member_id);
                    let within = |one: &&Assignment| one.unit().is_some();
                    edit.unit_roles =
                        there.iter().flat_map(|there| &there.assignments).filter(within).copied().collect();
                    let mut faults = may_edit(self.standing, edit.wanted(), &self.names.grants(&edit.add_roles), there);
                    faults.append(&mut edit.faults);
                    faults
                }
                Fate::Invited(item, Some(lapsed)) => self.keep(item, there.get(&lapsed.member_id)),
                _ => continue,
            };
            if !faults.is_empty() {
                *fate = Fate::Rejected(faults);
            }
        }
        Ok(())
    }

    /// Adds what a lapsed invitation gave, if it is the importer's to give.
    fn keep(&self, item: &mut NewInvitation, there: Option<&Locked>) -> Vec<RowFault> {
        let Some(there) = there.filter(|there| there.status == Status::Invited) else {
            return vec![RowFault::new(Some(Column::Email), Some(item.email.as_str()), FieldFault::NotImportable)];
        };
        if self.standing.may(Action::Import, Target::Grant(&there.held)).is_err() {
            return vec![RowFault::new(Some(Column::Roles), None, FieldFault::RoleNotPermitted)];
        }
        let added = std::mem::take(&mut item.place.assignments);
        item.place.assignments = distinct(&[&there.assignments[..], &added].concat());
        item.place.units.clone_from(&there.units);
        item.validity = there.validity;
        Vec::new()
    }
}

/// Those who are there, of those whom rows are about.
async fn there(change: &mut Change, fates: &[Fate], hold: Hold) -> Result<BTreeMap<MemberId, Locked>> {
    let (mut edited, mut replaced) = (Vec::new(), Vec::new());
    for fate in fates {
        match fate {
            Fate::Updated(edit) => edited.push(edit.member_id),
            Fate::Invited(_, Some(lapsed)) => replaced.push(lapsed.member_id),
            _ => {}
        }
    }
    let mut there = BTreeMap::new();
    if hold == Hold::Replaced && !replaced.is_empty() {
        there = lock_many(change, &std::mem::take(&mut replaced)).await?;
    }
    // One statement, so that all are locked in one order; who is replaced will be removed.
    let remove = !replaced.is_empty();
    edited.append(&mut replaced);
    if edited.is_empty() {
        return Ok(there);
    }
    there.append(&mut match hold {
        Hold::Nobody | Hold::Replaced => look_at_many(change, &edited).await?,
        Hold::Batch | Hold::Edited if remove => lock_many(change, &edited).await?,
        Hold::Batch | Hold::Edited => hold_many(change, &edited).await?,
    });
    Ok(there)
}

/// How a row differs from somebody who is there, and what is wrong with it.
struct Differs {
    after: Profile,
    add_roles: Vec<RoleId>,
    add_groups: Vec<GroupId>,
    changed: Vec<Column>,
    faults: Vec<RowFault>,
}

/// What an edit wants, as far as rights matter.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) member_id: MemberId,
    /// Another profile.
    pub(super) profile: bool,
    /// Further roles.
    pub(super) roles: bool,
}

/// What keeps an importer from an edit that adds roles which grant this together.
pub(super) fn may_edit(standing: &Standing, wanted: Wanted, given: &Grants, there: Option<&Locked>) -> Vec<RowFault> {
    let mut faults = Vec::new();
    let whole = |code| RowFault::new(Some(Column::Email), None, code);
    // Suspended or gone between two statements.
    let Some(there) = there.filter(|there| matches!(there.status, Status::Active | Status::Invited)) else {
        return vec![whole(FieldFault::NotImportable)];
    };
    let own = wanted.member_id == standing.member_id;
    let (owner, units, held) = (there.owner, &there.units[..], &there.held);
    let target = Target::Member { member_id: wanted.member_id, owner, units, held };
    if wanted.profile && !own && standing.may(Action::UpdateMember, target).is_err() {
        faults.push(whole(FieldFault::NotPermitted));
    }
    if wanted.roles {
        let may = |target| standing.may(Action::AssignRoles, target).is_ok();
        if !may(target) || !may(Target::Grant(given)) {
            faults.push(RowFault::new(Some(Column::Roles), None, FieldFault::RoleNotPermitted));
        }
    }
    faults
}

/// What is stored, with what the file says: an absent column leaves, an empty cell of a present one clears. Also which columns differ.
fn merged(stored: &Profile, row: &Profile, header: &Header) -> (Profile, Vec<Column>) {
    let (mut after, mut changed) = (stored.clone(), Vec::new());
    macro_rules! take {
        ($($column:ident $field:ident)*) => {
            $(if header.has(Column::$column) && after.$field != row.$field {
                after.$field.clone_from(&row.$field);
                changed.push(Column::$column);
            })*
        };
    }
    take! {
        FirstName first_name LastName last_name Initials initials TimeZone time_zone Address address City city State state Zip zip
        Country country Phone phone SubscriptionType subscription_type JobTitle job_title
    }
    (after, changed)
}

/// Of several fates, how many came to what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) invited: i32,
    pub(super) updated: i32,
    pub(super) unchanged: i32,
    pub(super) rejected: i32,
    /// Of those rejected, they lack nothing but a seat.
    pub(super) without_seat: i32,
}

impl Tally {
    pub(super) fn of(fates: &[Fate]) -> Self {
        let mut tally = Self::default();
        for fate in fates {
            match fate {
                Fate::Invited(..) => tally.invited += 1,
                Fate::Updated(_) => tally.updated += 1,
                Fate::Unchanged(_) => tally.unchanged += 1,
                Fate::Rejected(faults) => {
                    tally.rejected += 1;
                    tally.without_seat += i32::from(faults.iter().all(|fault| fault.code == FieldFault::NoSeat));
                }
            }
        }
        tally
    }

    /// Rows in all.
    pub(super) fn rows(&self) -> i32 {
        self.invited + self.updated + self.unchanged + self.rejected
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.invited += other.invited;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.rejected += other.rejected;
        self.without_seat += other.without_seat;
    }
}

/// The people of a batch who are to be invited, by address.
pub(super) fn invited(fates: &[Fate]) -> impl Iterator<Item = &NewInvitation> {
    fates.iter().filter_map(|fate| if let Fate::Invited(item, _) = fate { Some(&**item) } else { None })
}

/// The edits of a batch.
pub(super) fn edits(fates: &[Fate]) -> impl Iterator<Item = &Edit> {
    fates.iter().filter_map(|fate| if let Fate::Updated(edit) = fate { Some(&**edit) } else { None })
}

/// Members by the groups they come into.
pub(super) fn joining<'f>(edits: impl Iterator<Item = &'f Edit>) -> HashMap<GroupId, Vec<MemberId>> {
    let mut joining: HashMap<GroupId, Vec<MemberId>> = HashMap::new();
    for edit in edits {
        for group in &edit.add_groups {
            joining.entry(*group).or_default().push(edit.member_id);
        }
    }
    joining
}
