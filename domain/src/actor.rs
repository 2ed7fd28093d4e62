//! Who is asking, and the one function that says what they may do to whom.

use std::net::IpAddr;
use std::sync::Arc;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Code, Error, Refused, Result};
use crate::id::{AccountId, MemberId, RoleId, SessionId, UserId};
use crate::infra::clock::Timestamp;
use crate::permission::{Permission, PermissionSet, SystemRole};

/// Who causes a change, as its events name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A member of the account.
    Member(MemberId),
    /// Whoever runs the installation, through the command line.
    Operator,
    /// Muster itself: sweeps, delivery.
    System,
}

/// Where a change comes from: goes into its events and its jobs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who.
    pub author: Author,
    /// The request that asked.
    pub request_id: Option<String>,
    /// From where.
    pub network_address: Option<IpAddr>,
}

impl Origin {
    /// Muster itself.
    pub fn system() -> Self {
        Self { author: Author::System, request_id: None, network_address: None }
    }

    /// Whoever runs the installation.
    pub fn operator() -> Self {
        Self { author: Author::Operator, ..Self::system() }
    }
}

/// What a member may do, as of an access version of the account.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The account's version these were read at; they are stale as soon as it differs.
    pub version: i64,
    /// Whether the member is the account's owner.
    pub owner: bool,
    /// The union of all roles.
    pub permissions: PermissionSet,
}

/// A signed-in member.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Their account: the tenant of everything they ask for.
    pub account_id: AccountId,
    /// Their place in it.
    pub member_id: MemberId,
    /// Their identity.
    pub user_id: UserId,
    /// The session they act through.
    pub session_id: SessionId,
    /// What they may do, as read when the request began.
    pub rights: Arc<Rights>,
    /// Business time when the request began.
    pub now: Timestamp,
    /// Where the request comes from.
    pub origin: Origin,
}

/// Something a member may want to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See all members and invitations.
    ReadMembers,
    /// See the licence pools.
    ReadLicenses,
    /// Invite, resend, correct, revoke.
    Invite,
    /// Suspend and activate.
    Suspend,
    /// Deactivate and reactivate.
    Deactivate,
    /// Change a member's roles.
    AssignRoles,
    /// See imports and what became of their rows.
    ReadImports,
    /// Import members.
    Import,
    /// See what happened in the account.
    ReadActivity,
    /// Rename the account, change its policy.
    UpdateAccount,
}

impl Action {
    /// Any of these permissions lets a member do it.
    pub const fn permissions(self) -> &'static [Permission] {
        match self {
            Self::ReadMembers => &[Permission::MembersRead],
            Self::ReadLicenses => &[Permission::LicensesRead, Permission::LicensesAllocate],
            Self::Invite => &[Permission::MembersInvite],
            Self::Suspend => &[Permission::MembersSuspend],
            Self::Deactivate => &[Permission::MembersDeactivate],
            Self::AssignRoles => &[Permission::RolesAssign],
            Self::ReadImports => &[Permission::ImportsRead, Permission::ImportsRun],
            Self::Import => &[Permission::ImportsRun],
            Self::ReadActivity => &[Permission::ActivityRead],
            Self::UpdateAccount => &[Permission::AccountUpdate],
        }
    }
}

/// What it is done to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The account as a whole.
    Account,
    /// A member's status or roles.
    Member {
        /// Who.
        member_id: MemberId,
        /// Whether they are the owner.
        owner: bool,
        /// What they may do.
        permissions: PermissionSet,
    },
    /// Somebody who is given permissions: by an invitation, an import, a role.
    Grant(PermissionSet),
}

/// Decides whether a member may do something to a target. Every path asks here.
pub fn decide(
    member_id: MemberId,
    rights: &Rights,
    action: Action,
    target: Target,
) -> std::result::Result<(), Refused> {
    let wanted = action.permissions();
    if !wanted.iter().any(|permission| rights.permissions.holds(*permission)) {
        return Err(Refused::missing(wanted[..1].to_vec()));
    }
    let held = match target {
        Target::Account => return Ok(()),
        // What they would grant themselves is compared like any other grant.
        Target::Member { member_id: target, .. } if target == member_id && action == Action::AssignRoles => {
            return Ok(());
        }
        Target::Member { member_id: target, .. } if target == member_id => return Err(Refused::new(Code::OwnStatus)),
        Target::Member { owner: true, .. } => return Err(Refused::new(Code::OwnerProtected)),
        Target::Member { permissions, .. } | Target::Grant(permissions) => permissions,
    };
    if rights.permissions.covers(held) { Ok(()) } else { Err(Refused::missing(rights.permissions.missing(held))) }
}

