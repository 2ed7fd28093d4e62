//! `/password-reset/{token}`: choose a new password.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use domain::error::Code;
use domain::{password, password_reset};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::visit::{Failure, Posted, Visit, again, passwords_differ, secret, to_its_end};
use super::{ClosedLink, FieldError, PasswordResetDoneView, PasswordResetView, render};
use crate::state::State;

/// The page of a password reset.
pub fn router() -> Router<State> {
    Router::new().route("/password-reset/{token}", get(show).post(complete))
}

fn closed(code: Code) -> Option<ClosedLink> {
    matches!(code, Code::TokenInvalid | Code::TokenExpired | Code::TokenUsed).then_some(ClosedLink::PasswordReset)
}

async fn email(state: &State, visit: &Visit, token: &str) -> Result<String, Failure> {
    password_reset::by_token(&state.db, token).await.map_err(|error| Failure::of(error, visit, closed))
}

fn view(email: String, token: &str, errors: Vec<FieldError>) -> PasswordResetView {
    let action = format!("/password-reset/{token}");
    PasswordResetView { email, password_minimum: password::MINIMUM, action, errors }
}

async fn show(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match email(&state, &visit, &token).await {
        Ok(email) => render(StatusCode::OK, &view(email, &token, Vec::new())),
        Err(failure) => failure.page(),
    }
}

/// What the form posts.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResetForm {
    #[serde(deserialize_with = "secret")]
    password: SecretString,
    #[serde(deserialize_with = "secret")]
    password_again: SecretString,
}

async fn complete(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(form): Posted<ResetForm>,
) -> Response {
    let email = match email(&state, &visit, &token).await {
        Ok(email) => email,
        Err(failure) => return failure.page(),
    };
    if form.password.expose_secret() != form.password_again.expose_secret() {
        return render(StatusCode::UNPROCESSABLE_ENTITY, &view(email, &token, vec![passwords_differ()]));
    }
    let (shared, secret, origin) = (state.clone(), token.clone(), visit.origin.clone());
    let completed = to_its_end(async move {
        password_reset::complete(&shared.db, &shared.passwords, origin, &secret, &form.password).await
    });
    match completed.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(()) => {
            let sign_in_url = state.config.links.sign_in.clone();
            render(StatusCode::OK, &PasswordResetDoneView { sign_in_url })
        }
        Err(Failure::Mend(list)) => again(&list, &["password"], |errors| view(email, &token, errors)),
        Err(failure) => failure.page(),
    }
}
