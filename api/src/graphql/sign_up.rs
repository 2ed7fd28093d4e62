//! Sign-up.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::sign_up;
use secrecy::SecretString;

use super::context::ContextExt as _;
use super::scalar::{EmailAddress, TimeZone};
use super::user_error::{UserError, split};

/// Signing up.
#[derive(InputObject)]
pub struct SignUpInput {
    /// Name of the new account: 1 to 100 characters.
    account_name: String,
    /// Its time zone; UTC unless given.
    time_zone: Option<TimeZone>,
    /// First name of its owner.
    first_name: String,
    /// Last name of its owner.
    last_name: String,
    /// Address of its owner; a mail with a link goes there.
    email: EmailAddress,
    /// Password: 10 to 256 characters.
    password: String,
}

/// A sign-up waits for its confirmation.
#[derive(SimpleObject, Debug)]
pub struct SignUpPayload {
    /// Whether a mail is on its way; the same whether or not the address has a login.
    accepted: bool,
    /// Why none is.
    user_errors: Vec<UserError>,
}

/// Confirming a sign-up.
#[derive(InputObject)]
pub struct SignUpConfirmInput {
    /// The link's token.
    token: String,
}

/// An account was founded.
#[derive(SimpleObject, Debug)]
pub struct SignUpConfirmPayload {
    /// Id of the account; its owner can sign in now.
    account_id: Option<ID>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// Mutations of sign-ups.
#[derive(Debug, Default)]
pub struct SignUpMutation;

#[Object]
impl SignUpMutation {
    /// Asks for a new account. Nothing exists until the address is confirmed by the link in the mail.
    async fn sign_up(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Signing up.")] input: SignUpInput,
    ) -> Option<Result<SignUpPayload>> {
        let state = ctx.state();
        let password = SecretString::from(input.password);
        let request = sign_up::SignUp {
            account_name: &input.account_name,
            time_zone: input.time_zone.as_ref().map(|zone| zone.0.as_str()),
            first_name: &input.first_name,
            last_name: &input.last_name,
            email: &input.email.0,
            password: &password,
            refuse_personal_domains: state.config.sign_up.refuse_personal_domains,
        };
        let outcome = sign_up::request(&state.db, &state.passwords, ctx.caller().origin.clone(), request).await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(()) => SignUpPayload { accepted: true, user_errors: Vec::new() },
            Err(user_errors) => SignUpPayload { accepted: false, user_errors },
        }))
    }

    /// Founds the account of a sign-up, by the link of its mail.
    async fn sign_up_confirm(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Confirming a sign-up.")] input: SignUpConfirmInput,
    ) -> Option<Result<SignUpConfirmPayload>> {
        let state = ctx.state();
        let origin = ctx.caller().origin.clone();
        let outcome = sign_up::confirm(&state.db, origin, &input.token, state.config.sign_up.base_seats).await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(id) => SignUpConfirmPayload { account_id: Some(id.to_string().into()), user_errors: Vec::new() },
            Err(user_errors) => SignUpConfirmPayload { account_id: None, user_errors },
        }))
    }
}
