//! Answering: what the link shows, saying yes and no, and every reason why not.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{codes, ids, invited, listed, look, pool, refusals};
use crate::support::app::{Answer, App, PASSWORD};

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@work.example";

async fn accept(app: &App, signed_in: Option<&str>, input: Value) -> Result<Answer> {
    app.mutate(signed_in, "invitationAccept", input, "accountId memberId").await
}

async fn sessions(app: &App) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM session").fetch_one(&app.db.pool).await?)
}

#[tokio::test]
async fn somebody_new_sets_names_and_a_password_and_is_not_signed_in() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let bare = accept(&app, None, json!({ "token": token, "password": PASSWORD })).await?;
    assert_eq!(refusals(&bare), ["REQUIRED input.firstName", "REQUIRED input.lastName"]);
    let with =
        |password: &str| json!({ "token": token, "firstName": "Ben", "lastName": "Brandt", "password": password });
    let nameless = json!({ "token": token, "firstName": "Ben", "lastName": " ", "password": PASSWORD });
    assert_eq!(refusals(&accept(&app, None, nameless).await?), ["REQUIRED input.lastName"]);
    let none = json!({ "token": token, "firstName": "Ben", "lastName": "Brandt" });
    assert_eq!(refusals(&accept(&app, None, none).await?), ["PASSWORD_REQUIRED input.password"]);
    let bad = [
        ("short", "PASSWORD_TOO_SHORT"),
        ("passwordpassword", "PASSWORD_TOO_WEAK"),
        (&"x".repeat(257), "PASSWORD_TOO_LONG"),
    ];
    for (password, code) in bad {
        assert_eq!(refusals(&accept(&app, None, with(password)).await?), [format!("{code} input.password")]);
    }
    assert_eq!(pool(&app, &owner).await?, (2, 1, 3), "nothing of that answered the invitation");

    let before = sessions(&app).await?;
    let joined = accept(&app, None, with(PASSWORD)).await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);
    assert!(!joined.headers.contains_key("set-cookie"));
    assert_eq!(sessions(&app).await?, before, "the link signs nobody in");
    app.person(BEN).await?;
    app.finish().await
}

#[tokio::test]
async fn the_names_the_inviter_typed_will_do() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let item = json!({ "email": BEN, "firstName": "Ben", "lastName": "Brandt", "message": "Hi!", "roleIds": ids(&[SystemRole::Standard]) });
    let answer = app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": [item] }), "__typename").await?;
    assert_eq!(answer.codes(), Vec::<String>::new());
    let token = app.letter(BEN).await?.token();
    let shown = look(&app, &token).await?.unwrap();
    assert_eq!(
        (&shown["firstName"], &shown["lastName"], &shown["message"]),
        (&json!("Ben"), &json!("Brandt"), &json!("Hi!"))
    );
    assert_eq!((&shown["inviterName"], &shown["accountName"]), (&json!("Olivia Harbor"), &json!("Harbor & Finch")));
    let joined = accept(&app, None, json!({ "token": token, "lastName": "Brandt-Low", "password": PASSWORD })).await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);
    let ben = app.person(BEN).await?;
    let me = app.graphql(Some(&ben.token), "{ viewer { member { firstName lastName } } }", Value::Null).await?;
    assert_eq!(
        (me.text("/viewer/member/firstName"), me.text("/viewer/member/lastName")),
        ("Ben".into(), "Brandt-Low".into())
    );
    app.finish().await
}

#[tokio::test]
async fn somebody_with_a_login_proves_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ben = app.found(BEN, 5).await?;
    invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    assert_eq!(look(&app, &token).await?.unwrap()["hasLogin"], true);
    let with =
        |password: Value| json!({ "token": token, "firstName": "Ben", "lastName": "Brandt", "password": password });
    let missing = accept(&app, None, with(Value::Null)).await?;
    assert_eq!(refusals(&missing), ["PASSWORD_REQUIRED input.password"]);
    let wrong = accept(&app, None, with(json!("not the password"))).await?;
    assert_eq!(refusals(&wrong), ["CREDENTIALS_INVALID input.password"]);
    let other = accept(&app, Some(&owner.token), with(json!(PASSWORD))).await?;
    assert_eq!(other.codes(), ["OTHER_PERSON"]);
    let joined = accept(&app, None, with(json!(PASSWORD))).await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);
    assert_eq!(joined.text("/invitationAccept/accountId"), owner.account_id);
    let places =
        app.graphql(Some(&ben.token), "{ viewer { accounts { accountName } account { id } } }", Value::Null).await?;
    assert_eq!(places.data("/viewer/accounts").as_array().unwrap().len(), 2);
    assert_eq!(places.text("/viewer/account/id"), ben.account_id, "the session stays where it was");
    app.finish().await
}

