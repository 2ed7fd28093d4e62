//! The types of events, one per kind. A field that several types have is of the same type in all of them, so that one document
//! can ask for it wherever it is.

use async_graphql::{ID, Interface, SimpleObject};
use domain::event::EventKind;
use domain::event::read::{Event, Personal};

use super::EventActor;
use super::part::{EventAccountPolicy, EventTextChange, detail, import, member, nothing, personal, policy, texts};
use crate::graphql::import::{JobErrorCode, JobStatus};
use crate::graphql::member::{MemberStatus, SubscriptionType};
use crate::graphql::scalar::{DateTime, EmailAddress, SafeInteger};

/// What every event says.
struct Head {
    id: ID,
    number: SafeInteger,
    cursor: String,
    kind: String,
    occurred_at: DateTime,
    actor: EventActor,
    request_id: Option<String>,
    network_address: Option<String>,
    erased: bool,
}

impl Head {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.to_string().into(),
            number: SafeInteger(event.seq),
            cursor: domain::event::Cursor::of(event).encode(),
            kind: event.kind.clone(),
            occurred_at: event.occurred_at.into(),
            actor: event.author.into(),
            request_id: event.request_id.clone(),
            network_address: personal(event, "/networkAddress").flatten(),
            erased: event.personal == Personal::Erased,
        }
    }
}

