//! Signing up: nothing exists until the address is confirmed, and nobody learns whether an address has a login.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, PASSWORD};

const EMAIL: &str = "olivia@harborandfinch.example";

fn input() -> Value {
    json!({
        "accountName": "Harbor & Finch", "firstName": "Olivia", "lastName": "Harbor", "email": EMAIL, "password": PASSWORD,
    })
}

async fn sign_up(app: &App, changed: Value) -> Result<Answer> {
    let mut input = input();
    input.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    app.mutate(None, "signUp", input, "accepted").await
}

async fn confirm(app: &App, token: &str) -> Result<Answer> {
    app.mutate(None, "signUpConfirm", json!({ "token": token }), "accountId").await
}

async fn rows(app: &App) -> Result<Option<String>> {
    app.look("SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM app_user) + (SELECT count(*) FROM member)")
        .await
}

#[tokio::test]
async fn nothing_exists_until_the_address_is_confirmed() -> Result<()> {
    let app = App::start().await?;
    let asked = sign_up(&app, json!({ "timeZone": "America/New_York" })).await?;
    assert_eq!(asked.data("/signUp/accepted"), true);
    let letter = app.letter(EMAIL).await?;
    assert_eq!(rows(&app).await?.as_deref(), Some("0"));
    let early = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(app.mutate(None, "sessionCreate", early, "token").await?.codes(), ["CREDENTIALS_INVALID"]);

    let founded = confirm(&app, &letter.token()).await?;
    assert!(founded.codes().is_empty(), "{}", founded.body);
    assert_eq!(app.mailbox.to(EMAIL)?.len(), 1);
    let token = app.sign_in(EMAIL).await?;
    let me = "{ viewer { permissions member { isOwner status accountRole roles { systemKey } firstName lastName email joinedAt }
                account { id name timeZone membersCount owner { isOwner } licensePools { owned inUse reserved } roles { name } } } }";
    let me = app.graphql(Some(&token), me, Value::Null).await?;
    assert_eq!(me.text("/viewer/account/id"), founded.text("/signUpConfirm/accountId"));
    assert_eq!(me.text("/viewer/account/timeZone"), "America/New_York");
    assert_eq!(me.text("/viewer/member/accountRole"), "PRIMARY_SUBSCRIBER");
    assert_eq!(me.text("/viewer/member/roles/0/systemKey"), "ADMINISTRATOR");
    assert_eq!(me.data("/viewer/account/licensePools/0"), &json!({ "owned": 3, "inUse": 1, "reserved": 0 }));
    assert_eq!(me.data("/viewer/account/roles").as_array().unwrap().len(), 5);
    assert!(me.data("/viewer/permissions").as_array().unwrap().contains(&json!("account.update")));
    app.finish().await
}

#[tokio::test]
async fn a_link_is_used_once_and_within_a_day() -> Result<()> {
    let app = App::start().await?;
    sign_up(&app, json!({})).await?;
    let letter = app.letter(EMAIL).await?;
    for wrong in
        ["", "msup.", "msup.x", &format!("msup.{}", "A".repeat(43)), &format!("{}A", letter.token()), "mses.x.y"]
    {
        let refused = confirm(&app, wrong).await?;
        assert_eq!(refused.codes(), ["TOKEN_INVALID"], "{wrong}");
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "token"]));
    }
    assert!(confirm(&app, &letter.token()).await?.codes().is_empty());
    assert_eq!(confirm(&app, &letter.token()).await?.codes(), ["TOKEN_USED"]);
    let hash = app.look("SELECT password_hash FROM sign_up").await?;
    assert_eq!(hash.as_deref(), Some(""), "only the login has the password's hash from now on");

    sign_up(&app, json!({ "email": "late@harborandfinch.example" })).await?;
    let late = app.letter("late@harborandfinch.example").await?.token();
    app.pass(SignedDuration::from_hours(24));
    assert_eq!(confirm(&app, &late).await?.codes(), ["TOKEN_EXPIRED"]);
    app.sweep("spent.delete").await?;
    assert_eq!(confirm(&app, &late).await?.codes(), ["TOKEN_EXPIRED"], "the link still tells what became of it");
    app.pass(SignedDuration::from_hours(7 * 24));
    app.sweep("spent.delete").await?;
    assert_eq!(confirm(&app, &late).await?.codes(), ["TOKEN_INVALID"], "and is forgotten later");
    assert_eq!(app.look("SELECT count(*) FROM sign_up").await?.as_deref(), Some("0"));
    app.finish().await
}

#[tokio::test]
async fn an_address_with_a_login_gets_another_mail_and_the_same_answer() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(EMAIL, 3).await?;
    let known = sign_up(&app, json!({ "firstName": "Mallory" })).await?;
    let unknown = sign_up(&app, json!({ "email": "new@harborandfinch.example" })).await?;
    assert_eq!(known.body, unknown.body);
    let letter = app.letter(EMAIL).await?;
    let fresh = app.letter("new@harborandfinch.example").await?;
    assert_ne!(letter.subject, fresh.subject);
    assert!(!letter.text.contains("msup.") && !letter.html.contains("msup."), "nothing to confirm: {}", letter.text);
    assert!(!letter.text.contains("Mallory"), "a stranger's words do not reach the address");
    assert!(fresh.token().starts_with("msup."));
    let rows = app.look("SELECT count(*) FROM account").await?;
    assert_eq!(rows.as_deref(), Some("1"));
    assert_eq!(olivia.token, olivia.token.trim());
    app.finish().await
}

