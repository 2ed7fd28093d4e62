//! What can go wrong: refusals a person can mend, with their catalogue of codes, and failures nobody outside can.

use serde::{Deserialize, Serialize};

use crate::infra::clock::{Date, Timestamp};
use crate::permission::Permission;
use crate::profile::FieldFault;

/// The result of a rule.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A person can mend it; nothing was changed.
    #[error("refused")]
    Refused(Vec<Refused>),
    /// There is no valid session.
    #[error("not signed in")]
    Unauthenticated,
    /// Too much is going on; the same request may succeed a little later.
    #[error("busy")]
    Busy,
    /// What the actor may do changed while the change was written. The caller runs it again.
    #[error("rights changed during the transaction")]
    Stale,
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// Files could not be read or written.
    #[error("object store")]
    ObjectStore(#[from] object_store::Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(vec![refused])
    }
}

impl From<FieldFault> for Error {
    fn from(fault: FieldFault) -> Self {
        Code::from(fault).into()
    }
}

/// A field's validation, with the field in its refusal.
pub fn field<T>(name: &str, checked: Result<T, FieldFault>) -> Result<T> {
    checked.map_err(|fault| Refused::new(fault.into()).at(name).into())
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Refused::new(code).into()
    }
}

/// What comes with a code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// The code says it all.
    #[default]
    None,
    /// The permissions the actor lacks.
    Missing(Vec<Permission>),
    /// Seats asked for, and seats that are free.
    Seats {
        /// Asked for.
        required: i32,
        /// Free.
        available: i32,
    },
    /// When it may be tried again.
    RetryAt(Timestamp),
    /// The currency to use.
    Currency(String),
    /// Accounts that cannot be entered, and why.
    Accounts(Vec<ClosedAccount>),
}

/// An account a person belongs to but cannot enter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedAccount {
    /// The account's name.
    pub account_name: String,
    /// The member's status there.
    pub status: String,
    /// The day from which they may enter, if it is that what they must wait for.
    pub valid_from: Option<Date>,
    /// The last day, if that is over.
    #[serde(default)]
    pub valid_until: Option<Date>,
}

impl ClosedAccount {
    /// Why it cannot be entered, for programs.
    pub fn reason(&self) -> &str {
        match self.valid_until {
            _ if self.status != "ACTIVE" => &self.status,
            Some(_) => "VALIDITY_OVER",
            None => "NOT_YET_VALID",
        }
    }
}

/// One refusal: its code, the field it concerns, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The code.
    pub code: Code,
    /// Path of the argument below `input`, outermost first; empty when it concerns no single one.
    pub field: Vec<String>,
    /// What comes with the code.
    pub detail: Detail,
}

impl Refused {
    /// A refusal that concerns no field yet.
    pub fn new(code: Code) -> Self {
        Self { code, field: Vec::new(), detail: Detail::None }
    }

    /// NOT_PERMITTED, naming the permissions the actor lacks.
    pub fn missing(permissions: Vec<Permission>) -> Self {
        Self { detail: Detail::Missing(permissions), ..Self::new(Code::NotPermitted) }
    }

    /// With the time from which it may be tried again.
    #[must_use]
    pub fn retry_at(mut self, at: Timestamp) -> Self {
        self.detail = Detail::RetryAt(at);
        self
    }

    /// WRONG_CURRENCY, naming the one to use.
    pub fn wanting(currency: &str) -> Self {
        Self { detail: Detail::Currency(currency.to_owned()), ..Self::new(Code::WrongCurrency) }
    }

    /// Puts an outer segment before the path.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "names and positions read best without a reference")]
    pub fn at(mut self, segment: impl ToString) -> Self {
        self.field.insert(0, segment.to_string());
        self
    }

    /// The sentence, with what comes along.
    pub fn message(&self) -> String {
        let sentence = self.code.sentence();
        match &self.detail {
            Detail::None => sentence.to_owned(),
            Detail::Missing(permissions) if permissions.is_empty() => sentence.to_owned(),
            Detail::Missing(permissions) => {
                let keys: Vec<_> = permissions.iter().map(|permission| permission.key()).collect();
                format!("{sentence} Missing: {}.", keys.join(", "))
            }
            Detail::Seats { required, available } => format!("{sentence} Needed: {required}, free: {available}."),
            Detail::RetryAt(at) => format!("{sentence} Try again at {}.", at.0),
            Detail::Currency(currency) => format!("{sentence} It is {currency}."),
            Detail::Accounts(accounts) if accounts.is_empty() => sentence.to_owned(),
            Detail::Accounts(accounts) => {
                let why = |account: &ClosedAccount| match (account.valid_from, account.valid_until) {
                    (_, Some(until)) if account.status == "ACTIVE" => format!("until {}", until.0),
                    (Some(from), _) if account.status == "ACTIVE" => format!("from {} on", from.0),
                    _ => account.status.to_lowercase(),
                };
                let each: Vec<_> = accounts.iter().map(|a| format!("{} ({})", a.account_name, why(a))).collect();
                format!("{sentence} {}.", each.join(", "))
            }
        }
    }
}

