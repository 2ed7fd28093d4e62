//! Text that wants to be more than text: refused by the name of its field, or kept and shown as what it is.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{App, Options, PASSWORD, Person};
use crate::support::log::Log;

/// Acts on what stands around it: refused everywhere.
const DISTURBING: &[&str] = &[
    "A\r\nBcc: eve@evil.example",
    "A\nB",
    "A\rB",
    "A\u{0}B",
    "A\u{1b}[31mB",
    "A\u{7f}B",
    "A\u{85}B",
    "A\u{2028}B",
    "A\u{2029}B",
    "A\u{202e}B",
    "A\u{202a}B",
    "A\u{2066}B\u{2069}",
    "A\u{2067}B",
    "A\u{9b}31mB",
];
/// Nothing that anybody could see.
const INVISIBLE: &[&str] = &["\u{200b}", "\u{200b}\u{200d}\u{feff}", "\u{3164}", "\u{2060}\u{ad}", "\u{e0041}"];
/// Strange, and somebody's.
const KEPT: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "=HYPERLINK(\"http://evil.example\")",
    "+1",
    "@SUM(A1)",
    "-1",
    "{{ 31337*31337 }}",
    "{% raw %}",
    "${31337*31337}",
    "%0d%0aX: y",
    "&lt;b&gt;",
    "=?utf-8?q?x?=",
    "'; DROP TABLE member --",
    "\\r\\n",
    "O\u{2019}Neil",
    "\u{5d3}\u{5d5}\u{5d3}\u{200f}",
    "\u{645}\u{6cc}\u{200c}\u{62e}",
    "Z\u{337}\u{321}a\u{334}l\u{335}g\u{336}o\u{337}",
    "👩‍👩‍👧‍👦",
    "null",
    "NaN",
];

/// Where a person types a line of text: the mutation, the field it is refused by, and how long it may be.
struct Line {
    mutation: &'static str,
    field: &'static [&'static str],
    most: usize,
    input: fn(&str) -> Value,
}

fn invitation(part: &str, text: &str) -> Value {
    let mut item = json!({ "email": format!("p{}@work.example", uuid::Uuid::new_v4().simple()), "roleIds": [SystemRole::Standard.id().to_string()] });
    item[part] = json!(text);
    json!({ "invitations": [item] })
}

fn sign_up(part: &str, text: &str) -> Value {
    let email = format!("p{}@new.example", uuid::Uuid::new_v4().simple());
    let mut input =
        json!({ "accountName": "A", "firstName": "B", "lastName": "C", "email": email, "password": PASSWORD });
    input[part] = json!(text);
    input
}

const LINES: &[Line] = &[
    Line { mutation: "accountRename", field: &["input", "name"], most: 100, input: |text| json!({ "name": text }) },
    Line { mutation: "accountCreate", field: &["input", "name"], most: 100, input: |text| json!({ "name": text }) },
    Line {
        mutation: "uploadCreate",
        field: &["input", "fileName"],
        most: 255,
        input: |text| json!({ "fileName": text }),
    },
    Line {
        mutation: "signUp",
        field: &["input", "accountName"],
        most: 100,
        input: |text| sign_up("accountName", text),
    },
    Line { mutation: "signUp", field: &["input", "firstName"], most: 100, input: |text| sign_up("firstName", text) },
    Line { mutation: "signUp", field: &["input", "lastName"], most: 100, input: |text| sign_up("lastName", text) },
    Line {
        mutation: "memberInvite",
        field: &["input", "invitations", "0", "firstName"],
        most: 100,
        input: |text| invitation("firstName", text),
    },
    Line {
        mutation: "memberInvite",
        field: &["input", "invitations", "0", "lastName"],
        most: 100,
        input: |text| invitation("lastName", text),
    },
];

