//! What every hosted page does with a request: where it comes from, what its form says, and what is answered when it fails.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use domain::actor::Origin;
use domain::error::{Code, Detail, Error, Refused};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::view::{FieldError, MessageView};
use super::{ClosedLink, View, render};
use crate::auth;
use crate::graphql::http::{Caller, Origins};
use crate::state::State;

/// Bytes of a form: room for the longest names and passwords in any notation.
pub(super) const FORM_BYTES: usize = 8 * 1024;

/// Where a request comes from.
pub(super) struct Visit {
    pub(super) origin: Origin,
}

impl FromRequestParts<State> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Response> {
        let Ok(ConnectInfo(peer)) = ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await else {
            tracing::error!("the server does not tell who is connected");
            return Err(message(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong on our side",
                "Try again later.",
            ));
        };
        let network_address = auth::network_address(&state.config.http, peer, &parts.headers);
        Ok(Self { origin: auth::origin(&auth::request_id(&parts.headers), network_address) })
    }
}

/// The form that one of our own pages posted.
pub(super) struct Posted<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<State> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &State) -> Result<Self, Response> {
        debug_assert!(request.method() == Method::POST, "a GET consumes nothing");
        if Origins::new(&state.config.http).caller(request.headers()) == Caller::Foreign {
            let text = "This form was sent by another site. Open the link in the mail and fill the form in there.";
            return Err(message(StatusCode::FORBIDDEN, "Nothing was done", text));
        }
        let time_limit = Duration::from_secs(state.config.limits.request_seconds);
        match timeout(time_limit, Form::from_request(request, state)).await {
            Ok(Ok(Form(form))) => Ok(Self(form)),
            Ok(Err(rejection)) => Err(unreadable(&rejection)),
            Err(_elapsed) => {
                let text = "The form did not arrive in time. Open the link again and fill it in there.";
                Err(message(StatusCode::REQUEST_TIMEOUT, "Nothing was done", text))
            }
        }
    }
}

fn unreadable(rejection: &FormRejection) -> Response {
    let text = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "The form holds too much text. Open the link again and write less.",
        _ => "The form could not be read. Open the link again and fill it in there.",
    };
    message(rejection.status(), "Nothing was done", text)
}

/// A form without fields.
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// Reads a password, which is nowhere else kept in the clear.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// Does something to its end, whether or not the visitor waits for it.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(outcome) => outcome,
        // The panic was reported where it happened.
        Err(_panic) => Err(Error::Busy),
    }
}

/// A page that says one thing.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    render(status, &MessageView { title: title.to_owned(), text: text.to_owned(), link: None })
}

/// Why a form did nothing: the link is over, or there is something to mend, or it was not the visitor's fault.
pub(super) enum Failure {
    Closed(ClosedLink),
    Mend(Vec<Refused>),
    Away(Box<Response>),
}

impl Failure {
    /// Sorts an error. `closed` says which codes are the end of the link.
    pub(super) fn of(error: Error, visit: &Visit, closed: fn(Code) -> Option<ClosedLink>) -> Self {
        match error {
            Error::Refused(list) => match list.iter().find_map(|refused| closed(refused.code)) {
                Some(link) => Self::Closed(link),
                None => Self::Mend(list),
            },
            other => Self::Away(Box::new(away(&other, visit))),
        }
    }

    /// The answer where there is no form to show again.
    pub(super) fn page(self) -> Response {
        match self {
            Self::Closed(link) => link.response(),
            Self::Mend(list) => {
                let texts: Vec<String> = list.iter().map(sentence).collect();
                with_retry(message(status(&list), "Nothing was done", &texts.join(" ")), &list)
            }
            Self::Away(response) => *response,
        }
    }
}

/// Part of the installation is away, or too much is going on. The visitor gets a number to ask with, the log the cause.
fn away(error: &Error, visit: &Visit) -> Response {
    let request_id = visit.origin.request_id.as_deref().unwrap_or_default();
    tracing::error!(
        request.id = request_id,
        error = error as &dyn std::error::Error,
        "a hosted page cannot do what was asked"
    );
    let text = format!(
        "Try again in a moment: the link still works. If it goes on, ask whoever runs this site and quote {request_id}."
    );
    let mut response = message(StatusCode::SERVICE_UNAVAILABLE, "This cannot be done right now", &text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The form once more, with what is wrong with it. `fields` are those it has; what concerns another one concerns the whole.
pub(super) fn again<V: View>(list: &[Refused], fields: &[&str], view: impl FnOnce(Vec<FieldError>) -> V) -> Response {
    let errors = list.iter().map(|refused| {
        let field = refused.field.last().filter(|field| fields.contains(&field.as_str()));
        FieldError { field: field.cloned().unwrap_or_default(), message: sentence(refused) }
    });
    with_retry(render(status(list), &view(errors.collect())), list)
}

fn status(list: &[Refused]) -> StatusCode {
    match list.first().map(|refused| refused.code) {
        Some(Code::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// What is wrong; times as people read them.
fn sentence(refused: &Refused) -> String {
    match &refused.detail {
        Detail::RetryAt(at) => {
            // The minute after, so that nobody comes too early.
            let at = at.0 + jiff::SignedDuration::from_secs(59);
            format!("{} Try again at {}.", refused.code.sentence(), at.strftime("%H:%M UTC"))
        }
        _ => refused.message(),
    }
}

/// `Retry-After` as a date, for whoever is not a person.
fn with_retry(mut response: Response, list: &[Refused]) -> Response {
    let at = list.iter().find_map(|refused| match refused.detail {
        Detail::RetryAt(at) => Some(at),
        _ => None,
    });
    if let Some(at) = at {
        let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let date = HeaderValue::from_str(&date).expect("a date is plain ASCII");
        response.headers_mut().insert(header::RETRY_AFTER, date);
    }
    response
}

/// The refusal of a password that was typed differently the second time.
pub(super) fn passwords_differ() -> FieldError {
    FieldError {
        field: "passwordAgain".to_owned(),
        message: "The passwords differ. Type the same one twice.".to_owned(),
    }
}
