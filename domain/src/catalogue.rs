//! The operator's catalogue file: what the installation defines for all accounts: products with their prices, and the permissions of
//! the host product.

pub mod product;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};

use self::product::SoldProduct;
use crate::infra::fault::fail_point;
use crate::permission::{HOST_PREFIX, Permission};

/// One catalogue is applied at a time, over all processes.
const LOCK: i64 = 0x6d75_7374_6361_7431;

/// The file, as TOML.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Permissions of the host product.
    #[serde(default, rename = "permission")]
    pub permissions: Vec<HostPermission>,
    /// What is sold.
    #[serde(default, rename = "product")]
    pub products: Vec<SoldProduct>,
}

/// A permission of the host product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPermission {
    /// `app.area.action`: small letters, digits and `_` between the dots.
    pub key: String,
    /// What it allows, as a sentence.
    pub description: String,
    /// Whether it covers the whole account and so grants nothing within a unit.
    #[serde(default)]
    pub account_wide: bool,
    /// Whether only the account's owner holds it, without any role. It moves with the ownership.
    #[serde(default)]
    pub owner_only: bool,
    /// Keys of the host product without which no role may hold it.
    #[serde(default)]
    pub requires: Vec<String>,
}

/// What applying a file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Declared for the first time, or again.
    Added(String),
    /// Declared otherwise than before; what differs.
    Changed(String, Vec<&'static str>),
    /// No longer declared: it grants nothing from now on, and so many roles hold it.
    Withdrawn(String, i64),
    /// No longer declared: it is not sold any more, and so many accounts keep it.
    NoLongerSold(String, i64),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(key) => write!(f, "+ {key}"),
            Self::Changed(key, what) => write!(f, "~ {key} ({})", what.join(", ")),
            Self::Withdrawn(key, 0) | Self::NoLongerSold(key, 0) => write!(f, "- {key}"),
            Self::NoLongerSold(key, accounts) => {
                write!(f, "- {key} (not sold any more; {accounts} accounts keep it)")
            }
            Self::Withdrawn(key, roles) => {
                write!(f, "- {key} (held by {roles} roles, for which it grants nothing from now on)")
            }
        }
    }
}

/// Why a catalogue is not applied.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// All that is wrong with the file, a line each.
    #[error("the catalogue has faults:\n{}", .0.join("\n"))]
    Faults(Vec<String>),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl Catalogue {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let catalogue: Self = toml::from_str(text).map_err(|error| CatalogueError::Faults(vec![error.to_string()]))?;
        let mut faults = catalogue.faults();
        faults.extend(product::faults(&catalogue.products));
        if faults.is_empty() { Ok(catalogue) } else { Err(CatalogueError::Faults(faults)) }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        // The first of those that are declared twice.
        let by_key: BTreeMap<&str, &HostPermission> =
            self.permissions.iter().rev().map(|p| (p.key.as_str(), p)).collect();
        for permission in &self.permissions {
            let key = &permission.key;
            if !is_key(key) {
                faults
                    .push(format!("permission {key:?}: a key looks like app.matters.read (small letters, digits, _)"));
            }
            if !seen.insert(key.as_str()) {
                faults.push(format!("permission {key:?} is declared twice"));
            }
            if permission.description.trim().is_empty() || permission.description.chars().count() > 500 {
                faults.push(format!("permission {key:?}: a description has 1 to 500 characters"));
            }
            for needed in &permission.requires {
                match by_key.get(needed.as_str()) {
                    None => faults.push(format!("permission {key:?} requires {needed:?}, which is not declared")),
                    Some(other) if other.owner_only && !permission.owner_only => faults.push(format!(
                        "permission {key:?} requires {needed:?}, which only owners hold, so no role could hold it"
                    )),
                    Some(_) => {}
                }
            }
            if reaches(&by_key, key) {
                faults.push(format!("permission {key:?} requires itself, over others or not"));
            }
        }
        faults
    }
}

/// `app.` and at least one more segment.
fn is_key(key: &str) -> bool {
    let letters = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    key.len() <= 100 && key.strip_prefix(HOST_PREFIX).is_some_and(|rest| rest.split('.').all(letters))
}

/// Whether a permission is among all that it requires.
fn reaches(by_key: &BTreeMap<&str, &HostPermission>, key: &str) -> bool {
    let mut open: Vec<&str> = by_key.get(key).into_iter().flat_map(|p| p.requires.iter().map(String::as_str)).collect();
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if next == key {
            return true;
        }
        if seen.insert(next) {
            open.extend(by_key.get(next).into_iter().flat_map(|p| p.requires.iter().map(String::as_str)));
        }
    }
    false
}

/// A permission as it was declared before.
struct Stored {
    permission: HostPermission,
    withdrawn: bool,
    roles: i64,
}

async fn stored(conn: &mut PgConnection) -> sqlx::Result<BTreeMap<String, Stored>> {
    let rows = sqlx::query!(
        r#"SELECT p.permission, p.description, p.account_wide, p.owner_only, p.prerequisites, p.withdrawn_at IS NOT NULL AS "withdrawn!",
                  (SELECT count(*) FROM role_permission r WHERE r.permission = p.permission) AS "roles!"
           FROM permission p WHERE p.permission LIKE 'app.%'"#
    )
    .fetch_all(conn)
    .await?;
    let stored = rows.into_iter().map(|row| {
        let permission = HostPermission {
            key: row.permission.clone(),
            description: row.description,
            account_wide: row.account_wide,
            owner_only: row.owner_only,
            requires: row.prerequisites,
        };
        (row.permission, Stored { permission, withdrawn: row.withdrawn, roles: row.roles })
    });
    Ok(stored.collect())
}

