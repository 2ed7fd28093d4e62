//! The host product by itself: service tokens, the account they name, what they may be used for.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use domain::service_token::{self, NewToken, Scope};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::{CAN_ACCESS, World, ask, token};
use crate::support::introspection::types;

const REGISTER: &str = "mutation ($input: ResourceRegisterInput!) { resourceRegister(input: $input) {
    resources { id viewerCanManage } userErrors { code field } } }";

fn matter(external: &str) -> Value {
    json!({ "resources": [{ "type": "matter", "externalId": external, "name": "Smith v. Jones", "openToAll": true }] })
}

#[tokio::test]
async fn it_registers_and_asks_in_the_account_it_names_and_events_say_so() -> Result<()> {
    let world = World::new().await?;
    let mut input = matter("7");
    input["idempotencyKey"] = json!("once");
    let made = world.ask(REGISTER, json!({ "input": input })).await?;
    let id = made.text("/resourceRegister/resources/0/id");
    assert_eq!(made.data("/resourceRegister/resources/0/viewerCanManage"), true);
    let again = world.ask(REGISTER, json!({ "input": input })).await?;
    assert_eq!(again.text("/resourceRegister/resources/0/id"), id);
    input["resources"][0]["name"] = json!("Other");
    let other = world.ask(REGISTER, json!({ "input": input })).await?;
    assert_eq!(other.codes(), ["IDEMPOTENCY_KEY_REUSED"]);
    let asked = json!({ "member": world.ann.member_id, "resources": [{ "type": "matter", "externalId": "7" }] });
    let access = world.ask(CAN_ACCESS, asked.clone()).await?;
    assert_eq!(access.data("/canAccess/0/ground"), "EVERYBODY");
    let read = "{ account { name resourcesCount resources { nodes { id } } } }";
    assert_eq!(world.ask(read, Value::Null).await?.data("/account/resourcesCount"), 1);

    let stranger = world.app.found("sven@elsewhere.example", 3).await?;
    let there = ask(&world.app, &world.token, Some(&stranger.account_id), CAN_ACCESS, asked).await?;
    assert_eq!(there.data("/canAccess/0/allowed"), false, "another account has neither this member nor this resource");
    let events =
        "{ accountEvents(kinds: [\"resource.registered\"]) { nodes { actor { kind memberId serviceTokenId } } } }";
    let events = world.app.graphql(Some(&world.owner.token), events, Value::Null).await?;
    let tokens = service_token::list(&mut *world.app.db.pool.acquire().await?, false).await?;
    let wanted =
        json!([{ "actor": { "kind": "HOST", "memberId": null, "serviceTokenId": tokens[0].service_token_id } }]);
    assert_eq!(events.data("/accountEvents/nodes"), &wanted);
    world.app.finish().await
}

