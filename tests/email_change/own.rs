//! One's own address.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::support::app::Options;

#[tokio::test]
async fn the_old_address_works_until_the_new_one_is_confirmed() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let second = further_account(&app, &ben).await?;
    let asked = ask_own(&app, &ben, "Benedikt@HarborAndFinch.example").await?;
    assert!(asked.codes().is_empty(), "{}", asked.body);
    assert_eq!(asked.data("/loginEmailChangeRequest/member/pendingEmailChange/newEmail"), NEW);
    let (email, pending) = seen(&app, &ben, &ben.member_id).await?;
    assert_eq!((email, &pending["state"]), (json!(BEN), &json!("PENDING")));
    // They see it from their other account, whose administrators would not.
    assert_eq!(seen(&app, &second, &second.member_id).await?.1["newEmail"], NEW);
    assert_eq!(sign_in(&app, BEN, PASSWORD).await?, Vec::<String>::new());
    assert_eq!(sign_in(&app, NEW, PASSWORD).await?, ["CREDENTIALS_INVALID"]);
    let notice = letter(&app, BEN, "about to change").await?;
    assert!(notice.text.contains(NEW) && notice.link().contains("/login-email-revert/"), "{}", notice.text);
    let wanted = letter(&app, NEW, "Confirm").await?;
    assert!(wanted.text.contains("24 hours") && !wanted.text.contains(BEN), "{}", wanted.text);

    assert_eq!(
        follow(&app, "Confirm", &wanted.token()).await?,
        "CHANGED",
        "one's own needs no consent of the old address"
    );
    for token in [&ben.token, &second.token] {
        let dead = app.graphql(Some(token), "{ viewer { permissions } }", Value::Null).await?;
        assert_eq!(dead.errors(), ["UNAUTHENTICATED"], "sessions end everywhere");
    }
    assert_eq!(sign_in(&app, BEN, PASSWORD).await?, ["CREDENTIALS_INVALID"]);
    for account in [&ben, &second] {
        let input = json!({ "email": NEW, "password": PASSWORD, "accountId": account.account_id });
        let token = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
        let own = app.graphql(Some(&token), "{ viewer { member { id email } user { email } } }", Value::Null).await?;
        assert_eq!(own.data("/viewer/member/id"), &account.member_id);
        assert_eq!((own.data("/viewer/member/email"), own.data("/viewer/user/email")), (&json!(NEW), &json!(NEW)));
        let reader =
            if account.account_id == owner.account_id { owner.clone() } else { Person { token, ..second.clone() } };
        let last = told(&app, &reader).await?.pop().unwrap();
        assert_eq!(
            (&last["kind"], &last["emailBefore"], &last["emailAfter"]),
            (&json!("login_email.changed"), &json!(BEN), &json!(NEW))
        );
        assert_eq!(
            (&last["subjectId"], &last["actor"]["memberId"]),
            (&json!(account.member_id), &json!(account.member_id))
        );
    }
    assert_eq!(seen(&app, &owner, &ben.member_id).await?, (json!(NEW), Value::Null));
    assert!(letter(&app, BEN, "was changed").await?.text.contains("7 days"));
    // Mail goes to the new address from now on.
    app.mutate(None, "passwordResetRequest", json!({ "email": NEW }), "accepted").await?;
    assert!(letter(&app, NEW, "new password").await.is_ok());
    app.finish().await
}

#[tokio::test]
async fn it_takes_the_password_and_an_address_that_the_account_accepts() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    for (input, code, field) in [
        (json!({ "newEmail": NEW }), "REQUIRED", "password"),
        (json!({ "newEmail": NEW, "password": "wrong horse battery" }), "CREDENTIALS_INVALID", "password"),
        (json!({ "newEmail": "benedikt", "password": PASSWORD }), "INVALID_EMAIL", "newEmail"),
        (json!({ "newEmail": "ben@gmail.com", "password": PASSWORD }), "PERSONAL_DOMAIN", "newEmail"),
        (json!({ "newEmail": BEN, "password": PASSWORD }), "SAME_ADDRESS", "newEmail"),
    ] {
        let refused = ask(&app, &ben, input).await?;
        assert_eq!(refused.codes(), [code]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", field]));
    }
    let only = json!({ "allowedDomains": ["harborandfinch.example"] });
    assert!(app.mutate(Some(&owner.token), "accountPolicyUpdate", only, "").await?.codes().is_empty());
    assert_eq!(ask_own(&app, &ben, "ben@elsewhere.example").await?.codes(), ["DOMAIN_NOT_ALLOWED"]);
    app.settle().await?;
    assert!(app.mailbox.to(NEW)?.is_empty(), "nothing was mailed");
    // The owner's is theirs to change.
    assert!(ask_own(&app, &owner, "oh@harborandfinch.example").await?.codes().is_empty());
    assert_eq!(confirm(&app, "oh@harborandfinch.example").await?, "CHANGED");
    app.finish().await
}

#[tokio::test]
async fn the_same_request_twice_is_one_change() -> Result<()> {
    let (app, _, ben) = firm().await?;
    let input = json!({ "newEmail": NEW, "password": PASSWORD, "idempotencyKey": "k" });
    let (first, second) = tokio::try_join!(ask(&app, &ben, input.clone()), ask(&app, &ben, input.clone()))?;
    assert_eq!(first.body, second.body);
    assert_eq!(ask(&app, &ben, input).await?.body, first.body);
    assert_eq!(app.look("SELECT count(*) FROM email_change").await?.as_deref(), Some("1"));
    let other = json!({ "newEmail": "b@harborandfinch.example", "password": PASSWORD, "idempotencyKey": "k" });
    assert_eq!(ask(&app, &ben, other).await?.codes(), ["IDEMPOTENCY_KEY_REUSED"]);
    app.finish().await
}

#[tokio::test]
async fn it_is_limited_how_often_an_address_is_asked_for() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    for _ in 0..3 {
        assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    }
    let refused = ask_for(&app, &owner, &ben, NEW).await?;
    assert_eq!(refused.codes(), ["RATE_LIMITED"]);
    assert!(refused.user_errors()[0]["retryAt"].is_string());
    app.pass(SignedDuration::from_hours(2));
    for number in 0..7 {
        let new = format!("b{number}@harborandfinch.example");
        assert!(ask_for(&app, &owner, &ben, &new).await?.codes().is_empty());
    }
    let refused = ask_for(&app, &owner, &ben, "b8@harborandfinch.example").await?;
    assert_eq!(refused.codes(), ["RATE_LIMITED"], "ten a day for one member");
    app.finish().await
}

/// The answer, and what is written, say nothing of whether the address is somebody's.
#[tokio::test]
async fn nobody_learns_whether_an_address_is_taken_before_it_is_confirmed() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found(OWNER, 10).await?;
    let ben = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    app.found("sofia@secondfirm.example", 3).await?;
    let mut answers = Vec::new();
    for new in ["sofia@secondfirm.example", "nobody@secondfirm.example", OWNER] {
        let mut asked = ask_own(&app, &ben, new).await?.body;
        for field in ["newEmail", "requestedAt", "expiresAt"] {
            asked["data"]["loginEmailChangeRequest"]["member"]["pendingEmailChange"][field] = Value::Null;
        }
        answers.push(asked);
        let expected = if new.starts_with("nobody") { "CHANGED" } else { "EMAIL_TAKEN" };
        if expected == "EMAIL_TAKEN" {
            assert_eq!(confirm(&app, new).await?, expected);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    app.finish().await
}
