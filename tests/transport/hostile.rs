//! Documents that were made to cost much. What each costs is printed, not asserted: `cargo nextest run … --no-capture`.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::introspection::types;
use crate::support::statements::Statements;

/// Nanoseconds this thread has run: server and client, since the test's runtime has no other thread.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn repeat(part: &str, times: usize) -> String {
    part.repeat(times)
}

/// Fragments that each spread the one before twice.
fn bomb(levels: usize) -> String {
    let bombs: Vec<String> =
        (1..levels).map(|n| format!("fragment f{n} on Query {{ ...f{0} ...f{0} }}", n - 1)).collect();
    format!("{{ ...f{} }} fragment f0 on Query {{ viewer {{ permissions }} }} {}", levels - 1, bombs.join(" "))
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(" ")
}

/// Name, document, variables.
fn cases() -> Vec<(&'static str, String, Value)> {
    let none = || Value::Null;
    let members = "members(first: 100) { nodes { id email roles { name } licenses { reserved } } }";
    let rows = "rows(first: 100) { nodes { row action member { email } errors { code } } }";
    vec![
        ("fragment bomb, 30 levels", bomb(30), none()),
        ("fragment bomb, 300 levels", bomb(300), none()),
        ("fragments in a circle", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }".into(), none()),
        (
            "fragment bomb with fields",
            format!(
                "{{ ...f9 }} fragment f0 on Query {{ account {{ {members} }} }} {}",
                many(9, |n| format!("fragment f{} on Query {{ {} }}", n + 1, repeat(&format!("...f{n} "), 10)))
            ),
            none(),
        ),
        ("500 aliases", format!("{{ {} }}", many(500, |n| format!("a{n}: account {{ id }}"))), none()),
        ("100,000 aliases", format!("{{ {} }}", many(100_000, |n| format!("a{n}: viewer {{ permissions }}"))), none()),
        ("5,000 levels", format!("{}a{}", repeat("{a", 5_000), repeat("}", 5_000)), none()),
        ("40 levels", format!("{}a{}", repeat("{viewer", 40), repeat("}", 40)), none()),
        ("7,000 brackets", format!("{{ nodes(ids: {}{}) {{ id }} }}", repeat("[", 7_000), repeat("]", 7_000)), none()),
        ("900 directives", format!("{{ viewer {} {{ permissions }} }}", repeat("@skip(if: false) ", 900)), none()),
        ("1,000 unknown directives", format!("{{ viewer {} {{ permissions }} }}", repeat("@a ", 1_000)), none()),
        ("170 pages in one account", format!("{{ account {{ {} }} }}", repeat(members, 170)), none()),
        (
            "300 pages of ids",
            format!("{{ account {{ {} }} }}", repeat("members(first: 100) { nodes { id } } ", 300)),
            none(),
        ),
        ("20 pages in one account", format!("{{ account {{ {} }} }}", repeat(members, 20)), none()),
        ("pages of pages", format!("{{ account {{ memberImports(first: 100) {{ nodes {{ {rows} }} }} }} }}"), none()),
        ("10,000 ids", "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }".into(), json!({ "ids": vec!["x"; 10_000] })),
        (
            "100 ids in a document, 80 times",
            format!("{{ {} }}", repeat(&format!("nodes(ids: [{}]) {{ id }} ", repeat("\"\" ", 20)), 80)),
            none(),
        ),
        (
            "introspection of introspection",
            format!("{{ __schema {{ types {}{{ name }}{} }} }}", repeat("{ fields { type ", 20), repeat("} }", 20)),
            none(),
        ),
        ("1,000 operations", many(1_000, |n| format!("query q{n} {{ viewer {{ permissions }} }}")), none()),
        (
            "900 variables",
            format!("query ({}) {{ viewer {{ permissions }} }}", many(900, |n| format!("$v{n}: Int"))),
            none(),
        ),
        ("a batch", String::new(), none()),
        ("a string that does not end", format!("{{ viewer(a: \"{}", repeat("\\u0041", 2_000)), none()),
        (
            "a mutation 200 times",
            format!("mutation {{ {} }}", repeat("accountRename(input: { name: \"x\" }) { account { id } } ", 200)),
            none(),
        ),
    ]
}

/// Statements that any document may run.
const STATEMENTS: usize = 120;

/// Milliseconds of processor time that any document may take until it is refused. Without optimisation everything takes many times
/// as long.
const CPU: u64 = if cfg!(debug_assertions) { 500 } else { 50 };

