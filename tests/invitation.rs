//! The main job: invite, mail, accept, seat.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{App, Person};

const POOL: &str = "{ account { licensePools { owned inUse reserved available } } }";

async fn pool(app: &App, person: &Person) -> Result<(i64, i64, i64)> {
    let answer = app.graphql(Some(&person.token), POOL, Value::Null).await?;
    let pool = answer.data("/account/licensePools/0");
    let number = |name: &str| pool[name].as_i64().unwrap();
    Ok((number("inUse"), number("reserved"), number("available")))
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
