//! What becomes of a row: looked at together with everybody who is in the account.

use std::collections::HashMap;

use super::column::{Column, Header};
use super::existing::{self, Existing};
use super::list::Outcome;
use super::names::Names;
use super::options::Options;
use super::row::{Checked, RowFault};
use crate::actor::{Action, Assignment, Grants, Standing, Target};
use crate::change::Change;
use crate::error::Result;
use crate::id::{GroupId, MemberId, RoleId};
use crate::infra::email_address::EmailAddress;
use crate::invitation::{Lapsed, NewInvitation};
use crate::member::status::{Locked, hold_many, look_at_many};
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

/// Looks at what depends on the account: roles, groups, and who is there already. All faults of a row are told. Unless something is
/// to be `written`, nothing is locked for it.
pub(super) async fn decide(
    change: &mut Change,
    standing: &Standing,
    (options, header): (&Options, &Header),
    batch: &[Judged],
    written: bool,
) -> Result<Vec<Fate>> {
    let rows = || batch.iter().map(|judged| &judged.checked);
    let emails: Vec<String> =
        rows().filter_map(|row| row.email.as_ref()).map(|email| email.as_str().to_owned()).collect();
    let existing = existing::read(change, &emails, written).await?;
    let names = Names::read(change, standing, rows()).await?;
    let judge = Judge { standing, options, header, names, place: options.place() };
    let mut fates = Vec::with_capacity(batch.len());
    for row in rows() {
        let found = row.email.as_ref().and_then(|email| existing.get(email.as_str()));
        fates.push(match found {
            Some(there) if there.lapsed.is_none() => judge.known(row, there),
            found => judge.new_member(row, found.and_then(Existing::replaceable)),
        });
    }
    judge.check_edits(change, &mut fates, written).await?;
    Ok(fates)
}

struct Judge<'a> {
    standing: &'a Standing,
    options: &'a Options,
    header: &'a Header,
    names: Names,
    place: Place,
}

impl Judge<'_> {
    fn new_member(&self, row: &Checked, lapsed: Option<Lapsed>) -> Fate {
        let (roles, of_roles) = self.names.roles(row, &[]);
        let (groups, of_groups) = self.names.groups(row, &[]);
        let mut faults = row.faults.clone();
        faults.extend(of_roles.into_iter().chain(of_groups));
        let Some(email) = row.email.clone().filter(|_| faults.is_empty()) else { return Fate::Rejected(faults) };
        let mut place = if roles.is_empty() { self.place.clone() } else { Place::with_roles(roles) };
        let mut all_groups = self.place.groups.clone();
        all_groups.extend(groups.into_iter().filter(|group| !self.place.groups.contains(group)));
        place.groups = all_groups;
        let profile = row.profile.clone();
        let invitation = NewInvitation { email, profile, message: None, place, validity: Validity::default() };
        Fate::Invited(Box::new(invitation), lapsed)
    }

    fn known(&self, row: &Checked, there: &Existing) -> Fate {
        let (add_roles, of_roles) = self.names.roles(row, &there.roles);
        let (add_groups, of_groups) = self.names.groups(row, &there.groups);
        let (after, mut changed) = merged(&there.profile, &row.profile, self.header);
        changed.extend((!add_roles.is_empty()).then_some(Column::Roles));
        changed.extend((!add_groups.is_empty()).then_some(Column::Groups));
        let mut faults: Vec<RowFault> = row.faults.iter().filter(|fault| there.has(fault)).cloned().collect();
        faults.extend(of_roles.into_iter().chain(of_groups));
        if faults.is_empty() && changed.is_empty() {
            return Fate::Unchanged(there.member_id);
        }
        let assignments = usize::try_from(there.assignments).unwrap_or_default();
        if !add_roles.is_empty() && assignments + add_roles.len() > MAX_ROLES {
            faults.push(RowFault::new(Some(Column::Roles), None, FieldFault::TooManyRoles));
        }
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

    /// Whether the importer may change those who are there: as they are under lock, where something is to be `written`.
    async fn check_edits(&self, change: &mut Change, fates: &mut [Fate], written: bool) -> Result<()> {
        let members: Vec<MemberId> = fates
            .iter()
            .filter_map(|fate| if let Fate::Updated(edit) = fate { Some(edit.member_id) } else { None })
            .collect();
        if members.is_empty() {
            return Ok(());
        }
        let locked = if written { hold_many(change, &members).await? } else { look_at_many(change, &members).await? };
        for fate in fates {
            let Fate::Updated(edit) = fate else { continue };
            let locked = locked.get(&edit.member_id);
            let within = |one: &&Assignment| one.unit().is_some();
            edit.unit_roles = locked.iter().flat_map(|locked| &locked.assignments).filter(within).copied().collect();
            let mut faults = may_edit(self.standing, edit.wanted(), &self.names.grants(&edit.add_roles), locked);
            faults.append(&mut edit.faults);
            if !faults.is_empty() {
                *fate = Fate::Rejected(faults);
            }
        }
        Ok(())
    }
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
