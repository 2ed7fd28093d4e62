//! The main job: invite, mail, accept, seat.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

mod accepting;
mod ended;
mod inviting;
mod open;
mod verdicts;

const POOL: &str = "{ account { licensePools { owned inUse reserved available } } }";

async fn pool(app: &App, person: &Person) -> Result<(i64, i64, i64)> {
    let answer = app.graphql(Some(&person.token), POOL, Value::Null).await?;
    let pool = answer.data("/account/licensePools/0");
    let number = |name: &str| pool[name].as_i64().unwrap();
    Ok((number("inUse"), number("reserved"), number("available")))
}

/// Somebody to invite as a Standard member.
fn item(email: &str) -> Value {
    item_with(email, &[SystemRole::Standard])
}

fn item_with(email: &str, roles: &[SystemRole]) -> Value {
    json!({ "email": email, "roleIds": ids(roles) })
}

fn ids(roles: &[SystemRole]) -> Vec<String> {
    roles.iter().map(|role| role.id().to_string()).collect()
}

const INVITED: &str = "invitations { id email state member { id } }";

/// Invites several people under an error policy.
async fn invite_all(app: &App, by: &Person, items: Vec<Value>, policy: &str) -> Result<Answer> {
    let input = json!({ "invitations": items, "errorPolicy": policy });
    app.mutate(Some(&by.token), "memberInvite", input, INVITED).await
}

/// Invites somebody as a Standard member; answers the ids of the invitation and of the member.
async fn invited(app: &App, by: &Person, email: &str) -> Result<(String, String)> {
    let answer = app.invite(by, email, &[SystemRole::Standard]).await?;
    assert_eq!(answer.codes(), Vec::<String>::new(), "{}", answer.body);
    Ok((answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id")))
}

/// Runs a mutation of an invitation or a member and expects it to be refused or done: answers its codes.
async fn codes(app: &App, by: &Person, mutation: &str, input: Value) -> Result<Vec<String>> {
    Ok(app.mutate(Some(&by.token), mutation, input, "__typename").await?.codes())
}

/// The refusals as `CODE path.to.field`.
#[track_caller]
fn refusals(answer: &Answer) -> Vec<String> {
    let path = |error: &Value| match error["field"].as_array() {
        Some(path) => path.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join("."),
        None => "-".to_owned(),
    };
    answer.user_errors().iter().map(|error| format!("{} {}", error["code"].as_str().unwrap(), path(error))).collect()
}

/// An account's only invitation to an address, the newest first, with `fields`.
async fn listed(app: &App, by: &Person, email: &str, fields: &str) -> Result<Value> {
    let document = format!("{{ account {{ invitations(first: 100) {{ nodes {{ email {fields} }} }} }} }}");
    let answer = app.graphql(Some(&by.token), &document, Value::Null).await?;
    let nodes = answer.data("/account/invitations/nodes").as_array().unwrap();
    Ok(nodes.iter().find(|node| node["email"] == email).cloned().unwrap_or(Value::Null))
}

/// What a link shows, or the code that it answers.
async fn look(app: &App, token: &str) -> Result<Result<Value, String>> {
    let document = "query ($token: String!) { invitationByToken(token: $token) {
        invitation { accountName email firstName lastName message inviterName hasLogin expiresAt } userErrors { code } } }";
    let answer = app.graphql(None, document, json!({ "token": token })).await?;
    Ok(match answer.codes().pop() {
        Some(code) => Err(code),
        None => Ok(answer.data("/invitationByToken/invitation").clone()),
    })
}

#[tokio::test]
async fn an_invited_person_joins_and_takes_a_seat() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 10).await?;
    assert_eq!(pool(&app, &owner).await?, (1, 0, 9));

    let invited = app.invite(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert_eq!(invited.codes(), Vec::<String>::new(), "{}", invited.body);
    assert_eq!(invited.text("/memberInvite/invitations/0/state"), "PENDING");
    assert_eq!(pool(&app, &owner).await?, (2, 1, 8));

    let letter = app.letter("ben@harborandfinch.example").await?;
    assert!(letter.subject.contains("Harbor & Finch"), "{}", letter.subject);
    let listed = "{ account { invitations { nodes { state delivery deliveryReply sentAt expiresAt } } } }";
    let listed = app.graphql(Some(&owner.token), listed, Value::Null).await?;
    assert_eq!(listed.text("/account/invitations/nodes/0/delivery"), "SENT");
    assert!(listed.data("/account/invitations/nodes/0/expiresAt").is_string(), "the lifetime has started");

    let accepted = app.accept(&letter.token(), "Ben", "Brandt").await?;
    assert_eq!(accepted.codes(), Vec::<String>::new(), "{}", accepted.body);
    assert_eq!(pool(&app, &owner).await?, (2, 0, 8), "the reservation became an allocation");
    let ben = app.person("ben@harborandfinch.example").await?;
    let me =
        app.graphql(Some(&ben.token), "{ viewer { member { firstName status roles { name } } } }", Value::Null).await?;
    assert_eq!(me.text("/viewer/member/firstName"), "Ben");
    assert_eq!(me.text("/viewer/member/roles/0/name"), "Standard");

    let again = app.accept(&letter.token(), "Ben", "Brandt").await?;
    assert_eq!(again.codes(), ["INVITATION_USED"]);
    app.finish().await
}

#[tokio::test]
async fn a_lapsed_invitation_frees_its_seat_and_blocks_nobody() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 2).await?;
    app.invite(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let first = app.letter("ben@harborandfinch.example").await?;
    let short = app.invite(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert_eq!(short.codes(), ["SEAT_SHORTAGE"]);
    assert_eq!(short.user_errors()[0]["available"], json!(0));

    app.pass(SignedDuration::from_hours(25));
    // No sweep has run: whoever needs the seat lapses what is overdue.
    let cleo = app.invite(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert_eq!(cleo.codes(), Vec::<String>::new(), "{}", cleo.body);
    let late = app.accept(&first.token(), "Ben", "Brandt").await?;
    assert_eq!(late.codes(), ["INVITATION_EXPIRED"]);

    app.grant_seats(&owner.account_id, 3).await?;
    let again = app.invite(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert_eq!(again.codes(), Vec::<String>::new(), "a lapsed one is replaced: {}", again.body);
    app.finish().await
}
