//! The roles and groups that rows name, and whether the importer may give them.

use std::collections::{HashMap, HashSet};

use crate::actor::{Action, Grants, Standing, Target, of_roles};
use crate::change::Change;
use crate::error::Result;
use crate::id::{GroupId, RoleId};

use super::column::Column;
use super::row::{Checked, RowFault};
use crate::profile::FieldFault;

/// A role that rows name.
struct Role {
    /// What it grants.
    grants: Grants,
    /// Whether new members may be given it.
    may: bool,
}

/// Things by their names: by the exact one, or else by one that differs in letter case only. Of several such the first one known counts.
struct Named<T> {
    exact: HashMap<String, T>,
    folded: HashMap<String, T>,
}

impl<T: Copy> Named<T> {
    fn new(known: impl Iterator<Item = (T, String)>) -> Self {
        let mut named = Self { exact: HashMap::new(), folded: HashMap::new() };
        for (id, name) in known {
            named.folded.entry(name.to_lowercase()).or_insert(id);
            named.exact.entry(name).or_insert(id);
        }
        named
    }

    fn find(&self, name: &str) -> Option<T> {
        self.exact.get(name).or_else(|| self.folded.get(&name.to_lowercase())).copied()
    }
}

/// See [`Names::read`].
pub(super) struct Names {
    roles: Named<RoleId>,
    of_roles: HashMap<RoleId, Role>,
    groups: Named<GroupId>,
    may_group: bool,
}

impl Names {
    /// Reads those that a batch names: by their exact name, or else by one that differs in letter case only.
    pub(super) async fn read<'r>(
        change: &mut Change,
        standing: &Standing,
        rows: impl Iterator<Item = &'r Checked> + Clone,
    ) -> Result<Self> {
        let roles = distinct(rows.clone().flat_map(|row| &row.roles));
        let groups = distinct(rows.flat_map(|row| &row.groups));
        let may_group = standing.may(Action::ManageGroups, Target::Account).is_ok();
        let named = read_roles(change, &roles).await?;
        let of_roles = judge_roles(change, standing, roles.iter().filter_map(|name| named.find(name))).await?;
        Ok(Self { roles: named, of_roles, groups: read_groups(change, &groups).await?, may_group })
    }

    /// The roles of a row that somebody who holds these does not have yet, and what is wrong with them.
    pub(super) fn roles(&self, row: &Checked, held: &[RoleId]) -> (Vec<RoleId>, Vec<RowFault>) {
        let (mut roles, mut faults) = (Vec::new(), Vec::new());
        for name in &row.roles {
            let found = self.roles.find(name).and_then(|id| Some((id, self.of_roles.get(&id)?)));
            match found {
                None => faults.push(RowFault::new(Some(Column::Roles), Some(name), FieldFault::UnknownRole)),
                Some((id, _)) if held.contains(&id) => {}
                Some((_, role)) if !role.may => {
                    faults.push(RowFault::new(Some(Column::Roles), Some(name), FieldFault::RoleNotPermitted));
                }
                Some((id, _)) if !roles.contains(&id) => roles.push(id),
                Some(_) => {}
            }
        }
        (roles, faults)
    }

    /// The groups of a row that somebody who is in these is not in yet, and what is wrong with them.
    pub(super) fn groups(&self, row: &Checked, held: &[GroupId]) -> (Vec<GroupId>, Vec<RowFault>) {
        let (mut groups, mut faults) = (Vec::new(), Vec::new());
        // Of many groups, in a row and of a person.
        let mut there: HashSet<GroupId> =
            if row.groups.is_empty() { HashSet::new() } else { held.iter().copied().collect() };
        for name in &row.groups {
            let fault = |code| RowFault::new(Some(Column::Groups), Some(name), code);
            match self.groups.find(name) {
                None => faults.push(fault(FieldFault::UnknownGroup)),
                Some(group) if there.contains(&group) => {}
                Some(_) if !self.may_group => faults.push(fault(FieldFault::NotPermitted)),
                Some(group) => {
                    there.insert(group);
                    groups.push(group);
                }
            }
        }
        (groups, faults)
    }

    /// What some of the named roles grant together.
    pub(super) fn grants(&self, of: &[RoleId]) -> Grants {
        let mut all = Grants::default();
        for role in of.iter().filter_map(|id| self.of_roles.get(id)) {
            all.extend(&role.grants);
        }
        all
    }
}

fn distinct<'r>(names: impl Iterator<Item = &'r String>) -> HashSet<&'r str> {
    names.map(String::as_str).collect()
}

async fn read_roles(change: &mut Change, names: &HashSet<&str>) -> Result<Named<RoleId>> {
    if names.is_empty() {
        return Ok(Named::new(std::iter::empty()));
    }
    let account = change.account();
    let known = sqlx::query!(
        r#"SELECT role_id AS "role_id: RoleId", name FROM role WHERE account_id = $1 AND archived_at IS NULL ORDER BY role_id"#,
        account.0
    )
    .fetch_all(change.conn())
    .await?;
    Ok(Named::new(known.into_iter().map(|role| (role.role_id, role.name))))
}

/// What named roles grant, whichever way they are spelled. One that was archived this moment is not in it.
async fn judge_roles(
    change: &mut Change,
    standing: &Standing,
    named: impl Iterator<Item = RoleId>,
) -> Result<HashMap<RoleId, Role>> {
    let ids: HashSet<RoleId> = named.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let account = change.account();
    let ids: Vec<RoleId> = ids.into_iter().collect();
    let granted = of_roles(change.conn(), account, &ids).await?;
    let judge = |(id, grants)| {
        let may = standing.may(Action::Import, Target::Grant(&grants)).is_ok();
        (id, Role { grants, may })
    };
    Ok(granted.into_iter().map(judge).collect())
}

/// Groups that are not archived; whoever writes locks them after the members.
async fn read_groups(change: &mut Change, names: &HashSet<&str>) -> Result<Named<GroupId>> {
    if names.is_empty() {
        return Ok(Named::new(std::iter::empty()));
    }
    let account = change.account();
    // The database may know fewer letters that have two cases than this program: each name is looked for as it stands, too.
    let mut spellings: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    spellings.extend(names.iter().map(|name| name.to_lowercase()).filter(|folded| !names.contains(folded.as_str())));
    let known = sqlx::query!(
        r#"SELECT group_id AS "group_id: GroupId", name FROM member_group
           WHERE account_id = $1 AND archived_at IS NULL AND lower(name) IN (SELECT lower(u.name) FROM unnest($2::text[]) u(name))
           ORDER BY group_id"#,
        account.0,
        &spellings,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(Named::new(known.into_iter().map(|group| (group.group_id, group.name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_counts_before_one_in_other_letters_and_the_first_of_those() {
        let known = [(1, "Counsel"), (2, "COUNSEL"), (3, "Straße"), (4, "ÄRZTE"), (5, "ärzte")];
        let named = Named::new(known.into_iter().map(|(id, name)| (id, name.to_owned())));
        for (name, id) in [
            ("Counsel", Some(1)),
            ("COUNSEL", Some(2)),
            ("counsel", Some(1)),
            ("cOUNSEL", Some(1)),
            ("STRAßE", Some(3)),
            ("Ärzte", Some(4)),
            ("ärzte", Some(5)),
            ("Counsels", None),
        ] {
            assert_eq!(named.find(name), id, "{name}");
        }
    }
}
