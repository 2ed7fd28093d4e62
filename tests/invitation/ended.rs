//! What is kept of invitations that have ended: enough to erase the person, nothing to enter by.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::item;
use crate::support::app::{App, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@work.example";

/// Invites somebody with a mail; answers the ids of the invitation and of the member, and the link's token.
async fn invite(app: &App, by: &Person, email: &str) -> Result<(String, String, String)> {
    let input = json!({ "invitations": [item(email)] });
    let answer = app.mutate(Some(&by.token), "memberInvite", input, "invitations { id member { id } }").await?;
    let text = |name: &str| answer.text(&format!("/memberInvite/invitations/0/{name}"));
    Ok((text("id"), text("member/id"), app.letter(email).await?.token()))
}

async fn revoke(app: &App, by: &Person, id: &str) -> Result<()> {
    let revoked = app.mutate(Some(&by.token), "invitationRevoke", json!({ "invitationId": id }), "__typename").await?;
    assert_eq!(revoked.codes(), Vec::<String>::new(), "{}", revoked.body);
    Ok(())
}

/// Whom an ended invitation had invited, as its id shows them.
async fn former(app: &App, state: &str) -> Result<Option<String>> {
    let statement = format!(
        "SELECT 'mem_' || replace(former_member_id::text, '-', '') FROM invitation WHERE state = '{state}' AND member_id IS NULL"
    );
    app.look(&statement).await
}

#[tokio::test]
async fn an_ended_invitation_still_tells_whom_it_had_invited() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (id, ben, _) = invite(&app, &owner, BEN).await?;
    revoke(&app, &owner, &id).await?;
    assert_eq!(former(&app, "REVOKED").await?, Some(ben));

    let (_, ann, token) = invite(&app, &owner, "ann@work.example").await?;
    let declined = app.mutate(None, "invitationDecline", json!({ "token": token }), "__typename").await?;
    assert_eq!(declined.codes(), Vec::<String>::new(), "{}", declined.body);
    assert_eq!(former(&app, "DECLINED").await?, Some(ann));
    app.finish().await
}

#[tokio::test]
async fn a_replaced_invitation_still_tells_whom_it_had_invited() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (_, ben, _) = invite(&app, &owner, BEN).await?;
    app.pass(SignedDuration::from_hours(25));
    app.sweep("invitations.lapse").await?;
    let owner = app.person(OWNER).await?;
    let (_, anew, _) = invite(&app, &owner, BEN).await?;
    assert_ne!(ben, anew);
    assert_eq!(former(&app, "REVOKED").await?, Some(ben));
    app.finish().await
}

#[tokio::test]
async fn the_link_of_an_ended_invitation_is_forgotten_after_a_week() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (id, _, revoked) = invite(&app, &owner, BEN).await?;
    revoke(&app, &owner, &id).await?;
    let (_, _, accepted) = invite(&app, &owner, "ann@work.example").await?;
    app.accept(&accepted, "Ann", "Abel").await?;
    let codes = async |token: &str| -> Result<Vec<String>> { Ok(app.accept(token, "A", "B").await?.codes()) };

    app.pass(SignedDuration::from_hours(7 * 24 - 1));
    app.sweep("spent.delete").await?;
    assert_eq!(codes(&revoked).await?, ["INVITATION_REVOKED"], "the link still tells what became of it");
    assert_eq!(codes(&accepted).await?, ["INVITATION_USED"]);
    let kept = "SELECT count(*) FROM invitation WHERE token_hash IS NOT NULL OR token_key_version IS NOT NULL";
    assert_eq!(app.look(kept).await?.as_deref(), Some("2"));

    app.pass(SignedDuration::from_hours(2));
    app.sweep("spent.delete").await?;
    assert_eq!(codes(&revoked).await?, ["TOKEN_INVALID"]);
    assert_eq!(codes(&accepted).await?, ["TOKEN_INVALID"]);
    assert_eq!(app.look(kept).await?.as_deref(), Some("0"));
    let owner = app.person(OWNER).await?;
    let listed = app.graphql(Some(&owner.token), "{ account { invitationsCount } }", Value::Null).await?;
    assert_eq!(listed.data("/account/invitationsCount"), &json!(2), "they stay listed");
    app.finish().await
}
