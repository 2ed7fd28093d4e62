//! Changing the address that somebody signs in with.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::change::Kind;
use domain::email_change::{self, Request, State};
use domain::error::Error;
use domain::id::MemberId;
use secrecy::SecretString;

use super::context::{ContextExt as _, mutate, once, parse_id};
use super::loader::PendingOf;
use super::member::{Member, reread};
use super::payload::payloads;
use super::scalar::{DateTime, EmailAddress};
use super::user_error::{UserError, split};

/// Where a change of the login e-mail stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "State")]
pub enum LoginEmailChangeState {
    /// Not everybody who must has agreed: the old address works until then.
    Pending,
    /// Done: the person signs in with the new address.
    Changed,
    /// Given up before it was done.
    Cancelled,
    /// Done, and taken back.
    Reverted,
}

/// A change of a login e-mail that waits. The old address works until it is confirmed.
#[derive(SimpleObject, Clone, Debug)]
pub struct PendingEmailChange {
    /// PENDING, whatever it waits for.
    state: LoginEmailChangeState,
    /// The address to be.
    new_email: EmailAddress,
    /// When it was asked for.
    requested_at: DateTime,
    /// Until when it can be confirmed.
    expires_at: DateTime,
}

impl From<email_change::Pending> for PendingEmailChange {
    fn from(pending: email_change::Pending) -> Self {
        Self {
            state: LoginEmailChangeState::Pending,
            new_email: EmailAddress(pending.new_email),
            requested_at: pending.requested_at.into(),
            expires_at: pending.expires_at.into(),
        }
    }
}

/// The change that waits of a member whose profile the viewer may read.
pub async fn pending(ctx: &Context<'_>, member: MemberId) -> Option<Result<PendingEmailChange>> {
    let load = async {
        let loaded = ctx.loader()?.load_one(PendingOf(member)).await;
        loaded.map_err(|error| super::loader::top_level(&error))
    };
    load.await.map(|pending| pending.map(PendingEmailChange::from)).transpose()
}

/// Another address to sign in with.
#[derive(InputObject)]
pub struct LoginEmailChangeRequestInput {
    /// Whose; the viewer's own unless given.
    member_id: Option<ID>,
    /// The address to be.
    new_email: EmailAddress,
    /// The viewer's password; needed for their own address.
    password: Option<String>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Whose change to give up.
#[derive(InputObject, Debug)]
pub struct LoginEmailChangeCancelInput {
    /// The member; the viewer themselves unless given.
    member_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

macro_rules! link_inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject)]
        pub struct $name {
            /// The link's token.
            token: String,
        }
    )*};
}

link_inputs! {
    /// The new address, confirmed by the link of a mail.
    LoginEmailChangeConfirmInput;
    /// The consent of the old address, by the link of a mail.
    LoginEmailChangeApproveInput;
    /// The old address, kept or taken back by the link of a mail.
    LoginEmailChangeRevertInput;
}

payloads! {
    {
        /// The member as of now.
        member: Option<Member>,
    }
    /// A change was asked for.
    LoginEmailChangeRequestPayload;
    /// A change was given up.
    LoginEmailChangeCancelPayload;
}

payloads! {
    {
        /// Where the change stands now; null when it was refused.
        state: Option<LoginEmailChangeState>,
    }
    /// The new address was confirmed.
    LoginEmailChangeConfirmPayload;
    /// The old address has agreed.
    LoginEmailChangeApprovePayload;
    /// The old address was kept or taken back.
    LoginEmailChangeRevertPayload;
}

async fn of_member<P>(ctx: &Context<'_>, outcome: Result<MemberId, Error>) -> Result<P>
where
    P: From<(Option<Member>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(member) => (reread(ctx, member).await, Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

fn of_link<P>(outcome: Result<State, Error>) -> Result<P>
where
    P: From<(Option<LoginEmailChangeState>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(state) => (Some(state.into()), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Mutations of login e-mails.
#[derive(Debug, Default)]
pub struct EmailChangeMutation;

#[Object]
impl EmailChangeMutation {
    /// Asks for another address to sign in with: one's own with the password, unless the account's single sign-on forbids it;
    /// somebody else's with `members.changeEmail`, never the owner's. The new address is mailed a link that confirms it within 24
    /// hours, the old one is told. The old address works until then. The answer is the same whether or not the new address is
    /// taken.
    async fn login_email_change_request(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Another address to sign in with.")] input: LoginEmailChangeRequestInput,
    ) -> Option<Result<LoginEmailChangeRequestPayload>> {
        let outcome = async {
            let actor = ctx.viewer().ok_or(Error::Unauthenticated)?;
            let once = once(ctx, input.idempotency_key.as_deref())?;
            let password = input.password.map(SecretString::from);
            let request = Request {
                member_id: input.member_id.as_ref().map(parse_id),
                new_email: &input.new_email.0,
                password: password.as_ref(),
            };
            let state = ctx.state();
            email_change::request(&state.db, &state.passwords, actor, once.as_ref(), &request).await
        };
        let outcome = outcome.await;
        Some(of_member(ctx, outcome).await)
    }

    /// Gives up a change that waits: one's own wherever it was asked for, or, with `members.changeEmail`, somebody else's that was
    /// asked for in this account.
    async fn login_email_change_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose change to give up.")] input: LoginEmailChangeCancelInput,
    ) -> Option<Result<LoginEmailChangeCancelPayload>> {
        let outcome = async {
            let actor = ctx.viewer().ok_or(Error::Unauthenticated)?;
            let member: Option<MemberId> = input.member_id.as_ref().map(parse_id);
            let kind = if member.is_none_or(|member| member == actor.member_id) { Kind::System } else { Kind::Asked };
            let done = mutate(ctx, input.idempotency_key.as_deref(), kind, move |change, actor| {
                Box::pin(async move {
                    email_change::cancel(change, actor, member).await.map(|()| member.unwrap_or(actor.member_id))
                })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(of_member(ctx, outcome).await)
    }

    /// Confirms a new login e-mail by the link of the mail to it. The person then signs in with it in all their accounts; their
    /// sessions end everywhere. Stays PENDING while the old address still has to agree.
    async fn login_email_change_confirm(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new address, confirmed by the link of a mail.")] input: LoginEmailChangeConfirmInput,
    ) -> Option<Result<LoginEmailChangeConfirmPayload>> {
        let origin = ctx.caller().origin.clone();
        Some(of_link(email_change::confirm(&ctx.state().db, origin, &input.token).await))
    }

    /// Agrees to a new login e-mail by the link of the mail to the old one: needed where somebody else asked and the person is in
    /// another account as well. Stays PENDING while the new address is not confirmed.
    async fn login_email_change_approve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The consent of the old address, by the link of a mail.")] input: LoginEmailChangeApproveInput,
    ) -> Option<Result<LoginEmailChangeApprovePayload>> {
        let origin = ctx.caller().origin.clone();
        Some(of_link(email_change::approve(&ctx.state().db, origin, &input.token).await))
    }

    /// Keeps the old login e-mail while the change waits, or takes it back within 7 days, by the link of the mail to it. Taking it
    /// back ends sessions everywhere and the use of the password; a link to choose another one is mailed to the old address.
    async fn login_email_change_revert(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The old address, kept or taken back by the link of a mail.")]
        input: LoginEmailChangeRevertInput,
    ) -> Option<Result<LoginEmailChangeRevertPayload>> {
        let state = ctx.state();
        let origin = ctx.caller().origin.clone();
        Some(of_link(email_change::revert(&state.db, &state.passwords, origin, &input.token).await))
    }
}
