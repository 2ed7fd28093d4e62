//! What can be wrong with a value that a person typed, in a form or in a file.

use std::fmt;
use std::str::FromStr;

use crate::infra::email_address::EmailAddressError;
use crate::infra::personal_domain::DomainRefusal;

/// Declares the codes with the sentence that each shows to people.
macro_rules! faults {
    ($($variant:ident $code:literal $sentence:literal)*) => {
        /// What is wrong with a value or a row: a stable code for programs, and a sentence for people that says what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum FieldFault {
            $(#[doc = $sentence] #[serde(rename = $code)] $variant,)*
        }

        impl FieldFault {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code for programs, in upper case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The sentence for people. It never contains the value.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

/// The one list of what can be wrong with a value or a row: hands `Name "CODE" "sentence"` rows to a macro, so that the API's enum cannot
/// differ from it.
#[macro_export]
macro_rules! with_field_faults {
    ($macro:ident) => {
        $macro! {
            Required "REQUIRED" "Fill this in; it must not be empty."
            TooLong "TOO_LONG" "Shorten this; it is longer than the product keeps."
            InvalidCharacters "INVALID_CHARACTERS"
                "Type this again as plain text on one line: it has control characters or ones that reverse the direction of writing."
            InvalidEmail "INVALID_EMAIL" "Write one e-mail address, like name@example.com, without quotes, comments or accents before the @."
            InvalidTimeZone "INVALID_TIME_ZONE" "Use a name of the IANA time zone database, like Europe/London or Asia/Tokyo."
            InvalidCountry "INVALID_COUNTRY" "Use the two-letter ISO 3166-1 code of the country, like US, CA or DE."
            InvalidPhone "INVALID_PHONE"
                "Write the number with + and the country code, 8 to 15 digits in all and no (0), like +1 212 555 0100."
            InvalidInitials "INVALID_INITIALS" "Write the initials without periods or spaces, like AB."
            InvalidSubscriptionType "INVALID_SUBSCRIPTION_TYPE" "Use one of: Attorney, Non-attorney."
            PersonalDomain "PERSONAL_DOMAIN" "Use a work address: this account does not accept addresses at free-mail providers."
            DomainNotAllowed "DOMAIN_NOT_ALLOWED" "Use an address at one of the domains that this account accepts."
            DuplicateInFile "DUPLICATE_IN_FILE" "An earlier row of the file has the same address; keep only one of them."
            AlreadyMember "ALREADY_MEMBER" "A member of this account has this address already, with other values; delete the row, or import it so that members are brought up to date."
            AlreadyInvited "ALREADY_INVITED" "There is an open invitation to this address already, with other values; delete the row, or import it so that members are brought up to date."
            NotImportable "NOT_IMPORTABLE"
                "This person is suspended or deactivated in this account; delete the row, and activate them in the list of members instead."
            OwnerProtected "OWNER_PROTECTED" "This is the account's owner, whom an import never changes; delete the row."
            NotPermitted "NOT_PERMITTED"
                "You may not do this to this person or with these groups; leave it out, or ask an administrator to import the row."
            NoSeat "NO_SEAT" "No licence is free for this person; free or add one, then upload the row again."
            MailLimit "MAIL_LIMIT" "The account sent this address too many invitations; upload the row again later, or import it without a mail."
            UnknownRole "UNKNOWN_ROLE" "The account has no role of this name; correct it, or leave the cell empty for the role that the import gives."
            RoleNotPermitted "ROLE_NOT_PERMITTED"
                "You may not give these roles to this person, because you lack the right to, or one that the roles or the person have; leave them out, or ask an administrator to import the row."
            TooManyRoles "TOO_MANY_ROLES" "A person has at most 20 roles; leave some out."
            TooManyGroups "TOO_MANY_GROUPS" "A row names at most 1,000 groups; leave some out."
            UnknownGroup "UNKNOWN_GROUP" "The account has no group of this name, or it is archived; correct it, or leave the cell empty."
            MalformedRow "MALFORMED_ROW" "A quotation mark opens in this row and never closes; remove it, or close it, and upload the rows from here on again."
            TooFewColumns "TOO_FEW_COLUMNS" "The row ends before a required column; add the missing cells."
            TooManyColumns "TOO_MANY_COLUMNS" "There are more cells than columns; put values that contain the separator in double quotes."
            InvalidEncoding "INVALID_ENCODING" "This is not text in the encoding of the rest of the file; type it again, or save the file as \"CSV UTF-8\"."
        }
    };
}

with_field_faults!(faults);

impl FieldFault {
    /// Whether it is the account's policy about domains that refuses an address.
    pub(crate) fn is_of_domain(self) -> bool {
        matches!(self, Self::PersonalDomain | Self::DomainNotAllowed)
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sentence())
    }
}

impl std::error::Error for FieldFault {}

/// A text that is none of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a code of a fault")]
pub struct UnknownFault;

impl FromStr for FieldFault {
    type Err = UnknownFault;

    fn from_str(code: &str) -> Result<Self, UnknownFault> {
        Self::ALL.iter().copied().find(|fault| fault.as_str() == code).ok_or(UnknownFault)
    }
}

impl From<EmailAddressError> for FieldFault {
    fn from(error: EmailAddressError) -> Self {
        match error {
            EmailAddressError::Empty => Self::Required,
            EmailAddressError::TooLong => Self::TooLong,
            EmailAddressError::LocalPart | EmailAddressError::NonAsciiLocalPart | EmailAddressError::Domain => {
                Self::InvalidEmail
            }
        }
    }
}

impl From<DomainRefusal> for FieldFault {
    fn from(refusal: DomainRefusal) -> Self {
        match refusal {
            DomainRefusal::PersonalDomain => Self::PersonalDomain,
            DomainRefusal::DomainNotAllowed => Self::DomainNotAllowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_text_and_json() {
        for fault in FieldFault::ALL.iter().copied() {
            assert_eq!(fault.as_str().parse(), Ok(fault));
            let json = serde_json::to_string(&fault).expect("json");
            assert_eq!(json, format!("\"{}\"", fault.as_str()));
            assert_eq!(serde_json::from_str::<FieldFault>(&json).expect("code"), fault);
            assert!(fault.sentence().ends_with('.'));
        }
        assert_eq!("NONSENSE".parse::<FieldFault>(), Err(UnknownFault));
    }
}
