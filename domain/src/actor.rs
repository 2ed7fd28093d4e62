//! Who is asking, and the one function that says what they may do to whom.

use std::net::IpAddr;
use std::sync::Arc;

use sqlx::PgConnection;

use crate::error::{Code, Error, Refused, Result};
use crate::id::{AccountId, MemberId, ServiceTokenId, SessionId, UnitId, UserId};
use crate::infra::clock::Timestamp;
use crate::permission::{Permission, PermissionSet};

mod asker;
mod grants;
mod host;

pub(crate) use asker::inside;
pub use asker::{Asker, Asks, Host};
pub use grants::{Assignment, Grants, Reach, WHOLE_ACCOUNT, of_assignments, of_members, of_roles};
pub use host::HostGrants;

/// Who causes a change, as its events name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A member of the account.
    Member(MemberId),
    /// The host product, by itself.
    Host(ServiceTokenId),
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
    /// What their roles give together, for the whole account and within units.
    pub grants: Grants,
    /// Permissions of the host product, by scope.
    pub host: HostGrants,
    /// The version of the operator's catalogue that those were read at.
    pub catalogue: i64,
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
    /// Give licences to members and take them back.
    AllocateLicenses,
    /// Buy and remove licences, open and close products, try them, change the plan.
    ManageLicenses,
    /// See statements and how the account pays.
    ReadBilling,
    /// Change to whom statements are issued, and how they are paid.
    ManageBilling,
    /// Invite, resend, correct, revoke.
    Invite,
    /// Change the profile or the validity of somebody else.
    UpdateMember,
    /// Suspend and activate.
    Suspend,
    /// Deactivate and reactivate.
    Deactivate,
    /// Delete for good.
    Delete,
    /// Change somebody else's login e-mail.
    ChangeEmail,
    /// Change a member's roles.
    AssignRoles,
    /// Create, change and archive roles.
    ManageRoles,
    /// Create, change and archive groups, and choose their members.
    ManageGroups,
    /// Create, change and archive units, and choose their members.
    ManageUnits,
    /// See resources, to whom they are open, and their rates.
    ReadResources,
    /// Register resources, open them, set rates.
    ManageResources,
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
            Self::ReadLicenses => &[Permission::LicensesRead, Permission::LicensesAllocate, Permission::LicensesManage],
            Self::AllocateLicenses => &[Permission::LicensesAllocate],
            Self::ManageLicenses => &[Permission::LicensesManage],
            Self::ReadBilling => &[Permission::BillingRead, Permission::BillingManage],
            Self::ManageBilling => &[Permission::BillingManage],
            Self::Invite => &[Permission::MembersInvite],
            Self::UpdateMember => &[Permission::MembersUpdate],
            Self::Suspend => &[Permission::MembersSuspend],
            Self::Deactivate => &[Permission::MembersDeactivate],
            Self::Delete => &[Permission::MembersDelete],
            Self::ChangeEmail => &[Permission::MembersChangeEmail],
            Self::AssignRoles => &[Permission::RolesAssign],
            Self::ManageRoles => &[Permission::RolesManage],
            Self::ManageGroups => &[Permission::GroupsManage],
            Self::ManageUnits => &[Permission::UnitsManage],
            Self::ReadResources => &[Permission::ResourcesRead, Permission::ResourcesManage],
            Self::ManageResources => &[Permission::ResourcesManage],
            Self::ReadImports => &[Permission::ImportsRead, Permission::ImportsRun],
            Self::Import => &[Permission::ImportsRun],
            Self::ReadActivity => &[Permission::ActivityRead],
            Self::UpdateAccount => &[Permission::AccountUpdate],
        }
    }
}

/// What it is done to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The account as a whole: only a right that covers all of it will do.
    Account,
    /// Nothing in particular yet: to refuse who may nowhere do such a thing before anything is looked up.
    Anywhere,
    /// Something that may belong to a unit.
    Unit(Option<UnitId>),
    /// A member's profile, status, address or roles.
    Member {
        /// Who.
        member_id: MemberId,
        /// Whether they are the owner.
        owner: bool,
        /// The units they belong to.
        units: &'a [UnitId],
        /// What they may do.
        held: &'a Grants,
    },
    /// Somebody is given what assignments of roles give, in each of their scopes: by an invitation, an import, a role.
    Grant(&'a Grants),
}

/// Decides whether a member may do something to a target. Every path asks here.
pub fn decide(
    member_id: MemberId,
    rights: &Rights,
    action: Action,
    target: Target<'_>,
) -> std::result::Result<(), Refused> {
    let wanted = action.permissions();
    let lacking = || Err(Refused::missing(wanted[..1].to_vec()));
    let reach = rights.grants.reach(wanted);
    if reach == Reach::Nowhere {
        return lacking();
    }
    let held = match target {
        Target::Anywhere => return Ok(()),
        Target::Account => return if reach == Reach::Everywhere { Ok(()) } else { lacking() },
        // What lies outside of the units is as if it were not there.
        Target::Unit(unit) => {
            let inside = reach.includes(unit.as_slice());
            return if inside { Ok(()) } else { Err(Refused::new(Code::NotFound)) };
        }
        // What they would grant themselves is compared like any other grant.
        Target::Member { member_id: target, .. } if target == member_id => {
            return if action == Action::AssignRoles { Ok(()) } else { Err(Refused::new(Code::OwnStatus)) };
        }
        Target::Member { units, .. } if !reach.includes(units) => return Err(Refused::new(Code::NotFound)),
        Target::Member { owner: true, .. } => return Err(Refused::new(Code::OwnerProtected)),
        Target::Grant(given) if !given.scopes().all(|(scope, _)| reach.includes(&[scope])) => return lacking(),
        Target::Member { held, .. } | Target::Grant(held) => held,
    };
    if rights.grants.covers(held) { Ok(()) } else { Err(Refused::missing(rights.grants.missing(held))) }
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
    pub fn may(&self, action: Action, target: Target<'_>) -> Result<()> {
        decide(self.member_id, &self.rights, action, target).map_err(Error::from)
    }
}

