//! Several people, or one person under several spellings, after one thing.

use anyhow::Result;
use domain::permission::SystemRole;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::app::{App, Options, PASSWORD, Person};

const OWNER: &str = "olivia@harborandfinch.example";

async fn unlimited() -> Result<App> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.limits.rate_limits = false;
        config.limits.concurrent_requests = 400;
    };
    App::with(Options { configure, ..Options::default() }).await
}

async fn link(app: &App, by: &Person, email: &str) -> Result<String> {
    let invited = app.invite(by, email, &[SystemRole::Standard]).await?;
    assert!(invited.codes().is_empty(), "{}", invited.body);
    Ok(app.letter(email).await?.token())
}

fn acceptance(token: &str, password: Option<&str>) -> Value {
    json!({ "token": token, "firstName": "Ben", "lastName": "Brandt", "password": password })
}

/// The person it is for, with their session and with their password, and two who are not: whoever wins, it is that person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_accept_a_link_at_once_only_the_person_it_is_for_joins() -> Result<()> {
    let app = unlimited().await?;
    let owner = app.found(OWNER, 20).await?;
    for round in 0..8 {
        let email = format!("ben{round}@work.example");
        let ben = app.found(&email, 1).await?;
        let token = link(&app, &owner, &email).await?;
        let tries: [(Option<&str>, Option<&str>); 6] = [
            (Some(&ben.token), None),
            (None, Some(PASSWORD)),
            (Some(&owner.token), None),
            (Some(&owner.token), Some(PASSWORD)),
            (None, Some("not the password")),
            (None, None),
        ];
        let clients: Vec<reqwest::Client> = tries.iter().map(|_| reqwest::Client::new()).collect();
        let answers = join_all(tries.iter().zip(&clients).map(|((session, password), client)| {
            let (app, input) = (&app, acceptance(&token, *password));
            async move {
                let query = "mutation ($input: InvitationAcceptInput!) { invitationAccept(input: $input) { memberId userErrors { code } } }";
                let request = client.post(format!("{}/graphql", app.url));
                let request = match session {
                    Some(session) => request.bearer_auth(session),
                    None => request,
                };
                let body = json!({ "query": query, "variables": { "input": input } });
                let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
                let errors = answer["data"]["invitationAccept"]["userErrors"].as_array().cloned().unwrap_or_default();
                errors.first().map_or("joined", |error| error["code"].as_str().unwrap()).to_owned()
            }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| *answer == "joined").count(), 1, "{answers:?}");
        for (answer, refusal) in answers.iter().zip([
            "CREDENTIALS_INVALID",
            "CREDENTIALS_INVALID",
            "OTHER_PERSON",
            "OTHER_PERSON",
            "CREDENTIALS_INVALID",
            "PASSWORD_REQUIRED",
        ]) {
            assert!(["joined", "INVITATION_USED", refusal].contains(&answer.as_str()), "{answers:?}");
        }
        assert!(answers[2..].iter().all(|answer| answer != "joined"), "{answers:?}");
        let joined =
            "SELECT count(*) FROM member m JOIN app_user u USING (user_id) WHERE m.status = 'ACTIVE' AND u.email = $1";
        let members: i64 = sqlx::query_scalar(joined).bind(&email).fetch_one(&app.db.pool).await?;
        assert_eq!(members, 2, "in their own account and in this one");
    }
    app.finish().await
}

/// Two firms invite somebody new, who accepts both at once: one login comes of it, and the second firm asks for its password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_new_who_accepts_two_invitations_at_once_gets_one_login() -> Result<()> {
    let app = unlimited().await?;
    let first = app.found(OWNER, 20).await?;
    let second = app.found("sofia@secondfirm.example", 20).await?;
    for round in 0..8 {
        let email = format!("ben{round}@work.example");
        let links = [link(&app, &first, &email).await?, link(&app, &second, &email).await?];
        // Each with a password of its own: only one of them is the login's.
        let passwords = [PASSWORD, "another good password"];
        let both = join_all(links.iter().zip(passwords).map(|(token, password)| {
            let app = &app;
            async move {
                let input = acceptance(token, Some(password));
                app.mutate(None, "invitationAccept", input, "memberId").await.unwrap().codes()
            }
        }))
        .await;
        let won = both.iter().position(Vec::is_empty).expect("one of them joins");
        let lost = 1 - won;
        assert!(
            ["PASSWORD_REQUIRED", "CREDENTIALS_INVALID"].contains(&both[lost].first().map_or("", String::as_str)),
            "{both:?}"
        );
        let logins: i64 = sqlx::query_scalar("SELECT count(*) FROM app_user WHERE email = $1")
            .bind(&email)
            .fetch_one(&app.db.pool)
            .await?;
        assert_eq!(logins, 1);
        let wrong =
            app.mutate(None, "invitationAccept", acceptance(&links[lost], Some(passwords[lost])), "memberId").await?;
        assert_eq!(wrong.codes(), ["CREDENTIALS_INVALID"]);
        let right =
            app.mutate(None, "invitationAccept", acceptance(&links[lost], Some(passwords[won])), "memberId").await?;
        assert!(right.codes().is_empty(), "{}", right.body);
    }
    app.finish().await
}

