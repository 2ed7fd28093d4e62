//! Signing in and out: who may, for how long, and what a stranger learns from the answers.

use std::time::Instant;

use anyhow::Result;
use domain::infra::clock::Timestamp;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, PASSWORD, Person, REQUEST_ID};

const OWNER: &str = "olivia@harborandfinch.example";
const SESSION: &str = "{ viewer { session { id accountName userAgent networkAddress createdAt lastUsedAt expiresAt isCurrent } \
                       sessions { id isCurrent } account { id name } member { id } user { id email } \
                       accounts { accountId accountName status isCurrent } } }";
const CREATE: &str = "mutation ($input: SessionCreateInput!) { sessionCreate(input: $input) { token accountId expiresAt \
                      userErrors { code field message ... on QuotaError { retryAt } \
                      ... on ClosedAccountsError { accounts { name status } } } } }";
const ADDRESSES: [&str; 3] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];

async fn enter(app: &App, email: &str, password: &str, account: Option<&str>) -> Result<Answer> {
    let input = json!({ "email": email, "password": password, "accountId": account });
    app.graphql(None, CREATE, json!({ "input": input })).await
}

async fn enter_from(app: &App, network: &str, email: &str, password: &str) -> Result<Answer> {
    let input = json!({ "email": email, "password": password });
    app.graphql_with(&[("x-forwarded-for", network)], CREATE, json!({ "input": input })).await
}

async fn is_dead(app: &App, token: &str) -> Result<bool> {
    let answer = app.graphql(Some(token), "{ viewer { permissions } }", Value::Null).await?;
    assert!(answer.errors().is_empty() || (answer.errors() == ["UNAUTHENTICATED"] && answer.status == 401));
    Ok(!answer.errors().is_empty())
}

async fn suspend(app: &App, by: &Person, member: &str) -> Result<()> {
    let done = app.mutate(Some(&by.token), "memberSuspend", json!({ "memberId": member }), "").await?;
    assert!(done.codes().is_empty(), "{}", done.body);
    Ok(())
}

async fn rename(app: &App, by: &Person, name: &str) -> Result<()> {
    let done = app.mutate(Some(&by.token), "accountRename", json!({ "name": name }), "account { name }").await?;
    assert_eq!(done.text("/accountRename/account/name"), name);
    Ok(())
}

/// Kinds of the account's events, the oldest first.
async fn kinds(app: &App, account: &str) -> Result<Vec<String>> {
    let account: domain::id::AccountId = account.parse()?;
    let kinds = sqlx::query_scalar("SELECT kind FROM event WHERE account_id = $1 ORDER BY seq");
    Ok(kinds.bind(account).fetch_all(&app.db.pool).await?)
}

