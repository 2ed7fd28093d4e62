//! What the host product may ask for with a service token. Everything else is refused before it is looked at.

/// Fields of the root types.
pub const FIELDS: [&str; 14] = [
    "account",
    "accessibleResources",
    "canAccess",
    "effectiveRate",
    "resource",
    "resourceByExternalId",
    "resourceArchive",
    "resourceAssign",
    "resourceGrant",
    "resourceRateRemove",
    "resourceRateSet",
    "resourceRegister",
    "resourceRevoke",
    "resourceUnarchive",
];

/// The header that names the account.
pub const ACCOUNT_HEADER: &str = "muster-account";

/// The first of some root fields that the host product may not ask for. What is told of the schema is anybody's.
pub fn refused<'a>(fields: &[&'a str]) -> Option<&'a str> {
    fields.iter().copied().find(|field| !field.starts_with("__") && !FIELDS.contains(field))
}
