//! The types of events, one per kind. A field that several types have is of the same type in all of them, so that one document
//! can ask for it wherever it is.

use async_graphql::{ID, Interface, SimpleObject};
use domain::event::EventKind;
use domain::event::read::{Event, Personal};

use super::EventActor;
use super::part::{
    EventAccountPolicy, EventAmount, EventLicenses, EventRate, EventTextChange, EventUnitRole, amount, change, detail,
    detail_objects, export, group, import, member, nothing, personal, policy, rate, resource, role, statement, texts,
    unit,
};
use crate::graphql::export::ExportKind;
use crate::graphql::import::{JobErrorCode, JobStatus};
use crate::graphql::license::BillingInterval;
use crate::graphql::license::change::LicenseChangeKind;
use crate::graphql::member::{MemberStatus, SubscriptionType};
use crate::graphql::scalar::{Date, DateTime, EmailAddress, SafeInteger};

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
        /// Why, as the operator put it; null where they said nothing, and once it is erased.
        reason: Option<String> = personal("/reason");
    }
    /// A member was given a licence of an add-on or a linked product.
    LicenseAllocated => LicenseAllocatedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
    }
    /// A licence was taken from a member.
    LicenseDeallocated => LicenseDeallocatedEvent(member) {
        /// From whom.
        member_id: ID = member();
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
    }
    /// Somebody accepted an invitation, and add-ons that it wished for were not free.
    LicenseWishUnmet => LicenseWishUnmetEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Of what, by their keys in the catalogue.
        products: Vec<String> = detail("/products");
    }
    /// Licences were asked for, and are being charged.
    LicenseChangePending => LicenseChangePendingEvent(change) {
        /// The change.
        change_id: ID = change();
        /// What kind it is.
        change: LicenseChangeKind = detail("/change");
        /// More, or fewer, licences by product.
        licenses: Option<Vec<EventLicenses>> = detail_objects("/licenses");
        /// What is charged at once.
        charge: Option<EventAmount> = amount("/charge");
        /// When it takes effect.
        effective_on: Date = detail("/effectiveOn");
        /// The interval of a plan; null for anything else.
        interval: Option<BillingInterval> = detail("/interval");
        /// The currency of a plan; null for anything else.
        currency: Option<String> = detail("/currency");
    }
    /// A change of licences waits for the period's end.
    LicenseChangeScheduled => LicenseChangeScheduledEvent(change) {
        /// The change.
        change_id: ID = change();
        /// What kind it is.
        change: LicenseChangeKind = detail("/change");
        /// More, or fewer, licences by product.
        licenses: Option<Vec<EventLicenses>> = detail_objects("/licenses");
        /// What is charged at once.
        charge: Option<EventAmount> = amount("/charge");
        /// When it takes effect.
        effective_on: Date = detail("/effectiveOn");
        /// The interval of a plan; null for anything else.
        interval: Option<BillingInterval> = detail("/interval");
        /// The currency of a plan; null for anything else.
        currency: Option<String> = detail("/currency");
    }
    /// A change of licences is done.
    LicenseChangeApplied => LicenseChangeAppliedEvent(change) {
        /// The change.
        change_id: ID = change();
        /// What kind it is.
        change: LicenseChangeKind = detail("/change");
        /// More, or fewer, licences by product.
        licenses: Option<Vec<EventLicenses>> = detail_objects("/licenses");
        /// What is charged at once.
        charge: Option<EventAmount> = amount("/charge");
        /// When it takes effect.
        effective_on: Date = detail("/effectiveOn");
        /// The interval of a plan; null for anything else.
        interval: Option<BillingInterval> = detail("/interval");
        /// The currency of a plan; null for anything else.
        currency: Option<String> = detail("/currency");
    }
    /// A change of licences failed: it was not paid.
    LicenseChangeFailed => LicenseChangeFailedEvent(change) {
        /// The change.
        change_id: ID = change();
        /// Why, for programs.
        reason: Option<String> = detail("/reason");
    }
    /// A change of licences that waited was taken back.
    LicenseChangeCanceled => LicenseChangeCanceledEvent(change) {
        /// The change.
        change_id: ID = change();
    }
    /// A trial began.
    TrialStarted => TrialStartedEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
        /// How many licences.
        quantity: i32 = detail("/quantity");
        /// The first day after it.
        ends_on: Date = detail("/endsOn");
    }
    /// A trial's licences are not wanted after its end.
    TrialOptedOut => TrialOptedOutEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
    }
    /// A trial's licences are wanted after its end after all.
    TrialOptedIn => TrialOptedInEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
    }
    /// A trial ended.
    TrialEnded => TrialEndedEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
        /// Whether the account did not want to go on.
        opted_out: bool = detail("/optedOut");
        /// Licences that are paid for from then on.
        quantity: i32 = detail("/licenses");
    }
    /// To whom statements are issued, or how they are paid, was changed.
    BillingProfileUpdated => BillingProfileUpdatedEvent(nothing) {
        /// Which fields.
        changed_fields: Vec<String> = detail("/fields");
    }
    /// An operator gave something back: it is taken off the next statements.
    CreditGiven => CreditGivenEvent(nothing) {
        /// Of what, by its key in the catalogue.
        product: String = detail("/product");
        /// How much, without tax.
        credited: Option<EventAmount> = amount("/amount");
        /// Why.
        reason: Option<String> = detail("/reason");
    }
    /// A statement was issued.
    StatementIssued => StatementIssuedEvent(statement) {
        /// The statement.
        statement_id: ID = statement();
        /// Its number.
        statement_number: i32 = detail("/number");
        /// What it comes to, with tax.
        total: Option<EventAmount> = amount("/total");
        /// What is to be paid of it.
        due: Option<EventAmount> = amount("/due");
    }
    /// A statement was paid.
    StatementPaid => StatementPaidEvent(statement) {
        /// The statement.
        statement_id: ID = statement();
        /// Its number.
        statement_number: i32 = detail("/number");
    }
    /// A statement was not paid in time.
    StatementPastDue => StatementPastDueEvent(statement) {
        /// The statement.
        statement_id: ID = statement();
        /// Its number.
        statement_number: i32 = detail("/number");
    }
    /// The account was cancelled, to end later.
    AccountCancelScheduled => AccountCancelScheduledEvent(nothing) {
        /// When it ends.
        ends_at: DateTime = detail("/endsAt");
    }
    /// The account's cancellation was taken back.
    AccountResumed => AccountResumedEvent(nothing) {}
    /// The account has ended: it can only be read.
    AccountEnded => AccountEndedEvent(nothing) {}
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
        /// Roles they get for the whole account.
        role_ids: Vec<ID> = detail("/roles");
        /// Roles they get within units; null for an event of before there were any.
        unit_roles: Option<Vec<EventUnitRole>> = detail_objects("/unitRoles");
        /// Units they belong to; null for an event of before there were any.
        unit_ids: Option<Vec<ID>> = detail("/units");
        /// Groups they are in; null for an event of before there were any.
        group_ids: Option<Vec<ID>> = detail("/groups");
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
        /// Units before; null if neither roles nor units nor groups changed.
        unit_ids_before: Option<Vec<ID>> = detail("/units/before");
        /// Units from then on; null if neither roles nor units nor groups changed.
        unit_ids_after: Option<Vec<ID>> = detail("/units/after");
        /// Groups before; null if neither roles nor units nor groups changed.
        group_ids_before: Option<Vec<ID>> = detail("/groups/before");
        /// Groups from then on; null if neither roles nor units nor groups changed.
        group_ids_after: Option<Vec<ID>> = detail("/groups/after");
        /// What the subscription covered; null if nothing was said, or it did not change.
        subscription_type_before: Option<SubscriptionType> = detail("/subscriptionType/before");
        /// What the subscription covers from then on; null if it did not change.
        subscription_type_after: Option<SubscriptionType> = detail("/subscriptionType/after");
        /// The first day of the membership; null if there was none, or it did not change.
        valid_from_before: Option<Date> = detail("/validFrom/before");
        /// The first day from then on; null if there is none, or it did not change.
        valid_from_after: Option<Date> = detail("/validFrom/after");
        /// The last day of the membership; null if there was none, or it did not change.
        valid_until_before: Option<Date> = detail("/validUntil/before");
        /// The last day from then on; null if there is none, or it did not change.
        valid_until_after: Option<Date> = detail("/validUntil/after");
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
    /// A member's profile was changed, or from when until when they are a member.
    MemberUpdated => MemberUpdatedEvent(member) {
        /// Whose.
        member_id: ID = member();
        /// What the subscription covered; null if nothing was said, or it did not change.
        subscription_type_before: Option<SubscriptionType> = detail("/subscriptionType/before");
        /// What the subscription covers from then on; null if nothing is said, or it did not change.
        subscription_type_after: Option<SubscriptionType> = detail("/subscriptionType/after");
        /// The first day of the membership; null if there was none, or it did not change.
        valid_from_before: Option<Date> = detail("/validFrom/before");
        /// The first day from then on; null if there is none, or it did not change.
        valid_from_after: Option<Date> = detail("/validFrom/after");
        /// The last day of the membership; null if there was none, or it did not change.
        valid_until_before: Option<Date> = detail("/validUntil/before");
        /// The last day from then on; null if there is none, or it did not change.
        valid_until_after: Option<Date> = detail("/validUntil/after");
        /// Texts of the profile that were changed; null once they are erased.
        texts: Option<Vec<EventTextChange>> = texts();
    }
    /// A member left the account by themselves, and their seat is free.
    MemberLeft => MemberLeftEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Where they stand from then on.
        status_after: MemberStatus = detail("/after");
    }
    /// A member was deleted for good, with their personal data.
    MemberDeleted => MemberDeletedEvent(member) {
        /// Who; the member is gone.
        member_id: ID = member();
        /// Where they stood.
        status_before: MemberStatus = detail("/before");
        /// Their last invitation; null for whoever had none, like a founder.
        last_invitation_id: Option<ID> = detail("/invitation");
    }
    /// What a member who left was responsible for passed to somebody else.
    MemberSucceeded => MemberSucceededEvent(member) {
        /// Who left.
        member_id: ID = member();
        /// Who is responsible from then on.
        successor_id: ID = detail("/successor");
        /// For what: at most 100 resources; further ones are told by further events.
        resource_ids: Vec<ID> = detail("/resources");
    }
    /// A member was given other roles.
    MemberRolesChanged => MemberRolesChangedEvent(member) {
        /// Who.
        member_id: ID = member();
        /// Roles before.
        role_ids_before: Option<Vec<ID>> = detail("/before");
        /// Roles from then on.
        role_ids_after: Option<Vec<ID>> = detail("/after");
        /// Roles within units before; null for an event of before there were any.
        unit_roles_before: Option<Vec<EventUnitRole>> = detail_objects("/unitRoles/before");
        /// Roles within units from then on.
        unit_roles_after: Option<Vec<EventUnitRole>> = detail_objects("/unitRoles/after");
    }
    /// A role was made.
    RoleCreated => RoleCreatedEvent(role) {
        /// The role.
        role_id: ID = role();
        /// Its name.
        name: String = detail("/name");
        /// What it holds.
        permissions: Vec<String> = detail("/permissions");
        /// The role it was copied from.
        copy_of: Option<ID> = detail("/copyOf");
    }
    /// A role was changed.
    RoleUpdated => RoleUpdatedEvent(role) {
        /// The role.
        role_id: ID = role();
        /// Its name before.
        name_before: String = detail("/name/before");
        /// Its name from then on.
        name_after: String = detail("/name/after");
        /// What it held before.
        permissions_before: Vec<String> = detail("/permissions/before");
        /// What it holds from then on.
        permissions_after: Vec<String> = detail("/permissions/after");
    }
    /// A role was archived.
    RoleArchived => RoleArchivedEvent(role) {
        /// The role.
        role_id: ID = role();
        /// Its name.
        name: String = detail("/name");
        /// The role that took its place, if it was in use.
        replacement_role_id: Option<ID> = detail("/replacement");
        /// How many assignments it took over.
        replaced: i32 = detail("/replaced");
    }
    /// A role was taken out of the archive.
    RoleUnarchived => RoleUnarchivedEvent(role) {
        /// The role.
        role_id: ID = role();
        /// Its name.
        name: String = detail("/name");
    }
    /// A unit was made.
    UnitCreated => UnitCreatedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// Its name.
        name: String = detail("/name");
    }
    /// A unit was changed.
    UnitUpdated => UnitUpdatedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// Its name before.
        name_before: String = detail("/name/before");
        /// Its name from then on.
        name_after: String = detail("/name/after");
    }
    /// A unit was archived.
    UnitArchived => UnitArchivedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// Its name.
        name: String = detail("/name");
    }
    /// A unit was taken out of the archive.
    UnitUnarchived => UnitUnarchivedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// Its name.
        name: String = detail("/name");
    }
    /// Members were put into a unit.
    UnitMembersAdded => UnitMembersAddedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// The members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// Members were taken out of a unit.
    UnitMembersRemoved => UnitMembersRemovedEvent(unit) {
        /// The unit.
        unit_id: ID = unit();
        /// The members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// A group was made.
    GroupCreated => GroupCreatedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// Its name.
        name: String = detail("/name");
        /// Whether no custom rate applies by it.
        excluded_from_custom_rates: bool = detail("/excludedFromCustomRates");
    }
    /// A group was changed.
    GroupUpdated => GroupUpdatedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// Its name before.
        name_before: String = detail("/name/before");
        /// Its name from then on.
        name_after: String = detail("/name/after");
        /// Its description before.
        description_before: Option<String> = detail("/description/before");
        /// Its description from then on.
        description_after: Option<String> = detail("/description/after");
        /// Whether no custom rate applied by it before.
        excluded_from_custom_rates_before: bool = detail("/excludedFromCustomRates/before");
        /// Whether no custom rate applies by it from then on.
        excluded_from_custom_rates_after: bool = detail("/excludedFromCustomRates/after");
    }
    /// A group was archived: it grants nothing from then on.
    GroupArchived => GroupArchivedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// Its name.
        name: String = detail("/name");
    }
    /// A group was taken out of the archive.
    GroupUnarchived => GroupUnarchivedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// Its name.
        name: String = detail("/name");
    }
    /// Members were put into a group.
    GroupMembersAdded => GroupMembersAddedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// The members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// Members were taken out of a group.
    GroupMembersRemoved => GroupMembersRemovedEvent(group) {
        /// The group.
        group_id: ID = group();
        /// The members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// A resource was registered for the first time.
    ResourceRegistered => ResourceRegisteredEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// What it is.
        resource_type: String = detail("/type");
        /// Its id in the host product.
        external_id: String = detail("/externalId");
        /// Who answers for it.
        responsible_member_id: Option<ID> = detail("/responsible");
        /// The unit it belongs to.
        resource_unit_id: Option<ID> = detail("/unit");
        /// Whether every active member has access.
        open_to_all: bool = detail("/openToAll");
    }
    /// A resource was registered again with other values.
    ResourceUpdated => ResourceUpdatedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Whether it was given another name; names are not told, they may be those of people.
        renamed: bool = detail("/renamed");
        /// Who answered for it.
        responsible_member_id_before: Option<ID> = detail("/responsible/before");
        /// Who answers for it from then on.
        responsible_member_id_after: Option<ID> = detail("/responsible/after");
        /// The unit it belonged to.
        unit_id_before: Option<ID> = detail("/unit/before");
        /// The unit it belongs to from then on.
        unit_id_after: Option<ID> = detail("/unit/after");
        /// Whether it was open to everybody.
        open_to_all_before: bool = detail("/openToAll/before");
        /// Whether it is open to everybody from then on.
        open_to_all_after: bool = detail("/openToAll/after");
    }
    /// Somebody else answers for a resource, or nobody.
    ResourceAssigned => ResourceAssignedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Who answered for it.
        responsible_member_id_before: Option<ID> = detail("/responsible/before");
        /// Who answers for it from then on.
        responsible_member_id_after: Option<ID> = detail("/responsible/after");
    }
    /// A resource was opened.
    ResourceGranted => ResourceGrantedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Whether to every active member.
        everybody: bool = detail("/everybody");
        /// Which groups.
        group_ids: Option<Vec<ID>> = detail("/groups");
        /// Which members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// A resource was closed to some.
    ResourceRevoked => ResourceRevokedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Whether it is not open to every active member any more.
        everybody: bool = detail("/everybody");
        /// Which groups.
        group_ids: Option<Vec<ID>> = detail("/groups");
        /// Which members.
        member_ids: Vec<ID> = detail("/members");
    }
    /// A resource was archived: nobody has access to it from then on.
    ResourceArchived => ResourceArchivedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Its id in the host product.
        external_id: String = detail("/externalId");
    }
    /// A resource was taken out of the archive.
    ResourceUnarchived => ResourceUnarchivedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// Its id in the host product.
        external_id: String = detail("/externalId");
    }
    /// A group was given a rate on a resource.
    ResourceRateSet => ResourceRateSetEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// The group.
        group_id: ID = detail("/group");
        /// The rate before; null if there was none.
        rate_before: Option<EventRate> = rate("/before");
        /// The rate from then on.
        rate_after: Option<EventRate> = rate("/after");
    }
    /// The rate of a group on a resource was removed.
    ResourceRateRemoved => ResourceRateRemovedEvent(resource) {
        /// The resource.
        resource_id: ID = resource();
        /// The group.
        group_id: ID = detail("/group");
        /// The rate before; null if there was none.
        rate_before: Option<EventRate> = rate("/before");
        /// Null: there is none from then on.
        rate_after: Option<EventRate> = rate("/after");
    }
    /// An import of members was asked for.
    ImportStarted => ImportStartedEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
        /// Whether the people get a mail at once.
        send_welcome_email: bool = detail("/sendWelcomeEmail");
        /// Whether it only says what would happen; null in old events, as the following.
        dry_run: Option<bool> = detail("/dryRun");
        /// Whether members who are there are brought up to date.
        update_existing: Option<bool> = detail("/updateExisting");
        /// Whether all seats have to be there before the first row.
        require_seats: Option<bool> = detail("/requireSeats");
        /// Whether all rows take effect or none.
        all_or_nothing: Option<bool> = detail("/allOrNothing");
        /// The roles of new members whose row names none.
        default_role_ids: Option<Vec<ID>> = detail("/defaultRoles");
        /// The groups of all new members.
        default_group_ids: Option<Vec<ID>> = detail("/defaultGroups");
    }
    /// Somebody asked for an import to end early.
    ImportCanceled => ImportCanceledEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
    }
    /// Somebody asked for the invitations of an import to be sent that were made without a mail.
    ImportInvitationsSent => ImportInvitationsSentEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
    }
    /// The invitations of an import that were asked for have been sent, as far as they could be.
    ImportInvitationsFinished => ImportInvitationsFinishedEvent(import) {
        /// The import.
        import_id: ID = detail("/import");
        /// Invitations of the import that still have not been sent. Without an error code they wait for a limit on mails to end.
        not_sent: Option<i32> = detail("/notSent");
        /// Why nothing more was sent: `NOT_PERMITTED` or `ACCOUNT_READ_ONLY`; null if that was not it.
        error_code: Option<JobErrorCode> = detail("/errorCode");
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
        /// How: `FINISHED`, `FAILED` or `CANCELED`.
        status: JobStatus = detail("/state");
        /// Why it ended early; null if it did not.
        error_code: Option<JobErrorCode> = detail("/errorCode");
        /// Rows of the file; null if it could not be read.
        rows_total: Option<i32> = detail("/rowsTotal");
        /// Rows that became invited members, or would have: see `applied`.
        rows_invited: i32 = detail("/rowsInvited");
        /// Rows that changed members; null in old events, as the following but the last.
        rows_updated: Option<i32> = detail("/rowsUpdated");
        /// Rows that said what was stored.
        rows_unchanged: Option<i32> = detail("/rowsUnchanged");
        /// Whether it only said what would happen.
        dry_run: Option<bool> = detail("/dryRun");
        /// Whether the rows took effect.
        applied: Option<bool> = detail("/applied");
        /// Rows with faults, of which nothing became.
        rows_rejected: i32 = detail("/rowsRejected");
    }
    /// A file was asked for.
    ExportCreated => ExportCreatedEvent(export) {
        /// The export.
        export_id: ID = detail("/export");
        /// What is in the file.
        export_kind: ExportKind = detail("/kind");
    }
    /// A file that was asked for is there, or will not be.
    ExportFinished => ExportFinishedEvent(export) {
        /// The export.
        export_id: ID = detail("/export");
        /// What is in the file.
        export_kind: ExportKind = detail("/kind");
        /// How: `FINISHED` or `FAILED`.
        status: JobStatus = detail("/state");
        /// Why there is no file; null if there is one.
        error_code: Option<JobErrorCode> = detail("/errorCode");
        /// Rows in the file.
        rows: i32 = detail("/rows");
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