/// Ben belongs to two firms: "First" and "Second".
async fn two_firms(app: &App) -> Result<(Person, Person, Person, Person)> {
    let first = app.found(OWNER, 5).await?;
    rename(app, &first, "First").await?;
    let second = app.found("sofia@secondfirm.example", 5).await?;
    rename(app, &second, "Second").await?;
    let ben_first = app.join(&first, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let invited = app.invite(&second, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert!(invited.codes().is_empty(), "{}", invited.body);
    let letter = app.letter("ben@harborandfinch.example").await?;
    assert!(app.accept(&letter.token(), "Ben", "Brandt").await?.codes().is_empty());
    let token = enter(app, "ben@harborandfinch.example", PASSWORD, Some(&second.account_id)).await?;
    let token = token.text("/sessionCreate/token");
    let me = app.graphql(Some(&token), SESSION, Value::Null).await?;
    let member_id = me.text("/viewer/member/id");
    let ben_second = Person { email: ben_first.email.clone(), member_id, account_id: second.account_id.clone(), token };
    Ok((first, second, ben_first, ben_second))
}

/// All of an answer that a client can see, but for the date.
async fn seen(app: &App, email: &str, password: &str) -> Result<(u16, Vec<(String, String)>, Vec<u8>)> {
    let body = json!({ "query": CREATE, "variables": { "input": { "email": email, "password": password } } });
    let request = app.http.post(format!("{}/graphql", app.url)).header("x-request-id", REQUEST_ID).json(&body);
    let response = request.send().await?;
    let headers = response.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    Ok((response.status().as_u16(), headers, response.bytes().await?.to_vec()))
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_answer_alike() -> Result<()> {
    let app =
        App::with(Options { configure: |config| config.limits.rate_limits = false, ..Options::default() }).await?;
    app.found(OWNER, 3).await?;
    let wrong = seen(&app, OWNER, "not the password").await?;
    let text = String::from_utf8(wrong.2.clone())?;
    assert!(text.contains("\"CREDENTIALS_INVALID\"") && text.contains("\"token\":null"), "{text}");
    for email in ["nobody@harborandfinch.example", "no address", "", "olivia@harborandfinch.example.example"] {
        assert_eq!(seen(&app, email, "not the password").await?, wrong, "{email:?}");
    }
    assert_eq!(seen(&app, OWNER, "").await?, wrong);
    assert_eq!(seen(&app, OWNER, &"x".repeat(20_000)).await?, wrong);
    assert_ne!(seen(&app, OWNER, PASSWORD).await?.2, wrong.2);
    for email in [OWNER, "nobody@harborandfinch.example"] {
        let mut times = Vec::new();
        for _ in 0..30 {
            let started = Instant::now();
            seen(&app, email, "not the password").await?;
            times.push(started.elapsed());
        }
        times.sort();
        tracing::info!(median = ?times[15], fastest = ?times[0], slowest = ?times[29], "refused sign-ins");
        eprintln!("refused sign-ins of {email}: median {:?}, {:?} to {:?}", times[15], times[0], times[29]);
    }
    app.finish().await
}

#[tokio::test]
async fn only_the_right_password_tells_why_there_is_no_way_in() -> Result<()> {
    let app = App::start().await?;
    let (first, second, ben_first, ben_second) = two_firms(&app).await?;
    let stranger = app.found("theo@third.example", 3).await?;
    suspend(&app, &first, &ben_first.member_id).await?;
    let out = json!({ "memberId": ben_second.member_id });
    assert!(app.mutate(Some(&second.token), "memberDeactivate", out, "").await?.codes().is_empty());

    let wrong = enter(&app, &ben_first.email, "not the password", None).await?;
    assert_eq!(wrong.codes(), ["CREDENTIALS_INVALID"]);
    let told = enter(&app, &ben_first.email, PASSWORD, None).await?;
    assert_eq!(told.codes(), ["NO_USABLE_MEMBERSHIP"]);
    let mut accounts = told.user_errors()[0]["accounts"].as_array().unwrap().clone();
    accounts.sort_by_key(|account| account["name"].to_string());
    let reasons =
        [json!({ "name": "First", "status": "SUSPENDED" }), json!({ "name": "Second", "status": "DEACTIVATED" })];
    assert_eq!(accounts, reasons);
    assert!(told.data("/sessionCreate/token").is_null());

    let named = enter(&app, &ben_first.email, PASSWORD, Some(&first.account_id)).await?;
    assert_eq!(named.codes(), ["NO_USABLE_MEMBERSHIP"]);
    assert_eq!(named.user_errors()[0]["accounts"], json!([reasons[0]]));
    // An account of others answers as one that does not exist.
    let foreign = enter(&app, &ben_first.email, PASSWORD, Some(&stranger.account_id)).await?;
    let unknown = domain::id::AccountId::new().to_string();
    let unknown = enter(&app, &ben_first.email, PASSWORD, Some(&unknown)).await?;
    assert_eq!(foreign.codes(), ["NO_USABLE_MEMBERSHIP"]);
    assert_eq!(foreign.body, unknown.body);
    assert_eq!(foreign.user_errors()[0]["accounts"], json!([]));
    assert_eq!(foreign.user_errors()[0]["message"], "You cannot enter any account at the moment.");
    let no_id = enter(&app, &ben_first.email, PASSWORD, Some("acc_1")).await?;
    assert_eq!(no_id.body, unknown.body);
    app.finish().await
}

#[tokio::test]
async fn a_named_account_is_entered_or_else_the_last_one() -> Result<()> {
    let app = App::start().await?;
    let (first, second, ben_first, ben) = two_firms(&app).await?;
    let account = async |answer: Answer| answer.text("/sessionCreate/accountId");
    let email = ben.email.as_str();
    assert_eq!(account(enter(&app, email, PASSWORD, None).await?).await, second.account_id, "entered last");
    assert_eq!(account(enter(&app, email, PASSWORD, Some(&first.account_id)).await?).await, first.account_id);
    assert_eq!(account(enter(&app, email, PASSWORD, None).await?).await, first.account_id);
    let switched = json!({ "accountId": first.account_id });
    let switched = app.mutate(Some(&ben.token), "sessionSwitchAccount", switched, "token accountId").await?;
    let back = json!({ "accountId": second.account_id });
    let token = switched.text("/sessionSwitchAccount/token");
    app.mutate(Some(&token), "sessionSwitchAccount", back, "token").await?;
    assert_eq!(account(enter(&app, email, PASSWORD, None).await?).await, second.account_id, "switching counts");
    let out = json!({ "memberId": ben.member_id });
    assert!(app.mutate(Some(&second.token), "memberSuspend", out, "").await?.codes().is_empty());
    assert_eq!(account(enter(&app, email, PASSWORD, None).await?).await, first.account_id, "the last one is shut");

    let token = enter(&app, email, PASSWORD, None).await?.text("/sessionCreate/token");
    let me = app.graphql(Some(&token), SESSION, Value::Null).await?;
    let mut places = me.data("/viewer/accounts").as_array().unwrap().clone();
    places.sort_by_key(|place| place["accountName"].to_string());
    assert_eq!(
        json!(places),
        json!([
            { "accountId": first.account_id, "accountName": "First", "status": "ACTIVE", "isCurrent": true },
            { "accountId": second.account_id, "accountName": "Second", "status": "SUSPENDED", "isCurrent": false },
        ])
    );
    assert_eq!(me.text("/viewer/member/id"), ben_first.member_id);
    assert_eq!(me.text("/viewer/user/email"), email);
    app.finish().await
}

fn cookie(answer: &Answer) -> (String, Vec<String>) {
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set.len(), 1, "one cookie: {set:?}");
    let mut parts = set[0].to_str().unwrap().split("; ").map(str::to_owned);
    let pair = parts.next().unwrap();
    let mut attributes: Vec<String> = parts.collect();
    attributes.sort();
    (pair, attributes)
}

/// The cookie of an ended session counts as nothing, so that its browser can sign in again.
#[track_caller]
fn assert_taken_away(answer: &Answer) {
    assert!(answer.data("/viewer").is_null(), "{}", answer.body);
    let (cleared, attributes) = cookie(answer);
    assert_eq!(cleared, "muster_session=");
    assert_eq!(attributes, ["HttpOnly", "Max-Age=0", "Path=/", "SameSite=Lax"]);
}

#[tokio::test]
async fn a_cookie_session_needs_the_csrf_header_and_ends_with_its_cookie() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    let input = json!({ "email": OWNER, "password": PASSWORD, "cookie": true });
    let opened = app.graphql(None, CREATE, json!({ "input": input })).await?;
    assert!(opened.data("/sessionCreate/token").is_null(), "a script must not see it");
    let (pair, attributes) = cookie(&opened);
    assert!(pair.starts_with("muster_session=mses."), "{pair}");
    assert_eq!(attributes, ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax"]);

    let bare = app.graphql_with(&[("cookie", &pair)], SESSION, Value::Null).await?;
    assert_eq!((bare.status, bare.errors()), (403, vec!["FORBIDDEN".to_owned()]));
    let wrong = app.graphql_with(&[("cookie", &pair), ("x-muster-csrf", "true")], SESSION, Value::Null).await?;
    assert_eq!(wrong.errors(), ["FORBIDDEN"]);
    let whole = format!("theme=dark; {pair}; other=1");
    let with = [("cookie", whole.as_str()), ("x-muster-csrf", "1")];
    let me = app.graphql_with(&with, SESSION, Value::Null).await?;
    assert_eq!(me.text("/viewer/user/email"), OWNER);
    let foreign = [with[0], with[1], ("origin", "https://evil.example")];
    assert_eq!(app.graphql_with(&foreign, SESSION, Value::Null).await?.errors(), ["FORBIDDEN"]);

    let account = me.text("/viewer/account/id");
    let switch =
        "mutation ($id: ID!) { sessionSwitchAccount(input: { accountId: $id }) { token userErrors { code } } }";
    let switched = app.graphql_with(&with, switch, json!({ "id": account })).await?;
    assert!(switched.data("/sessionSwitchAccount/token").is_null(), "a cookie's session stays in a cookie");
    let (next, _) = cookie(&switched);
    assert_ne!(next, pair);
    assert_taken_away(&app.graphql_with(&with, SESSION, Value::Null).await?);

    let with = [("cookie", next.as_str()), ("x-muster-csrf", "1")];
    let out = "mutation { sessionRevoke(input: {}) { sessionId userErrors { code } } }";
    let out = app.graphql_with(&with, out, Value::Null).await?;
    assert!(out.codes().is_empty(), "{}", out.body);
    let (cleared, attributes) = cookie(&out);
    assert_eq!(cleared, "muster_session=");
    assert_eq!(attributes, ["HttpOnly", "Max-Age=0", "Path=/", "SameSite=Lax"]);
    assert_taken_away(&app.graphql_with(&with, SESSION, Value::Null).await?);
    let nobody = app.graphql_with(&[("cookie", "muster_session=")], "{ viewer { permissions } }", Value::Null).await?;
    assert!(nobody.data("/viewer").is_null(), "a cleared cookie is no cookie");
    app.finish().await
}

#[tokio::test]
async fn a_cookie_of_an_encrypted_site_is_never_sent_in_the_clear() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.http.public_url = "https://muster.example.com".to_owned();
    };
    let app = App::with(Options { configure, ..Options::default() }).await?;
    app.found(OWNER, 3).await?;
    let input = json!({ "email": OWNER, "password": PASSWORD, "cookie": true });
    let (_, attributes) = cookie(&app.graphql(None, CREATE, json!({ "input": input })).await?);
    assert!(attributes.contains(&"Secure".to_owned()), "{attributes:?}");
    app.finish().await
}

