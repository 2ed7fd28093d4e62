//! Forgotten and changed passwords: both end sessions, in every account.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, PASSWORD, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@harborandfinch.example";
const NEW: &str = "staple paper clip";

async fn request(app: &App, email: &str) -> Result<Answer> {
    app.mutate(None, "passwordResetRequest", json!({ "email": email }), "accepted").await
}

async fn reset(app: &App, token: &str, password: &str) -> Result<Answer> {
    app.mutate(None, "passwordReset", json!({ "token": token, "password": password }), "accepted").await
}

async fn change(app: &App, token: &str, current: &str, new: &str) -> Result<Answer> {
    let input = json!({ "currentPassword": current, "newPassword": new });
    app.mutate(Some(token), "passwordChange", input, "accepted").await
}

async fn enters(app: &App, email: &str, password: &str) -> Result<bool> {
    let input = json!({ "email": email, "password": password });
    let answer = app.mutate(None, "sessionCreate", input, "token").await?;
    assert!(answer.codes().is_empty() || answer.codes() == ["CREDENTIALS_INVALID"], "{}", answer.body);
    Ok(answer.codes().is_empty())
}

async fn lives(app: &App, token: &str) -> Result<bool> {
    let answer = app.graphql(Some(token), "{ viewer { permissions } }", Value::Null).await?;
    assert!(answer.errors().is_empty() || answer.errors() == ["UNAUTHENTICATED"], "{}", answer.body);
    Ok(answer.errors().is_empty())
}

async fn changes_known(app: &App, account: &str) -> Result<i64> {
    let account: domain::id::AccountId = account.parse()?;
    let count = sqlx::query_scalar("SELECT count(*) FROM event WHERE account_id = $1 AND kind = 'password.changed'");
    Ok(count.bind(account).fetch_one(&app.db.pool).await?)
}

/// Ben is in two firms, with a session in each, and one more in the second.
async fn ben_in_two_firms(app: &App) -> Result<(Person, Person, Vec<String>)> {
    let first = app.found(OWNER, 5).await?;
    let second = app.found("sofia@secondfirm.example", 5).await?;
    let mut tokens = vec![app.join(&first, BEN, &[SystemRole::Standard]).await?.token];
    assert!(app.invite(&second, BEN, &[SystemRole::Standard]).await?.codes().is_empty());
    assert!(app.accept(&app.letter(BEN).await?.token(), "Ben", "Brandt").await?.codes().is_empty());
    for _ in 0..2 {
        let input = json!({ "email": BEN, "password": PASSWORD, "accountId": second.account_id });
        tokens.push(app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token"));
    }
    Ok((first, second, tokens))
}

#[tokio::test]
async fn a_reset_answers_alike_for_an_unknown_address() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    let known = request(&app, OWNER).await?;
    let unknown = request(&app, "nobody@harborandfinch.example").await?;
    assert_eq!(known.body, unknown.body);
    assert_eq!(known.data("/passwordResetRequest/accepted"), true);
    let letter = app.letter(OWNER).await?;
    assert!(letter.token().starts_with("mpwr."));
    assert!(app.mailbox.to("nobody@harborandfinch.example")?.is_empty());
    assert_eq!(request(&app, "nobody").await?.codes(), ["INVALID_EMAIL"]);
    app.finish().await
}

#[tokio::test]
async fn a_reset_ends_every_session_and_each_account_knows() -> Result<()> {
    let app = App::start().await?;
    let (first, second, tokens) = ben_in_two_firms(&app).await?;
    request(&app, BEN).await?;
    let old = app.letter(BEN).await?.token();
    request(&app, BEN).await?;
    let link = app.letter(BEN).await?.token();
    assert_ne!(old, link);
    let done = reset(&app, &link, NEW).await?;
    assert!(done.codes().is_empty(), "{}", done.body);
    for token in &tokens {
        assert!(!lives(&app, token).await?);
    }
    assert!(lives(&app, &first.token).await? && lives(&app, &second.token).await?, "nobody else's session ended");
    assert!(!enters(&app, BEN, PASSWORD).await?);
    assert!(enters(&app, BEN, NEW).await?);
    assert_eq!((changes_known(&app, &first.account_id).await?, changes_known(&app, &second.account_id).await?), (1, 1));

    assert_eq!(reset(&app, &link, "yet another one").await?.codes(), ["TOKEN_USED"]);
    assert_eq!(reset(&app, &old, "yet another one").await?.codes(), ["TOKEN_USED"], "older links die with it");
    assert!(enters(&app, BEN, NEW).await?);
    let notice = app.letter(BEN).await?;
    assert!(!notice.text.contains("mpwr."), "a notice, not a link");
    assert_eq!(app.mailbox.to(BEN)?.len(), 2 + 2 + 1, "two invitations, two links, one notice");
    app.finish().await
}

#[tokio::test]
async fn a_reset_link_lives_an_hour_and_takes_only_good_passwords() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    request(&app, OWNER).await?;
    let link = app.letter(OWNER).await?.token();
    for (password, code) in [
        ("short", "PASSWORD_TOO_SHORT"),
        ("qwertyuiop", "PASSWORD_TOO_WEAK"),
        (&*"abcdef".repeat(43), "PASSWORD_TOO_LONG"),
    ] {
        let refused = reset(&app, &link, password).await?;
        assert_eq!(refused.codes(), [code]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "password"]));
    }
    for wrong in ["", "mpwr.x", &link.replace("mpwr", "msup"), &format!("mpwr.{}", "A".repeat(43))] {
        assert_eq!(reset(&app, wrong, NEW).await?.codes(), ["TOKEN_INVALID"], "{wrong}");
    }
    app.pass(SignedDuration::from_mins(60));
    assert_eq!(reset(&app, &link, NEW).await?.codes(), ["TOKEN_EXPIRED"]);
    assert!(enters(&app, OWNER, PASSWORD).await?);
    app.finish().await
}

