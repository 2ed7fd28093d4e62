//! Changing the address that somebody signs in with.

use anyhow::{Context as _, Result, ensure};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, PASSWORD, Person};
use crate::support::mailbox::Letter;

mod links;
mod others;
mod own;
mod races;
mod reverting;
mod sso;

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@harborandfinch.example";
const NEW: &str = "benedikt@harborandfinch.example";
const PENDING: &str = "state newEmail requestedAt expiresAt";

/// A firm with a standard member.
async fn firm() -> Result<(App, Person, Person)> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ben = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    Ok((app, owner, ben))
}

async fn ask(app: &App, by: &Person, input: Value) -> Result<Answer> {
    let fields = format!("member {{ id email pendingEmailChange {{ {PENDING} }} }}");
    app.mutate(Some(&by.token), "loginEmailChangeRequest", input, &fields).await
}

/// Somebody else's address.
async fn ask_for(app: &App, by: &Person, member: &Person, new: &str) -> Result<Answer> {
    ask(app, by, json!({ "memberId": member.member_id, "newEmail": new })).await
}

/// One's own address.
async fn ask_own(app: &App, by: &Person, new: &str) -> Result<Answer> {
    ask(app, by, json!({ "newEmail": new, "password": PASSWORD })).await
}

/// Uses a link: the state it answers, or the codes.
async fn follow(app: &App, act: &str, token: &str) -> Result<String> {
    let answer = app.mutate(None, &format!("loginEmailChange{act}"), json!({ "token": token }), "state").await?;
    let codes = answer.codes();
    Ok(if codes.is_empty() { answer.text(&format!("/loginEmailChange{act}/state")) } else { codes.join(" ") })
}

/// The newest mail to an address whose subject says something.
async fn letter(app: &App, email: &str, subject: &str) -> Result<Letter> {
    app.settle().await?;
    let letters = app.mailbox.to(email)?;
    let found = letters.into_iter().rfind(|letter| letter.subject.contains(subject));
    found.with_context(|| format!("no mail to {email} about {subject:?}"))
}

/// Confirms a change by the mail to the new address.
async fn confirm(app: &App, new: &str) -> Result<String> {
    let token = letter(app, new, "Confirm your new").await?.token();
    follow(app, "Confirm", &token).await
}

/// The codes of trying to sign in; none if it succeeds.
async fn sign_in(app: &App, email: &str, password: &str) -> Result<Vec<String>> {
    let input = json!({ "email": email, "password": password });
    Ok(app.mutate(None, "sessionCreate", input, "token").await?.codes())
}

/// The address and the pending change of a member, as somebody sees them.
async fn seen(app: &App, by: &Person, member: &str) -> Result<(Value, Value)> {
    let document = format!(
        "query ($id: ID!) {{ node(id: $id) {{ ... on Member {{ email pendingEmailChange {{ {PENDING} }} }} }} }}"
    );
    let answer = app.graphql(Some(&by.token), &document, json!({ "id": member })).await?;
    Ok((answer.data("/node/email").clone(), answer.data("/node/pendingEmailChange").clone()))
}

/// A further account that a person owns; them, signed in there.
async fn further_account(app: &App, person: &Person) -> Result<Person> {
    let made = app.mutate(Some(&person.token), "accountCreate", json!({ "name": "Second" }), "accountId").await?;
    let account_id = made.text("/accountCreate/accountId");
    let input = json!({ "email": person.email, "password": PASSWORD, "accountId": account_id });
    let token = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
    let own = app.graphql(Some(&token), "{ viewer { member { id } } }", Value::Null).await?;
    Ok(Person { email: person.email.clone(), member_id: own.text("/viewer/member/id"), account_id, token })
}

/// Kinds and personal parts of the events of login e-mails in an account.
async fn told(app: &App, by: &Person) -> Result<Vec<Value>> {
    let document = "{ accountEvents(first: 100) { nodes { kind actor { memberId } subjectId
        ... on LoginEmailChangeRequestedEvent { newEmail } ... on LoginEmailChangedEvent { emailBefore emailAfter }
        ... on LoginEmailRevertedEvent { emailBefore emailAfter } } } }";
    let answer = app.graphql(Some(&by.token), document, Value::Null).await?;
    let nodes = answer.data("/accountEvents/nodes").as_array().context("events")?.clone();
    ensure!(nodes.len() < 100, "read more pages");
    Ok(nodes.into_iter().filter(|event| event["kind"].as_str().unwrap().starts_with("login_email.")).collect())
}