#[tokio::test]
async fn one_ends_ones_own_sessions_and_nobody_elses() -> Result<()> {
    let app = App::start().await?;
    let (first, _, ben_first, ben_second) = two_firms(&app).await?;
    let id = async |token: &str| -> Result<String> {
        Ok(app.graphql(Some(token), SESSION, Value::Null).await?.text("/viewer/session/id"))
    };
    let other = app.sign_in(OWNER).await?;
    let other_id = id(&other).await?;
    for foreign in [id(&ben_first.token).await?, id(&ben_second.token).await?, "ses_1".to_owned()] {
        let input = json!({ "sessionId": foreign });
        let refused = app.mutate(Some(&first.token), "sessionRevoke", input, "sessionId").await?;
        assert_eq!(refused.codes(), ["NOT_FOUND"], "{foreign}");
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "sessionId"]));
        assert!(!refused.headers.contains_key("set-cookie"));
    }
    let elsewhere = json!({ "sessionId": id(&ben_second.token).await? });
    let elsewhere = app.mutate(Some(&ben_first.token), "sessionRevoke", elsewhere, "sessionId").await?;
    assert_eq!(elsewhere.codes(), ["NOT_FOUND"], "the same person's, but of another account");
    assert!(!is_dead(&app, &ben_first.token).await? && !is_dead(&app, &ben_second.token).await?);

    let done = app.mutate(Some(&first.token), "sessionRevoke", json!({ "sessionId": other_id }), "sessionId").await?;
    assert_eq!(done.text("/sessionRevoke/sessionId"), other_id);
    assert!(is_dead(&app, &other).await? && !is_dead(&app, &first.token).await?);
    let again = app.mutate(Some(&first.token), "sessionRevoke", json!({ "sessionId": other_id }), "sessionId").await?;
    assert_eq!(again.codes(), ["NOT_FOUND"]);

    let own = id(&first.token).await?;
    let out = app.mutate(Some(&first.token), "sessionRevoke", json!({}), "sessionId").await?;
    assert_eq!(out.text("/sessionRevoke/sessionId"), own);
    assert!(is_dead(&app, &first.token).await?);
    let late = app.mutate(Some(&first.token), "sessionRevoke", json!({}), "sessionId").await?;
    assert_eq!(late.errors(), ["UNAUTHENTICATED"]);
    let nobody = app.mutate(None, "sessionRevoke", json!({}), "sessionId").await?;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED"]);
    app.finish().await
}

