//! Fields that are followed.

use anyhow::Result;
use domain::event::Cursor;
use serde_json::{Value, json};

use super::firm::Firm;
use super::{ALLOWED, Expected, NOTHING, Outcome};
use crate::support::socket::Socket;

/// Whoever is not signed in has no socket.
const NO_SOCKET: Outcome = "closed 4403";
const FORBIDDEN: Outcome = "error FORBIDDEN";

/// A field, how it is asked for (so that there is an answer at once), and what each caller gets.
pub(crate) const ROWS: &[(&str, &str, Expected)] = &[
    (
        "Subscription.accountEvents",
        "subscription ($after: String) { accountEvents(after: $after) { number networkAddress } }",
        [NO_SOCKET, ALLOWED, ALLOWED, FORBIDDEN, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED],
    ),
    (
        "Subscription.licenseChangeUpdated",
        "subscription ($change: ID!) { licenseChangeUpdated(id: $change) { status } }",
        [NO_SOCKET, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED],
    ),
    (
        "Subscription.accountUpdated",
        "subscription { accountUpdated { account { id } } }",
        [NO_SOCKET, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED],
    ),
    // A file that was made for the owner.
    (
        "Subscription.exportProgress",
        "subscription ($export: ID!) { exportProgress(id: $export) { id url } }",
        [NO_SOCKET, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, ALLOWED],
    ),
    (
        "Subscription.memberImportProgress",
        "subscription ($id: ID!) { memberImportProgress(id: $id) { status progress { done } } }",
        [NO_SOCKET, NOTHING, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED],
    ),
];

/// What somebody is answered who follows a field, and the whole answer.
pub(crate) async fn outcome(firm: &Firm, token: Option<&str>, document: &str) -> Result<(String, Value)> {
    let Some(token) = token else {
        let mut socket = Socket::open(&firm.app.url, &[]).await?;
        socket.init(json!({})).await?;
        return Ok((format!("closed {}", socket.closed().await?), Value::Null));
    };
    let mut socket = Socket::enter(&firm.app, token).await?;
    let variables = json!({
        "after": Cursor::at(0, None).encode(),
        "change": firm.bought.change,
        "export": firm.export,
        "id": firm.import,
    });
    socket.subscribe("1", document, variables).await?;
    let answer = socket.next().await?;
    socket.leave().await?;
    let outcome = match answer["type"].as_str() {
        Some("next") if answer["payload"].get("errors").is_none() => ALLOWED.to_owned(),
        Some("complete") => NOTHING.to_owned(),
        Some("error") => format!("error {}", answer["payload"][0]["extensions"]["code"].as_str().unwrap_or("none")),
        _ => "something else".to_owned(),
    };
    Ok((outcome, answer))
}