/// Adds a field to the refusals of a result.
pub trait AtField {
    /// Puts a segment before the path of each refusal.
    #[must_use]
    fn at(self, segment: impl ToString) -> Self;
}

impl<T> AtField for Result<T> {
    fn at(self, segment: impl ToString) -> Self {
        self.map_err(|error| match error {
            Error::Refused(list) => {
                let segment = segment.to_string();
                Error::Refused(list.into_iter().map(|refused| refused.at(&segment)).collect())
            }
            other => other,
        })
    }
}

macro_rules! codes {
    ($($name:ident = $key:literal, $sentence:literal;)*) => {
        /// The catalogue of codes in `userErrors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $(#[doc = $sentence] #[serde(rename = $key)] $name,)* }

        impl Code {
            /// The whole catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What it means and what to do.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

/// The one list of codes: hands `Name = "KEY", "sentence";` rows to a macro, so that the API's enum cannot differ from it.
#[macro_export]
macro_rules! with_codes {
    ($macro:ident) => {
        $macro! {
            NotPermitted = "NOT_PERMITTED", "You may not do this.";
            NotFound = "NOT_FOUND", "There is no such thing in this account. Check the id.";
            VersionConflict = "VERSION_CONFLICT", "It was changed meanwhile. Read it again and decide anew.";
            NameTaken = "NAME_TAKEN", "Another one has this name. Choose a different name, or archive the other one.";
            LimitReached = "LIMIT_REACHED", "The account has as many of these as it may have. Archive some first.";
            SystemRole = "SYSTEM_ROLE", "System roles cannot be changed or archived. Copy the role and change the copy.";
            UnknownPermission = "UNKNOWN_PERMISSION", "There is no such permission. The query `permissions` lists them.";
            OwnerOnlyPermission = "OWNER_ONLY_PERMISSION", "Only the account's owner holds this permission. No role can hold it.";
            PrerequisiteMissing = "PREREQUISITE_MISSING", "This permission needs another one. The query `permissions` says which; add it as well.";
            ReplacementRequired = "REPLACEMENT_REQUIRED", "Members or open invitations have this role. Say which role replaces it.";
            Archived = "ARCHIVED", "This is archived. Take it out of the archive first, or choose another one.";
            AccountReadOnly = "ACCOUNT_READ_ONLY", "The account is cancelled and can only be read.";
            IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", "The idempotency key was used for another input. Use a fresh key.";
            Duplicate = "DUPLICATE", "The same thing is named twice. Name it once.";
            TooMany = "TOO_MANY", "Too many at once. Split the list.";
            Required = "REQUIRED", "A value is required.";
            TooLong = "TOO_LONG", "The value is too long.";
            InvalidCharacters = "INVALID_CHARACTERS", "The value contains characters that are not allowed, such as line breaks. Remove them.";
            InvalidEmail = "INVALID_EMAIL", "This is not an e-mail address. It looks like name@example.com.";
            InvalidTimeZone = "INVALID_TIME_ZONE", "This is not an IANA time zone. It looks like Europe/Berlin.";
            InvalidCountry = "INVALID_COUNTRY", "This is not a country code of two letters (ISO 3166), like US.";
            InvalidPhone = "INVALID_PHONE", "This is not a phone number with its country code, like +1 212 555 0100.";
            InvalidInitials = "INVALID_INITIALS", "Initials have at most eight letters, no periods and no spaces.";
            InvalidSubscriptionType = "INVALID_SUBSCRIPTION_TYPE", "The subscription type is Attorney or Non-attorney.";
            InvalidDomain = "INVALID_DOMAIN", "This is not a domain name, like example.com.";
            OutOfRange = "OUT_OF_RANGE", "The value is outside the allowed range.";
            InvalidCursor = "INVALID_CURSOR", "The cursor does not belong to this list in this order. Start from the first page.";
            InvalidCurrency = "INVALID_CURRENCY", "This is not a currency code of three capital letters (ISO 4217), like USD.";
            InvalidAmount = "INVALID_AMOUNT", "This is not an amount of the currency. It looks like 125.50, with no more decimal places than the currency has.";
            CurrencyMismatch = "CURRENCY_MISMATCH", "The resource has rates in another currency. Use that one, or remove those rates first.";
            WrongCurrency = "WRONG_CURRENCY", "The account is billed in another currency. Use that one.";
            GroupExcluded = "GROUP_EXCLUDED", "This group is excluded from custom rates. Take the exclusion back first, or choose another group.";
            PersonalDomain = "PERSONAL_DOMAIN", "Personal e-mail addresses are not accepted. Use a work address, or allow this domain in the account's policy.";
            DomainNotAllowed = "DOMAIN_NOT_ALLOWED", "The account's policy does not allow addresses of this domain.";
            AlreadyMember = "ALREADY_MEMBER", "Somebody with this address is already a member.";
            AlreadyInvited = "ALREADY_INVITED", "This address is already invited. Resend the invitation instead.";
            MemberInactive = "MEMBER_INACTIVE", "Somebody with this address is suspended or deactivated here. Activate them instead.";
            DuplicateAddress = "DUPLICATE_ADDRESS", "The same address appears twice.";
            UnitRequired = "UNIT_REQUIRED", "You manage some units only. Say which of them the person belongs to.";
            RoleRequired = "ROLE_REQUIRED", "At least one role is required.";
            SeatShortage = "SEAT_SHORTAGE", "There are not enough free seats. Add seats or free some.";
            OwnStatus = "OWN_STATUS", "You cannot change your own status. Ask another administrator.";
            OwnerProtected = "OWNER_PROTECTED", "This is the account's owner. Transfer the ownership first.";
            WrongStatus = "WRONG_STATUS", "The member's status does not allow this.";
            SuccessorRequired = "SUCCESSOR_REQUIRED", "The member is responsible for something. Say who takes it over.";
            SuccessorInvalid = "SUCCESSOR_INVALID", "The successor must be an active member who stays. Choose another one.";
            ValidityOver = "VALIDITY_OVER", "The membership has ended by its date. Set a later one first.";
            InvitationNotOpen = "INVITATION_NOT_OPEN", "The invitation is no longer open.";
            InvitationLive = "INVITATION_ALREADY_SENT", "The invitation was sent already. Resend it instead.";
            InvitationNotSent = "INVITATION_NOT_SENT", "The invitation was never sent. Send it first.";
            InvitationSuspended = "INVITATION_SUSPENDED", "The invited person is suspended. Ask an administrator of the account.";
            InvitationExpired = "INVITATION_EXPIRED", "The invitation has lapsed. Ask for a new one.";
            InvitationRevoked = "INVITATION_REVOKED", "The invitation was withdrawn. Ask the person who invited you.";
            InvitationUsed = "INVITATION_USED", "The invitation was accepted before. Sign in.";
            InvitationDeclined = "INVITATION_DECLINED", "The invitation was declined. Ask the person who invited you for another one.";
            InviterLostRights = "INVITER_LOST_RIGHTS", "Whoever invited you may no longer grant these roles. Ask an administrator to invite you again.";
            TokenInvalid = "TOKEN_INVALID", "This link is not valid. Open the link of the newest mail, or ask for a new one.";
            TokenExpired = "TOKEN_EXPIRED", "This link has expired. Ask for a new one.";
            TokenUsed = "TOKEN_USED", "This link was already used.";
            OtherPerson = "OTHER_PERSON", "You are signed in as somebody else. Sign out, then open the link again.";
            PasswordRequired = "PASSWORD_REQUIRED", "This address has a login already. Give its password.";
            PasswordTooShort = "PASSWORD_TOO_SHORT", "A password has at least 10 characters.";
            PasswordTooLong = "PASSWORD_TOO_LONG", "A password has at most 256 characters.";
            PasswordTooWeak = "PASSWORD_TOO_WEAK", "This password is too easy to guess. Choose another one.";
            CredentialsInvalid = "CREDENTIALS_INVALID", "The address or the password is wrong.";
            NoUsableMembership = "NO_USABLE_MEMBERSHIP", "You cannot enter any account at the moment.";
            AddressTaken = "ADDRESS_TAKEN", "This address has a login already. Sign in and create the account from there.";
            MemberInvited = "MEMBER_INVITED", "This person has not joined yet. Correct the address of the invitation instead.";
            SameAddress = "SAME_ADDRESS", "This is the address already. Give another one.";
            EmailTaken = "EMAIL_TAKEN", "The address is the login of somebody else by now. Choose another one.";
            SsoRequired = "SSO_REQUIRED", "The account signs in through an identity provider, so nobody changes their own address. Ask an administrator.";
            RequesterLostRights = "REQUESTER_LOST_RIGHTS", "Whoever asked for this change may no longer do so. Ask an administrator to ask for it again.";
            NoPendingChange = "NO_PENDING_CHANGE", "No change of the address waits. It may be done, cancelled or too old.";
            LicenseHeld = "LICENSE_HELD", "The member holds a licence of this product already.";
            LicenseNotHeld = "LICENSE_NOT_HELD", "The member holds no licence of this product.";
            LinkedLicenseHeld = "LINKED_LICENSE_HELD", "The member holds a licence of a linked product, which goes with the seat. Take it first, or set `releaseLinked`.";
            BaseLicense = "BASE_LICENSE", "The base licence comes and goes with the membership. Invite, deactivate or reactivate the person instead.";
            FollowsBase = "FOLLOWS_BASE", "There are as many licences of this product as base licences. Add or remove those.";
            NotForSale = "NOT_FOR_SALE", "The product is not sold, or has no price in the account's currency and interval.";
            ProductOpen = "PRODUCT_OPEN", "The product is open already, or need not be opened. Add licences instead.";
            ProductClosing = "PRODUCT_CLOSING", "The product closes at the period's end. Cancel that change first.";
            NotLinked = "NOT_LINKED", "Only linked products are closed. Remove licences instead.";
            NotRemovable = "NOT_REMOVABLE", "Not so many licences are paid for and not about to be removed yet. Choose fewer.";
            LastSeat = "LAST_SEAT", "At least one base seat stays. Choose fewer, or cancel the account.";
            AlreadyNamed = "ALREADY_NAMED", "The member loses this licence by an earlier change already.";
            PlanUnchanged = "PLAN_UNCHANGED", "The account has this interval and currency already.";
            LicenseChangePending = "LICENSE_CHANGE_PENDING", "Another change is under way. Wait until it is done, or cancel it if it is scheduled.";
            BillingCatchingUp = "BILLING_CATCHING_UP", "The last billing period is being closed. Try again in a minute.";
            QuoteMismatch = "QUOTE_MISMATCH", "The quote is of another kind. Confirm it with the mutation of its kind.";
            QuoteExpired = "QUOTE_EXPIRED", "The quote is older than 15 minutes. Ask for another one.";
            QuoteUsed = "QUOTE_USED", "The quote was confirmed before. Ask for another one.";
            QuoteStale = "QUOTE_STALE", "Something that the quote was reckoned from has changed. Ask for another one.";
            ChangeFinal = "CHANGE_FINAL", "The change is done, failed, cancelled or being charged.";
            NotTrialable = "NOT_TRIALABLE", "This product cannot be tried.";
            TrialUsed = "TRIAL_USED", "The account has tried this product before.";
            NoTrial = "NO_TRIAL", "No trial of this product runs.";
            AccountEnding = "ACCOUNT_ENDING", "The account is cancelled already.";
            AccountNotEnding = "ACCOUNT_NOT_ENDING", "The account is not cancelled, or has ended.";
            RateLimited = "RATE_LIMITED", "Too many tries.";
            MailLimit = "MAIL_LIMIT", "This address was sent too many mails.";
            UploadNotReady = "UPLOAD_NOT_READY", "The file was not uploaded yet. PUT it to the upload's URL first.";
            UploadUsed = "UPLOAD_USED", "The upload was used already. Create another one.";
            UploadExpired = "UPLOAD_EXPIRED", "The upload has expired. Create another one.";
            ImportEnded = "IMPORT_ENDED", "The import has ended already.";
            ImportRunning = "IMPORT_RUNNING", "The import has not ended yet. Send its invitations when it has.";
        }
    };
}

with_codes!(codes);

impl From<FieldFault> for Code {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Required => Self::Required,
            FieldFault::TooLong => Self::TooLong,
            FieldFault::InvalidCharacters => Self::InvalidCharacters,
            FieldFault::InvalidEmail => Self::InvalidEmail,
            FieldFault::InvalidTimeZone => Self::InvalidTimeZone,
            FieldFault::InvalidCountry => Self::InvalidCountry,
            FieldFault::InvalidPhone => Self::InvalidPhone,
            FieldFault::InvalidInitials => Self::InvalidInitials,
            FieldFault::InvalidSubscriptionType => Self::InvalidSubscriptionType,
            FieldFault::PersonalDomain => Self::PersonalDomain,
            FieldFault::DomainNotAllowed => Self::DomainNotAllowed,
            of_a_row => unreachable!("{of_a_row:?} is a fault of an imported row, not of a value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_say_what_to_do() {
        let mut keys: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Code::ALL.len(), "every code has a name of its own");
        for code in Code::ALL {
            assert!(code.sentence().ends_with('.'), "{}", code.as_str());
        }
    }

    #[test]
    fn puts_the_outer_field_first() {
        let result: Result<()> = Err(Refused::new(Code::InvalidEmail).at("email").into());
        let Err(Error::Refused(list)) = result.at(3).at("invitations") else { panic!("a refusal") };
        assert_eq!(list[0].field, ["invitations", "3", "email"]);
    }
}