/// Sends a case as the owner of an account, prints what it cost, and says what is wrong with the answer.
async fn fault(app: &App, token: &str, statements: &Statements, case: (&str, String, Value)) -> Result<Option<String>> {
    let (name, document, variables) = case;
    let mut body = json!({ "query": document, "variables": variables });
    if name == "a batch" {
        body = Value::Array(vec![json!({ "query": "{ viewer { permissions } }" }); 1_000]);
    }
    let bytes = serde_json::to_vec(&body)?;
    statements.take();
    let (length, started, before) = (bytes.len(), Instant::now(), cpu());
    let request = app.http.post(format!("{}/graphql", app.url)).bearer_auth(token);
    let response = request.header("content-type", "application/json").body(bytes).send().await?;
    let status = response.status().as_u16();
    let answer: Value = response.json().await?;
    let (wall, spent, ran) = (started.elapsed().as_millis(), (cpu() - before) / 1_000_000, statements.take().len());
    let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none");
    eprintln!(
        "{name:<34} {length:>8} bytes  {status} {code:<26} cpu {spent:>4} ms  wall {wall:>4} ms  {ran} statements"
    );
    let refused = ["COST_LIMIT_EXCEEDED", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT"];
    let nothing_ran = refused.contains(&code) && answer["data"].is_null() && ran <= 1;
    let cheap = spent <= CPU;
    Ok((!nothing_ran || !cheap).then(|| format!("{name}: {ran} statements, {spent} ms, {answer:.300}")))
}

#[tokio::test]
async fn every_hostile_document_ends_with_a_code_and_runs_nothing() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    app.settle().await?;
    let statements = Statements::listen();
    let mut faults = Vec::new();
    for case in cases() {
        faults.extend(fault(&app, &owner.token, &statements, case).await?);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    app.finish().await
}

/// The most that passes the guards stays within what a request may cost the database.
#[tokio::test]
async fn no_document_asks_the_database_hundreds_of_times() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    app.settle().await?;
    let statements = Statements::listen();
    let types = types().await;
    let mut most = 0;
    let (nobody, account) = (format!("mem_{}", uuid::Uuid::now_v7().simple()), &owner.account_id);
    let one = |field: &str| match field {
        "node" | "memberImport" | "job" => format!("{field}(id: \"{nobody}\") {{ id }} "),
        "nodes" => format!("nodes(ids: [\"{nobody}\", \"{account}\"]) {{ id }} "),
        "invitationByToken" => "invitationByToken(token: \"x\") { invitation { email } } ".to_owned(),
        other => format!("{other} {{ __typename }} "),
    };
    let scalar = |kind: &str| types.get(kind).is_none_or(|kind| kind.fields().is_empty());
    for (of, open, close) in
        [("Query", "{ ", "}"), ("Viewer", "{ viewer { ", "} }"), ("Account", "{ account { ", "} }")]
    {
        for field in types[of].fields() {
            let text = if scalar(field.kind.name()) { format!("{} ", field.name) } else { one(&field.name) };
            for times in [50, 90, 150, 300] {
                statements.take();
                let document = format!("{open}{}{close}", text.repeat(times));
                let answer = app.graphql(Some(&owner.token), &document, Value::Null).await?;
                let ran = statements.take().len();
                assert!(ran <= STATEMENTS, "{of}.{} {times} times: {ran} statements, {:.300}", field.name, answer.body);
                most = most.max(ran);
            }
        }
    }
    eprintln!("at most {most} statements");
    assert!(most > 40, "the walk has lost its way: {most}");
    app.finish().await
}

/// U+0000 is no character of any text; a text that holds it is the sender's fault wherever it is looked up.
#[tokio::test]
async fn a_text_with_a_nul_is_told_to_its_sender() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    for (mutation, input) in [
        ("trialOptOut", json!({ "productId": "a\u{0}b" })),
        ("trialStart", json!({ "productId": "a\u{0}b", "quantity": 1 })),
        ("licenseAllocate", json!({ "productId": "a\u{0}b", "memberIds": [owner.member_id] })),
        ("licenseQuoteCreate", json!({ "change": "ADD", "productId": "a\u{0}b", "quantity": 1 })),
    ] {
        let document =
            format!("mutation ($input: {}Input!) {{ {mutation}(input: $input) {{ __typename }} }}", capital(mutation));
        let answer = app.graphql(Some(&owner.token), &document, json!({ "input": input })).await?;
        assert!(answer.errors().iter().all(|code| code == "BAD_USER_INPUT"), "{mutation}: {}", answer.body);
    }
    let document = "query ($id: String!) { account { members(filter: { productId: $id }) { nodes { id } } } }";
    let answer = app.graphql(Some(&owner.token), document, json!({ "id": "a\u{0}b" })).await?;
    assert_eq!(answer.errors(), ["BAD_USER_INPUT"], "{}", answer.body);
    app.finish().await
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}
