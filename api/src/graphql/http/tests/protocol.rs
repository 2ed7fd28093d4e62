//! Methods, media types, statuses and errors.

use super::toy::toy;
use super::*;

#[tokio::test]
async fn a_query_runs_by_post_and_by_get() {
    let toy = toy();
    let answer = post_with(&toy, "query Q($n:String){hello(name:$n)}", serde_json::json!({ "n": "you" })).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, r#"{"data":{"hello":"hello you"}}"#));
    let answer = get(&toy, "{hello}", &[]).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, r#"{"data":{"hello":"hello "}}"#));
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("x-request-id"), "req-1");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("vary"), "Origin, Accept");
}

#[tokio::test]
async fn a_mutation_runs_by_post_only_and_its_cookies_get_through() {
    let toy = toy();
    let answer = get(&toy, "mutation {increment}", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    assert_eq!(toy.calls(), 0);
    let answer = post(&toy, "mutation {increment}").await;
    assert_eq!(answer.json()["data"]["increment"], 1);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; HttpOnly", "b=2; HttpOnly"]);
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    for method in [Method::PUT, Method::DELETE, Method::HEAD, Method::PATCH] {
        let answer = send(&toy(), request(method, "/graphql", &[JSON], &body("{hello}"))).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, POST, OPTIONS"));
    }
}

#[tokio::test]
async fn the_status_of_a_bad_document_depends_on_the_media_type() {
    let toy = toy();
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{nothing}", "GRAPHQL_VALIDATION_FAILED"),
        ("{hello(name:1)}", "BAD_USER_INPUT"),
        ("query($n:String!){hello(name:$n)}", "BAD_USER_INPUT"),
        ("query a{hello} query b{hello}", "BAD_USER_INPUT"),
        ("query($v:[Nothing]=[1]){sum(values:$v)}", "GRAPHQL_VALIDATION_FAILED"),
        ("{...f} fragment f on Query{...f}", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation{increment increment}", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let answer = post(&toy, query).await;
        assert_eq!((answer.status, answer.codes()), (StatusCode::BAD_REQUEST, vec![code.to_owned()]), "{query}");
        assert!(answer.json().get("data").is_none(), "{query}");
        let answer = send(&toy, request(Method::POST, "/graphql", &[JSON], &body(query))).await;
        assert_eq!((answer.status, answer.codes()), (StatusCode::OK, vec![code.to_owned()]), "{query}");
    }
    let refused =
        send(&toy, request(Method::POST, "/graphql", &[JSON, ("accept", "text/html")], &body("{hello}"))).await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(toy.calls(), 0);
}

#[tokio::test]
async fn values_of_a_wrong_form_are_the_clients_fault() {
    let toy = toy();
    for (query, variables) in [
        ("query($v:[Int!]!){sum(values:$v)}", serde_json::json!({ "v": ["a"] })),
        ("query($v:[Int!]!){sum(values:$v)}", serde_json::json!({ "v": 4_000_000_000_u64 })),
        ("query($f:Filter!){filtered(filter:$f)}", serde_json::json!({ "f": { "color": "GREEN", "first": 1 } })),
        ("query($f:Filter!){filtered(filter:$f)}", serde_json::json!({ "f": { "first": 0 } })),
        ("query($f:Filter!){filtered(filter:$f)}", serde_json::json!({ "f": {} })),
        ("query($f:Filter!){filtered(filter:$f)}", serde_json::json!({ "f": "x" })),
        ("query($f:Filter!){filtered(filter:$f)}", serde_json::json!({ "f": { "first": 1, "nothing": 1 } })),
    ] {
        let answer = post_with(&toy, query, variables.clone()).await;
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"], "{variables}: {}", answer.text);
    }
}

#[tokio::test]
async fn nothing_internal_leaks() {
    let toy = toy();
    let answer = post(&toy, "{broken hello}").await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::OK, vec!["INTERNAL_SERVER_ERROR".to_owned()]));
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    assert_eq!(answer.json()["data"]["hello"], "hello ");
    let answer = post(&toy, "{forbidden}").await;
    assert_eq!(answer.codes(), ["FORBIDDEN"]);
    assert_eq!(answer.json()["errors"][0]["message"], "You need members.read.");
    assert_eq!(answer.json()["data"]["forbidden"], Json::Null);
    let answer = post(&toy, "{panics}").await;
    assert_eq!(
        (answer.status, answer.codes()),
        (StatusCode::INTERNAL_SERVER_ERROR, vec!["INTERNAL_SERVER_ERROR".to_owned()])
    );
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
}

#[tokio::test]
async fn a_handler_learns_the_operation_and_may_refuse_it() {
    let toy = toy();
    let query = "query Read{hello} mutation Write{increment}";
    let body = serde_json::json!({ "query": query, "operationName": "Write" }).to_string();
    let (head, _) = request(Method::POST, "/graphql", &[JSON, STRICT], "").into_parts();
    let prepared = toy.endpoint.prepare(&head, &body.into(), "req-1").unwrap();
    assert!(prepared.operation().is_mutation());
    assert_eq!(prepared.operation().name(), Some("Write"));
    let answer = Answer::read(toy.endpoint.refuse(&prepared, ErrorCode::Unauthenticated, "Sign in.")).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::UNAUTHORIZED, vec!["UNAUTHENTICATED".to_owned()]));
    // By GET, the query of the same document may run.
    let uri = "/graphql?query=query+Read%7Bhello%7D+mutation+Write%7Bincrement%7D&operationName=Read";
    assert_eq!(send(&toy, request(Method::GET, uri, &[], "")).await.json()["data"]["hello"], "hello ");
    assert_eq!(toy.calls(), 1);
}