impl Actor {
    /// [`decide`], as of when the request began: for reads, and to refuse a write early.
    pub fn may(&self, action: Action, target: Target<'_>) -> Result<()> {
        decide(self.member_id, &self.rights, action, target).map_err(Error::from)
    }

    /// Whether they may act on the account as a whole.
    pub fn can(&self, action: Action) -> bool {
        self.may(action, Target::Account).is_ok()
    }

    /// Where they may do something.
    pub fn reach(&self, action: Action) -> Reach {
        self.rights.grants.reach(action.permissions())
    }
}

/// Reads what a member may do. `None` unless the member is active.
pub async fn read_rights(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
) -> sqlx::Result<Option<Rights>> {
    let row = sqlx::query!(
        r#"SELECT f.access_version, (SELECT version FROM catalogue) AS "catalogue!", o.member_id IS NOT NULL AS "owner!"
           FROM member m
           JOIN account_feed f USING (account_id)
           LEFT JOIN account_owner o USING (account_id, member_id)
           WHERE m.account_id = $1 AND m.member_id = $2 AND m.status = 'ACTIVE'"#,
        account.0,
        member.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let grants = of_members(conn, account, &[member]).await?.remove(&member).unwrap_or_default();
    let host = host::of_member(conn, account, member, row.owner).await?;
    Ok(Some(Rights { version: row.access_version, owner: row.owner, grants, host, catalogue: row.catalogue }))
}

pub(crate) fn permission_set(everything: bool, keys: &[String]) -> PermissionSet {
    if everything { PermissionSet::EVERYTHING } else { PermissionSet::from_keys(keys.iter().map(String::as_str)) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::permission::SystemRole;

    fn refusal(grants: &Grants, action: Action, target: Target<'_>) -> Option<Code> {
        let host = HostGrants::default();
        let rights = Rights { version: 1, owner: false, grants: grants.clone(), host, catalogue: 1 };
        decide(MemberId(Uuid::nil()), &rights, action, target).err().map(|refused| refused.code)
    }

    fn of_role(role: SystemRole) -> PermissionSet {
        match role {
            SystemRole::Administrator => PermissionSet::EVERYTHING,
            role => PermissionSet::from_keys(role.permissions().iter().map(|p| p.key())),
        }
    }

    fn member<'a>(id: u128, owner: bool, units: &'a [UnitId], held: &'a Grants) -> Target<'a> {
        Target::Member { member_id: MemberId(Uuid::from_u128(id)), owner, units, held }
    }

    #[test]
    fn refuses_self_owner_and_the_greater() {
        let all = &Grants::wide_only(PermissionSet::EVERYTHING);
        let manager = &Grants::wide_only(of_role(SystemRole::MemberManager));
        assert_eq!(refusal(all, Action::Suspend, member(0, false, &[], manager)), Some(Code::OwnStatus));
        assert_eq!(refusal(all, Action::AssignRoles, member(0, true, &[], all)), None);
        assert_eq!(refusal(all, Action::Suspend, member(1, true, &[], all)), Some(Code::OwnerProtected));
        assert_eq!(refusal(manager, Action::Suspend, member(1, false, &[], all)), Some(Code::NotPermitted));
        assert_eq!(refusal(manager, Action::Suspend, member(1, false, &[], manager)), None);
        assert_eq!(refusal(manager, Action::Invite, Target::Grant(all)), Some(Code::NotPermitted));
        assert_eq!(refusal(&Grants::default(), Action::Invite, Target::Anywhere), Some(Code::NotPermitted));
    }

    #[test]
    fn who_manages_a_unit_finds_nobody_outside_of_it_and_gives_nothing_beyond_it() {
        let (mine, other) = (UnitId::new(), UnitId::new());
        let mut limited = Grants::default();
        limited.add(mine, of_role(SystemRole::MemberManager));
        let nothing = &Grants::default();
        assert_eq!(refusal(&limited, Action::Suspend, member(1, false, &[other, mine], nothing)), None);
        assert_eq!(refusal(&limited, Action::Suspend, member(1, false, &[other], nothing)), Some(Code::NotFound));
        assert_eq!(refusal(&limited, Action::Suspend, member(1, true, &[other], nothing)), Some(Code::NotFound));
        let auditor = &Grants::wide_only(of_role(SystemRole::Auditor));
        assert_eq!(refusal(&limited, Action::Suspend, member(1, false, &[mine], auditor)), Some(Code::NotPermitted));
        let standard = &Grants::wide_only(PermissionSet::default());
        assert_eq!(refusal(&limited, Action::Invite, Target::Grant(standard)), Some(Code::NotPermitted));
        assert_eq!(refusal(&limited, Action::Invite, Target::Grant(&limited)), None);
        assert_eq!(refusal(&limited, Action::Import, Target::Account), Some(Code::NotPermitted));
        assert_eq!(refusal(&limited, Action::ManageResources, Target::Unit(Some(mine))), None);
        assert_eq!(refusal(&limited, Action::ManageResources, Target::Unit(None)), Some(Code::NotFound));
    }
}
