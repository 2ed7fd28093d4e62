//! `/sign-up/{token}`: confirm the address of a sign-up.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use domain::error::Code;
use domain::sign_up::{self, Preview};

use super::visit::{Failure, Nothing, Posted, Visit, again, to_its_end};
use super::{ClosedLink, FieldError, SignUpConfirmView, SignUpConfirmedView, render};
use crate::state::State;

/// The page of a sign-up.
pub fn router() -> Router<State> {
    Router::new().route("/sign-up/{token}", get(show).post(confirm))
}

fn closed(code: Code) -> Option<ClosedLink> {
    matches!(code, Code::TokenInvalid | Code::TokenExpired | Code::TokenUsed).then_some(ClosedLink::SignUp)
}

async fn preview(state: &State, visit: &Visit, token: &str) -> Result<Preview, Failure> {
    sign_up::by_token(&state.db, token).await.map_err(|error| Failure::of(error, visit, closed))
}

fn view(preview: Preview, token: &str, errors: Vec<FieldError>) -> SignUpConfirmView {
    SignUpConfirmView {
        account_name: preview.account_name,
        email: preview.email,
        action: format!("/sign-up/{token}"),
        errors,
    }
}

async fn show(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match preview(&state, &visit, &token).await {
        Ok(preview) => render(StatusCode::OK, &view(preview, &token, Vec::new())),
        Err(failure) => failure.page(),
    }
}

async fn confirm(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(_): Posted<Nothing>,
) -> Response {
    let before = match preview(&state, &visit, &token).await {
        Ok(preview) => preview,
        Err(failure) => return failure.page(),
    };
    let (shared, secret, origin) = (state.clone(), token.clone(), visit.origin.clone());
    let confirmed =
        to_its_end(
            async move { sign_up::confirm(&shared.db, origin, &secret, shared.config.sign_up.base_seats).await },
        );
    match confirmed.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(_) => {
            let sign_in_url = state.config.links.sign_in.clone();
            render(StatusCode::OK, &SignUpConfirmedView { account_name: before.account_name, sign_in_url })
        }
        Err(Failure::Mend(list)) => again(&list, &[], |errors| view(before, &token, errors)),
        Err(failure) => failure.page(),
    }
}
