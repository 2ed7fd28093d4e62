//! The roles and groups that rows name, and whether the importer may give them.

use std::collections::HashMap;
use std::hash::Hash;

use crate::actor::{Action, Assignment, Grants, Standing, Target, of_assignments};
use crate::change::Change;
use crate::error::Result;
use crate::id::{GroupId, RoleId};

use super::column::Column;
use super::row::{Checked, RowFault};
use crate::profile::FieldFault;

/// A role that rows name.
struct Role {
    id: RoleId,
    /// What it grants.
    grants: Grants,
    /// Whether new members may be given it.
    may: bool,
}

/// See [`Names::read`].
pub(super) struct Names {
    roles: HashMap<String, Role>,
    groups: HashMap<String, GroupId>,
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
        Ok(Self {
            roles: read_roles(change, standing, &roles).await?,
            groups: read_groups(change, &groups).await?,
            may_group,
        })
    }

    /// The roles of a row that somebody who holds these does not have yet, and what is wrong with them.
    pub(super) fn roles(&self, row: &Checked, held: &[RoleId]) -> (Vec<RoleId>, Vec<RowFault>) {
        let (mut roles, mut faults) = (Vec::new(), Vec::new());
        for name in &row.roles {
            match self.roles.get(name) {
                None => faults.push(RowFault::new(Some(Column::Roles), Some(name), FieldFault::UnknownRole)),
                Some(role) if held.contains(&role.id) => {}
                Some(role) if !role.may => {
                    faults.push(RowFault::new(Some(Column::Roles), Some(name), FieldFault::RoleNotPermitted));
                }
                Some(role) if !roles.contains(&role.id) => roles.push(role.id),
                Some(_) => {}
            }
        }
        (roles, faults)
    }

    /// The groups of a row that somebody who is in these is not in yet, and what is wrong with them.
    pub(super) fn groups(&self, row: &Checked, held: &[GroupId]) -> (Vec<GroupId>, Vec<RowFault>) {
        let (mut groups, mut faults) = (Vec::new(), Vec::new());
        for name in &row.groups {
            let fault = |code| RowFault::new(Some(Column::Groups), Some(name), code);
            match self.groups.get(name) {
                None => faults.push(fault(FieldFault::UnknownGroup)),
                Some(group) if held.contains(group) => {}
                Some(_) if !self.may_group => faults.push(fault(FieldFault::NotPermitted)),
                Some(group) if !groups.contains(group) => groups.push(*group),
                Some(_) => {}
            }
        }
        (groups, faults)
    }

    /// What some of the named roles grant together.
    pub(super) fn grants(&self, of: &[RoleId]) -> Grants {
        let mut all = Grants::default();
        for role in self.roles.values().filter(|role| of.contains(&role.id)) {
            all.extend(&role.grants);
        }
        all
    }
}

fn distinct<'r>(names: impl Iterator<Item = &'r String>) -> Vec<&'r str> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The thing of each name.
fn matched<'n, T: Copy + Eq + Hash>(names: &[&'n str], known: &[(T, String)]) -> Vec<(&'n str, T)> {
    let find = |name: &&'n str| {
        let folded = name.to_lowercase();
        let exact = known.iter().find(|(_, known)| known == name);
        let found = exact.or_else(|| known.iter().find(|(_, known)| known.to_lowercase() == folded));
        found.map(|(id, _)| (*name, *id))
    };
    names.iter().filter_map(find).collect()
}

async fn read_roles(change: &mut Change, standing: &Standing, names: &[&str]) -> Result<HashMap<String, Role>> {
    let mut roles = HashMap::new();
    if names.is_empty() {
        return Ok(roles);
    }
    let account = change.account();
    let known = sqlx::query!(
        r#"SELECT role_id AS "role_id: RoleId", name FROM role WHERE account_id = $1 AND archived_at IS NULL ORDER BY role_id"#,
        account.0
    )
    .fetch_all(change.conn())
    .await?;
    let known: Vec<(RoleId, String)> = known.into_iter().map(|role| (role.role_id, role.name)).collect();
    for (name, id) in matched(names, &known) {
        let grants = of_assignments(change.conn(), account, &[Assignment::wide(id)]).await?;
        let may = standing.may(Action::Import, Target::Grant(&grants)).is_ok();
        roles.insert(name.to_owned(), Role { id, grants, may });
    }
    Ok(roles)
}

/// Groups that are not archived; whoever writes locks them after the members.
async fn read_groups(change: &mut Change, names: &[&str]) -> Result<HashMap<String, GroupId>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let account = change.account();
    let folded: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let known = sqlx::query!(
        r#"SELECT group_id AS "group_id: GroupId", name FROM member_group
           WHERE account_id = $1 AND archived_at IS NULL AND (name = ANY($3) OR lower(name) = ANY($2)) ORDER BY group_id"#,
        account.0,
        &folded,
        names as &[&str],
    )
    .fetch_all(change.conn())
    .await?;
    let known: Vec<(GroupId, String)> = known.into_iter().map(|group| (group.group_id, group.name)).collect();
    Ok(matched(names, &known).into_iter().map(|(name, id)| (name.to_owned(), id)).collect())
}
