//! The catalogue of administrative permissions and the five system roles.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::RoleId;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $description:literal;)*) => {
        /// One thing an administrator may do, named `area.action`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $(#[doc = $description] $name,)* }

        impl Permission {
            /// The whole catalogue, in the order it is shown.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `area.action`.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What it allows, as a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }
        }
    };
}

permissions! {
    MembersRead = "members.read", "See every member with profile, roles and licences, and all invitations.";
    MembersInvite = "members.invite", "Invite people; resend, correct and revoke invitations.";
    MembersUpdate = "members.update", "Change the profiles of others, and from when until when they are members.";
    MembersSuspend = "members.suspend", "Suspend members and let them in again.";
    MembersDeactivate = "members.deactivate", "Deactivate members, which frees their seat, and reactivate them.";
    MembersDelete = "members.delete", "Delete members for good, with their personal data.";
    MembersChangeEmail = "members.changeEmail", "Change the login e-mail of others.";
    RolesAssign = "roles.assign", "Change which roles a member has.";
    RolesManage = "roles.manage", "Create, change and archive roles.";
    GroupsManage = "groups.manage", "Create, change and archive groups, and choose their members.";
    UnitsManage = "units.manage", "Create, change and archive units, and choose their members.";
    ResourcesRead = "resources.read", "See every resource, to whom it is open, and its rates.";
    ResourcesManage = "resources.manage", "Register resources, open them to members and groups, and set rates.";
    LicensesRead = "licenses.read", "See the licence pools.";
    LicensesAllocate = "licenses.allocate", "Give licences to members and take them back.";
    LicensesManage = "licenses.manage", "Buy and remove licences, open and close products, start trials, change the plan.";
    BillingRead = "billing.read", "See statements and how the account pays.";
    BillingManage = "billing.manage", "Change to whom statements are issued and how they are paid; be told about money.";
    ImportsRead = "imports.read", "See imports and what became of their rows.";
    ImportsRun = "imports.run", "Import members from a CSV file.";
    ActivityRead = "activity.read", "See what happened in the account, and follow it live.";
    AccountUpdate = "account.update", "Rename the account and change its policy.";
}

impl Permission {
    /// The permission with this key.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.key() == key)
    }

    /// Whether it covers the whole account and so cannot be limited to a unit.
    pub const fn account_wide(self) -> bool {
        matches!(
            self,
            Self::LicensesRead
                | Self::LicensesAllocate
                | Self::LicensesManage
                | Self::BillingRead
                | Self::BillingManage
                | Self::AccountUpdate
                | Self::ImportsRead
                | Self::ImportsRun
                | Self::ActivityRead
                | Self::RolesManage
                | Self::GroupsManage
                | Self::UnitsManage
        )
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl Serialize for Permission {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Self::from_key(&key).ok_or_else(|| serde::de::Error::custom("unknown permission"))
    }
}

/// A set of permissions. Administrator's holds also what is declared later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermissionSet {
    everything: bool,
    bits: u64,
}

impl PermissionSet {
    /// What Administrator holds.
    pub const EVERYTHING: Self = Self { everything: true, bits: u64::MAX };

    /// Whether a permission is in the set.
    pub fn holds(self, permission: Permission) -> bool {
        self.bits & permission.bit() != 0
    }

    /// Adds one.
    pub fn insert(&mut self, permission: Permission) {
        self.bits |= permission.bit();
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: Self) {
        self.everything |= other.everything;
        self.bits |= other.bits;
    }

    /// What `other` holds and this set does not. Only Administrator covers Administrator.
    pub fn missing(self, other: Self) -> Vec<Permission> {
        Permission::ALL.iter().copied().filter(|p| other.holds(*p) && !self.holds(*p)).collect()
    }

    /// Whether this set holds all that `other` holds, now and later.
    pub fn covers(self, other: Self) -> bool {
        (self.everything || !other.everything) && other.bits & !self.bits == 0
    }

    /// What of this set can be held within a unit.
    #[must_use]
    pub fn within_unit(self) -> Self {
        let limitable = Permission::ALL.iter().filter(|p| !p.account_wide()).fold(0, |bits, p| bits | p.bit());
        Self { everything: self.everything, bits: self.bits & limitable }
    }

    /// The permissions of the catalogue in this set.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.holds(*permission))
    }

    /// From the keys stored for a role; unknown ones are of a newer version and grant nothing here.
    pub fn from_keys<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let mut set = Self::default();
        keys.into_iter().filter_map(Permission::from_key).for_each(|permission| set.insert(permission));
        set
    }
}

/// The five built-in roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemRole {
    /// Everything, also what is declared later.
    Administrator,
    /// Members, invitations, roles, imports.
    MemberManager,
    /// Licences and billing.
    BillingManager,
    /// Every read; changes nothing.
    Auditor,
    /// Own profile; names and job titles of colleagues.
    Standard,
}

impl SystemRole {
    /// All five, in the order they are shown.
    pub const ALL: [Self; 5] =
        [Self::Administrator, Self::MemberManager, Self::BillingManager, Self::Auditor, Self::Standard];

