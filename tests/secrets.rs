//! Canaries: what was secret or personal in a life of requests is found in no log, no event, no job and no error, and no secret
//! in any table.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::app::{Answer, App};
use crate::support::log::Log;

const PASSWORDS: [&str; 5] =
    ["canary-first-Xq1", "canary-second-Xq2", "canary-third-Xq3", "canary-wrong-Xq4", "canary-ben-Xq5"];
const ADDRESSES: [&str; 4] = [
    "canary.olivia@harborandfinch.example",
    "canary.ben@harborandfinch.example",
    "canary.none@harborandfinch.example",
    "canary.benedikt@harborandfinch.example",
];
const NAMES: [&str; 4] = ["Canolivia", "Canharbor", "Canben", "Canbrandt"];

/// What happened, and everything in it that nobody else may see.
#[derive(Default)]
struct Life {
    secrets: Vec<String>,
    refusals: Vec<String>,
}

impl Life {
    fn token(&mut self, token: &str) -> String {
        let secret = token.rsplit('.').next().unwrap();
        assert_eq!(secret.len(), 43, "256 bits: {token}");
        self.secrets.push(secret.to_owned());
        token.to_owned()
    }

    fn refused(&mut self, answer: &Answer) {
        let refused = answer.body.get("errors").is_some() || !answer.codes().is_empty();
        assert!(refused, "{}", answer.body);
        self.refusals.push(answer.body.to_string());
    }

    async fn sign_in(&mut self, app: &App, email: &str, password: &str) -> Result<String> {
        let input = json!({ "email": email, "password": password });
        let answer = app.mutate(None, "sessionCreate", input, "token").await?;
        Ok(self.token(&answer.text("/sessionCreate/token")))
    }
}

async fn found(app: &App, life: &mut Life) -> Result<String> {
    let sign_up = json!({ "accountName": "Harbor & Finch", "firstName": NAMES[0], "lastName": NAMES[1], "email": ADDRESSES[0],
                          "password": PASSWORDS[0] });
    assert!(app.mutate(None, "signUp", sign_up, "").await?.codes().is_empty());
    let token = life.token(&app.letter(ADDRESSES[0]).await?.token());
    let confirmed = app.mutate(None, "signUpConfirm", json!({ "token": token }), "accountId").await?;
    app.grant_seats(&confirmed.text("/signUpConfirm/accountId"), 5).await?;
    life.refused(&app.mutate(None, "signUpConfirm", json!({ "token": token }), "").await?);
    life.sign_in(app, ADDRESSES[0], PASSWORDS[0]).await
}

async fn invite(app: &App, life: &mut Life, session: &str) -> Result<()> {
    let item = json!({ "email": ADDRESSES[1], "firstName": NAMES[2], "roleIds": [SystemRole::Standard.id().to_string()],
                       "message": "A word to Canben" });
    let input = json!({ "invitations": [item], "idempotencyKey": "k-1" });
    assert!(app.mutate(Some(session), "memberInvite", input.clone(), "").await?.codes().is_empty());
    let first = life.token(&app.letter(ADDRESSES[1]).await?.token());
    app.pass(SignedDuration::from_mins(2));
    let listed = app.graphql(Some(session), "{ account { invitations { nodes { id } } } }", Value::Null).await?;
    let again = json!({ "invitationIds": [listed.text("/account/invitations/nodes/0/id")] });
    assert!(app.mutate(Some(session), "invitationResend", again, "").await?.codes().is_empty());
    let token = life.token(&app.letter(ADDRESSES[1]).await?.token());
    assert_ne!(first, token);
    let accept = |token: &str, password: &str| json!({ "token": token, "lastName": NAMES[3], "password": password });
    life.refused(&app.mutate(None, "invitationAccept", accept(&first, PASSWORDS[4]), "").await?);
    life.refused(&app.mutate(None, "invitationAccept", accept(&token, "Xq5"), "").await?);
    assert!(app.mutate(None, "invitationAccept", accept(&token, PASSWORDS[4]), "").await?.codes().is_empty());
    life.refused(&app.mutate(None, "invitationDecline", json!({ "token": token }), "").await?);
    life.sign_in(app, ADDRESSES[1], PASSWORDS[4]).await?;
    let mut other = input;
    other["idempotencyKey"] = json!("k-2");
    life.refused(&app.mutate(Some(session), "memberInvite", other, "").await?);
    Ok(())
}