impl Line {
    /// The code by which a text is refused, if it is.
    async fn try_it(&self, app: &App, owner: &Person, text: &str) -> Result<Option<String>> {
        let token = (self.mutation != "signUp").then_some(owner.token.as_str());
        let answer = app.mutate(token, self.mutation, (self.input)(text), "__typename").await?;
        let errors = answer.user_errors();
        assert!(errors.len() <= 1, "{} {text:?}: {}", self.mutation, answer.body);
        Ok(errors.first().map(|error| {
            assert_eq!(error["field"], json!(self.field), "{} {text:?}", self.mutation);
            error["code"].as_str().unwrap().to_owned()
        }))
    }
}

async fn unlimited() -> Result<(App, Person)> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", 1_000).await?;
    Ok((app, owner))
}

#[tokio::test]
async fn a_line_is_refused_by_its_field_or_kept_as_it_is() -> Result<()> {
    let (app, owner) = unlimited().await?;
    for line in LINES {
        let mut refused: Vec<(String, &str)> =
            DISTURBING.iter().map(|text| ((*text).to_owned(), "INVALID_CHARACTERS")).collect();
        refused.extend(INVISIBLE.iter().map(|text| ((*text).to_owned(), "INVALID_CHARACTERS")));
        refused.push(("x".repeat(5_000), "TOO_LONG"));
        refused.push(("x".repeat(line.most + 1), "TOO_LONG"));
        // One letter, for the eye.
        refused.push((format!("x{}", "\u{334}".repeat(5_000)), "TOO_LONG"));
        for (text, code) in &refused {
            assert_eq!(line.try_it(&app, &owner, text).await?.as_deref(), Some(*code), "{} {text:.40?}", line.mutation);
        }
        for text in KEPT {
            assert_eq!(line.try_it(&app, &owner, text).await?, None, "{} {text:?}", line.mutation);
        }
        assert_eq!(line.try_it(&app, &owner, &"é".repeat(line.most)).await?, None);
        // As many letters, in twice as many characters.
        assert_eq!(line.try_it(&app, &owner, &"e\u{301}".repeat(line.most)).await?, None);
    }
    app.finish().await
}

/// A `\u0000` or half a character in JSON, in a document, and bytes that are no text.
#[tokio::test]
async fn what_is_no_text_at_all_is_the_clients_fault() -> Result<()> {
    let (app, owner) = unlimited().await?;
    let mutation = "mutation ($input: AccountRenameInput!) { accountRename(input: $input) { account { name } userErrors { code field } } }";
    let rename =
        |value: &str| format!("{{\"query\":{},\"variables\":{{\"input\":{{\"name\":\"{value}\"}}}}}}", json!(mutation));
    let literal = |value: &str| {
        json!({ "query": format!("mutation {{ accountRename(input: {{ name: \"{value}\" }}) {{ userErrors {{ code }} }} }}") }).to_string()
    };
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for half in ["\\ud800", "A\\udfffB", "\\udc00\\ud800", "\\ud83dA"] {
        bodies.extend([rename(half).into_bytes(), literal(half).into_bytes()]);
    }
    for bytes in [&b"\xff\xfe"[..], b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"A\xc3"] {
        let mut body = rename("#").into_bytes();
        let at = body.iter().rposition(|byte| *byte == b'#').expect("a place");
        body.splice(at..=at, bytes.iter().copied());
        bodies.push(body);
    }
    bodies.extend([
        b"".to_vec(),
        b"\0".to_vec(),
        b"{".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        vec![b'['; 50_000],
        b"\"\\u".to_vec(),
    ]);
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let request = app.http.post(format!("{}/graphql", app.url)).bearer_auth(&owner.token);
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let (status, answer): (u16, Value) = (response.status().as_u16(), response.json().await?);
        let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none");
        assert!([200, 400].contains(&status), "{status} {shown}");
        let refused = ["BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"];
        assert!(refused.contains(&code) && answer["data"].is_null(), "{shown}: {answer}");
    }
    let named = app.graphql(Some(&owner.token), "{ viewer { account { name } } }", Value::Null).await?;
    assert_eq!(named.text("/viewer/account/name"), "Harbor & Finch");
    let name = format!("{{\"input\":{{\"name\":{}}}}}", "\"A\\u0000B\"");
    let refused = app.graphql(Some(&owner.token), mutation, serde_json::from_str(&name)?).await?;
    assert_eq!(refused.codes(), ["INVALID_CHARACTERS"]);
    app.finish().await
}

