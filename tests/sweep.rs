//! The sweeps of the product, run on what people did.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{App, Options};

const OWNER: &str = "olivia@harborandfinch.example";

async fn count(app: &App, statement: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(statement).fetch_one(&app.db.pool).await?)
}

#[tokio::test]
async fn what_is_overdue_lapses_once_however_many_sweep() -> Result<()> {
    let app =
        App::with(Options { configure: |config| config.limits.rate_limits = false, ..Options::default() }).await?;
    let owner = app.found(OWNER, 100).await?;
    let other = app.found("mary@elsewhere.example", 5).await?;
    let role = SystemRole::Standard.id().to_string();
    let items: Vec<Value> =
        (0..60).map(|n| json!({ "email": format!("p{n}@work.example"), "roleIds": [role] })).collect();
    app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": items }), "__typename").await?;
    app.invite(&other, "p0@work.example", &[SystemRole::Standard]).await?;
    app.settle().await?;
    app.pass(SignedDuration::from_mins(24 * 60 - 5));
    assert_eq!(app.sweep("invitations.lapse").await?, 0, "not a minute too early");
    app.pass(SignedDuration::from_mins(10));
    let swept = futures::future::try_join_all((0..4).map(|_| app.sweep("invitations.lapse"))).await?;
    assert_eq!(swept.iter().sum::<i32>(), 61, "{swept:?}");
    assert_eq!(count(&app, "SELECT count(*) FROM event WHERE kind = 'invitation.lapsed'").await?, 61);
    assert_eq!(count(&app, "SELECT count(*) FROM license_allocation").await?, 2, "only the owners hold seats");
    assert_eq!(count(&app, "SELECT sum(in_use) FROM license_pool").await?, 2);
    let owner = app.person(OWNER).await?;
    let expired = "{ account { invitationsCount(filter: { state: [EXPIRED] }) members(filter: { status: [INVITED] }) { nodes { id } } } }";
    let listed = app.graphql(Some(&owner.token), expired, Value::Null).await?;
    assert_eq!(listed.data("/account/invitationsCount"), &json!(60));
    app.finish().await
}

#[tokio::test]
async fn what_has_served_is_deleted_and_nothing_else() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let link = app.mailbox.to(OWNER)?[0].token();
    let reset = app.mutate(None, "passwordResetRequest", json!({ "email": OWNER }), "accepted").await?;
    assert_eq!(reset.codes(), Vec::<String>::new());
    let invitation = json!({ "invitations": [{ "email": "ben@work.example", "roleIds": [SystemRole::Standard.id().to_string()] }],
        "send": false, "idempotencyKey": "once" });
    app.mutate(Some(&owner.token), "memberInvite", invitation, "__typename").await?;
    app.settle().await?;
    let left = "SELECT (SELECT count(*) FROM sign_up) + (SELECT count(*) FROM password_reset) + (SELECT count(*) FROM idempotency_key)
                       + (SELECT count(*) FROM session)";
    assert_eq!(count(&app, left).await?, 4);
    app.sweep("spent.delete").await?;
    assert_eq!(count(&app, left).await?, 4, "nothing is over yet");
    let used = app.mutate(None, "signUpConfirm", json!({ "token": link }), "accountId").await?;
    assert_eq!(used.codes(), ["TOKEN_USED"]);

    app.pass(SignedDuration::from_hours(24 * 4));
    assert!(app.sweep("spent.delete").await? > 0);
    assert_eq!(count(&app, "SELECT count(*) FROM idempotency_key").await?, 0, "after 72 hours");
    assert_eq!(count(&app, left).await?, 3, "a link still says what became of it");
    app.pass(SignedDuration::from_hours(24 * 27));
    app.sweep("spent.delete").await?;
    assert_eq!(count(&app, left).await?, 0);
    let gone = app.mutate(None, "signUpConfirm", json!({ "token": link }), "accountId").await?;
    assert_eq!(gone.codes(), ["TOKEN_INVALID"]);
    app.person(OWNER).await?;
    assert_eq!(count(&app, "SELECT count(*) FROM member").await?, 2, "people stay");
    assert_eq!(app.sweep("spent.delete").await?, 0, "there is nothing left to do");
    app.finish().await
}
