//! Typed identifiers: UUIDv7 inside, `mem_0192…` outside.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is no identifier of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of this kind")]
pub struct InvalidId;

/// What all kinds of identifiers share.
pub trait Id: Copy + FromStr<Err = InvalidId> {
    /// The identifier of nothing: none is ever given out. A text that is no identifier stands for it, so that it is answered
    /// by the same checks in the same order as one that does not exist.
    const NOTHING: Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
            #[sqlx(transparent)]
            pub struct $name(pub Uuid);

            impl $name {
                /// What the outside form begins with.
                pub const PREFIX: &'static str = $prefix;

                /// A fresh identifier, roughly ordered by time of creation.
                #[expect(clippy::new_without_default, reason = "a fresh identifier is no default value")]
                pub fn new() -> Self {
                    Self(Uuid::now_v7())
                }
            }

            impl Id for $name {
                // Not the nil one, which means "no unit" and "no account" in keys.
                const NOTHING: Self = Self(Uuid::max());
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{}_{}", $prefix, self.0.simple())
                }
            }

            impl FromStr for $name {
                type Err = InvalidId;

                fn from_str(text: &str) -> Result<Self, InvalidId> {
                    let hex = text.strip_prefix($prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(InvalidId)?;
                    // One spelling only: 32 lower-case digits.
                    if hex.len() != 32 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
                        return Err(InvalidId);
                    }
                    // The nil one means "no unit" and "no account" in keys; nobody names it from outside.
                    Uuid::try_parse(hex).ok().filter(|id| !id.is_nil()).map(Self).ok_or(InvalidId)
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

ids! {
    /// An account: the tenant.
    AccountId = "acc";
    /// A person's global identity.
    UserId = "usr";
    /// A person's place in one account.
    MemberId = "mem";
    /// A role of an account.
    RoleId = "rol";
    /// An organizational unit of an account.
    UnitId = "unt";
    /// A group of members.
    GroupId = "grp";
    /// A thing of the host product.
    ResourceId = "res";
    /// An invitation.
    InvitationId = "inv";
    /// A session.
    SessionId = "ses";
    /// An event of an account's feed.
    EventId = "evt";
    /// An uploaded file.
    UploadId = "upl";
    /// An import of members.
    ImportId = "imp";
    /// A file that the service makes for somebody.
    ExportId = "exp";
    /// A row of the outbox.
    JobId = "job";
    /// A sign-up that waits for its confirmation.
    SignUpId = "sup";
    /// A change of a login e-mail that waits for its confirmation, or was confirmed.
    EmailChangeId = "emc";
    /// A credential of the host product.
    ServiceTokenId = "svt";
    /// A priced change of licences that can be confirmed.
    QuoteId = "qut";
    /// A change of licences.
    ChangeId = "lch";
    /// A statement of what an account owes.
    StatementId = "stm";
    /// A time that a gateway was asked for money.
    AttemptId = "att";
    /// Something that an operator gives back.
    CreditId = "crd";
    /// A password reset that waits for its new password.
    PasswordResetId = "pwr";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_outside_form() {
        let id = MemberId::new();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in [
            text.to_uppercase(),
            text.replace("mem_", "acc_"),
            text.replace('_', ""),
            format!("{text}0"),
            String::new(),
        ] {
            assert_eq!(other.parse::<MemberId>(), Err(InvalidId), "{other}");
        }
    }
}
