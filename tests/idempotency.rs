//! A mutation under a key is done once, however often it is sent.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

const OWNER: &str = "olivia@harborandfinch.example";

fn invitation(email: &str, key: &str) -> Value {
    json!({
        "invitations": [{ "email": email, "roleIds": [SystemRole::Standard.id().to_string()], "firstName": "Ben" }],
        "idempotencyKey": key,
    })
}

async fn invite(app: &App, by: &Person, input: Value) -> Result<Answer> {
    app.mutate(Some(&by.token), "memberInvite", input, "invitations { id state email createdAt }").await
}

async fn count(app: &App, of: &str) -> Result<i64> {
    Ok(app.look(&format!("SELECT count(*) FROM {of}")).await?.unwrap().parse()?)
}

#[tokio::test]
async fn the_same_key_and_input_are_done_once() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let first = invite(&app, &olivia, invitation("ben@harborandfinch.example", "k-1")).await?;
    assert!(first.codes().is_empty(), "{}", first.body);
    app.settle().await?;
    let (events, jobs) = (count(&app, "event").await?, count(&app, "outbox").await?);
    // The order in which fields are written is the client's affair.
    let document = "mutation ($key: String!, $role: ID!) { memberInvite(input: { idempotencyKey: $key, invitations:
                    [{ firstName: \"Ben\", roleIds: [$role], email: \"ben@harborandfinch.example\" }] })
                    { userErrors { code } invitations { id state email createdAt } } }";
    let variables = json!({ "key": "k-1", "role": SystemRole::Standard.id().to_string() });
    let again = app.graphql(Some(&olivia.token), document, variables).await?;
    assert_eq!(again.data("/memberInvite/invitations"), first.data("/memberInvite/invitations"));
    assert_eq!((count(&app, "event").await?, count(&app, "outbox").await?), (events, jobs));
    assert_eq!(count(&app, "invitation").await?, 1);
    app.settle().await?;
    assert_eq!(app.mailbox.to("ben@harborandfinch.example")?.len(), 1);
    app.finish().await
}

#[tokio::test]
async fn twenty_at_once_are_done_once() -> Result<()> {
    let app = App::roomy().await?;
    let olivia = app.found(OWNER, 10).await?;
    let input = invitation("ben@harborandfinch.example", "k-1");
    let all = futures::future::try_join_all((0..20).map(|_| invite(&app, &olivia, input.clone()))).await?;
    for answer in &all {
        assert!(answer.codes().is_empty(), "{}", answer.body);
        assert_eq!(answer.text("/memberInvite/invitations/0/id"), all[0].text("/memberInvite/invitations/0/id"));
    }
    assert_eq!(count(&app, "invitation").await?, 1);
    app.settle().await?;
    assert_eq!(app.mailbox.to("ben@harborandfinch.example")?.len(), 1);
    app.finish().await
}

#[tokio::test]
async fn a_key_belongs_to_one_input_of_one_mutation_of_one_member() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let ada = app.join(&olivia, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let sofia = app.found("sofia@secondfirm.example", 5).await?;
    assert!(invite(&app, &olivia, invitation("ben@harborandfinch.example", "k-1")).await?.codes().is_empty());
    let events = count(&app, "event").await?;
    let other = invite(&app, &olivia, invitation("cleo@harborandfinch.example", "k-1")).await?;
    assert_eq!(other.codes(), ["IDEMPOTENCY_KEY_REUSED"]);
    let mut unsent = invitation("ben@harborandfinch.example", "k-1");
    unsent["send"] = json!(false);
    assert_eq!(invite(&app, &olivia, unsent).await?.codes(), ["IDEMPOTENCY_KEY_REUSED"]);
    let rename = json!({ "name": "Other", "idempotencyKey": "k-1" });
    let rename = app.mutate(Some(&olivia.token), "accountRename", rename, "").await?;
    assert_eq!(rename.codes(), ["IDEMPOTENCY_KEY_REUSED"], "another mutation");
    let same = json!({ "memberId": ada.member_id, "idempotencyKey": "k-2" });
    assert!(app.mutate(Some(&olivia.token), "memberSuspend", same.clone(), "").await?.codes().is_empty());
    let crossed = app.mutate(Some(&olivia.token), "memberActivate", same.clone(), "").await?;
    assert_eq!(crossed.codes(), ["IDEMPOTENCY_KEY_REUSED"], "the same input to another mutation");
    assert_eq!(count(&app, "event").await?, events + 1);

    assert!(invite(&app, &olivia, invitation("dan@harborandfinch.example", "k-3")).await?.codes().is_empty());
    let back = json!({ "memberId": ada.member_id });
    assert!(app.mutate(Some(&olivia.token), "memberActivate", back, "").await?.codes().is_empty());
    let ada = app.person(&ada.email).await?;
    assert!(invite(&app, &ada, invitation("eve@harborandfinch.example", "k-1")).await?.codes().is_empty());
    assert!(invite(&app, &sofia, invitation("eve@secondfirm.example", "k-1")).await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn a_refused_mutation_may_be_repeated_under_its_key() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 1).await?;
    let input = invitation("ben@harborandfinch.example", "k-1");
    assert_eq!(invite(&app, &olivia, input.clone()).await?.codes(), ["SEAT_SHORTAGE"]);
    assert_eq!(count(&app, "idempotency_key").await?, 0);
    app.grant_seats(&olivia.account_id, 2).await?;
    assert!(invite(&app, &olivia, input.clone()).await?.codes().is_empty());
    assert!(invite(&app, &olivia, input).await?.codes().is_empty(), "and is an answer from then on");

    let both = json!({
        "invitations": [
            { "email": "ben@harborandfinch.example", "roleIds": [SystemRole::Standard.id().to_string()] },
            { "email": "no address", "roleIds": [] },
        ],
        "errorPolicy": "PARTIAL", "idempotencyKey": "k-2",
    });
    let first = invite(&app, &olivia, both.clone()).await?;
    let mut codes = first.codes();
    codes.sort();
    assert_eq!(codes, ["ALREADY_INVITED", "INVALID_EMAIL", "ROLE_REQUIRED"]);
    let again = invite(&app, &olivia, both).await?;
    assert_eq!(again.body, first.body, "what was refused beside it is part of the answer");
    app.finish().await
}

