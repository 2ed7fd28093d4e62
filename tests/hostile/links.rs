//! Headers by which a client claims to be elsewhere than it is, or to have asked for something else.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::Raw;
use crate::support::app::{App, Options, PASSWORD, REQUEST_ID};

const EVIL: &str = "evil.example";

/// What a client, or a proxy that passes on whatever comes, may say.
const FORGED: &[(&str, &str)] = &[
    ("host", "evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-scheme", "https"),
    ("x-forwarded-port", "6666"),
    ("x-forwarded-for", "203.0.113.66"),
    ("x-forwarded-prefix", "/evil.example"),
    ("forwarded", "for=203.0.113.66;host=evil.example;proto=https"),
    ("x-host", "evil.example"),
    ("x-real-ip", "203.0.113.66"),
    ("x-original-host", "evil.example"),
    ("x-original-url", "/evil.example"),
    ("x-rewrite-url", "/evil.example"),
    ("x-http-method-override", "DELETE"),
    ("x-http-method", "DELETE"),
    ("x-method-override", "DELETE"),
    ("client-ip", "203.0.113.66"),
    ("true-client-ip", "203.0.113.66"),
    ("cf-connecting-ip", "203.0.113.66"),
    ("via", "1.1 evil.example"),
];

fn mutation(name: &str, fields: &str) -> String {
    let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    format!("mutation ($input: {kind}!) {{ {name}(input: $input) {{ {fields} userErrors {{ code }} }} }}")
}

#[tokio::test]
async fn links_begin_with_the_configured_url_whatever_a_client_claims() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    let bearer = format!("Bearer {}", owner.token);
    let signed_in = [FORGED, &[("authorization", bearer.as_str())]].concat();
    let sign_up = json!({ "accountName": "New", "firstName": "N", "lastName": "N", "email": "nora@new.example", "password": PASSWORD });
    let invite =
        json!({ "invitations": [{ "email": "ben@work.example", "roleIds": [SystemRole::Standard.id().to_string()] }] });
    let asked = [
        app.graphql_with(FORGED, &mutation("signUp", "accepted"), json!({ "input": sign_up })).await?,
        app.graphql_with(
            FORGED,
            &mutation("passwordResetRequest", "accepted"),
            json!({ "input": { "email": owner.email } }),
        )
        .await?,
        app.graphql_with(&signed_in, &mutation("memberInvite", "__typename"), json!({ "input": invite })).await?,
    ];
    for answer in &asked {
        assert!(
            answer.codes().is_empty() && !format!("{:?} {}", answer.headers, answer.body).contains(EVIL),
            "{answer:?}"
        );
    }
    let upload = json!({ "input": { "fileName": "a.csv" } });
    let upload = app.graphql_with(&signed_in, &mutation("uploadCreate", "upload { url }"), upload).await?;
    assert!(upload.text("/uploadCreate/upload/url").starts_with(&app.config.http.public_url), "{}", upload.body);
    for email in ["nora@new.example", owner.email.as_str(), "ben@work.example"] {
        let letter = app.letter(email).await?;
        for text in [&letter.text, &letter.html, &letter.subject, &letter.message_id] {
            assert!(!text.contains(EVIL) && !text.contains("203.0.113.66") && !text.contains(":6666"), "{text}");
        }
        let link = letter.text.split_whitespace().find(|word| word.contains("://")).unwrap_or_default();
        assert!(link.starts_with(&app.config.http.public_url), "{link}");
        let mut request = app.http.get(link);
        for (name, value) in FORGED {
            request = request.header(*name, *value);
        }
        let page = request.send().await?;
        assert_eq!(page.status(), 200, "{link}");
        assert_eq!(page.headers()["cache-control"], "no-store");
        let headers = format!("{:?}", page.headers());
        let text = headers + &page.text().await?;
        assert!(!text.contains(EVIL), "{text}");
    }
    app.finish().await
}

#[tokio::test]
async fn a_target_in_absolute_form_is_as_little_believed_as_a_header() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    let query = mutation("passwordResetRequest", "accepted");
    let body = json!({ "query": query, "variables": { "input": { "email": owner.email } } }).to_string();
    let mut raw = Raw::open(&app.url).await?;
    let head = format!(
        "POST http://evil.example/graphql HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    raw.send(head + &body).await?;
    let answer = raw.text().await?;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains(EVIL), "{answer}");
    let letter = app.letter(&owner.email).await?;
    assert!(letter.text.contains(&app.config.http.public_url) && !letter.text.contains(EVIL), "{}", letter.text);
    let mut raw = Raw::open(&app.url).await?;
    raw.send("GET //evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await?;
    let answer = raw.text().await?;
    assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("location"), "{answer}");
    app.finish().await
}

#[tokio::test]
async fn nobody_escapes_a_limit_by_claiming_another_address() -> Result<()> {
    let app = App::start().await?;
    app.found("olivia@harborandfinch.example", 5).await?;
    let query = mutation("sessionCreate", "token");
    for round in 0..10 {
        let address = format!("203.0.113.{round}");
        let forwarded = format!("for={address}");
        let headers = [
            ("x-forwarded-for", address.as_str()),
            ("x-real-ip", &address),
            ("forwarded", &forwarded),
            ("client-ip", &address),
        ];
        let input = json!({ "input": { "email": "olivia@harborandfinch.example", "password": "wrong" } });
        assert_eq!(app.graphql_with(&headers, &query, input).await?.codes(), ["CREDENTIALS_INVALID"]);
    }
    let input = json!({ "input": { "email": "olivia@harborandfinch.example", "password": PASSWORD } });
    let locked = app.graphql_with(&[("x-forwarded-for", "203.0.113.200")], &query, input).await?;
    assert_eq!(locked.codes(), ["RATE_LIMITED"], "{}", locked.body);
    app.finish().await
}

/// Nothing that one client says about itself can be handed to another by a cache on the way.
#[tokio::test]
async fn answers_are_the_same_whatever_is_claimed_and_are_kept_by_nobody() -> Result<()> {
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    for path in ["/", "/livez", "/graphiql", "/pages/style.css", "/graphql/schema.graphql", "/invitation/x", "/nowhere"]
    {
        let url = format!("{}{path}", app.url);
        let (mut plain, mut forged) = (app.http.get(&url), app.http.get(&url));
        plain = plain.header("x-request-id", REQUEST_ID);
        forged = forged.header("x-request-id", REQUEST_ID);
        for (name, value) in FORGED {
            forged = forged.header(*name, *value);
        }
        let (plain, forged) = (plain.send().await?, forged.send().await?);
        let (mut left, mut right) = (plain.headers().clone(), forged.headers().clone());
        left.remove("date");
        right.remove("date");
        assert_eq!((plain.status(), left), (forged.status(), right), "{path}");
        assert_eq!(plain.text().await?, forged.text().await?, "{path}");
    }
    let query = json!({ "query": "{ viewer { permissions } }" });
    let answer = app.http.post(format!("{}/graphql", app.url)).json(&query).send().await?;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    // A method is what the request line says.
    let request = app.http.get(format!(
        "{}/graphql?query=mutation%7BaccountRename(input:%7Bname:%22X%22%7D)%7BuserErrors%7Bcode%7D%7D%7D",
        app.url
    ));
    let refused = request.header("x-http-method-override", "POST").send().await?;
    assert_eq!(refused.status(), 405);
    let _: Value = refused.json().await?;
    app.finish().await
}