#[tokio::test]
async fn whoever_is_signed_in_as_the_address_needs_no_password() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ben = app.found(BEN, 5).await?;
    invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let input = json!({ "token": token, "firstName": "Ben", "lastName": "Brandt" });
    let joined = accept(&app, Some(&ben.token), input).await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);

    // Somebody without a login cannot be answered for by whoever happens to be signed in.
    invited(&app, &owner, "cleo@work.example").await?;
    let token = app.letter("cleo@work.example").await?.token();
    let input = json!({ "token": token, "firstName": "Cleo", "lastName": "Low", "password": PASSWORD });
    assert_eq!(accept(&app, Some(&ben.token), input).await?.codes(), ["OTHER_PERSON"]);
    app.finish().await
}

#[tokio::test]
async fn of_two_who_accept_at_once_one_joins() -> Result<()> {
    let app = App::roomy().await?;
    let owner = app.found(OWNER, 5).await?;
    invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let both = futures::future::join_all((0..8).map(|number| {
        let (app, token) = (&app, &token);
        async move { app.accept(token, "Ben", &format!("Brandt {number}")).await.unwrap().codes() }
    }))
    .await;
    let won = both.iter().filter(|codes| codes.is_empty()).count();
    assert_eq!(won, 1, "{both:?}");
    assert!(both.iter().flatten().all(|code| code == "INVITATION_USED"), "{both:?}");
    assert_eq!(pool(&app, &owner).await?, (2, 0, 3));
    app.finish().await
}

#[tokio::test]
async fn a_link_that_is_not_one_says_so_and_no_more() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let other = app.found("mary@elsewhere.example", 5).await?;
    invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let foreign = token.replacen(
        &owner.account_id.trim_start_matches("acc_").replace('-', ""),
        &other.account_id.trim_start_matches("acc_").replace('-', ""),
        1,
    );
    let mut tokens = vec![
        String::new(),
        "x".to_owned(),
        "x".repeat(5000),
        owner.token.clone(),
        format!("{token}0"),
        token[..token.len() - 1].to_owned(),
        format!("{} or 1=1", &token),
        "\u{0}".to_owned(),
    ];
    // The account's id stands in the token in some form; where it is not plain, nothing was replaced.
    if foreign != token {
        tokens.push(foreign);
    }
    for token in tokens {
        assert_eq!(look(&app, &token).await?, Err("TOKEN_INVALID".to_owned()), "{token}");
        assert_eq!(refusals(&app.accept(&token, "Ben", "Brandt").await?), ["TOKEN_INVALID input.token"], "{token}");
        let declined = app.mutate(None, "invitationDecline", json!({ "token": token }), "declined").await?;
        assert_eq!(refusals(&declined), ["TOKEN_INVALID input.token"], "{token}");
    }
    assert!(look(&app, &token).await?.is_ok());
    app.finish().await
}

#[tokio::test]
async fn looking_never_answers() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    invited(&app, &owner, BEN).await?;
    let letter = app.letter(BEN).await?;
    let events = "SELECT next_seq FROM account_feed ORDER BY account_id";
    let before: Vec<i64> = sqlx::query_scalar(events).fetch_all(&app.db.pool).await?;
    for _ in 0..3 {
        let query = format!("{{ invitationByToken(token: \"{}\") {{ invitation {{ email }} }} }}", letter.token());
        let url = reqwest::Url::parse_with_params(&format!("{}/graphql", app.url), [("query", query)])?;
        let shown: Value = app.http.get(url).header("accept", "application/json").send().await?.json().await?;
        assert_eq!(shown["data"]["invitationByToken"]["invitation"]["email"], BEN, "{shown}");
        app.http.get(letter.link()).send().await?;
        app.http.head(letter.link()).send().await?;
    }
    let after: Vec<i64> = sqlx::query_scalar(events).fetch_all(&app.db.pool).await?;
    assert_eq!(before, after);
    assert_eq!(app.accept(&letter.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn whoever_declines_frees_the_seat_and_stays_listed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 2).await?;
    let (_, member) = invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let declined = app.mutate(None, "invitationDecline", json!({ "token": token }), "declined").await?;
    assert_eq!(declined.data("/invitationDecline/declined"), &json!(true));
    assert_eq!(pool(&app, &owner).await?, (1, 0, 1));
    let shown = listed(&app, &owner, BEN, "state finishedAt member { id }").await?;
    assert_eq!((&shown["state"], &shown["member"]), (&json!("DECLINED"), &Value::Null));
    assert!(shown["finishedAt"].is_string());
    let node =
        app.graphql(Some(&owner.token), "query ($id: ID!) { node(id: $id) { id } }", json!({ "id": member })).await?;
    assert!(node.data("/node").is_null(), "the member is gone");
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["INVITATION_DECLINED"]);
    let again = app.mutate(None, "invitationDecline", json!({ "token": token }), "declined").await?;
    assert_eq!(again.codes(), ["INVITATION_DECLINED"]);
    invited(&app, &owner, BEN).await?;
    app.finish().await
}

