//! What happened in an account, numbered 1, 2, 3 … The permanent row holds no personal data; names and addresses stand apart,
//! bound to it by a salted digest, and can be erased.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::id::EventId;

mod cursor;
pub mod live;
pub mod purge;
pub mod read;
pub mod seal;

pub use cursor::Cursor;

macro_rules! kinds {
    ($($name:ident = $key:literal;)*) => {
        /// Every kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind { $(#[doc = concat!("`", $key, "`")] $name,)* }

        impl EventKind {
            /// The whole catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// The kind with this key.
            pub fn from_key(key: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == key)
            }
        }
    };
}

kinds! {
    AccountCreated = "account.created";
    AccountRenamed = "account.renamed";
    AccountPolicyUpdated = "account.policy_updated";
    AccountSsoPolicyUpdated = "account.sso_policy_updated";
    SeatsSet = "seats.set";
    LicenseAllocated = "license.allocated";
    LicenseDeallocated = "license.deallocated";
    LicenseWishUnmet = "license.wish_unmet";
    LicenseChangePending = "license_change.pending";
    LicenseChangeScheduled = "license_change.scheduled";
    LicenseChangeApplied = "license_change.applied";
    LicenseChangeFailed = "license_change.failed";
    LicenseChangeCanceled = "license_change.canceled";
    TrialStarted = "trial.started";
    TrialOptedOut = "trial.opted_out";
    TrialOptedIn = "trial.opted_in";
    TrialEnded = "trial.ended";
    BillingProfileUpdated = "billing_profile.updated";
    CreditGiven = "credit.given";
    StatementIssued = "statement.issued";
    StatementPaid = "statement.paid";
    StatementPastDue = "statement.past_due";
    AccountCancelScheduled = "account.cancel_scheduled";
    AccountResumed = "account.resumed";
    AccountEnded = "account.ended";
    SessionCreated = "session.created";
    SessionRevoked = "session.revoked";
    PasswordChanged = "password.changed";
    LoginEmailChangeRequested = "login_email.change_requested";
    LoginEmailChangeCancelled = "login_email.change_cancelled";
    LoginEmailChanged = "login_email.changed";
    LoginEmailReverted = "login_email.reverted";
    InvitationCreated = "invitation.created";
    InvitationSent = "invitation.sent";
    InvitationResent = "invitation.resent";
    InvitationUpdated = "invitation.updated";
    InvitationRevoked = "invitation.revoked";
    InvitationReplaced = "invitation.replaced";
    InvitationDeclined = "invitation.declined";
    InvitationAccepted = "invitation.accepted";
    InvitationLapsed = "invitation.lapsed";
    InvitationUndeliverable = "invitation.undeliverable";
    MemberSuspended = "member.suspended";
    MemberActivated = "member.activated";
    MemberDeactivated = "member.deactivated";
    MemberReactivated = "member.reactivated";
    MemberUpdated = "member.updated";
    MemberLeft = "member.left";
    MemberDeleted = "member.deleted";
    MemberSucceeded = "member.succeeded";
    MemberRolesChanged = "member.roles_changed";
    RoleCreated = "role.created";
    RoleUpdated = "role.updated";
    RoleArchived = "role.archived";
    RoleUnarchived = "role.unarchived";
    UnitCreated = "unit.created";
    UnitUpdated = "unit.updated";
    UnitArchived = "unit.archived";
    UnitUnarchived = "unit.unarchived";
    UnitMembersAdded = "unit.members_added";
    UnitMembersRemoved = "unit.members_removed";
    GroupCreated = "group.created";
    GroupUpdated = "group.updated";
    GroupArchived = "group.archived";
    GroupUnarchived = "group.unarchived";
    GroupMembersAdded = "group.members_added";
    GroupMembersRemoved = "group.members_removed";
    ResourceRegistered = "resource.registered";
    ResourceUpdated = "resource.updated";
    ResourceAssigned = "resource.assigned";
    ResourceGranted = "resource.granted";
    ResourceRevoked = "resource.revoked";
    ResourceArchived = "resource.archived";
    ResourceUnarchived = "resource.unarchived";
    ResourceRateSet = "resource.rate_set";
    ResourceRateRemoved = "resource.rate_removed";
    ImportStarted = "import.started";
    ImportReopened = "import.reopened";
    ImportCanceled = "import.canceled";
    ImportInvitationsSent = "import.invitations_sent";
    ImportInvitationsFinished = "import.invitations_finished";
    ImportFinished = "import.finished";
    ExportCreated = "export.created";
    ExportFinished = "export.finished";
}

/// An event that the running transaction will number and write at its end.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub(crate) id: EventId,
    pub(crate) kind: EventKind,
    pub(crate) subject: Option<Uuid>,
    pub(crate) detail: Value,
    pub(crate) personal: Option<Value>,
    /// Kept only beside the personal part, and dies with it: without it the digest tells nothing.
    pub(crate) salt: [u8; 16],
}

impl NewEvent {
    /// An event without subject and details.
    pub fn new(kind: EventKind) -> Self {
        Self {
            id: EventId::new(),
            kind,
            subject: None,
            detail: json!({}),
            personal: None,
            salt: Uuid::new_v4().into_bytes(),
        }
    }

    /// What it happened to: the member wherever there is one, so that erasing a person finds their events.
    #[must_use]
    pub fn subject(mut self, id: Uuid) -> Self {
        self.subject = Some(id);
        self
    }

    /// The lasting part: ids, states, numbers. Nothing that names a person.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The erasable part: names, addresses.
    #[must_use]
    pub fn personal(mut self, personal: Value) -> Self {
        self.personal = Some(personal);
        self
    }

    /// Of the erasable part, if there is one.
    pub(crate) fn personal_digest(&self) -> Option<Vec<u8>> {
        self.personal.as_ref().map(|body| personal_digest(&self.salt, body))
    }
}

/// `SHA-256(salt ‖ body)`, the body as JSON with sorted keys.
pub(crate) fn personal_digest(salt: &[u8], body: &Value) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(body.to_string());
    hasher.finalize().to_vec()
}