#[tokio::test]
async fn the_last_use_of_a_session_prolongs_it_to_its_absolute_end() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    let idle = app.sign_in(OWNER).await?;
    let almost_a_week = SignedDuration::from_hours(7 * 24) - SignedDuration::from_mins(1);
    for week in 1..=4 {
        app.pass(almost_a_week);
        assert!(!is_dead(&app, &olivia.token).await?, "week {week}");
        app.activity.flush(&app.db).await?;
    }
    assert!(is_dead(&app, &idle).await?, "nobody used it for a week");
    let listed = app.graphql(Some(&olivia.token), SESSION, Value::Null).await?;
    assert_eq!(listed.data("/viewer/sessions").as_array().unwrap().len(), 1, "the idle one is not listed");
    let ends: Timestamp = Timestamp(listed.text("/viewer/session/expiresAt").parse()?);
    let left = ends.0.duration_since(app.db.now().await?.0);
    assert!(left > SignedDuration::from_hours(24) && left < SignedDuration::from_hours(49), "{left:?}");
    app.pass(left - SignedDuration::from_secs(5));
    assert!(!is_dead(&app, &olivia.token).await?);
    app.activity.flush(&app.db).await?;
    app.pass(SignedDuration::from_secs(6));
    assert!(is_dead(&app, &olivia.token).await?, "30 days are over, however lively it was");
    assert_eq!(app.look("SELECT count(*) FROM session").await?.as_deref(), Some("2"));
    app.sweep("spent.delete").await?;
    assert_eq!(app.look("SELECT count(*) FROM session").await?.as_deref(), Some("0"));
    app.finish().await
}