async fn change_passwords(app: &App, life: &mut Life, session: &str) -> Result<String> {
    let input = json!({ "currentPassword": PASSWORDS[0], "newPassword": PASSWORDS[1], "idempotencyKey": "k-3" });
    assert!(app.mutate(Some(session), "passwordChange", input, "").await?.codes().is_empty());
    // Two mails to one address that are both due go out in any order; the next one read is that of the reset.
    app.settle().await?;
    let wrong = json!({ "currentPassword": PASSWORDS[3], "newPassword": PASSWORDS[2] });
    life.refused(&app.mutate(Some(session), "passwordChange", wrong, "").await?);
    for email in [ADDRESSES[0], ADDRESSES[2]] {
        let asked = app.mutate(None, "passwordResetRequest", json!({ "email": email }), "accepted").await?;
        assert!(asked.codes().is_empty(), "{}", asked.body);
    }
    let token = life.token(&app.letter(ADDRESSES[0]).await?.token());
    let reset = json!({ "token": token, "password": PASSWORDS[2] });
    assert!(app.mutate(None, "passwordReset", reset.clone(), "").await?.codes().is_empty());
    life.refused(&app.mutate(None, "passwordReset", reset, "").await?);
    life.sign_in(app, ADDRESSES[0], PASSWORDS[2]).await
}

/// Ben's address is changed, and taken back.
async fn change_address(app: &App, life: &mut Life, session: &str) -> Result<()> {
    let members = "{ account { members(filter: { text: \"canben\" }) { nodes { id } } } }";
    let ben = app.graphql(Some(session), members, Value::Null).await?.text("/account/members/nodes/0/id");
    let request = json!({ "memberId": ben, "newEmail": ADDRESSES[3], "idempotencyKey": "k-4" });
    assert!(app.mutate(Some(session), "loginEmailChangeRequest", request, "").await?.codes().is_empty());
    let confirm = json!({ "token": life.token(&app.letter(ADDRESSES[3]).await?.token()) });
    assert!(app.mutate(None, "loginEmailChangeConfirm", confirm.clone(), "").await?.codes().is_empty());
    life.refused(&app.mutate(None, "loginEmailChangeConfirm", confirm, "").await?);
    let revert = json!({ "token": life.token(&app.letter(ADDRESSES[1]).await?.token()) });
    assert!(app.mutate(None, "loginEmailChangeRevert", revert.clone(), "").await?.codes().is_empty());
    life.refused(&app.mutate(None, "loginEmailChangeRevert", revert, "").await?);
    let token = life.token(&app.letter(ADDRESSES[1]).await?.token());
    let reset = json!({ "token": token, "password": PASSWORDS[4] });
    assert!(app.mutate(None, "passwordReset", reset, "").await?.codes().is_empty());
    Ok(())
}

/// Requests that are wrong in form: their answers and their traces must not repeat what was in them.
async fn blunder(app: &App, life: &mut Life, session: &str) -> Result<()> {
    for email in [ADDRESSES[0], ADDRESSES[2], "canary.none"] {
        let wrong = json!({ "email": email, "password": PASSWORDS[3] });
        life.refused(&app.mutate(None, "sessionCreate", wrong, "").await?);
    }
    life.refused(&app.graphql(Some(&format!("{session}x")), "{ viewer { permissions } }", Value::Null).await?);
    let typed = "mutation ($input: SessionCreateInput!) { sessionCreate(input: $input) { token } }";
    for wrong in [json!({ "password": PASSWORDS[3] }), json!({ "email": 1, "password": { "x": PASSWORDS[3] } })] {
        life.refused(&app.graphql(None, typed, json!({ "input": wrong })).await?);
    }
    let upload = app.mutate(Some(session), "uploadCreate", json!({ "fileName": "m.csv" }), "upload { url }").await?;
    let url = upload.text("/uploadCreate/upload/url");
    life.token(&url);
    assert!(app.http.put(url).body("email\n").send().await?.status().is_success());
    export(app, life, session).await?;
    let cookie = json!({ "email": ADDRESSES[1], "password": PASSWORDS[4], "cookie": true });
    let cookie = app.mutate(None, "sessionCreate", cookie, "").await?;
    let cookie = cookie.headers["set-cookie"].to_str()?.split(';').next().unwrap().to_owned();
    life.token(&cookie);
    let bare = app.graphql_with(&[("cookie", &cookie)], "{ viewer { permissions } }", Value::Null).await?;
    life.refused(&bare);
    Ok(())
}

/// A file that names people, and links to it: a right one and a wrong one.
async fn export(app: &App, life: &mut Life, session: &str) -> Result<()> {
    let input = json!({ "filter": { "text": NAMES[2].to_lowercase() } });
    let made = app.mutate(Some(session), "memberExportCreate", input, "export { id }").await?;
    app.settle().await?;
    let read = "query ($id: ID!) { export(id: $id) { url } }";
    let id = made.text("/memberExportCreate/export/id");
    let url = app.graphql(Some(session), read, json!({ "id": id })).await?.text("/export/url");
    let file = app.http.get(&url).send().await?;
    assert!(file.status().is_success() && file.text().await?.contains(NAMES[2]));
    assert_eq!(app.http.get(format!("{url}x")).send().await?.status(), 404);
    life.secrets.push(url.rsplit('.').next().unwrap().to_owned());
    Ok(())
}

