//! What a long transaction decided by the rights at its beginning, looked at again before it commits.

use std::collections::{BTreeSet, HashMap};

use super::batch::lock_groups;
use super::fate::{Fate, Wanted, edits, invited, may_edit};
use crate::actor::{Action, Assignment, Grants, Standing, Target, of_assignments, of_roles};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::id::{GroupId, MemberId, RoleId};
use crate::member::status::look_at_many;

/// Members looked at together.
const TOGETHER: usize = 500;

/// What was given, and who was changed. Nothing of it is locked all the while, so that nobody waits for it.
#[derive(Default)]
pub(super) struct Relied {
    roles: BTreeSet<RoleId>,
    /// Roles within units, kept from invitations that had lapsed.
    limited: BTreeSet<Assignment>,
    groups: BTreeSet<GroupId>,
    /// Who was changed, and the roles they got.
    edits: Vec<(Wanted, Vec<RoleId>)>,
}

impl Relied {
    /// Notes what takes effect.
    pub(super) fn add(&mut self, fates: &[Fate]) {
        for item in invited(fates) {
            self.roles.extend(item.place.roles());
            self.limited.extend(item.place.limited());
            self.groups.extend(&item.place.groups);
        }
        for edit in edits(fates) {
            self.roles.extend(&edit.add_roles);
            self.groups.extend(&edit.add_groups);
            self.edits.push((edit.wanted(), edit.add_roles.clone()));
        }
    }

    /// Who was changed, in the order of their ids.
    pub(super) fn edited(&self) -> Vec<MemberId> {
        let mut members: Vec<MemberId> = self.edits.iter().map(|(wanted, _)| wanted.member_id).collect();
        members.sort_unstable();
        members
    }

    /// Locks the groups that people were put into, before the commit.
    ///
    /// # Errors
    /// [`Error::Stale`] when one is archived by now.
    pub(super) async fn lock_groups(&self, change: &mut Change) -> Result<()> {
        lock_groups(change, self.groups.iter().copied().collect()).await
    }

    /// Whether the importer may do all of it by the rights of now.
    pub(super) async fn holds(&self, change: &mut Change, now: &Standing) -> Result<bool> {
        if !self.groups.is_empty() && now.may(Action::ManageGroups, Target::Account).is_err() {
            return Ok(false);
        }
        let Some(grants) = self.grants(change).await? else { return Ok(false) };
        if !grants.values().all(|given| now.may(Action::Import, Target::Grant(given)).is_ok()) {
            return Ok(false);
        }
        if !self.limited.is_empty() {
            let (account, limited) = (change.account(), self.limited.iter().copied().collect::<Vec<_>>());
            match of_assignments(change.conn(), account, &limited).await {
                Ok(given) if now.may(Action::Import, Target::Grant(&given)).is_ok() => {}
                // Archived by now, one of them or its unit, or not the importer's to give.
                Ok(_) | Err(Error::Refused(_)) => return Ok(false),
                Err(other) => return Err(other),
            }
        }
        for some in self.edits.chunks(TOGETHER) {
            let ids: Vec<MemberId> = some.iter().map(|(wanted, _)| wanted.member_id).collect();
            let there = look_at_many(change, &ids).await?;
            let may = |(wanted, roles): &(Wanted, Vec<RoleId>)| {
                may_edit(now, *wanted, &together(&grants, roles), there.get(&wanted.member_id)).is_empty()
            };
            if !some.iter().all(may) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What each role grants; none if one is archived by now.
    async fn grants(&self, change: &mut Change) -> Result<Option<HashMap<RoleId, Grants>>> {
        let (account, roles) = (change.account(), self.roles.iter().copied().collect::<Vec<_>>());
        let grants = of_roles(change.conn(), account, &roles).await?;
        Ok((grants.len() == roles.len()).then_some(grants))
    }
}

fn together(grants: &HashMap<RoleId, Grants>, roles: &[RoleId]) -> Grants {
    let mut all = Grants::default();
    for given in roles.iter().filter_map(|role| grants.get(role)) {
        all.extend(given);
    }
    all
}