#[tokio::test]
async fn a_session_in_use_is_not_ended_for_what_is_not_written_yet() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    let idle = SignedDuration::from_hours(7 * 24);
    // What was used last half a minute before the idle time was over is still with a process; nobody writes it here.
    app.pass(idle - SignedDuration::from_secs(29));
    assert!(!is_dead(&app, &olivia.token).await?);
    app.pass(SignedDuration::from_secs(30));
    app.sweep("spent.delete").await?;
    assert!(!is_dead(&app, &olivia.token).await?, "it was used half a minute ago");
    app.pass(idle + SignedDuration::from_secs(61));
    assert!(is_dead(&app, &olivia.token).await?);
    app.sweep("spent.delete").await?;
    assert_eq!(app.look("SELECT count(*) FROM session").await?.as_deref(), Some("0"));
    app.finish().await
}

#[tokio::test]
async fn a_password_is_hashed_anew_at_the_sign_in_after_the_cost_was_changed() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    let earlier = domain::infra::config::Password { memory_kib: 128, passes: 2, concurrency: 1 };
    let earlier = domain::password::Passwords::new(earlier).hash(&PASSWORD.into()).await?;
    sqlx::query("UPDATE user_credential SET password_hash = $1").bind(&earlier).execute(&app.db.pool).await?;
    let hash = async || -> Result<String> { Ok(app.look("SELECT password_hash FROM user_credential").await?.unwrap()) };
    let wrong = json!({ "email": OWNER, "password": "not the right one" });
    assert_eq!(app.mutate(None, "sessionCreate", wrong, "").await?.codes(), ["CREDENTIALS_INVALID"]);
    assert_eq!(hash().await?, earlier, "only who knows the password can have it hashed");
    app.sign_in(OWNER).await?;
    let renewed = hash().await?;
    let (cost, now) = (app.config.password, "$argon2id$v=19$");
    assert!(renewed.starts_with(&format!("{now}m={},t={},p=1$", cost.memory_kib, cost.passes)), "{renewed}");
    app.sign_in(OWNER).await?;
    assert_eq!(hash().await?, renewed);
    app.finish().await
}

