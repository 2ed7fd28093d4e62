//! Taking a change back.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;

async fn changed(app: &App, owner: &Person, member: &Person, new: &str) -> Result<()> {
    let asked = ask_for(app, owner, member, new).await?;
    ensure!(asked.codes().is_empty(), "{}", asked.body);
    ensure!(confirm(app, new).await? == "CHANGED");
    Ok(())
}

#[tokio::test]
async fn the_old_address_keeps_itself_while_the_change_waits() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    let revert = letter(&app, BEN, "about to change").await?.token();
    assert_eq!(follow(&app, "Revert", &revert).await?, "CANCELLED");
    assert_eq!(follow(&app, "Revert", &revert).await?, "TOKEN_USED");
    assert_eq!(confirm(&app, NEW).await?, "TOKEN_INVALID");
    assert_eq!(seen(&app, &owner, &ben.member_id).await?, (json!(BEN), Value::Null));
    assert_eq!(sign_in(&app, BEN, PASSWORD).await?, Vec::<String>::new(), "the password is as it was");
    assert_eq!(told(&app, &owner).await?.pop().unwrap()["kind"], "login_email.change_cancelled");
    app.finish().await
}

#[tokio::test]
async fn taken_back_it_ends_sessions_and_the_password() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    changed(&app, &owner, &ben, NEW).await?;
    let thief = app.person(NEW).await?;
    let revert = letter(&app, BEN, "was changed").await?.token();
    app.pass(SignedDuration::from_hours(6 * 24));
    let thief = Person { token: app.sign_in(NEW).await?, ..thief };
    assert_eq!(follow(&app, "Revert", &revert).await?, "REVERTED");
    let dead = app.graphql(Some(&thief.token), "{ viewer { permissions } }", Value::Null).await?;
    assert_eq!(dead.errors(), ["UNAUTHENTICATED"]);
    for email in [BEN, NEW] {
        assert_eq!(sign_in(&app, email, PASSWORD).await?, ["CREDENTIALS_INVALID"], "{email}");
    }
    let reset = letter(&app, BEN, "new password").await?.token();
    let set = app.mutate(None, "passwordReset", json!({ "token": reset, "password": "staple paper clip" }), "").await?;
    assert!(set.codes().is_empty(), "{}", set.body);
    assert_eq!(sign_in(&app, BEN, "staple paper clip").await?, Vec::<String>::new());
    assert_eq!(follow(&app, "Revert", &revert).await?, "TOKEN_USED");
    let last = told(&app, &owner).await?.pop().unwrap();
    assert_eq!(
        (&last["kind"], &last["emailBefore"], &last["emailAfter"]),
        (&json!("login_email.reverted"), &json!(NEW), &json!(BEN))
    );
    app.finish().await
}

#[tokio::test]
async fn it_can_be_taken_back_for_a_week() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    changed(&app, &owner, &ben, NEW).await?;
    let revert = letter(&app, BEN, "was changed").await?.token();
    app.pass(SignedDuration::from_hours(7 * 24));
    assert_eq!(follow(&app, "Revert", &revert).await?, "TOKEN_EXPIRED");
    // It is known for 90 days that the address was changed, and then forgotten.
    app.sweep("spent.delete").await?;
    assert_eq!(app.look("SELECT count(*) FROM email_change").await?.as_deref(), Some("1"));
    app.pass(SignedDuration::from_hours(84 * 24));
    app.sweep("spent.delete").await?;
    assert_eq!(app.look("SELECT count(*) FROM email_change").await?.as_deref(), Some("0"));
    app.finish().await
}

#[tokio::test]
async fn somebody_who_has_the_old_address_by_now_keeps_it() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    changed(&app, &owner, &ben, NEW).await?;
    let revert = letter(&app, BEN, "was changed").await?.token();
    app.found(BEN, 3).await?;
    assert_eq!(follow(&app, "Revert", &revert).await?, "EMAIL_TAKEN");
    assert_eq!(sign_in(&app, NEW, PASSWORD).await?, Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn the_first_address_wins_over_those_after_it() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    changed(&app, &owner, &ben, NEW).await?;
    changed(&app, &owner, &ben, "third@harborandfinch.example").await?;
    let first = letter(&app, BEN, "was changed").await?.token();
    let second = letter(&app, NEW, "was changed").await?.token();
    assert!(ask_for(&app, &owner, &ben, "fourth@harborandfinch.example").await?.codes().is_empty());
    assert_eq!(follow(&app, "Revert", &first).await?, "REVERTED");
    assert_eq!(seen(&app, &owner, &ben.member_id).await?, (json!(BEN), Value::Null));
    assert_eq!(
        follow(&app, "Revert", &second).await?,
        "TOKEN_USED",
        "whoever took the later addresses has no way back"
    );
    assert_eq!(confirm(&app, "fourth@harborandfinch.example").await?, "TOKEN_INVALID");
    app.finish().await
}

#[tokio::test]
async fn an_invitation_to_the_old_address_is_settled_when_it_comes_back() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    changed(&app, &owner, &ben, NEW).await?;
    let revert = letter(&app, BEN, "was changed").await?.token();
    assert!(app.invite(&owner, BEN, &[SystemRole::Standard]).await?.codes().is_empty());
    assert_eq!(follow(&app, "Revert", &revert).await?, "REVERTED");
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.0, BEN);
    app.finish().await
}
