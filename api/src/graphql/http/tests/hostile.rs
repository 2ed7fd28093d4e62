//! Documents and variables made to cost much: each ends with a code, and no resolver runs.

use super::toy::toy;
use super::*;

/// Length of the longest document that is read at all.
const FULL: usize = 16 * 1024;

const COST: &str = "COST_LIMIT_EXCEEDED";
const INPUT: &str = "BAD_USER_INPUT";
const PARSE: &str = "GRAPHQL_PARSE_FAILED";
const VALIDATION: &str = "GRAPHQL_VALIDATION_FAILED";

/// Name, expected code, document.
pub(super) type Hostile = (&'static str, &'static str, String);

/// As many `item`s between `start` and `end` as a document may have.
fn fill(start: &str, item: &str, end: &str) -> String {
    format!("{start}{}{end}", item.repeat((FULL - start.len() - end.len()) / item.len()))
}

fn numbered(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect()
}

pub(super) fn documents() -> Vec<Hostile> {
    [multiplying(), deep(), long(), broken()].concat()
}

fn multiplying() -> Vec<Hostile> {
    let next = |index: usize| format!("fragment f{index} on Query{{...f{0} ...f{0}}}", index + 1);
    let bomb = format!("{{...f0}}{}fragment f24 on Query{{hello}}", numbered(24, next));
    let fragments = numbered(540, |index| format!("fragment f{index} on Query{{me{{me}}}}"));
    let introspection = "types{fields{args{name}}} ".repeat(240);
    vec![
        ("fragment bomb", COST, bomb),
        ("fragments that nobody spreads", COST, format!("{{hello}}{fragments}")),
        ("operations", COST, numbered(600, |index| format!("query q{index}{{me{{x}}}}"))),
        ("introspection of itself", COST, format!("{{__schema{{{introspection}}}}}")),
    ]
}

fn deep() -> Vec<Hostile> {
    let within_parser = format!("{{hello {}hello{}}}", "me{".repeat(40), "}".repeat(40));
    let types = format!("{{__schema{{types{{{}name{}}}}}}}", "fields{type{".repeat(5), "}}".repeat(5));
    vec![
        ("deep selections", COST, fill("", "{me", "")),
        ("deep selections within the parser's own limit", COST, within_parser),
        ("deep lists", COST, fill("{sum(values:", "[", "")),
        ("deep objects", COST, fill("{filtered(filter:", "{a:", "")),
        ("deep type", COST, fill("query($a:", "[", "Int){hello}")),
        ("deep introspection", COST, types),
    ]
}

fn long() -> Vec<Hostile> {
    vec![
        ("100,000 aliases", COST, format!("{{{}}}", numbered(100_000, |index| format!("a{index}:hello ")))),
        ("aliases in a short document", COST, format!("{{{}}}", numbered(900, |index| format!("a{index}:hello ")))),
        ("directives on one field", COST, fill("{hello", "@a", "}")),
        ("directives on many fields", COST, fill("{", "hello@include(if:true) ", "}")),
        ("list", INPUT, fill("{hello(name:[", "1 ", "])}")),
        ("string", VALIDATION, fill("{unknown(name:\"", "x", "\")}")),
        ("block string", VALIDATION, fill("{unknown(name:\"\"\"", "x\n", "\"\"\")}")),
        ("name", VALIDATION, fill("{", "x", "}")),
        ("arguments", VALIDATION, fill("{hello(", "n:1 ", ")}")),
        ("unknown fields", VALIDATION, fill("{", "hellp xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ", "}")),
        ("variables", VALIDATION, fill("query(", "$a:Int ", "){hello}")),
    ]
}

fn broken() -> Vec<Hostile> {
    vec![
        ("open brace", PARSE, "{".into()),
        ("comments only", PARSE, fill("", "#\n", "")),
        ("white space only", PARSE, fill("", " ", "")),
        ("open at the end", PARSE, fill("{", "hello ", "")),
        ("string without an end", PARSE, fill("{hello(name:\"", "x", "")),
        ("control characters", PARSE, fill("{", "\u{1}", "}")),
    ]
}

#[tokio::test]
async fn every_hostile_document_ends_with_a_code() {
    for (name, code, query) in documents() {
        let toy = toy();
        let answer = post(&toy, &query).await;
        let codes = answer.codes();
        assert!(!codes.is_empty() && codes.len() <= 10, "{name}: {} errors", codes.len());
        assert!(codes.iter().all(|found| found == code), "{name}: {codes:?}, not {code}");
        assert!(answer.status.is_client_error(), "{name}: {}", answer.status);
        assert!(answer.text.len() < 12 * 1024, "{name}: an answer of {} bytes", answer.text.len());
        assert_eq!(toy.calls(), 0, "{name}");
    }
}

#[tokio::test]
async fn hostile_variables_end_with_a_code() {
    let toy = toy();
    let query = "query($v:[Int!]!){sum(values:$v)}";
    let many: Vec<u8> = vec![1; 30_000];
    let answer = post_with(&toy, query, serde_json::json!({ "v": many })).await;
    assert_eq!(answer.codes(), ["COST_LIMIT_EXCEEDED"]);
    assert_eq!(answer.json()["errors"][0]["extensions"]["limit"], "inputValues");

    let uses = format!("query($v:[Int!]!){{{}}}", "sum(values:$v) ".repeat(500));
    let some: Vec<u8> = vec![1; 1_000];
    assert_eq!(post_with(&toy, &uses, serde_json::json!({ "v": some })).await.codes(), ["COST_LIMIT_EXCEEDED"]);

    let deep = format!("{{\"query\":\"{{hello}}\",\"variables\":{{\"v\":{}", "[".repeat(90_000));
    let answer = send(&toy, request(Method::POST, "/graphql", &[JSON], &deep)).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::BAD_REQUEST, vec!["BAD_USER_INPUT".to_owned()]));

    let large = format!("{{\"query\":\"{{hello}}\",\"x\":\"{}\"}}", "x".repeat(100 * 1024));
    let answer = send(&toy, request(Method::POST, "/graphql", &[JSON], &large)).await;
    assert_eq!(
        (answer.status, answer.codes()),
        (StatusCode::PAYLOAD_TOO_LARGE, vec!["COST_LIMIT_EXCEEDED".to_owned()])
    );
    assert_eq!(toy.calls(), 0);
}