#[tokio::test]
async fn sessions_are_listed_newest_first_with_where_they_come_from() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    app.pass(SignedDuration::from_mins(1));
    let agent = format!("Phone\u{7f} {}", "x".repeat(300));
    let input = json!({ "input": { "email": OWNER, "password": PASSWORD } });
    let headers = [("user-agent", agent.replace('\u{7f}', "").clone())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let phone = app.graphql_with(&headers, CREATE, input).await?.text("/sessionCreate/token");
    let document = "{ viewer { sessions { id accountName userAgent networkAddress createdAt expiresAt isCurrent } } }";
    let listed = app.graphql(Some(&olivia.token), document, Value::Null).await?;
    let sessions = listed.data("/viewer/sessions").as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    assert_eq!([&sessions[0]["isCurrent"], &sessions[1]["isCurrent"]], [&json!(false), &json!(true)]);
    let named = sessions[0]["userAgent"].as_str().unwrap();
    assert!(named.starts_with("Phone x") && named.len() == 200, "{named}");
    assert_eq!(sessions[0]["networkAddress"], "127.0.0.1");
    assert!(sessions[0]["createdAt"].as_str() > sessions[1]["createdAt"].as_str());
    let listed = app.graphql(Some(&phone), document, Value::Null).await?;
    assert_eq!(listed.data("/viewer/sessions/0/isCurrent"), &json!(true));
    let text = listed.body.to_string();
    assert!(!text.contains("mses."), "no list shows a secret");
    app.finish().await
}

#[tokio::test]
async fn a_session_remembers_the_name_of_the_account_as_it_was() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    let renamed = json!({ "name": "Finch & Daughters" });
    assert!(app.mutate(Some(&olivia.token), "accountRename", renamed, "").await?.codes().is_empty());
    let me = app.graphql(Some(&olivia.token), SESSION, Value::Null).await?;
    assert_eq!(me.text("/viewer/session/accountName"), "Harbor & Finch");
    assert_eq!(me.text("/viewer/account/name"), "Finch & Daughters");
    assert_eq!(me.text("/viewer/accounts/0/accountName"), "Finch & Daughters");
    let me = app.graphql(Some(&app.sign_in(OWNER).await?), SESSION, Value::Null).await?;
    assert_eq!(me.text("/viewer/session/accountName"), "Finch & Daughters");
    app.finish().await
}