fn differences(catalogue: &Catalogue, stored: &BTreeMap<String, Stored>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for permission in &catalogue.permissions {
        match stored.get(&permission.key) {
            None => differences.push(Difference::Added(permission.key.clone())),
            Some(before) if before.withdrawn => differences.push(Difference::Added(permission.key.clone())),
            Some(before) if before.permission != *permission => {
                differences
                    .push(Difference::Changed(permission.key.clone(), what_differs(&before.permission, permission)));
            }
            Some(_) => {}
        }
    }
    let declared: BTreeSet<&str> = catalogue.permissions.iter().map(|p| p.key.as_str()).collect();
    let gone = stored.iter().filter(|(key, before)| !before.withdrawn && !declared.contains(key.as_str()));
    differences.extend(gone.map(|(key, before)| Difference::Withdrawn(key.clone(), before.roles)));
    differences
}

fn what_differs(before: &HostPermission, after: &HostPermission) -> Vec<&'static str> {
    let all = [
        ("description", before.description != after.description),
        ("account_wide", before.account_wide != after.account_wide),
        ("owner_only", before.owner_only != after.owner_only),
        ("requires", before.requires != after.requires),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Applies a catalogue, all of it or nothing, and answers what that changes; with `dry_run` changes nothing. Rights of members are read
/// anew from the next request on. Needs a connection of the role that migrates.
///
/// # Errors
/// [`CatalogueError::Database`]; [`CatalogueError::Faults`] where it would change what never changes.
pub async fn apply(
    conn: &mut PgConnection,
    catalogue: &Catalogue,
    dry_run: bool,
) -> Result<Vec<Difference>, CatalogueError> {
    let mut tx = conn.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK).execute(&mut *tx).await?;
    let (sold, faults) = product::differences(&mut tx, &catalogue.products).await?;
    if !faults.is_empty() {
        return Err(CatalogueError::Faults(faults));
    }
    let mut differences = differences(catalogue, &stored(&mut tx).await?);
    differences.extend(sold);
    if dry_run || differences.is_empty() {
        return Ok(differences);
    }
    let keys: Vec<String> = catalogue.permissions.iter().map(|p| p.key.clone()).collect();
    for permission in &catalogue.permissions {
        sqlx::query!(
            "INSERT INTO permission (permission, description, account_wide, owner_only, prerequisites) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (permission) DO UPDATE SET description = $2, account_wide = $3, owner_only = $4, prerequisites = $5,
                                                    withdrawn_at = NULL",
            permission.key,
            permission.description,
            permission.account_wide,
            permission.owner_only,
            &permission.requires,
        )
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query!(
        "UPDATE permission SET withdrawn_at = now()
         WHERE permission LIKE 'app.%' AND permission <> ALL($1) AND withdrawn_at IS NULL",
        &keys
    )
    .execute(&mut *tx)
    .await?;
    product::write(&mut tx, &catalogue.products).await?;
    sqlx::query!("UPDATE catalogue SET version = version + 1").execute(&mut *tx).await?;
    fail_point!("catalogue.before_commit");
    tx.commit().await?;
    Ok(differences)
}

/// The administrative permissions and what the system roles hold, as the page of the documentation.
pub fn reference() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "# Permissions\n\nWritten by `muster config permissions`; do not edit it.\n\n\
         What roles can allow, and which system roles do. Administrator holds everything, also what is declared later; Standard\n\
         holds nothing: everybody reads their own profile, and names and job titles of colleagues. The host product's own permissions\n\
         (`app.…`) are declared in the operator's catalogue file: see [operating.md](operating.md).\n\n\
         | permission | allows | within a unit | held by |\n|---|---|---|---|\n",
    );
    for permission in Permission::ALL {
        let roles = crate::permission::SystemRole::ALL.iter().filter(|role| role.permissions().contains(permission));
        let names: Vec<&str> = roles.map(|role| role.name()).collect();
        let within = if permission.account_wide() { "no" } else { "yes" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {within} | {} |",
            permission.key(),
            permission.description(),
            names.join(", ")
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        match Catalogue::parse(text) {
            Err(CatalogueError::Faults(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let told = faults(
            "[[permission]]\nkey = 'app.a.read'\ndescription = 'A.'\nrequires = ['app.b.read']\n\
             [[permission]]\nkey = 'app.b.read'\ndescription = 'B.'\nrequires = ['app.a.read', 'app.c']\n\
             [[permission]]\nkey = 'members.read'\ndescription = ''\n[[permission]]\nkey = 'app.a.read'\ndescription = 'A.'",
        );
        for part in ["requires itself", "\"app.c\", which is not declared", "a key looks like", "1 to 500", "twice"] {
            assert!(told.iter().any(|fault| fault.contains(part)), "{part}: {told:?}");
        }
        assert!(faults("[[permission]]\nkey = 'app.a'\ndescription = 'A.'\ncolour = 'red'")[0].contains("colour"));
    }

    #[test]
    fn what_only_owners_hold_is_no_prerequisite_of_roles() {
        let told = faults(
            "[[permission]]\nkey = 'app.a'\ndescription = 'A.'\nowner_only = true\n\
             [[permission]]\nkey = 'app.b'\ndescription = 'B.'\nrequires = ['app.a']",
        );
        assert!(told[0].contains("which only owners hold"), "{told:?}");
    }
}
