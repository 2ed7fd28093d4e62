//! What the pages show.

use api::pages::{
    ClosedLink, FieldError, InvitationAcceptedView, InvitationDeclineView, InvitationDeclinedView, InvitationView,
    Link, MessageView, PasswordResetDoneView, PasswordResetView, Person, RootView, SignUpConfirmView,
    SignUpConfirmedView, View, assets, render,
};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use tower::ServiceExt as _;

use super::{assert_usable, values};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=//evil.example/x>{{ action }}{% raw %}'";

async fn body(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

async fn page<V: View>(view: &V) -> String {
    let response = render(StatusCode::OK, view);
    assert_eq!(response.status(), StatusCode::OK);
    body(response).await
}

fn error(field: &str, message: &str) -> FieldError {
    FieldError { field: field.to_owned(), message: message.to_owned() }
}

fn invitation(person: Person, errors: Vec<FieldError>) -> InvitationView {
    InvitationView {
        account_name: "Doe & Roe".to_owned(),
        inviter_name: Some("Jane Doe".to_owned()),
        message: Some("Welcome!\nSee you on Monday.".to_owned()),
        email: "ann@firm.example".to_owned(),
        person,
        action: "/invitations/inv_1".to_owned(),
        decline_url: "/invitations/inv_1/decline".to_owned(),
        errors,
    }
}

fn new_person() -> Person {
    Person::New { first_name: "Ann".to_owned(), last_name: String::new(), password_minimum: 12 }
}

#[tokio::test]
async fn a_new_person_is_asked_for_name_and_password() {
    let html = page(&invitation(new_person(), vec![])).await;
    assert_usable(&html);
    assert_eq!(values(&html, "name"), ["viewport", "robots", "firstName", "lastName", "password", "passwordAgain"]);
    assert!(html.contains("<title>Join Doe &amp; Roe</title>"));
    assert_eq!(values(&html, "action"), ["/invitations/inv_1", "/invitations/inv_1/decline"]);
    assert!(html.contains("value=\"Ann\"") && html.contains("At least 12 characters."));
    assert!(html.contains("Welcome!\nSee you on Monday."));
    assert_eq!(html.matches("method=\"post\"").count(), 1, "declining is asked on a page of its own");
}

#[tokio::test]
async fn a_person_with_an_identity_is_asked_for_the_password_only() {
    let known = Person::Known { first_name: None, last_name: None };
    let html = page(&invitation(known, vec![])).await;
    assert_usable(&html);
    assert_eq!(values(&html, "name"), ["viewport", "robots", "password"]);
    let nameless = Person::Known { first_name: None, last_name: Some(String::new()) };
    let nameless = page(&invitation(nameless, vec![])).await;
    assert_usable(&nameless);
    assert_eq!(values(&nameless, "name"), ["viewport", "robots", "lastName", "password"]);
    assert!(html.contains("autocomplete=\"current-password\""));
}

#[tokio::test]
async fn errors_are_announced_and_lead_to_their_fields() {
    let errors = vec![
        error("lastName", "Enter your last name."),
        error("password", "Use at least 12 characters."),
        error("password", "Use another password than your address."),
        error("", "No seat is free: ask Jane Doe."),
    ];
    let html = page(&invitation(new_person(), errors)).await;
    assert_usable(&html);
    assert!(html.contains("<title>Error: Join"));
    assert!(html.contains("role=\"alert\"") && html.contains("aria-describedby=\"errors\""));
    assert!(html.contains("<a href=\"#lastName\">Enter your last name.</a>"));
    assert!(html.contains("<li>No seat is free: ask Jane Doe.</li>"));
    assert_eq!(html.matches("aria-invalid=\"true\"").count(), 2);
    assert!(html.contains("aria-describedby=\"password-hint password-error\""));
    assert!(!html.contains("id=\"firstName-error\""));
}

#[tokio::test]
async fn every_other_page_renders() {
    let (account_name, action) = ("Doe & Roe".to_owned(), "/x/1".to_owned());
    let sign_in_url = Some("https://app.example.com/sign-in".to_owned());
    let declining = InvitationDeclineView {
        account_name: account_name.clone(),
        action: action.clone(),
        back_url: "/x".to_owned(),
        errors: vec![error("", "Try again.")],
    };
    let confirm = SignUpConfirmView {
        account_name: account_name.clone(),
        email: "ann@firm.example".to_owned(),
        action: action.clone(),
        errors: vec![],
    };
    let reset = PasswordResetView {
        email: "ann@firm.example".to_owned(),
        password_minimum: 12,
        action,
        errors: vec![error("passwordAgain", "The passwords differ.")],
    };
    let link = Link { url: "/x".to_owned(), text: "Go on".to_owned() };
    for html in [
        page(&declining).await,
        page(&InvitationAcceptedView { account_name: account_name.clone(), sign_in_url: sign_in_url.clone() }).await,
        page(&InvitationAcceptedView { account_name: account_name.clone(), sign_in_url: None }).await,
        page(&InvitationDeclinedView { account_name: account_name.clone() }).await,
        page(&confirm).await,
        page(&SignUpConfirmedView { account_name, sign_in_url: sign_in_url.clone() }).await,
        page(&reset).await,
        page(&RootView { sign_in_url: sign_in_url.clone(), explorer_url: Some("/graphiql".to_owned()) }).await,
        page(&PasswordResetDoneView { sign_in_url }).await,
        page(&MessageView { title: "Wait".to_owned(), text: "Too many attempts.".to_owned(), link: Some(link) }).await,
    ] {
        assert_usable(&html);
    }
}

#[tokio::test]
async fn closed_links_say_what_to_do() {
    for (link, status) in [
        (ClosedLink::InvitationUnknown, 404),
        (ClosedLink::InvitationUsed, 410),
        (ClosedLink::InvitationDeclined, 410),
        (ClosedLink::InvitationExpired, 410),
        (ClosedLink::InvitationRevoked, 410),
        (ClosedLink::InvitationSuspended, 403),
        (ClosedLink::SignUp, 410),
        (ClosedLink::PasswordReset, 410),
        (ClosedLink::LoginEmail, 410),
    ] {
        let response = link.response();
        assert_eq!(response.status().as_u16(), status, "{link:?}");
        assert_usable(&body(response).await);
    }
}

#[tokio::test]
async fn nothing_that_people_typed_becomes_markup() {
    let hostile = || HOSTILE.to_owned();
    let person = Person::New { first_name: hostile(), last_name: hostile(), password_minimum: 12 };
    let mut view = invitation(person, vec![error("firstName", HOSTILE)]);
    (view.account_name, view.inviter_name, view.message, view.email) =
        (hostile(), Some(hostile()), Some(hostile()), hostile());
    let message = MessageView { title: hostile(), text: hostile(), link: None };
    for html in [page(&view).await, page(&message).await] {
        assert_usable(&html);
        assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("{{ action }}{% raw %}"), "{html}");
    }
}

#[tokio::test]
async fn every_page_has_the_headers_that_keep_it_to_itself() {
    let ok = render(StatusCode::OK, &InvitationDeclinedView { account_name: "Doe".to_owned() });
    for response in [ok, ClosedLink::InvitationUnknown.response()] {
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("frame-src") && !policy.contains("http"));
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn the_stylesheet_is_served_and_loads_nothing() {
    let request = Request::get("/pages/style.css").body(Body::empty()).unwrap();
    let response = assets().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/css; charset=utf-8");
    let style = body(response).await;
    assert!(style.contains(":focus-visible") && style.contains("prefers-color-scheme"));
    assert!(!style.contains("url(") && !style.contains("@import"));
}