#[tokio::test]
async fn ten_uses_of_a_reset_link_at_once_change_the_password_once() -> Result<()> {
    let app = App::roomy().await?;
    let olivia = app.found(OWNER, 3).await?;
    request(&app, OWNER).await?;
    let link = app.letter(OWNER).await?.token();
    let passwords: Vec<String> = (0..10).map(|n| format!("a new password {n}")).collect();
    let all = futures::future::try_join_all(passwords.iter().map(|password| reset(&app, &link, password))).await?;
    let winners: Vec<usize> = (0..10).filter(|n| all[*n].codes().is_empty()).collect();
    assert_eq!(winners.len(), 1);
    assert!(all.iter().all(|answer| answer.codes().is_empty() || answer.codes() == ["TOKEN_USED"]));
    assert!(enters(&app, OWNER, &passwords[winners[0]]).await?);
    assert_eq!(changes_known(&app, &olivia.account_id).await?, 1);
    app.finish().await
}

#[tokio::test]
async fn resets_for_an_address_are_limited_whether_or_not_it_has_a_login() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    for email in [OWNER, "nobody@harborandfinch.example"] {
        for _ in 0..3 {
            assert!(request(&app, email).await?.codes().is_empty());
        }
        let refused = request(&app, email).await?;
        assert_eq!(refused.codes(), ["RATE_LIMITED"]);
        assert!(refused.user_errors()[0]["retryAt"].is_string());
    }
    app.pass(SignedDuration::from_hours(1));
    assert!(request(&app, OWNER).await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn changing_the_password_keeps_only_this_session() -> Result<()> {
    let app = App::start().await?;
    let (first, second, tokens) = ben_in_two_firms(&app).await?;
    request(&app, BEN).await?;
    let link = app.letter(BEN).await?.token();

    let wrong = change(&app, &tokens[1], "not the password", NEW).await?;
    assert_eq!(wrong.codes(), ["CREDENTIALS_INVALID"]);
    assert_eq!(wrong.user_errors()[0]["field"], json!(["input", "currentPassword"]));
    for (password, code) in [("short", "PASSWORD_TOO_SHORT"), (BEN, "PASSWORD_TOO_WEAK")] {
        let refused = change(&app, &tokens[1], PASSWORD, password).await?;
        assert_eq!(refused.codes(), [code]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "newPassword"]));
    }
    assert_eq!(changes_known(&app, &first.account_id).await?, 0);
    assert!(lives(&app, &tokens[0]).await? && lives(&app, &tokens[2]).await?, "a refusal ends nothing");

    let done = change(&app, &tokens[1], PASSWORD, NEW).await?;
    assert!(done.codes().is_empty(), "{}", done.body);
    assert!(!lives(&app, &tokens[0]).await? && !lives(&app, &tokens[2]).await?);
    assert!(lives(&app, &tokens[1]).await?);
    assert!(!enters(&app, BEN, PASSWORD).await? && enters(&app, BEN, NEW).await?);
    assert_eq!((changes_known(&app, &first.account_id).await?, changes_known(&app, &second.account_id).await?), (1, 1));
    assert_eq!(reset(&app, &link, "yet another one").await?.codes(), ["TOKEN_USED"], "an open link dies, too");
    assert_eq!(
        app.mutate(None, "passwordChange", json!({ "currentPassword": NEW, "newPassword": PASSWORD }), "")
            .await?
            .errors(),
        ["UNAUTHENTICATED"]
    );
    app.letter(BEN).await?;
    app.finish().await
}

#[tokio::test]
async fn guessing_the_current_password_is_limited() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    for _ in 0..10 {
        assert_eq!(change(&app, &olivia.token, "not the password", NEW).await?.codes(), ["CREDENTIALS_INVALID"]);
    }
    let refused = change(&app, &olivia.token, PASSWORD, NEW).await?;
    assert_eq!(refused.codes(), ["RATE_LIMITED"]);
    assert!(refused.user_errors()[0]["retryAt"].is_string());
    assert!(lives(&app, &olivia.token).await?);
    app.pass(SignedDuration::from_mins(15));
    assert!(change(&app, &olivia.token, PASSWORD, NEW).await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn a_password_change_is_done_once_per_key() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    let input = json!({ "currentPassword": PASSWORD, "newPassword": NEW, "idempotencyKey": "k1" });
    for _ in 0..2 {
        let done = app.mutate(Some(&olivia.token), "passwordChange", input.clone(), "accepted").await?;
        assert!(done.codes().is_empty(), "{}", done.body);
    }
    assert_eq!(changes_known(&app, &olivia.account_id).await?, 1);
    let other = json!({ "currentPassword": NEW, "newPassword": PASSWORD, "idempotencyKey": "k1" });
    let other = app.mutate(Some(&olivia.token), "passwordChange", other, "accepted").await?;
    assert_eq!(other.codes(), ["IDEMPOTENCY_KEY_REUSED"]);
    app.finish().await
}