#[tokio::test]
async fn switching_the_account_ends_the_session_and_both_accounts_know() -> Result<()> {
    let app = App::start().await?;
    let (first, second, _, ben) = two_firms(&app).await?;
    let stranger = app.found("theo@third.example", 3).await?;
    for foreign in [stranger.account_id.as_str(), &domain::id::AccountId::new().to_string(), "acc_1", ""] {
        let input = json!({ "accountId": foreign });
        let refused = app.mutate(Some(&ben.token), "sessionSwitchAccount", input, "token").await?;
        assert_eq!(refused.codes(), ["NOT_FOUND"], "{foreign}");
    }
    let (before, before_second) = (kinds(&app, &first.account_id).await?, kinds(&app, &second.account_id).await?);
    let input = json!({ "accountId": first.account_id });
    let switched = app.mutate(Some(&ben.token), "sessionSwitchAccount", input.clone(), "token accountId").await?;
    let token = switched.text("/sessionSwitchAccount/token");
    assert!(is_dead(&app, &ben.token).await?);
    let me = app.graphql(Some(&token), SESSION, Value::Null).await?;
    assert_eq!(me.text("/viewer/account/name"), "First");
    assert_eq!(kinds(&app, &first.account_id).await?[before.len()..], ["session.created"]);
    assert_eq!(kinds(&app, &second.account_id).await?[before_second.len()..], ["session.revoked"]);
    let late = app.mutate(Some(&ben.token), "sessionSwitchAccount", input, "token").await?;
    assert_eq!(late.errors(), ["UNAUTHENTICATED"]);

    suspend(&app, &second, &ben.member_id).await?;
    let back = json!({ "accountId": second.account_id });
    let shut = app.mutate(Some(&token), "sessionSwitchAccount", back, "token").await?;
    assert_eq!(shut.codes(), ["NO_USABLE_MEMBERSHIP"]);
    assert_eq!(shut.user_errors()[0]["accounts"], json!([{ "name": "Second", "status": "SUSPENDED" }]));
    assert!(!is_dead(&app, &token).await?, "who may not enter stays where they are");
    app.finish().await
}

#[tokio::test]
async fn sign_ins_and_activity_are_remembered() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 5).await?;
    let ben = app.join(&olivia, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let times = async || -> Result<(Timestamp, Option<Timestamp>)> {
        let document = "query ($id: ID!) { node(id: $id) { ... on Member { lastSignInAt lastActivityAt } } }";
        let node = app.graphql(Some(&olivia.token), document, json!({ "id": ben.member_id })).await?;
        let active = node.data("/node/lastActivityAt").as_str().map(|at| Timestamp(at.parse().unwrap()));
        Ok((Timestamp(node.text("/node/lastSignInAt").parse()?), active))
    };
    let (signed_in, _) = times().await?;
    app.pass(SignedDuration::from_hours(2));
    assert!(!is_dead(&app, &ben.token).await?);
    app.activity.flush(&app.db).await?;
    let (same, active) = times().await?;
    assert_eq!(same, signed_in);
    let after = active.unwrap().0.duration_since(signed_in.0);
    assert!(after >= SignedDuration::from_hours(2) && after < SignedDuration::from_mins(121), "{after:?}");
    app.pass(SignedDuration::from_hours(1));
    app.sign_in(&ben.email).await?;
    let (again, _) = times().await?;
    assert!(again.0.duration_since(signed_in.0) >= SignedDuration::from_hours(3));
    app.finish().await
}

async fn behind_a_proxy() -> Result<App> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    };
    App::with(Options { configure, ..Options::default() }).await
}

async fn retry_after(app: &App, refused: &Answer) -> Result<SignedDuration> {
    assert_eq!(refused.codes(), ["RATE_LIMITED"], "{}", refused.body);
    let at: jiff::Timestamp = refused.user_errors()[0]["retryAt"].as_str().unwrap().parse()?;
    Ok(at.duration_since(app.db.now().await?.0))
}

