//! Why somebody can, or cannot, sign in.

use async_graphql::{ComplexObject, Context, Enum, Interface, Result, SimpleObject};
use domain::id::MemberId;
use domain::infra::clock::Timestamp;
use domain::sign_in_diagnosis::{self, Finding};

use super::context::ContextExt as _;
use super::error::top_level;
use super::invitation::Invitation;
use super::member::{Member, reference};
use super::scalar::{DateTime, EmailAddress};

/// What can be the case with somebody who wants to sign in.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInFindingCode {
    /// Nobody here has the address.
    NoSuchMember,
    /// Somebody here has an address like it.
    InvitedAtAnotherAddress,
    /// Somebody here had the address, and signs in with another one now.
    AddressChanged,
    /// A new address waits for its confirmation.
    NewAddressNotConfirmed,
    /// Invited without a mail.
    InvitationNotSent,
    /// Invited, and has not answered.
    InvitationPending,
    /// Did not answer the invitation in time.
    InvitationLapsed,
    /// The invitation cannot be delivered.
    InvitationUndeliverable,
    /// Shut out by hand.
    Suspended,
    /// Taken out.
    Deactivated,
    /// May enter from a later day on.
    NotYetValid,
    /// The membership's last day is over.
    ValidityOver,
    /// Too many wrong passwords.
    Locked,
    /// Joined, and never signed in to this account.
    NeverSignedIn,
    /// Nothing keeps the person out.
    NothingWrong,
}

/// One thing that is the case, and what to do about it.
#[derive(Interface, Clone, Debug)]
#[graphql(
    field(name = "code", ty = "&SignInFindingCode", desc = "What is the case, for programs."),
    field(name = "message", ty = "&String", desc = "What is the case and what to do, for people, in English.")
)]
pub enum SignInFinding {
    /// Nothing comes along.
    Plain(PlainSignInFinding),
    /// An address comes along.
    Address(AddressSignInFinding),
    /// The invitation comes along.
    Invitation(Box<InvitationSignInFinding>),
    /// A time comes along.
    Time(TimeSignInFinding),
}

/// A finding whose code says it all.
#[derive(SimpleObject, Clone, Debug)]
pub struct PlainSignInFinding {
    /// NO_SUCH_MEMBER, SUSPENDED, DEACTIVATED, NOT_YET_VALID, VALIDITY_OVER, NEVER_SIGNED_IN or NOTHING_WRONG.
    code: SignInFindingCode,
    /// What is the case and what to do.
    message: String,
}

/// A finding about an address of somebody here.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct AddressSignInFinding {
    #[graphql(skip)]
    member_id: MemberId,
    /// INVITED_AT_ANOTHER_ADDRESS, ADDRESS_CHANGED or NEW_ADDRESS_NOT_CONFIRMED.
    code: SignInFindingCode,
    /// What is the case and what to do.
    message: String,
    /// The other address: to which they were invited, with which they sign in now, or which waits.
    email: EmailAddress,
    /// When they were invited, when the address was changed, or until when the new one can be confirmed.
    at: DateTime,
}

#[ComplexObject]
impl AddressSignInFinding {
    /// Who it is.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, Some(self.member_id)).await
    }
}

/// A finding about an open invitation.
#[derive(SimpleObject, Clone, Debug)]
pub struct InvitationSignInFinding {
    /// INVITATION_NOT_SENT, INVITATION_PENDING, INVITATION_LAPSED or INVITATION_UNDELIVERABLE.
    code: SignInFindingCode,
    /// What is the case and what to do.
    message: String,
    /// The invitation, with the mail server's reply.
    invitation: Invitation,
}

/// A finding that ends by itself.
#[derive(SimpleObject, Clone, Debug)]
pub struct TimeSignInFinding {
    /// LOCKED.
    code: SignInFindingCode,
    /// What is the case and what to do.
    message: String,
    /// Until when.
    until: DateTime,
}

/// What was found out about an address.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct SignInDiagnosis {
    #[graphql(skip)]
    member_id: Option<MemberId>,
    /// The address, as it is compared.
    email: EmailAddress,
    /// What is the case, the most important first; at least one.
    findings: Vec<SignInFinding>,
}

#[ComplexObject]
impl SignInDiagnosis {
    /// The member who has the address here.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.member_id).await
    }
}

/// Finds out about an address.
pub async fn diagnose(ctx: &Context<'_>, email: &str) -> Result<SignInDiagnosis> {
    let found = sign_in_diagnosis::diagnose(&ctx.state().db, ctx.actor()?, email).await.map_err(top_level)?;
    Ok(SignInDiagnosis {
        member_id: found.member_id,
        email: EmailAddress(found.email),
        findings: found.findings.into_iter().map(SignInFinding::from).collect(),
    })
}

fn moment(at: Timestamp) -> String {
    at.strftime("%-d %B %Y at %H:%M UTC").to_string()
}

fn plain(code: SignInFindingCode, message: impl Into<String>) -> SignInFinding {
    SignInFinding::Plain(PlainSignInFinding { code, message: message.into() })
}