#[tokio::test]
async fn what_only_an_administrator_grants_needs_an_inviter_who_still_is_one() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    for (email, role) in [(BEN, SystemRole::Administrator), ("cleo@work.example", SystemRole::Standard)] {
        assert_eq!(app.invite(&admin, email, &[role]).await?.codes(), Vec::<String>::new());
    }
    let (ben, cleo) = (app.letter(BEN).await?, app.letter("cleo@work.example").await?);
    let demotion = json!({ "memberId": admin.member_id, "roleIds": ids(&[SystemRole::Standard]) });
    assert_eq!(codes(&app, &owner, "memberAssignRoles", demotion).await?, Vec::<String>::new());
    let refused = app.accept(&ben.token(), "Ben", "Brandt").await?;
    assert_eq!(refusals(&refused), ["INVITER_LOST_RIGHTS input.token"]);
    assert_eq!(app.accept(&cleo.token(), "Cleo", "Low").await?.codes(), Vec::<String>::new());

    // Whoever sends it again answers for it.
    let id = listed(&app, &owner, BEN, "id").await?["id"].clone();
    app.pass(SignedDuration::from_mins(2));
    assert_eq!(codes(&app, &owner, "invitationResend", json!({ "invitationIds": [id] })).await?, Vec::<String>::new());
    let ben = app.letter(BEN).await?;
    assert_eq!(app.accept(&ben.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn an_invitation_outlives_the_leave_of_its_inviter() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    for (number, mutation) in ["memberSuspend", "memberDeactivate"].into_iter().enumerate() {
        let inviter = format!("ada{number}@harborandfinch.example");
        let admin = app.join(&owner, &inviter, &[SystemRole::Administrator]).await?;
        let (great, small) = (format!("g{number}@work.example"), format!("s{number}@work.example"));
        app.invite(&admin, &great, &[SystemRole::Administrator]).await?;
        app.invite(&admin, &small, &[SystemRole::Standard]).await?;
        let (to_great, to_small) = (app.letter(&great).await?, app.letter(&small).await?);
        assert_eq!(codes(&app, &owner, mutation, json!({ "memberId": admin.member_id })).await?, Vec::<String>::new());
        assert_eq!(app.accept(&to_great.token(), "G", "Low").await?.codes(), ["INVITER_LOST_RIGHTS"], "{mutation}");
        assert_eq!(app.accept(&to_small.token(), "S", "Low").await?.codes(), Vec::<String>::new(), "{mutation}");
    }
    app.finish().await
}

#[tokio::test]
async fn a_suspended_invitee_waits_and_then_joins() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (id, member) = invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    assert_eq!(codes(&app, &owner, "memberSuspend", json!({ "memberId": member })).await?, Vec::<String>::new());
    assert_eq!(look(&app, &token).await?, Err("INVITATION_SUSPENDED".to_owned()));
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["INVITATION_SUSPENDED"]);
    app.pass(SignedDuration::from_mins(2));
    let resent = codes(&app, &owner, "invitationResend", json!({ "invitationIds": [id] })).await?;
    assert_eq!(resent, ["INVITATION_SUSPENDED"]);
    let moved =
        codes(&app, &owner, "invitationUpdate", json!({ "invitationId": id, "email": "ben2@work.example" })).await?;
    assert_eq!(moved, ["INVITATION_SUSPENDED"]);
    assert_eq!(pool(&app, &owner).await?, (2, 1, 3), "the seat is kept");
    assert_eq!(codes(&app, &owner, "memberActivate", json!({ "memberId": member })).await?, Vec::<String>::new());
    assert_eq!(
        app.accept(&token, "Ben", "Brandt").await?.codes(),
        Vec::<String>::new(),
        "the link was refused, not destroyed"
    );
    app.finish().await
}
