//! `/login-email-confirm/{token}`, `/login-email-approve/{token}`, `/login-email-revert/{token}`: another address to sign in with,
//! confirmed from the new one, agreed to from the old one, and taken back from there.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use domain::email_change::{self, Preview, State as Change};
use domain::error::{Code, Error};

use super::visit::{Failure, Nothing, Posted, Visit, again, to_its_end};
use super::{ClosedLink, FieldError, LoginEmailApproveView, LoginEmailConfirmView, LoginEmailDoneView};
use super::{LoginEmailRevertView, render};
use crate::state::State;

/// The pages of a change of the login e-mail.
pub fn router() -> Router<State> {
    Router::new()
        .route("/login-email-confirm/{token}", get(show_confirm).post(confirm))
        .route("/login-email-approve/{token}", get(show_approve).post(approve))
        .route("/login-email-revert/{token}", get(show_revert).post(revert))
}

fn closed(code: Code) -> Option<ClosedLink> {
    matches!(code, Code::TokenInvalid | Code::TokenExpired | Code::TokenUsed).then_some(ClosedLink::LoginEmail)
}

fn failure(error: Error, visit: &Visit) -> Response {
    Failure::of(error, visit, closed).page()
}

fn confirm_view(preview: Preview, token: &str, errors: Vec<FieldError>) -> LoginEmailConfirmView {
    let action = format!("/login-email-confirm/{token}");
    LoginEmailConfirmView { new_email: preview.new_email, action, errors }
}

fn approve_view(preview: Preview, token: &str, errors: Vec<FieldError>) -> LoginEmailApproveView {
    let action = format!("/login-email-approve/{token}");
    LoginEmailApproveView { old_email: preview.old_email, new_email: preview.new_email, action, errors }
}

fn revert_view(preview: Preview, token: &str, errors: Vec<FieldError>) -> LoginEmailRevertView {
    LoginEmailRevertView {
        changed: preview.state == Change::Changed,
        old_email: preview.old_email,
        new_email: preview.new_email,
        action: format!("/login-email-revert/{token}"),
        errors,
    }
}

async fn show_confirm(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match email_change::confirmation_by_token(&state.db, &token).await {
        Ok(preview) => render(StatusCode::OK, &confirm_view(preview, &token, Vec::new())),
        Err(error) => failure(error, &visit),
    }
}

async fn show_approve(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match email_change::approval_by_token(&state.db, &token).await {
        Ok(preview) => render(StatusCode::OK, &approve_view(preview, &token, Vec::new())),
        Err(error) => failure(error, &visit),
    }
}

async fn show_revert(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match email_change::reversal_by_token(&state.db, &token).await {
        Ok(preview) => render(StatusCode::OK, &revert_view(preview, &token, Vec::new())),
        Err(error) => failure(error, &visit),
    }
}

/// What a link did, as people are told.
fn done(state: &State, change: Change, preview: &Preview, waits_for: &str) -> Response {
    let (old, new) = (&preview.old_email, &preview.new_email);
    let (title, text) = match change {
        Change::Changed => {
            ("Your address is changed", format!("From now on you sign in with {new}. You are signed out everywhere."))
        }
        Change::Pending => (
            "Thank you: one more consent is needed",
            format!("The address changes as soon as the link in the mail to {waits_for} is used as well."),
        ),
        Change::Cancelled => ("Your address stays as it is", format!("You go on signing in with {old}.")),
        Change::Reverted => (
            "Your old address is back",
            format!("You sign in with {old} again. Open the mail that was just sent there to choose a new password."),
        ),
    };
    let sign_in_url = state.config.links.sign_in.clone();
    render(StatusCode::OK, &LoginEmailDoneView { title: title.to_owned(), text, sign_in_url })
}

async fn confirm(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(_): Posted<Nothing>,
) -> Response {
    let preview = match email_change::confirmation_by_token(&state.db, &token).await {
        Ok(preview) => preview,
        Err(error) => return failure(error, &visit),
    };
    let (db, origin, secret) = (state.db.clone(), visit.origin.clone(), token.clone());
    let confirmed = to_its_end(async move { email_change::confirm(&db, origin, &secret).await });
    match confirmed.await.map_err(|error| Failure::of(error, &visit, closed)) {
        // Not by name: whoever got the mail by mistake is not to learn it.
        Ok(change) => done(&state, change, &preview, "your old address"),
        Err(Failure::Mend(list)) => again(&list, &[], |errors| confirm_view(preview, &token, errors)),
        Err(failure) => failure.page(),
    }
}

async fn approve(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(_): Posted<Nothing>,
) -> Response {
    let preview = match email_change::approval_by_token(&state.db, &token).await {
        Ok(preview) => preview,
        Err(error) => return failure(error, &visit),
    };
    let (db, origin, secret) = (state.db.clone(), visit.origin.clone(), token.clone());
    let approved = to_its_end(async move { email_change::approve(&db, origin, &secret).await });
    match approved.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(change) => done(&state, change, &preview, &preview.new_email),
        Err(Failure::Mend(list)) => again(&list, &[], |errors| approve_view(preview, &token, errors)),
        Err(failure) => failure.page(),
    }
}

async fn revert(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(_): Posted<Nothing>,
) -> Response {
    let preview = match email_change::reversal_by_token(&state.db, &token).await {
        Ok(preview) => preview,
        Err(error) => return failure(error, &visit),
    };
    let (shared, origin, secret) = (state.clone(), visit.origin.clone(), token.clone());
    let reverted =
        to_its_end(async move { email_change::revert(&shared.db, &shared.passwords, origin, &secret).await });
    match reverted.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(change) => done(&state, change, &preview, &preview.new_email),
        Err(Failure::Mend(list)) => again(&list, &[], |errors| revert_view(preview, &token, errors)),
        Err(failure) => failure.page(),
    }
}