/// Spellings of one address, the stored one first.
const SPELLINGS: &[&[&str]] = &[
    &[
        "ben@work.example",
        "BEN@WORK.EXAMPLE",
        "  ben@Work.Example\t",
        "Ben@work\u{3002}example",
        "ben@\u{ff37}ork.example",
        "ben@wo\u{ad}rk.example",
    ],
    &[
        "zoe@xn--mller-kva.example",
        "zoe@m\u{fc}ller.example",
        "Zoe@mu\u{308}ller.example",
        "zoe@XN--MLLER-KVA.EXAMPLE",
        "ZOE@M\u{dc}LLER.EXAMPLE",
    ],
    &["kim@xn--r8jz45g.xn--zckzah", "kim@例え。テスト", "KIM@例え.テスト"],
    &["ben+lists@work.example", "Ben+Lists@work.example"],
    // Cyrillic a: another domain, and shown as such.
    &["ben@xn--wrk-sed.example", "ben@w\u{43e}rk.example"],
];

/// What is no address, although some mail server may take it.
const NO_ADDRESSES: &[&str] = &[
    "ben@work.example.",
    "ben.@work.example",
    "\"ben\"@work.example",
    "\"ben\\\"x\"@work.example",
    "ben(comment)@work.example",
    "b\u{435}n@work.example",
    "be\u{301}n@work.example",
    "ben@[127.0.0.1]",
    "ben@work.example\r\nBcc: eve@evil.example",
    "ben@work.example, eve@evil.example",
    "ben@work.example;eve@evil.example",
    "<ben@work.example>",
    "ben@work.example\u{0}",
    "ben\u{200b}@work.example",
    "ben@work@evil.example",
    "ben%evil.example@work..example",
    "@work.example",
    "ben@",
    "ben",
    "ben@xn--a.example",
    "ben@\u{202e}elpmaxe.krow",
];

#[tokio::test]
async fn spellings_of_an_address_have_one_invitation_and_one_login() -> Result<()> {
    let app = unlimited().await?;
    let owner = app.found(OWNER, 20).await?;
    for spellings in SPELLINGS {
        for (number, spelling) in spellings.iter().enumerate() {
            let answer = app.invite(&owner, spelling, &[SystemRole::Standard]).await?;
            let expected: &[&str] = if number == 0 { &[] } else { &["ALREADY_INVITED"] };
            assert_eq!(answer.codes(), expected, "{spelling:?}");
        }
        let letter = app.letter(spellings[0]).await?;
        assert!(app.accept(&letter.token(), "Ben", "Brandt").await?.codes().is_empty());
        for spelling in *spellings {
            app.sign_in(spelling).await?;
            let again = app.invite(&owner, spelling, &[SystemRole::Standard]).await?;
            assert_eq!(again.codes(), ["ALREADY_MEMBER"], "{spelling:?}");
            let sign_up = json!({ "accountName": "Again", "firstName": "Ben", "lastName": "Brandt", "email": spelling, "password": PASSWORD });
            assert!(app.mutate(None, "signUp", sign_up, "accepted").await?.codes().is_empty());
            app.letter(spellings[0]).await?;
        }
    }
    let logins: i64 = sqlx::query_scalar("SELECT count(*) FROM app_user").fetch_one(&app.db.pool).await?;
    assert_eq!(usize::try_from(logins)?, SPELLINGS.len() + 1);
    app.finish().await
}

#[tokio::test]
async fn what_is_no_plain_address_is_refused_by_its_field() -> Result<()> {
    let app = unlimited().await?;
    let owner = app.found(OWNER, 20).await?;
    app.settle().await?;
    let before = app.mailbox.all()?.len();
    for text in NO_ADDRESSES {
        let invited = app.invite(&owner, text, &[SystemRole::Standard]).await?;
        let field = json!(["input", "invitations", "0", "email"]);
        let error = &invited.user_errors()[0];
        assert_eq!(
            (error["code"].as_str(), &error["field"]),
            (Some("INVALID_EMAIL"), &field),
            "{text:?} {}",
            invited.body
        );
        let input =
            json!({ "accountName": "A", "firstName": "B", "lastName": "C", "email": text, "password": PASSWORD });
        assert_eq!(app.mutate(None, "signUp", input, "accepted").await?.codes(), ["INVALID_EMAIL"], "{text:?}");
        let input = json!({ "email": text });
        assert_eq!(
            app.mutate(None, "passwordResetRequest", input, "accepted").await?.codes(),
            ["INVALID_EMAIL"],
            "{text:?}"
        );
        let input = json!({ "email": text, "password": PASSWORD });
        assert_eq!(
            app.mutate(None, "sessionCreate", input, "token").await?.codes(),
            ["CREDENTIALS_INVALID"],
            "{text:?}"
        );
    }
    app.settle().await?;
    assert_eq!(app.mailbox.all()?.len(), before, "a mail went out");
    app.finish().await
}
