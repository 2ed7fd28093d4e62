use super::toy::{Toy, limits, toy};
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
async fn nothing_runs_for_pages_of_other_sites() {
    let toy = toy();
    let json = body("mutation{increment}");
    let foreign = ("origin", "https://evil.example");
    for (content_type, text) in [
        ("application/json", json.as_str()),
        ("text/plain", &json),
        ("application/x-www-form-urlencoded", "query=mutation%7Bincrement%7D"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\ncontent-disposition: form-data; name=operations\r\n\r\n{}\r\n--x--",
        ),
    ] {
        let answer =
            send(&toy, request(Method::POST, "/graphql", &[("content-type", content_type), foreign], text)).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (StatusCode::FORBIDDEN, vec!["FORBIDDEN".to_owned()]),
            "{content_type}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for headers in
        [&[foreign][..], &[("sec-fetch-site", "cross-site")], &[("sec-fetch-site", "same-site")], &[("origin", "null")]]
    {
        assert_eq!(get(&toy, "{hello}", headers).await.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let preflight = request(Method::OPTIONS, "/graphql", &[foreign, ("access-control-request-method", "POST")], "");
    let answer = send(&toy, preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::FORBIDDEN, ""));
    assert_eq!(toy.calls(), 0);
}

#[tokio::test]
async fn bodies_that_need_no_preflight_are_not_read() {
    let toy = toy();
    let json = body("mutation{increment}");
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=utf-16",
    ];
    for content_type in types {
        let answer = send(&toy, request(Method::POST, "/graphql", &[("content-type", content_type)], &json)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let answer = send(&toy, request(Method::POST, "/graphql", &[], &json)).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let batch = format!("[{json}]");
    let answer = send(&toy, request(Method::POST, "/graphql", &[JSON], &batch)).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::BAD_REQUEST, vec!["BAD_USER_INPUT".to_owned()]));
    assert_eq!(toy.calls(), 0);
}

#[tokio::test]
async fn allowed_origins_pass_with_their_own_name() {
    let toy = toy();
    for origin in ["https://app.example.com", "https://muster.example.com"] {
        let from = ("origin", origin);
        let preflight =
            send(&toy, request(Method::OPTIONS, "/graphql", &[from, ("access-control-request-method", "POST")], ""))
                .await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert_eq!(preflight.header("access-control-allow-headers"), "authorization, content-type, x-muster-csrf");
        let answer = send(&toy, request(Method::POST, "/graphql", &[JSON, from], &body("{hello}"))).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::OK, origin));
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("vary").contains("Origin"));
    }
    let direct = post(&toy, "{hello}").await;
    assert_eq!(direct.header("access-control-allow-origin"), "");
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
async fn a_request_ends_when_its_time_is_over() {
    let (toy, mut events) = Toy::new(&config::Limits { request_seconds: 0, ..limits() });
    let answer = post(&toy, "{waits}").await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::GATEWAY_TIMEOUT, vec!["TIMEOUT".to_owned()]));
    assert_eq!((events.recv().await, events.recv().await), (Some("query entered"), Some("query dropped")));
    assert_eq!(post(&toy, "mutation{waits}").await.codes(), ["TIMEOUT"]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_query_but_not_its_mutation() {
    let (toy, mut events) = Toy::new(&limits());
    let leave_after = async |toy: &Toy,
                             query: &str,
                             entered: &str,
                             events: &mut tokio::sync::mpsc::UnboundedReceiver<&'static str>| {
        let waiting = post(toy, query);
        tokio::select! {
            _ = waiting => panic!("it waits"),
            event = events.recv() => assert_eq!(event, Some(entered)),
        }
    };
    leave_after(&toy, "{waits}", "query entered", &mut events).await;
    assert_eq!(events.recv().await, Some("query dropped"));
    leave_after(&toy, "mutation{waits}", "mutation entered", &mut events).await;
    toy.state.gate.notify_one();
    assert_eq!(events.recv().await, Some("mutation done"));
    toy.endpoint.drain().await;
    assert_eq!(toy.calls(), 1);
}

#[tokio::test]
async fn documents_are_kept_once_the_schema_accepted_them() {
    let toy = toy();
    let kept = |query: &str| toy.endpoint.shared.documents.get(query).is_some();
    for bad in ["{", "{nothing}", "{hello(name:1)}"] {
        post(&toy, bad).await;
        assert!(!kept(bad), "{bad}");
    }
    let query = "query($n:String){hello(name:$n)}";
    for name in ["a", "b"] {
        let answer = post_with(&toy, query, serde_json::json!({ "n": name })).await;
        assert_eq!(answer.json()["data"]["hello"], format!("hello {name}"));
        assert!(kept(query));
    }
    // Variables of a kept document are still looked at.
    let list = "query($v:[Int!]!){sum(values:$v)}";
    post_with(&toy, list, serde_json::json!({ "v": [1] })).await;
    assert!(kept(list));
    let many: Vec<u8> = vec![1; 30_000];
    assert_eq!(post_with(&toy, list, serde_json::json!({ "v": many })).await.codes(), ["COST_LIMIT_EXCEEDED"]);
}

#[tokio::test]
async fn a_handler_learns_the_operation_and_may_refuse_it() {
    let toy = toy();
    let query = "query Read{hello} mutation Write{increment}";
    let body = serde_json::json!({ "query": query, "operationName": "Write" }).to_string();
    let (head, _) = request(Method::POST, "/graphql", &[JSON, STRICT], "").into_parts();
    let prepared = toy.endpoint.prepare(&head, &body.into(), "req-1").unwrap();
    assert!(prepared.is_mutation());
    assert_eq!(prepared.operation_name(), Some("Write"));
    let answer = Answer::read(toy.endpoint.refuse(&prepared, ErrorCode::Unauthenticated, "Sign in.")).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::UNAUTHORIZED, vec!["UNAUTHENTICATED".to_owned()]));
    // By GET, the query of the same document may run.
    let uri = "/graphql?query=query+Read%7Bhello%7D+mutation+Write%7Bincrement%7D&operationName=Read";
    assert_eq!(send(&toy, request(Method::GET, uri, &[], "")).await.json()["data"]["hello"], "hello ");
    assert_eq!(toy.calls(), 1);
}

#[tokio::test]
async fn a_body_is_read_no_further_than_it_may_be_long() {
    let toy = toy();
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 60 * 1024]));
    // Without an end: whoever reads on never answers.
    let endless = futures::stream::repeat_with(chunk);
    let send_body = async |body: Body| {
        let mut request = request(Method::POST, "/graphql", &[JSON], "");
        *request.body_mut() = body;
        send(&toy, request).await
    };
    let answer = send_body(Body::from_stream(endless)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["errors"][0]["extensions"]["limit"], "requestBytes");
    let breaks = futures::stream::iter([chunk(), Err(std::io::ErrorKind::ConnectionReset.into())]);
    let answer = send_body(Body::from_stream(breaks)).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::BAD_REQUEST, vec!["BAD_USER_INPUT".to_owned()]));
    let (hasty, _) = Toy::new(&config::Limits { request_seconds: 0, ..limits() });
    let mut stalled = request(Method::POST, "/graphql", &[JSON], "");
    *stalled.body_mut() = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = send(&hasty, stalled).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::REQUEST_TIMEOUT, vec!["TIMEOUT".to_owned()]));
}