/// Rows `Kind => Type(subject) { field: type = part(pointer), … }`, each with its descriptions.
macro_rules! event_types {
    ($(
        $(#[$doc:meta])*
        $kind:ident => $type:ident($subject:ident) {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty = $part:ident($($pointer:literal)?);)*
        }
    )*) => {
        $(event_types!(@type $(#[$doc])* $type { $($(#[$field_doc])* $field: $field_type;)* });)*

        event_types!(@type
            /// An event of a kind that this version of the service does not know, as while a newer one is rolled out: `kind` names
            /// it, and read again later it has a type of its own.
            OtherEvent {}
        );

        /// One thing that happened in the account. Events are numbered in the order they were committed, without gaps, and never
        /// change; but names and addresses in them are null once the person is erased.
        #[derive(Interface, Clone, Debug)]
        #[graphql(
            field(name = "id", ty = "&ID", desc = "Opaque id; `node` does not take it."),
            field(name = "number", ty = "&SafeInteger", desc = "Its number in the account: 1, 2, 3 …"),
            field(name = "cursor", ty = "&String", desc = "The place after it, for `after`."),
            field(name = "kind", ty = "&String", desc = "What happened, like `member.suspended`; each kind has a type of its own."),
            field(name = "occurred_at", ty = "&DateTime", desc = "When."),
            field(name = "actor", ty = "&EventActor", desc = "Who caused it."),
            field(name = "subject_id", ty = "&Option<ID>", desc = "What it happened to: the member wherever there is one; null for the account as a whole. The thing may be gone by now."),
            field(name = "request_id", ty = "&Option<String>", desc = "The request that caused it, as its answer named it."),
            field(name = "network_address", ty = "&Option<String>", desc = "From where it was asked for; null when nobody asked, and once it is erased."),
            field(name = "erased", ty = "&bool", desc = "Whether its personal fields were erased.")
        )]
        pub enum AccountEvent {
            $(#[doc = stringify!($kind)] $kind(Box<$type>),)*
            /// Of a newer version.
            Other(Box<OtherEvent>),
        }

        impl AccountEvent {
            /// None if it is of a newer version, or has a form of one.
            fn known(event: &Event) -> Option<Self> {
                Some(match event.known_kind()? {
                    $(EventKind::$kind => {
                        let Head { id, number, cursor, kind, occurred_at, actor, request_id, network_address, erased } =
                            Head::of(event);
                        Self::$kind(Box::new($type {
                            id, number, cursor, kind, occurred_at, actor, request_id, network_address, erased,
                            subject_id: $subject(event),
                            $($field: $part(event $(, $pointer)?)?,)*
                        }))
                    })*
                })
            }
        }
    };
    (@type $(#[$doc:meta])* $type:ident { $($(#[$field_doc:meta])* $field:ident: $field_type:ty;)* }) => {
        $(#[$doc])*
        #[derive(SimpleObject, Clone, Debug)]
        pub struct $type {
            /// Opaque id; `node` does not take it.
            id: ID,
            /// Its number in the account: 1, 2, 3 …
            number: SafeInteger,
            /// The place after it, for `after`.
            cursor: String,
            /// What happened, like `member.suspended`.
            kind: String,
            /// When.
            occurred_at: DateTime,
            /// Who caused it.
            actor: EventActor,
            /// What it happened to: the member wherever there is one; null for the account as a whole. The thing may be gone by now.
            subject_id: Option<ID>,
            /// The request that caused it, as its answer named it.
            request_id: Option<String>,
            /// From where it was asked for; null when nobody asked, and once it is erased.
            network_address: Option<String>,
            /// Whether its personal fields were erased.
            erased: bool,
            $($(#[$field_doc])* $field: $field_type,)*
        }
    };
}

event_types! {
    /// The account was founded.
    AccountCreated => AccountCreatedEvent(member) {
        /// Its owner.
        member_id: ID = member();
        /// Its name.
        name: String = detail("/name");
        /// Seats it was granted.
        seats: i32 = detail("/seats");
        /// The owner's address; null once it is erased.
        email: Option<EmailAddress> = personal("/email");
        /// The owner's first name; null once it is erased.
        first_name: Option<String> = personal("/firstName");
        /// The owner's last name; null once it is erased.
        last_name: Option<String> = personal("/lastName");
    }
    /// The account was given another name.
    AccountRenamed => AccountRenamedEvent(nothing) {
        /// What it was.
        name_before: String = detail("/before");
        /// What it is from then on.
        name_after: String = detail("/after");
    }
    /// The account's policy was changed.
    AccountPolicyUpdated => AccountPolicyUpdatedEvent(nothing) {
        /// What it was.
        policy_before: EventAccountPolicy = policy("before");
        /// What it is from then on.
        policy_after: EventAccountPolicy = policy("after");
    }
    /// The account's rule on single sign-on was changed.
    AccountSsoPolicyUpdated => AccountSsoPolicyUpdatedEvent(nothing) {
        /// Whether people did not change their own login e-mail.
        required_before: bool = detail("/before");
        /// Whether they do not from then on.
        required_after: bool = detail("/after");
        /// Members who may change theirs all the same from then on.
        members_added: Vec<ID> = detail("/added");
        /// Members who could before, and no longer do.
        members_removed: Vec<ID> = detail("/removed");
    }
    /// An operator set how many seats the account is granted.
    SeatsSet => SeatsSetEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
        /// How many there were.
        seats_before: i32 = detail("/before");
        /// How many there are from then on.
        seats_after: i32 = detail("/after");
    }
    /// Somebody signed in.
    SessionCreated => SessionCreatedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Their session.
        session_id: ID = detail("/session");
    }
    /// Somebody signed out, or ended another one of their sessions.
    SessionRevoked => SessionRevokedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// The session that ended.
        session_id: ID = detail("/session");
    }
    /// Somebody's password was changed, which ends their other sessions.
    PasswordChanged => PasswordChangedEvent(member) {
        /// Whose.
        member_id: ID = member();
    }
    /// Another address to sign in with was asked for, for the person or by them.
    LoginEmailChangeRequested => LoginEmailChangeRequestedEvent(member) {
        /// Whose.
        member_id: ID = member();
        /// The address to be; null once it is erased.
        new_email: Option<EmailAddress> = personal("/newEmail");
    }
    /// A change of a login e-mail was given up before it was done.
    LoginEmailChangeCancelled => LoginEmailChangeCancelledEvent(member) {
        /// Whose.
        member_id: ID = member();
    }
    /// Somebody signs in with another address from then on, which ended their sessions.
    LoginEmailChanged => LoginEmailChangedEvent(member) {
        /// Whose.
        member_id: ID = member();
        /// The address before; null once it is erased.
        email_before: Option<EmailAddress> = personal("/emailBefore");
        /// The address from then on; null once it is erased.
        email_after: Option<EmailAddress> = personal("/emailAfter");
    }
    /// The old address took a change of the login e-mail back, which ended sessions and the use of the password.
    LoginEmailReverted => LoginEmailRevertedEvent(member) {
        /// Whose.
        member_id: ID = member();
        /// The address before; null once it is erased.
        email_before: Option<EmailAddress> = personal("/emailBefore");
        /// The address from then on; null once it is erased.
        email_after: Option<EmailAddress> = personal("/emailAfter");
    }
    /// Somebody was invited.
    InvitationCreated => InvitationCreatedEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
        /// Whether it is mailed at once.
        sent: bool = detail("/sent");
        /// Roles they get.
        role_ids: Vec<ID> = detail("/roles");
        /// Where it goes; null once it is erased.
        email: Option<EmailAddress> = personal("/email");
        /// First name; null if not given, and once it is erased.
        first_name: Option<String> = personal("/firstName");
        /// Last name; null if not given, and once it is erased.
        last_name: Option<String> = personal("/lastName");
    }
    /// An invitation that was only noted down was sent.
    InvitationSent => InvitationSentEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// An invitation was sent again, with a new link.
    InvitationResent => InvitationResentEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// An open invitation was corrected.
    InvitationUpdated => InvitationUpdatedEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
        /// Roles before; null if they did not change.
        role_ids_before: Option<Vec<ID>> = detail("/roles/before");
        /// Roles from then on; null if they did not change.
        role_ids_after: Option<Vec<ID>> = detail("/roles/after");
        /// What the subscription covered; null if nothing was said, or it did not change.
        subscription_type_before: Option<SubscriptionType> = detail("/subscriptionType/before");
        /// What the subscription covers from then on; null if it did not change.
        subscription_type_after: Option<SubscriptionType> = detail("/subscriptionType/after");
        /// Address, names and message that were changed; null once they are erased.
        texts: Option<Vec<EventTextChange>> = texts();
    }
    /// An open invitation was withdrawn.
    InvitationRevoked => InvitationRevokedEvent(member) {
        /// Who had been invited; the member is gone.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
        /// Roles they would have got.
        role_ids: Vec<ID> = detail("/roles");
    }
    /// A lapsed invitation ended because its address was invited again.
    InvitationReplaced => InvitationReplacedEvent(member) {
        /// Who had been invited; the member is gone.
        member_id: ID = member();
        /// The old invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// Somebody declined an invitation.
    InvitationDeclined => InvitationDeclinedEvent(member) {
        /// Who had been invited; the member is gone.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// Somebody accepted an invitation and is a member now.
    InvitationAccepted => InvitationAcceptedEvent(member) {
        /// The member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
        /// Roles they got.
        role_ids: Vec<ID> = detail("/roles");
        /// Their address; null once it is erased.
        email: Option<EmailAddress> = personal("/email");
        /// The first name they gave; null once it is erased.
        first_name: Option<String> = personal("/firstName");
        /// The last name they gave; null once it is erased.
        last_name: Option<String> = personal("/lastName");
    }
    /// An invitation lapsed, and its seat is free.
    InvitationLapsed => InvitationLapsedEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// An invitation could not be delivered and lapsed; its seat is free.
    InvitationUndeliverable => InvitationUndeliverableEvent(member) {
        /// The invited member.
        member_id: ID = member();
        /// The invitation.
        invitation_id: ID = detail("/invitation");
    }
    /// A member or an invited person was shut out.
    MemberSuspended => MemberSuspendedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Where they stand from then on.
        status_after: MemberStatus = detail("/after");
    }
    /// A suspended member was let in again.
    MemberActivated => MemberActivatedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Where they stand from then on.
        status_after: MemberStatus = detail("/after");
    }
    /// A member was taken out, and their seat is free.
    MemberDeactivated => MemberDeactivatedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Where they stand from then on.
        status_after: MemberStatus = detail("/after");
    }
    /// A deactivated member came back and took a seat again.
    MemberReactivated => MemberReactivatedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Where they stand from then on.
        status_after: MemberStatus = detail("/after");
    }
    /// A member was given other roles.
    MemberRolesChanged => MemberRolesChangedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Roles before.
        role_ids_before: Option<Vec<ID>> = detail("/before");
        /// Roles from then on.
        role_ids_after: Option<Vec<ID>> = detail("/after");
    }
    /// An import of members was asked for.
    ImportStarted => ImportStartedEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
        /// Whether the people get a mail at once.
        send_welcome_email: bool = detail("/sendWelcomeEmail");
    }
    /// An import that had been given up goes on.
    ImportReopened => ImportReopenedEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
    }
    /// An import ended.
    ImportFinished => ImportFinishedEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
        /// How: `FINISHED` or `FAILED`.
        status: JobStatus = detail("/state");
        /// Why it ended early; null if it did not.
        error_code: Option<JobErrorCode> = detail("/errorCode");
        /// Rows of the file; null if it could not be read.
        rows_total: Option<i32> = detail("/rowsTotal");
        /// Rows that became invited members.
        rows_invited: i32 = detail("/rowsInvited");
        /// Rows that did not.
        rows_rejected: i32 = detail("/rowsRejected");
    }
}

impl From<&Event> for AccountEvent {
    fn from(event: &Event) -> Self {
        if let Some(known) = Self::known(event) {
            return known;
        }
        let Head { id, number, cursor, kind, occurred_at, actor, request_id, network_address, erased } =
            Head::of(event);
        Self::Other(Box::new(OtherEvent {
            id,
            number,
            cursor,
            kind,
            occurred_at,
            actor,
            subject_id: nothing(event),
            request_id,
            network_address,
            erased,
        }))
    }
}
