//! The hosted pages that links in mails lead to, and files that were made for people: rendered here, without scripts and without anything from elsewhere.
//!
//! A GET shows, a POST acts. The forms carry no session: what they may do hangs on the token in their address.

mod closed;
pub mod dev_mail;
pub mod export;
mod file;
pub mod import_file;
pub mod invitation;
pub mod login_email;
pub mod password_reset;
pub mod root;
pub mod sign_up;
mod view;
mod visit;

pub use closed::ClosedLink;
pub use view::{
    FieldError, InvitationAcceptedView, InvitationDeclineView, InvitationDeclinedView, InvitationView, Link,
    LoginEmailApproveView, LoginEmailConfirmView, LoginEmailDoneView, LoginEmailRevertView, MessageView,
    PasswordResetDoneView, PasswordResetView, Person, RootView, SignUpConfirmView, SignUpConfirmedView, View,
};

use std::sync::LazyLock;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, HtmlEscape, Output, State, UndefinedBehavior};

/// Nothing is loaded but our stylesheet; no script runs; forms go nowhere else. Browsers apply `form-action` to redirects too:
/// what follows a POST links to other sites instead of redirecting there.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(write_value);
    for (name, source) in [
        ("layout.html", include_str!("templates/layout.html")),
        ("form.html", include_str!("templates/form.html")),
        ("invitation.html", include_str!("templates/invitation.html")),
        ("invitation-decline.html", include_str!("templates/invitation-decline.html")),
        ("invitation-accepted.html", include_str!("templates/invitation-accepted.html")),
        ("invitation-declined.html", include_str!("templates/invitation-declined.html")),
        ("sign-up-confirm.html", include_str!("templates/sign-up-confirm.html")),
        ("sign-up-confirmed.html", include_str!("templates/sign-up-confirmed.html")),
        ("password-reset.html", include_str!("templates/password-reset.html")),
        ("password-reset-done.html", include_str!("templates/password-reset-done.html")),
        ("login-email-confirm.html", include_str!("templates/login-email-confirm.html")),
        ("login-email-approve.html", include_str!("templates/login-email-approve.html")),
        ("login-email-revert.html", include_str!("templates/login-email-revert.html")),
        ("login-email-done.html", include_str!("templates/login-email-done.html")),
        ("root.html", include_str!("templates/root.html")),
        ("message.html", include_str!("templates/message.html")),
        ("dev-mail-list.html", include_str!("templates/dev-mail-list.html")),
        ("dev-mail.html", include_str!("templates/dev-mail.html")),
    ] {
        environment.add_template(name, source).expect("the built-in pages parse");
    }
    environment
});

/// The pages that links in mails lead to, and the one at `/`. The server must tell who is connected
/// (`into_make_service_with_connect_info::<SocketAddr>`).
pub fn router() -> Router<crate::state::State> {
    let pages = invitation::router().merge(sign_up::router()).merge(password_reset::router());
    let pages = pages.merge(login_email::router()).merge(root::router());
    let pages = pages.merge(export::router()).merge(import_file::router());
    pages.layer(DefaultBodyLimit::max(visit::FORM_BYTES))
}

/// What all pages need besides their own routes: `/pages/style.css`.
pub fn assets() -> Router {
    Router::new().route("/pages/style.css", get(stylesheet))
}

/// A page, with the headers that keep it to itself.
pub fn render<V: View>(status: StatusCode, view: &V) -> Response {
    let template = TEMPLATES.get_template(V::TEMPLATE).expect("every view names a built-in page");
    match template.render(Value::from(Serde(view))) {
        Ok(html) => (status, page_headers(V::POLICY), Html(html)).into_response(),
        Err(fault) => {
            tracing::error!(page = V::TEMPLATE, fault.kind = %fault.kind(), fault.line = fault.line(), "a page cannot be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, page_headers(PAGE_POLICY), "This page cannot be shown.").into_response()
        }
    }
}

/// Writes a value, escaped for HTML text and attributes. Slashes stay, so that addresses stay readable.
fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    let text = value.to_string();
    let written = if value.is_safe() { text } else { HtmlEscape(&text).to_string().replace("&#x2f;", "/") };
    Ok(out.write_str(&written)?)
}

/// Headers of everything here that is not the same for everybody. No other site learns an address with its token; our own forms
/// must name their origin, which browsers leave out under `no-referrer`.
fn page_headers(policy: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

async fn stylesheet() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("style.css")).into_response()
}