fn of_invitation(
    code: SignInFindingCode,
    invitation: domain::invitation::Invitation,
    message: impl Into<String>,
) -> SignInFinding {
    let message = message.into();
    SignInFinding::Invitation(Box::new(InvitationSignInFinding { code, message, invitation: invitation.into() }))
}

impl From<Finding> for SignInFinding {
    fn from(finding: Finding) -> Self {
        use SignInFindingCode as Code;
        match finding {
            Finding::NoSuchMember => plain(
                Code::NoSuchMember,
                "Nobody in this account has this address. Check its spelling, or invite the person.",
            ),
            Finding::InvitedAtAnotherAddress { .. }
            | Finding::AddressChanged { .. }
            | Finding::NewAddressNotConfirmed { .. } => of_address(finding),
            Finding::InvitationNotSent(_)
            | Finding::InvitationPending(_)
            | Finding::InvitationLapsed(_)
            | Finding::InvitationUndeliverable(_) => invited(finding),
            Finding::Suspended => {
                plain(Code::Suspended, "The person is suspended. Activate them, and they can sign in as before.")
            }
            Finding::Deactivated => plain(
                Code::Deactivated,
                "The person is deactivated. Reactivate them, which takes a free seat, and they can sign in as before.",
            ),
            Finding::NotYetValid { from } => plain(
                Code::NotYetValid,
                format!("The person may enter from {} on. Wait until then, or set an earlier day.", from.0),
            ),
            Finding::ValidityOver { until } => plain(
                Code::ValidityOver,
                format!("The membership ended with {}. Set a later last day, and the person can sign in.", until.0),
            ),
            Finding::Locked { until } => Self::Time(TimeSignInFinding {
                code: Code::Locked,
                message: format!(
                    "Too many wrong passwords were given for this address. Where they were given, signing in is refused until {}. \
                     Wait until then; whoever forgot the password asks for a new one where they sign in.",
                    moment(until)
                ),
                until: until.into(),
            }),
            Finding::NeverSignedIn => plain(
                Code::NeverSignedIn,
                "The person has joined and never signed in to this account. They sign in with this address and the password they \
                 chose; whoever forgot it asks for a new one there.",
            ),
            Finding::NothingWrong => plain(
                Code::NothingWrong,
                "Nothing here keeps the person from signing in with this address. If the password is refused, they ask for a new one \
                 where they sign in.",
            ),
        }
    }
}

/// Findings about another address.
fn of_address(finding: Finding) -> SignInFinding {
    use SignInFindingCode as Code;
    let (code, member_id, email, at, message) = match finding {
        Finding::InvitedAtAnotherAddress { member_id, email, at } => {
            let message = format!(
                "Somebody here has an address like it: {email}. If it is the same person, they sign in, or answer the invitation, \
                 with that address; otherwise correct it."
            );
            (Code::InvitedAtAnotherAddress, member_id, email, at, message)
        }
        Finding::AddressChanged { member_id, email, at } => {
            let message = format!("The address was changed on {}. The person signs in with {email} now.", moment(at));
            (Code::AddressChanged, member_id, email, at, message)
        }
        Finding::NewAddressNotConfirmed { member_id, email, until } => {
            let message = format!(
                "The new address {email} is not confirmed. The person signs in with the address until now, or opens the link in the \
                 mail to the new one before {}.",
                moment(until)
            );
            (Code::NewAddressNotConfirmed, member_id, email, until, message)
        }
        other => unreachable!("{other:?} is about no other address"),
    };
    SignInFinding::Address(AddressSignInFinding { member_id, code, message, email: EmailAddress(email), at: at.into() })
}

/// Findings about an open invitation.
fn invited(finding: Finding) -> SignInFinding {
    use SignInFindingCode as Code;
    match finding {
        Finding::InvitationNotSent(invitation) => of_invitation(
            Code::InvitationNotSent,
            *invitation,
            "The person is on the list, but their invitation was never sent. Send it.",
        ),
        Finding::InvitationPending(invitation) => {
            let message = match (invitation.sent_at, invitation.expires_at) {
                (Some(sent), Some(expires)) => format!(
                    "The invitation was sent on {} and is not answered. The person opens the link in that mail before {}; resend it \
                     if they cannot find it.",
                    moment(sent),
                    moment(expires)
                ),
                _ => "The invitation waits to be sent. If it does not arrive soon, look at the mail server's reply."
                    .to_owned(),
            };
            of_invitation(Code::InvitationPending, *invitation, message)
        }
        Finding::InvitationLapsed(invitation) => of_invitation(
            Code::InvitationLapsed,
            *invitation,
            "The invitation was not answered in time. Resend it: the person gets a new link.",
        ),
        Finding::InvitationUndeliverable(invitation) => {
            let reply = invitation.delivery_reply.as_deref().unwrap_or("no mail server took it for 72 hours");
            let message = format!(
                "The invitation cannot be delivered: {reply}. Check the address, correct it if it is wrong, and send the invitation \
                 again."
            );
            of_invitation(Code::InvitationUndeliverable, *invitation, message)
        }
        other => unreachable!("{other:?} is about no invitation"),
    }
}