/// An actor whose rights were read after the running transaction took its locks: only such a one may write.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Their place in the account.
    pub member_id: MemberId,
    /// What they may do now.
    pub rights: Arc<Rights>,
}

impl Standing {
    /// [`decide`] for this actor.
    pub fn may(&self, action: Action, target: Target) -> Result<()> {
        decide(self.member_id, &self.rights, action, target).map_err(Error::from)
    }
}

impl Actor {
    /// [`decide`], as of when the request began: for reads, and to refuse a write early.
    pub fn may(&self, action: Action, target: Target) -> Result<()> {
        decide(self.member_id, &self.rights, action, target).map_err(Error::from)
    }

    /// Whether they may act on the account as a whole.
    pub fn can(&self, action: Action) -> bool {
        self.may(action, Target::Account).is_ok()
    }
}

/// Reads what a member may do. `None` unless the member is active.
pub async fn read_rights(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
) -> sqlx::Result<Option<Rights>> {
    let row = sqlx::query!(
        r#"SELECT f.access_version, o.member_id IS NOT NULL AS "owner!",
                  EXISTS (SELECT FROM member_role a WHERE a.account_id = m.account_id AND a.member_id = m.member_id AND a.role_id = $3)
                      AS "everything!",
                  ARRAY(SELECT DISTINCT p.permission FROM member_role a JOIN role_permission p USING (account_id, role_id)
                        WHERE a.account_id = m.account_id AND a.member_id = m.member_id) AS "keys!"
           FROM member m
           JOIN account_feed f USING (account_id)
           LEFT JOIN account_owner o USING (account_id, member_id)
           WHERE m.account_id = $1 AND m.member_id = $2 AND m.status = 'ACTIVE'"#,
        account.0,
        member.0,
        SystemRole::Administrator.id().0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Rights {
        version: row.access_version,
        owner: row.owner,
        permissions: permission_set(row.everything, &row.keys),
    }))
}

pub(crate) fn permission_set(everything: bool, keys: &[String]) -> PermissionSet {
    if everything { PermissionSet::EVERYTHING } else { PermissionSet::from_keys(keys.iter().map(String::as_str)) }
}

/// What some roles grant together. Fails with NOT_FOUND at `roleIds` when one does not exist in the account.
pub async fn granted_by(conn: &mut PgConnection, account: AccountId, roles: &[RoleId]) -> Result<PermissionSet> {
    let ids: Vec<Uuid> = roles.iter().map(|role| role.0).collect();
    let rows = sqlx::query!(
        r#"SELECT r.role_id, p.permission AS "permission?"
           FROM role r LEFT JOIN role_permission p USING (account_id, role_id)
           WHERE r.account_id = $1 AND r.role_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    if let Some(index) = ids.iter().position(|id| rows.iter().all(|row| row.role_id != *id)) {
        return Err(Refused::new(Code::NotFound).at(index).at("roleIds").into());
    }
    let everything = ids.contains(&SystemRole::Administrator.id().0);
    let keys: Vec<String> = rows.into_iter().filter_map(|row| row.permission).collect();
    Ok(permission_set(everything, &keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(permissions: PermissionSet) -> Rights {
        Rights { version: 1, owner: false, permissions }
    }

    fn refusal(permissions: PermissionSet, action: Action, target: Target) -> Option<Code> {
        decide(MemberId(Uuid::nil()), &rights(permissions), action, target).err().map(|refused| refused.code)
    }

    #[test]
    fn refuses_self_owner_and_the_greater() {
        let all = PermissionSet::EVERYTHING;
        let manager = PermissionSet::from_keys(SystemRole::MemberManager.permissions().iter().map(|p| p.key()));
        let member =
            |id, owner, permissions| Target::Member { member_id: MemberId(Uuid::from_u128(id)), owner, permissions };
        assert_eq!(refusal(all, Action::Suspend, member(0, false, manager)), Some(Code::OwnStatus));
        assert_eq!(refusal(all, Action::AssignRoles, member(0, true, all)), None);
        assert_eq!(refusal(all, Action::Suspend, member(1, true, all)), Some(Code::OwnerProtected));
        assert_eq!(refusal(manager, Action::Suspend, member(1, false, all)), Some(Code::NotPermitted));
        assert_eq!(refusal(manager, Action::Suspend, member(1, false, manager)), None);
        assert_eq!(refusal(manager, Action::Invite, Target::Grant(all)), Some(Code::NotPermitted));
        assert_eq!(refusal(PermissionSet::default(), Action::Invite, Target::Account), Some(Code::NotPermitted));
    }
}