/// Every row of every table, as text.
async fn dump(app: &App) -> Result<Vec<(String, String)>> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            .fetch_all(&app.db.pool)
            .await?;
    let mut dump = Vec::new();
    for table in tables.into_iter().filter(|table| table != "_sqlx_migrations") {
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {table} t"))).fetch_all(&app.db.pool).await?;
        dump.push((table, rows.join("\n")));
    }
    Ok(dump)
}

/// The forms in which a secret could stand somewhere.
fn forms(secret: &str) -> Vec<String> {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes everything");
            hex
        })
    };
    let mut forms = vec![secret.to_owned(), hex(secret.as_bytes()), URL_SAFE_NO_PAD.encode(secret)];
    forms.extend(URL_SAFE_NO_PAD.decode(secret).ok().filter(|bytes| bytes.len() == 32).map(|bytes| hex(&bytes)));
    forms
}

#[tokio::test]
async fn no_secret_and_no_person_leaves_its_place() -> Result<()> {
    let log = Log::default();
    let filter = EnvFilter::new("info,domain=trace,api=trace,worker=trace,sqlx=debug,tower=debug,async_graphql=debug");
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_span_events(FmtSpan::FULL);
    // The whole product runs on this thread.
    let _guard = tracing::subscriber::set_default(lines.with_writer(log.clone()).finish());
    let app = App::start().await?;
    let mut life = Life::default();
    let session = found(&app, &mut life).await?;
    invite(&app, &mut life, &session).await?;
    let session = change_passwords(&app, &mut life, &session).await?;
    change_address(&app, &mut life, &session).await?;
    blunder(&app, &mut life, &session).await?;
    app.settle().await?;
    life.secrets.extend(PASSWORDS.map(str::to_owned));
    assert_eq!(life.secrets.len(), 13 + PASSWORDS.len());

    let log = log.text();
    assert!(
        log.matches("http.status=200").count() > 20 && log.contains("request.id="),
        "the log was kept: {log:.2000}"
    );
    for word in life.secrets.iter().flat_map(|secret| forms(secret)) {
        assert!(!log.contains(&word), "{word} is in the log");
    }
    for word in ADDRESSES.iter().chain(&NAMES).chain(&["canary.none", "A word to"]) {
        let told = log.lines().find(|told| told.contains(word));
        assert_eq!(told, None, "{word} is in the log");
    }
    for refusal in &life.refusals {
        for word in life.secrets.iter().map(String::as_str).chain(ADDRESSES).chain(NAMES) {
            assert!(!refusal.contains(word), "{word} is in {refusal}");
        }
    }
    for (table, rows) in dump(&app).await? {
        for word in life.secrets.iter().flat_map(|secret| forms(secret)) {
            assert!(!rows.contains(&word), "{word} is in {table}");
        }
        // Where persons may stand: their own rows, and the erasable parts of events.
        let personal = ["app_user", "email_change", "member", "invitation", "sign_up", "event_personal", "upload"];
        if !personal.contains(&table.as_str()) {
            for word in ADDRESSES.iter().chain(&NAMES).chain(&["A word to"]) {
                assert!(!rows.contains(word), "{word} is in {table}");
            }
        }
    }
    app.finish().await
}

#[tokio::test]
async fn a_job_holds_ids_and_nothing_else() -> Result<()> {
    let app = App::start().await?;
    let mut life = Life::default();
    let session = found(&app, &mut life).await?;
    invite(&app, &mut life, &session).await?;
    let session = change_passwords(&app, &mut life, &session).await?;
    change_address(&app, &mut life, &session).await?;
    app.settle().await?;
    let jobs: Vec<(String, Value, String)> =
        sqlx::query_as("SELECT kind, payload, dedupe_key FROM outbox").fetch_all(&app.db.pool).await?;
    let kinds: std::collections::BTreeSet<&str> = jobs.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
    let is_id = |text: &str| {
        let hex = text.get(4..).unwrap_or_default();
        text.as_bytes().get(3) == Some(&b'_') && hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
    for (kind, payload, dedupe) in &jobs {
        for (name, value) in payload.as_object().unwrap() {
            let plain = value.as_i64().is_some() || value.as_str().is_some_and(|text| is_id(text) || is_time(text));
            assert!(plain, "{kind}: {name} is {value}");
        }
        let (id, rest) = dedupe.split_once(':').unwrap_or((dedupe, "0"));
        assert!(is_id(id) && rest.bytes().all(|byte| byte.is_ascii_digit()), "{kind}: {dedupe}");
    }
    app.finish().await
}