#[tokio::test]
async fn it_names_the_account_with_each_request() -> Result<()> {
    let world = World::new().await?;
    let read = "{ account { name } }";
    let absent = format!("acc_{}", uuid::Uuid::now_v7().simple());
    for account in [None, Some("x"), Some(absent.as_str())] {
        let refused = ask(&world.app, &world.token, account, read, Value::Null).await?;
        assert_eq!((refused.status, refused.errors()), (400, vec!["BAD_USER_INPUT".to_owned()]), "{account:?}");
    }
    let invalid = ask(&world.app, "msvc.x", None, read, Value::Null).await?;
    assert_eq!(invalid.errors(), ["UNAUTHENTICATED"], "an invalid token learns nothing of accounts");
    world.app.finish().await
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_refused_on_the_next_request() -> Result<()> {
    let world = World::new().await?;
    let read = "{ account { name } }";
    let account = Some(world.owner.account_id.as_str());
    let now = world.app.db.now_on(&mut *world.app.db.pool.acquire().await?).await?;
    let expires_at = Some(now + SignedDuration::from_hours(1));
    let (short, secret) =
        service_token::create(&world.app.db, &NewToken { name: "short", scopes: &[Scope::Access], expires_at }).await?;
    let secret = secret.expose();
    assert!(ask(&world.app, &secret, account, read, Value::Null).await?.errors().is_empty());
    world.app.pass(SignedDuration::from_hours(2));
    assert_eq!(ask(&world.app, &secret, account, read, Value::Null).await?.errors(), ["UNAUTHENTICATED"]);
    assert!(world.ask(read, Value::Null).await?.errors().is_empty());
    let tokens = service_token::list(&mut *world.app.db.pool.acquire().await?, false).await?;
    let host = tokens.iter().find(|token| token.name == "host").context("the token")?.service_token_id;
    assert!(service_token::revoke(&world.app.db, host).await?);
    assert!(!service_token::revoke(&world.app.db, host).await?, "once");
    assert_eq!(world.ask(read, Value::Null).await?.errors(), ["UNAUTHENTICATED"]);
    assert!(service_token::revoke(&world.app.db, short).await?);
    assert_eq!(world.ask(REGISTER, json!({ "input": matter("7") })).await?.errors(), ["UNAUTHENTICATED"]);
    world.app.finish().await
}

#[tokio::test]
async fn a_scope_allows_what_it_says() -> Result<()> {
    let world = World::new().await?;
    let (app, account) = (&world.app, Some(world.owner.account_id.as_str()));
    let id = world.matter("7").await?;
    let access = token(app, "access", &[Scope::Access]).await?;
    let resources = token(app, "resources", &[Scope::Resources]).await?;
    let asked = json!({ "member": world.ann.member_id, "resources": [{ "id": id }] });
    assert!(ask(app, &access, account, CAN_ACCESS, asked.clone()).await?.errors().is_empty());
    assert_eq!(ask(app, &resources, account, CAN_ACCESS, asked).await?.errors(), ["FORBIDDEN"]);
    let list = "{ account { resources { nodes { id } } } }";
    assert_eq!(ask(app, &access, account, list, Value::Null).await?.errors(), ["FORBIDDEN"]);
    assert!(ask(app, &resources, account, list, Value::Null).await?.errors().is_empty());
    let register = json!({ "input": matter("8") });
    assert_eq!(ask(app, &access, account, REGISTER, register.clone()).await?.codes(), ["NOT_PERMITTED"]);
    assert!(ask(app, &resources, account, REGISTER, register).await?.codes().is_empty());
    let rate = "query ($m: ID!, $r: ID!) { effectiveRate(memberId: $m, resourceId: $r) { decidedBy } }";
    let of = json!({ "m": world.ann.member_id, "r": id });
    assert_eq!(ask(app, &access, account, rate, of.clone()).await?.errors(), ["FORBIDDEN"]);
    assert!(ask(app, &resources, account, rate, of).await?.errors().is_empty());
    world.app.finish().await
}

#[tokio::test]
async fn everything_else_is_forbidden_whatever_it_stands_in() -> Result<()> {
    let world = World::new().await?;
    let allowed: BTreeSet<&str> = api::graphql::host::FIELDS.into_iter().collect();
    let types = types().await;
    let mut tried = 0;
    for (root, word) in [("Query", "query"), ("Mutation", "mutation")] {
        for field in types[root].fields() {
            if allowed.contains(field.name.as_str()) {
                continue;
            }
            let refused = world.ask(&format!("{word} {{ {} }}", field.name), Value::Null).await?;
            assert_eq!((refused.status, refused.errors()), (403, vec!["FORBIDDEN".to_owned()]), "{}", field.name);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
    let known: BTreeSet<&str> =
        ["Query", "Mutation"].iter().flat_map(|root| types[*root].fields()).map(|field| field.name.as_str()).collect();
    assert!(allowed.is_subset(&known), "fields that are not there: {:?}", allowed.difference(&known));
    for hidden in [
        "{ account { name } viewer { permissions } }",
        "{ ...A } fragment A on Query { ... on Query { viewer { permissions } } }",
    ] {
        assert_eq!(world.ask(hidden, Value::Null).await?.errors(), ["FORBIDDEN"], "{hidden}");
    }
    let members = [
        "members { nodes { id } }",
        "groups { nodes { id } }",
        "invitationsCount",
        "licensePools { owned }",
        "memberImports { nodes { id } }",
        "roles { id }",
        "owner { id }",
    ];
    for below in members {
        let refused = world.ask(&format!("{{ account {{ {below} }} }}"), Value::Null).await?;
        assert_eq!(refused.errors(), ["FORBIDDEN"], "{below}");
    }
    world.app.finish().await
}

#[tokio::test]
async fn no_list_no_log_and_no_table_holds_a_token() -> Result<()> {
    let world = World::new().await?;
    let secret = world.token.split('.').nth(1).context("a secret")?.to_owned();
    let row = world.app.look("SELECT t FROM service_token t").await?.context("a row")?;
    assert!(!row.contains(&secret), "{row}");
    let listed = service_token::list(&mut *world.app.db.pool.acquire().await?, true).await?;
    assert!(!format!("{listed:?}").contains(&secret));
    assert!(world.token.starts_with(&listed[0].prefix) && listed[0].prefix.len() == 11, "{}", listed[0].prefix);
    world.app.finish().await
}

/// The example for host products, as it stands in the documentation.
#[tokio::test]
async fn the_middleware_of_the_documentation_lets_in_whom_it_should() -> Result<()> {
    let world = World::new().await?;
    let (open, closed) = ("open", "closed");
    world.ask(REGISTER, json!({ "input": matter(open) })).await?;
    world.matter(closed).await?;
    let node = std::env::var("MUSTER_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/host.mjs");
    let run = tokio::process::Command::new(node)
        .arg(script)
        .args([&world.app.url, &world.token, &world.owner.account_id, &world.ann.token])
        .output();
    let output = run.await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let wanted = [
        "no token 401",
        "a wrong token 401",
        "an open matter 200 ",
        "a closed matter 403",
        "an unknown matter 403",
        "without the permission 403",
        "again from the cache 200 0",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{said}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line:?} instead of {wanted:?}");
    }
    world.app.finish().await
}