    /// The same in every account.
    pub const fn id(self) -> RoleId {
        RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001 + self as u128))
    }

    /// Stored as `role.system_key`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Administrator => "ADMINISTRATOR",
            Self::MemberManager => "MEMBER_MANAGER",
            Self::BillingManager => "BILLING_MANAGER",
            Self::Auditor => "AUDITOR",
            Self::Standard => "STANDARD",
        }
    }

    /// As people see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::MemberManager => "Member manager",
            Self::BillingManager => "Billing manager",
            Self::Auditor => "Auditor",
            Self::Standard => "Standard",
        }
    }

    /// What it holds; Administrator lists nothing, because it holds everything.
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::Administrator | Self::Standard => &[],
            Self::MemberManager => &[
                P::MembersRead,
                P::MembersInvite,
                P::MembersUpdate,
                P::MembersSuspend,
                P::MembersDeactivate,
                P::MembersDelete,
                P::MembersChangeEmail,
                P::RolesAssign,
                P::GroupsManage,
                P::UnitsManage,
                P::ResourcesRead,
                P::ResourcesManage,
                P::LicensesAllocate,
                P::ImportsRead,
                P::ImportsRun,
            ],
            Self::BillingManager => &[
                P::MembersRead,
                P::LicensesRead,
                P::LicensesAllocate,
                P::LicensesManage,
                P::BillingRead,
                P::BillingManage,
            ],
            Self::Auditor => {
                &[P::MembersRead, P::ResourcesRead, P::LicensesRead, P::BillingRead, P::ImportsRead, P::ActivityRead]
            }
        }
    }
}

/// A permission as the database knows it: an administrative one, or one that the operator declared for the host product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// `area.action`; the host product's begin with [`HOST_PREFIX`].
    pub key: String,
    /// What it allows, as a sentence.
    pub description: String,
    /// Whether it covers the whole account and so cannot be limited to a unit.
    pub account_wide: bool,
    /// Whether only the account's owner holds it, without any role.
    pub owner_only: bool,
    /// Keys without which no role may hold it.
    pub prerequisites: Vec<String>,
}

/// What the keys of the host product's permissions begin with.
pub const HOST_PREFIX: &str = "app.";

/// All permissions that can be held: the administrative ones in the order they are shown, then the host product's by key.
pub async fn read(conn: &mut PgConnection) -> sqlx::Result<Vec<Declared>> {
    let mut all = sqlx::query_as!(
        Declared,
        "SELECT permission AS key, description, account_wide, owner_only, prerequisites FROM permission WHERE withdrawn_at IS NULL",
    )
    .fetch_all(conn)
    .await?;
    all.sort_by_cached_key(|declared| place(&declared.key));
    Ok(all)
}

/// Keys in the order in which permissions are shown, each once.
pub fn in_order(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_by_cached_key(|key| place(key));
    keys.dedup();
    keys
}

fn place(key: &str) -> (usize, String) {
    let known = Permission::ALL.iter().position(|permission| permission.key() == key);
    (known.unwrap_or(usize::MAX), key.to_owned())
}

/// Whether the database knows every permission of this program, so that any of them can be granted.
pub async fn is_catalogue_written(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let keys: Vec<String> = Permission::ALL.iter().map(|p| p.key().to_owned()).collect();
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT unnest($1::text[]) EXCEPT SELECT permission FROM permission) AS "written!""#,
        &keys
    )
    .fetch_one(conn)
    .await
}

/// Writes the catalogue to the database, as `muster migrate` does after the migrations. Nothing is removed: an older
/// process may still refer to it.
pub async fn write_catalogue(conn: &mut PgConnection) -> sqlx::Result<()> {
    let keys: Vec<String> = Permission::ALL.iter().map(|p| p.key().to_owned()).collect();
    let wide: Vec<bool> = Permission::ALL.iter().map(|p| p.account_wide()).collect();
    let descriptions: Vec<String> = Permission::ALL.iter().map(|p| p.description().to_owned()).collect();
    sqlx::query!(
        "INSERT INTO permission (permission, account_wide, description)
         SELECT * FROM unnest($1::text[], $2::boolean[], $3::text[])
         ON CONFLICT (permission) DO UPDATE SET account_wide = excluded.account_wide, description = excluded.description",
        &keys,
        &wide,
        &descriptions,
    )
    .execute(&mut *conn)
    .await?;
    write_system_roles(conn).await
}

/// Gives the system roles of accounts that exist what they hold by now. Nothing is taken away: an older process may still run.
async fn write_system_roles(conn: &mut PgConnection) -> sqlx::Result<()> {
    let held = SystemRole::ALL.iter().flat_map(|role| role.permissions().iter().map(|p| (role.key(), p.key())));
    let (roles, keys): (Vec<String>, Vec<String>) = held.map(|(role, key)| (role.to_owned(), key.to_owned())).unzip();
    sqlx::query!(
        "WITH added AS (
             INSERT INTO role_permission (account_id, role_id, permission)
             SELECT r.account_id, r.role_id, h.permission
             FROM unnest($1::text[], $2::text[]) h(system_key, permission) JOIN role r USING (system_key)
             ON CONFLICT DO NOTHING RETURNING account_id)
         UPDATE account_feed SET access_version = access_version + 1 WHERE account_id IN (SELECT account_id FROM added)",
        &roles,
        &keys,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(role: SystemRole) -> PermissionSet {
        match role {
            SystemRole::Administrator => PermissionSet::EVERYTHING,
            role => PermissionSet::from_keys(role.permissions().iter().map(|p| p.key())),
        }
    }

    #[test]
    fn only_administrator_covers_administrator() {
        for role in SystemRole::ALL {
            assert_eq!(set(role).covers(PermissionSet::EVERYTHING), role == SystemRole::Administrator);
        }
        let mut all_of_today = PermissionSet::default();
        for permission in Permission::ALL {
            all_of_today.insert(*permission);
        }
        assert!(!all_of_today.covers(PermissionSet::EVERYTHING), "it lacks what is declared later");
    }

    #[test]
    fn auditor_changes_nothing() {
        assert!(set(SystemRole::Auditor).iter().all(|permission| permission.key().rsplit('.').next() == Some("read")));
    }
}
