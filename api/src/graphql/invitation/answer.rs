//! Invitations, for the invited: they come by a link and need no login.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::invitation::{self, Acceptance};
use secrecy::SecretString;

use crate::graphql::context::ContextExt as _;
use crate::graphql::scalar::{DateTime, EmailAddress};
use crate::graphql::user_error::{UserError, split};

/// Accepting an invitation.
#[derive(InputObject)]
pub struct InvitationAcceptInput {
    /// The link's token.
    token: String,
    /// First name; the inviter's spelling when left out.
    first_name: Option<String>,
    /// Last name; the inviter's spelling when left out.
    last_name: Option<String>,
    /// A new password, or that of the login the address has. Not needed when signed in as that address.
    password: Option<String>,
}

/// Declining an invitation.
#[derive(InputObject)]
pub struct InvitationDeclineInput {
    /// The link's token.
    token: String,
}

/// Somebody joined; they can sign in now.
#[derive(SimpleObject, Debug)]
pub struct InvitationAcceptPayload {
    /// Id of the account they joined.
    account_id: Option<ID>,
    /// Id of their place in it.
    member_id: Option<ID>,
    /// Why they did not.
    user_errors: Vec<UserError>,
}

/// Somebody said no.
#[derive(SimpleObject, Debug)]
pub struct InvitationDeclinePayload {
    /// Whether it is declined now.
    declined: bool,
    /// Why it is not.
    user_errors: Vec<UserError>,
}

/// What a link shows to whoever holds it.
#[derive(SimpleObject, Debug)]
pub struct InvitationPreview {
    /// The account they are asked into.
    account_name: String,
    /// The address the invitation went to.
    email: EmailAddress,
    /// First name, as the inviter wrote it.
    first_name: Option<String>,
    /// Last name, as the inviter wrote it.
    last_name: Option<String>,
    /// The inviter's own words.
    message: Option<String>,
    /// Who invites.
    inviter_name: Option<String>,
    /// When it lapses, once a mail server took the mail.
    expires_at: Option<DateTime>,
    /// Whether the address has a login: then accepting takes its password and no new one.
    has_login: bool,
}

/// What a link shows, or why it is dead.
#[derive(SimpleObject, Debug)]
pub struct InvitationByTokenPayload {
    /// The invitation.
    invitation: Option<InvitationPreview>,
    /// Why it cannot be answered.
    user_errors: Vec<UserError>,
}

/// Looks at a link without answering it.
pub async fn by_token(ctx: &Context<'_>, token: &str) -> Result<InvitationByTokenPayload> {
    Ok(match split(invitation::by_token(&ctx.state().db, token).await)? {
        Ok(preview) => InvitationByTokenPayload {
            invitation: Some(InvitationPreview {
                account_name: preview.account_name,
                email: EmailAddress(preview.email),
                first_name: preview.first_name,
                last_name: preview.last_name,
                message: preview.message,
                inviter_name: preview.inviter_name,
                expires_at: preview.expires_at.map(Into::into),
                has_login: preview.has_login,
            }),
            user_errors: Vec::new(),
        },
        Err(user_errors) => InvitationByTokenPayload { invitation: None, user_errors },
    })
}

/// Answers to invitations.
#[derive(Debug, Default)]
pub struct InvitationAnswer;

#[Object]
impl InvitationAnswer {
    /// Joins an account by the link of a mail. Somebody new sets name and password; somebody with a login proves it. It signs
    /// nobody in.
    async fn invitation_accept(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Accepting an invitation.")] input: InvitationAcceptInput,
    ) -> Option<Result<InvitationAcceptPayload>> {
        let acceptance = Acceptance {
            first_name: input.first_name,
            last_name: input.last_name,
            password: input.password.map(SecretString::from),
        };
        let state = ctx.state();
        let origin = ctx.caller().origin.clone();
        let outcome =
            invitation::accept(&state.db, &state.passwords, origin, ctx.viewer(), &input.token, &acceptance).await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(accepted) => InvitationAcceptPayload {
                account_id: Some(accepted.account_id.to_string().into()),
                member_id: Some(accepted.member_id.to_string().into()),
                user_errors: Vec::new(),
            },
            Err(user_errors) => InvitationAcceptPayload { account_id: None, member_id: None, user_errors },
        }))
    }

    /// Declines an invitation by the link of a mail.
    async fn invitation_decline(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Declining an invitation.")] input: InvitationDeclineInput,
    ) -> Option<Result<InvitationDeclinePayload>> {
        let outcome = invitation::decline(&ctx.state().db, ctx.caller().origin.clone(), &input.token).await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(()) => InvitationDeclinePayload { declined: true, user_errors: Vec::new() },
            Err(user_errors) => InvitationDeclinePayload { declined: false, user_errors },
        }))
    }
}