#[tokio::test]
async fn of_two_sign_ups_for_an_address_the_first_confirmed_counts() -> Result<()> {
    let app = App::start().await?;
    sign_up(&app, json!({ "accountName": "First" })).await?;
    let first = app.letter(EMAIL).await?.token();
    sign_up(&app, json!({ "accountName": "Second", "email": " Olivia@HarborAndFinch.example ", "password": "another horse battery" }))
        .await?;
    let second = app.letter(EMAIL).await?.token();
    assert_ne!(first, second);
    assert!(confirm(&app, &second).await?.codes().is_empty());
    assert_eq!(confirm(&app, &first).await?.codes(), ["ADDRESS_TAKEN"]);
    assert_eq!(app.look("SELECT string_agg(name, ',') FROM account").await?.as_deref(), Some("Second"));
    let wrong = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(app.mutate(None, "sessionCreate", wrong, "token").await?.codes(), ["CREDENTIALS_INVALID"]);
    let right = json!({ "email": EMAIL, "password": "another horse battery" });
    assert!(app.mutate(None, "sessionCreate", right, "token").await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn twenty_confirmations_at_once_found_one_account() -> Result<()> {
    let app = App::roomy().await?;
    sign_up(&app, json!({})).await?;
    let token = app.letter(EMAIL).await?.token();
    let all = futures::future::try_join_all((0..20).map(|_| confirm(&app, &token))).await?;
    let mut codes: Vec<_> = all.iter().map(Answer::codes).collect();
    codes.sort();
    assert_eq!(codes.iter().filter(|codes| codes.is_empty()).count(), 1, "{codes:?}");
    assert!(codes[1..].iter().all(|codes| *codes == ["TOKEN_USED"]), "{codes:?}");
    assert_eq!(rows(&app).await?.as_deref(), Some("3"));
    app.finish().await
}

#[tokio::test]
async fn free_mail_addresses_found_accounts_unless_the_setting_refuses_them() -> Result<()> {
    let app = App::start().await?;
    assert!(sign_up(&app, json!({ "email": "olivia@gmail.com" })).await?.codes().is_empty());
    app.finish().await?;
    let configure = |config: &mut domain::infra::config::Config| config.sign_up.refuse_personal_domains = true;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    for email in ["olivia@gmail.com", "olivia@GMail.Com", "olivia@mail.yahoo.co.uk"] {
        let refused = sign_up(&app, json!({ "email": email })).await?;
        assert_eq!(refused.codes(), ["PERSONAL_DOMAIN"], "{email}");
    }
    assert!(sign_up(&app, json!({})).await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn what_is_typed_is_checked_field_by_field() -> Result<()> {
    let app = App::start().await?;
    let cases = [
        (json!({ "password": "short" }), "PASSWORD_TOO_SHORT", "password"),
        (json!({ "password": "x1y2z".repeat(52) }), "PASSWORD_TOO_LONG", "password"),
        (json!({ "password": "Password1234" }), "PASSWORD_TOO_WEAK", "password"),
        (json!({ "password": EMAIL }), "PASSWORD_TOO_WEAK", "password"),
        (json!({ "email": "olivia" }), "INVALID_EMAIL", "email"),
        (json!({ "email": "" }), "INVALID_EMAIL", "email"),
        (json!({ "accountName": "  " }), "REQUIRED", "accountName"),
        (json!({ "accountName": "x".repeat(101) }), "TOO_LONG", "accountName"),
        (json!({ "firstName": "" }), "REQUIRED", "firstName"),
        (json!({ "lastName": "Har\nbor" }), "INVALID_CHARACTERS", "lastName"),
        (json!({ "timeZone": "Mars/Olympus" }), "INVALID_TIME_ZONE", "timeZone"),
    ];
    for (changed, code, field) in cases {
        let refused = sign_up(&app, changed.clone()).await?;
        assert_eq!(refused.codes(), [code], "{changed:.80}");
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", field]), "{changed:.80}");
        assert_eq!(refused.data("/signUp/accepted"), false);
    }
    assert_eq!(app.look("SELECT count(*) FROM sign_up").await?.as_deref(), Some("0"));
    let accepted = sign_up(&app, json!({ "password": "ä".repeat(5) + "bcdef ghij" })).await?;
    assert!(accepted.codes().is_empty(), "characters count, not bytes: {}", accepted.body);
    app.finish().await
}

#[tokio::test]
async fn an_address_is_sent_three_sign_ups_an_hour() -> Result<()> {
    let app = App::start().await?;
    for _ in 0..3 {
        assert!(sign_up(&app, json!({})).await?.codes().is_empty());
    }
    let refused = sign_up(&app, json!({})).await?;
    assert_eq!(refused.codes(), ["RATE_LIMITED"]);
    assert!(refused.user_errors()[0]["retryAt"].is_string());
    assert!(sign_up(&app, json!({ "email": "other@harborandfinch.example" })).await?.codes().is_empty());
    app.settle().await?;
    assert_eq!(app.mailbox.to(EMAIL)?.len(), 3);
    app.pass(SignedDuration::from_hours(1));
    assert!(sign_up(&app, json!({})).await?.codes().is_empty());
    app.finish().await
}