/// Everything a stranger can have logged, at the finest level of the product's own lines.
#[tokio::test]
async fn a_line_of_the_log_stays_a_line() -> Result<()> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(log.clone())
        .with_env_filter("info,api=trace,domain=trace,worker=trace")
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (app, owner) = unlimited().await?;
    for text in DISTURBING.iter().chain(KEPT) {
        app.mutate(Some(&owner.token), "accountRename", json!({ "name": text }), "__typename").await?;
        app.invite(&owner, text, &[SystemRole::Standard]).await?;
        app.mutate(None, "sessionCreate", json!({ "email": text, "password": text }), "token").await?;
        let body = json!({ "query": "{ viewer { permissions } }", "operationName": text });
        app.http.post(format!("{}/graphql", app.url)).json(&body).send().await?;
        app.http.post(format!("{}/graphql", app.url)).body((*text).to_owned()).send().await?;
        let path = text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        for place in ["uploads", "invitation", "sign-up", "pages", "graphql"] {
            app.http.put(format!("{}/{place}/{path}", app.url)).body("x").send().await?;
            app.http.get(format!("{}/{place}/{path}?query={path}", app.url)).send().await?;
        }
        if let Ok(value) = reqwest::header::HeaderValue::from_bytes(text.as_bytes()) {
            let request = app.http.get(format!("{}/graphql?query=%7Bviewer%7Bpermissions%7D%7D", app.url));
            let request = request.header("x-request-id", value.clone()).header("user-agent", value.clone());
            let request = request.header("x-forwarded-for", value.clone()).header("traceparent", value.clone());
            request.header("authorization", value).send().await?;
        }
    }
    app.settle().await?;
    let text = log.text();
    assert!(text.lines().count() > 100);
    for line in text.lines() {
        let read: Value = serde_json::from_str(line)?;
        assert!(read["timestamp"].is_string() && !line.contains("evil.example"), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    app.finish().await
}

#[tokio::test]
async fn what_was_kept_is_shown_as_text_in_pages_and_mails() -> Result<()> {
    let (app, owner) = unlimited().await?;
    for (number, text) in KEPT.iter().enumerate() {
        assert!(
            app.mutate(Some(&owner.token), "accountRename", json!({ "name": text }), "__typename")
                .await?
                .codes()
                .is_empty()
        );
        let email = format!("p{number}@work.example");
        let item = json!({ "email": email, "firstName": text, "lastName": text, "message": format!("{text}\n{text}"),
                           "roleIds": [SystemRole::Standard.id().to_string()] });
        let invited =
            app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": [item] }), "__typename").await?;
        assert!(invited.codes().is_empty(), "{}", invited.body);
        let letter = app.letter(&email).await?;
        assert_eq!(letter.to, email);
        // What some readers would take for an encoded word is parted, and a header has no marks of direction.
        let shown = text.replace("=?", "= ?").replace('\u{200f}', "");
        assert!(letter.subject.contains(&shown), "{:?} of {text:?}", letter.subject);
        let page = app.http.get(format!("{}/invitation/{}", app.url, letter.token())).send().await?;
        assert_eq!(page.status(), 200);
        let page = page.text().await?;
        for shown in [&page, &letter.html] {
            assert!(
                !shown.contains("<script") && !shown.contains("<img src=x") && !shown.contains("982007569"),
                "{text:?}: {shown}"
            );
        }
        // A name that is someone's comes back as it was typed.
        let look = "query ($token: String!) { invitationByToken(token: $token) { invitation { accountName firstName } userErrors { code } } }";
        let seen = app.graphql(None, look, json!({ "token": letter.token() })).await?;
        assert_eq!(seen.text("/invitationByToken/invitation/firstName"), *text);
        assert_eq!(seen.text("/invitationByToken/invitation/accountName"), *text);
    }
    app.finish().await
}
