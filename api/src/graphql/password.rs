//! Passwords: forgotten and changed.

use async_graphql::{Context, InputObject, Object, Result};
use domain::error::Error;
use domain::password_reset;
use secrecy::SecretString;

use super::context::{ContextExt as _, once};
use super::payload::payloads;
use super::scalar::EmailAddress;
use super::user_error::{UserError, split};

/// A forgotten password.
#[derive(InputObject, Debug)]
pub struct PasswordResetRequestInput {
    /// Address of the login.
    email: EmailAddress,
}

/// A new password by the link of a mail.
#[derive(InputObject)]
pub struct PasswordResetInput {
    /// The link's token.
    token: String,
    /// The new password: 10 to 256 characters.
    password: String,
}

/// Another password.
#[derive(InputObject)]
pub struct PasswordChangeInput {
    /// The password until now.
    current_password: String,
    /// The new one: 10 to 256 characters.
    new_password: String,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// Whether it was done; for a request of a link, whether a mail is on its way if the address has a login.
        accepted: bool,
    }
    /// A link was asked for.
    PasswordResetRequestPayload;
    /// A password was set by a link.
    PasswordResetPayload;
    /// The viewer's password was changed.
    PasswordChangePayload;
}

fn answer<P: From<(bool, Vec<UserError>)>>(outcome: Result<(), Error>) -> Result<P> {
    Ok(match split(outcome)? {
        Ok(()) => P::from((true, Vec::new())),
        Err(user_errors) => P::from((false, user_errors)),
    })
}

/// Mutations of passwords.
#[derive(Debug, Default)]
pub struct PasswordMutation;

#[Object]
impl PasswordMutation {
    /// Sends a link to choose a new password. The answer is the same whether or not the address has a login.
    async fn password_reset_request(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A forgotten password.")] input: PasswordResetRequestInput,
    ) -> Option<Result<PasswordResetRequestPayload>> {
        let origin = ctx.caller().origin.clone();
        Some(answer(password_reset::request(&ctx.state().db, origin, &input.email.0).await))
    }

    /// Sets a new password by the link of a mail. Ends all sessions of the person.
    async fn password_reset(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A new password by the link of a mail.")] input: PasswordResetInput,
    ) -> Option<Result<PasswordResetPayload>> {
        let state = ctx.state();
        let password = SecretString::from(input.password);
        let origin = ctx.caller().origin.clone();
        Some(answer(password_reset::complete(&state.db, &state.passwords, origin, &input.token, &password).await))
    }

    /// Changes the viewer's password. Ends all their other sessions, in all accounts.
    async fn password_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Another password.")] input: PasswordChangeInput,
    ) -> Option<Result<PasswordChangePayload>> {
        let outcome = async {
            let actor = ctx.viewer().ok_or(Error::Unauthenticated)?;
            let once = once(ctx, input.idempotency_key.as_deref())?;
            let state = ctx.state();
            let current = SecretString::from(input.current_password);
            let new = SecretString::from(input.new_password);
            password_reset::change_known(&state.db, &state.passwords, actor, once.as_ref(), &current, &new).await
        };
        Some(answer(outcome.await))
    }
}