#[tokio::test]
async fn keys_are_kept_three_days() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let rename = async |name: &str| -> Result<Vec<String>> {
        let input = json!({ "name": name, "idempotencyKey": "k-1" });
        Ok(app.mutate(Some(&olivia.token), "accountRename", input, "").await?.codes())
    };
    assert!(rename("First").await?.is_empty());
    app.pass(SignedDuration::from_hours(72) - SignedDuration::from_mins(1));
    app.sweep("spent.delete").await?;
    assert_eq!(rename("Second").await?, ["IDEMPOTENCY_KEY_REUSED"]);
    app.pass(SignedDuration::from_mins(2));
    app.sweep("spent.delete").await?;
    assert_eq!(count(&app, "idempotency_key").await?, 0);
    assert!(rename("Second").await?.is_empty());
    app.finish().await
}

#[tokio::test]
async fn a_key_has_one_to_two_hundred_characters() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let long = "k".repeat(201);
    for (key, code) in [("", "REQUIRED"), (long.as_str(), "OUT_OF_RANGE"), ("a\nb", "OUT_OF_RANGE")] {
        let input = json!({ "name": "Other", "idempotencyKey": key });
        let refused = app.mutate(Some(&olivia.token), "accountRename", input, "").await?;
        assert_eq!(refused.codes(), [code], "{key:.10}");
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "idempotencyKey"]));
    }
    let input = json!({ "name": "Other", "idempotencyKey": "ü".repeat(200) });
    assert!(app.mutate(Some(&olivia.token), "accountRename", input, "").await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn what_is_stored_under_a_key_holds_no_secret() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let input = json!({ "fileName": "members.csv", "idempotencyKey": "k-1" });
    let first = app.mutate(Some(&olivia.token), "uploadCreate", input.clone(), "upload { id url }").await?;
    let token = first.text("/uploadCreate/upload/url").rsplit('/').next().unwrap().to_owned();
    let again = app.mutate(Some(&olivia.token), "uploadCreate", input, "upload { id url }").await?;
    assert_eq!(again.data("/uploadCreate/upload/id"), first.data("/uploadCreate/upload/id"));
    let stored = app.look("SELECT string_agg(outcome::text, ' ') FROM idempotency_key").await?.unwrap();
    assert!(stored.contains("upl_") && !stored.contains(&token) && !stored.contains("mupl."), "{stored}");
    app.finish().await
}

#[tokio::test]
async fn nobody_can_try_passwords_on_a_stored_fingerprint() -> Result<()> {
    use sha2::Digest as _;
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let mut input = json!({ "currentPassword": crate::support::app::PASSWORD, "newPassword": "staple paper clip" });
    let guess = sha2::Sha256::digest(format!("input{input}"));
    input["idempotencyKey"] = json!("k-1");
    assert!(app.mutate(Some(&olivia.token), "passwordChange", input, "").await?.codes().is_empty());
    let stored: Vec<u8> = sqlx::query_scalar("SELECT fingerprint FROM idempotency_key").fetch_one(&app.db.pool).await?;
    assert_ne!(stored, guess.to_vec(), "a fingerprint that anybody can compute is a fast password hash");
    app.finish().await
}