#[tokio::test]
async fn wrong_passwords_lock_their_network_out_and_no_other() -> Result<()> {
    let app = behind_a_proxy().await?;
    app.found(OWNER, 3).await?;
    for email in [OWNER, "nobody@harborandfinch.example"] {
        for _ in 0..10 {
            assert_eq!(enter_from(&app, ADDRESSES[0], email, "wrong").await?.codes(), ["CREDENTIALS_INVALID"]);
        }
        let locked = enter_from(&app, ADDRESSES[0], email, PASSWORD).await?;
        let wait = retry_after(&app, &locked).await?;
        assert!(wait > SignedDuration::from_mins(14) && wait <= SignedDuration::from_mins(15), "{wait:?}");
    }
    let elsewhere = enter_from(&app, ADDRESSES[1], OWNER, PASSWORD).await?;
    assert!(elsewhere.codes().is_empty(), "a stranger shuts nobody out: {}", elsewhere.body);
    app.pass(SignedDuration::from_mins(15));
    assert!(enter_from(&app, ADDRESSES[0], OWNER, PASSWORD).await?.codes().is_empty(), "it opens again");
    app.finish().await
}

#[tokio::test]
async fn an_address_that_is_tried_from_everywhere_rests_a_minute() -> Result<()> {
    let app = behind_a_proxy().await?;
    app.found(OWNER, 3).await?;
    for round in 0..30 {
        let wrong = enter_from(&app, ADDRESSES[round % 3], OWNER, "wrong").await?;
        assert_eq!(wrong.codes(), ["CREDENTIALS_INVALID"], "{round}");
    }
    let locked = enter_from(&app, "198.51.100.7", OWNER, PASSWORD).await?;
    assert!(retry_after(&app, &locked).await? <= SignedDuration::from_mins(1));
    app.pass(SignedDuration::from_mins(1));
    assert!(enter_from(&app, "198.51.100.7", OWNER, PASSWORD).await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn every_token_that_is_none_answers_alike() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 3).await?;
    let other = app.found("sofia@secondfirm.example", 3).await?;
    app.invite(&olivia, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let invitation = app.letter("ben@harborandfinch.example").await?.token();
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap().to_owned();
    let swapped = format!("mses.{}.{}", part(&other.token, 1), part(&olivia.token, 2));
    let unknown = format!("mses.{}.{}", part(&olivia.token, 1), "A".repeat(43));
    let revoked = app.sign_in(OWNER).await?;
    app.mutate(Some(&revoked), "sessionRevoke", json!({}), "sessionId").await?;
    let mut tokens = vec![
        String::new(),
        "x".to_owned(),
        "mses".to_owned(),
        "mses..".to_owned(),
        olivia.token.to_uppercase(),
        format!("{}A", olivia.token),
        olivia.token[..olivia.token.len() - 1].to_owned(),
        "x".repeat(8_000),
        format!("mses.{}.{}", part(&olivia.token, 1), "A".repeat(7_000)),
        swapped,
        unknown,
        invitation,
        revoked,
    ];
    let mut headers: Vec<String> = tokens.drain(..).map(|token| format!("Bearer {token}")).collect();
    headers.extend(["Bearer".to_owned(), "Basic b2xpdmlhOng=".to_owned(), olivia.token.clone()]);
    let mut answers = Vec::new();
    for header in &headers {
        let with = [("authorization", header.as_str()), ("x-request-id", REQUEST_ID)];
        let answer = app.graphql_with(&with, SESSION, Value::Null).await?;
        assert_eq!((answer.status, answer.errors()), (401, vec!["UNAUTHENTICATED".to_owned()]), "{header:.60}");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let with = [("authorization", format!("bEARER  {}", olivia.token))];
    let with: Vec<(&str, &str)> = with.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(app.graphql_with(&with, SESSION, Value::Null).await?.errors().is_empty(), "schemes have no letter case");
    app.finish().await
}
