//! `/invitation/{token}`: accept or decline an invitation.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use domain::error::Code;
use domain::invitation::{self, Acceptance, Preview};
use domain::password;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::visit::{Failure, Nothing, Posted, Visit, again, passwords_differ, secret, to_its_end};
use super::{
    ClosedLink, FieldError, InvitationAcceptedView, InvitationDeclineView, InvitationDeclinedView, InvitationView,
    Person, render,
};
use crate::state::State;

/// The pages of an invitation.
pub fn router() -> Router<State> {
    Router::new()
        .route("/invitation/{token}", get(show).post(accept))
        .route("/invitation/{token}/decline", get(ask).post(decline))
}

fn closed(code: Code) -> Option<ClosedLink> {
    Some(match code {
        Code::TokenInvalid => ClosedLink::InvitationUnknown,
        Code::InvitationUsed => ClosedLink::InvitationUsed,
        Code::InvitationDeclined => ClosedLink::InvitationDeclined,
        Code::InvitationExpired => ClosedLink::InvitationExpired,
        Code::InvitationRevoked => ClosedLink::InvitationRevoked,
        Code::InvitationSuspended => ClosedLink::InvitationSuspended,
        _ => return None,
    })
}

async fn preview(state: &State, visit: &Visit, token: &str) -> Result<Preview, Failure> {
    invitation::by_token(&state.db, token).await.map_err(|error| Failure::of(error, visit, closed))
}

async fn show(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match preview(&state, &visit, &token).await {
        Ok(preview) => render(StatusCode::OK, &view(preview, &token, &AcceptForm::default(), Vec::new())),
        Err(failure) => failure.page(),
    }
}

/// What the form posts. Whoever has a login gives no second password, and names only where the inviter left them out.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AcceptForm {
    first_name: Option<String>,
    last_name: Option<String>,
    #[serde(deserialize_with = "secret")]
    password: SecretString,
    #[serde(deserialize_with = "secret")]
    password_again: SecretString,
}

const FIELDS: &[&str] = &["firstName", "lastName", "password"];

fn view(preview: Preview, token: &str, form: &AcceptForm, errors: Vec<FieldError>) -> InvitationView {
    let filled = |typed: &Option<String>, invited: Option<String>| typed.clone().or(invited).unwrap_or_default();
    let person = if preview.has_login {
        let missing = |typed: &Option<String>, invited: Option<String>| match invited {
            Some(_) => None,
            None => Some(typed.clone().unwrap_or_default()),
        };
        Person::Known {
            first_name: missing(&form.first_name, preview.first_name),
            last_name: missing(&form.last_name, preview.last_name),
        }
    } else {
        Person::New {
            first_name: filled(&form.first_name, preview.first_name),
            last_name: filled(&form.last_name, preview.last_name),
            password_minimum: password::MINIMUM,
        }
    };
    InvitationView {
        account_name: preview.account_name,
        inviter_name: preview.inviter_name,
        message: preview.message,
        email: preview.email,
        person,
        action: format!("/invitation/{token}"),
        decline_url: format!("/invitation/{token}/decline"),
        errors,
    }
}

async fn accept(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
    visit: Visit,
    Posted(form): Posted<AcceptForm>,
) -> Response {
    let before = match preview(&state, &visit, &token).await {
        Ok(preview) => preview,
        Err(failure) => return failure.page(),
    };
    if !before.has_login && form.password.expose_secret() != form.password_again.expose_secret() {
        let view = view(before, &token, &form, vec![passwords_differ()]);
        return render(StatusCode::UNPROCESSABLE_ENTITY, &view);
    }
    let acceptance = Acceptance {
        first_name: form.first_name.clone(),
        last_name: form.last_name.clone(),
        // Nothing typed is a password that is too short for somebody new, and none at all for somebody known.
        password: Some(form.password.clone()).filter(|typed| !before.has_login || !typed.expose_secret().is_empty()),
    };
    let (shared, secret, origin) = (state.clone(), token.clone(), visit.origin.clone());
    let accepted = to_its_end(async move {
        invitation::accept(&shared.db, &shared.passwords, origin, None, &secret, &acceptance).await
    });
    match accepted.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(_) => {
            let sign_in_url = state.config.links.sign_in.clone();
            render(StatusCode::OK, &InvitationAcceptedView { account_name: before.account_name, sign_in_url })
        }
        // Read again: the address may have got a login meanwhile, which changes the form.
        Err(Failure::Mend(list)) => match preview(&state, &visit, &token).await {
            Ok(preview) => again(&list, FIELDS, |errors| view(preview, &token, &form, errors)),
            Err(failure) => failure.page(),
        },
        Err(failure) => failure.page(),
    }
}

fn decline_view(preview: Preview, token: &str, errors: Vec<FieldError>) -> InvitationDeclineView {
    InvitationDeclineView {
        account_name: preview.account_name,
        action: format!("/invitation/{token}/decline"),
        back_url: format!("/invitation/{token}"),
        errors,
    }
}

async fn ask(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match preview(&state, &visit, &token).await {
        Ok(preview) => render(StatusCode::OK, &decline_view(preview, &token, Vec::new())),
        Err(failure) => failure.page(),
    }
}

async fn decline(
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
    let declined = to_its_end(async move { invitation::decline(&shared.db, origin, &secret).await });
    match declined.await.map_err(|error| Failure::of(error, &visit, closed)) {
        Ok(()) => render(StatusCode::OK, &InvitationDeclinedView { account_name: before.account_name }),
        Err(Failure::Mend(list)) => again(&list, &[], |errors| decline_view(before, &token, errors)),
        Err(failure) => failure.page(),
    }
}
