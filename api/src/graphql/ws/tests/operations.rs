//! Operations on a socket.

use serde_json::{Value as Json, json};

use super::toy::{Client, PATIENT, Toy};

/// The codes of an `error` message, each with a request's id.
fn codes(message: &Json) -> Vec<&str> {
    assert_eq!(message["type"], "error", "{message}");
    let errors = message["payload"].as_array().unwrap();
    for error in errors {
        assert_eq!(error["extensions"]["requestId"].as_str().unwrap().len(), 32, "{error}");
    }
    errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap()).collect()
}

fn next(id: &str, data: &Json) -> Json {
    json!({ "id": id, "type": "next", "payload": { "data": data } })
}

fn complete(id: &str) -> Json {
    json!({ "id": id, "type": "complete" })
}

/// Nothing else is on its way: what is asked for now is answered next.
async fn quiet(client: &mut Client) {
    client.text(r#"{"type":"ping"}"#);
    assert_eq!(client.next().await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn queries_have_one_result() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    for _ in 0..2 {
        client.subscribe("1", "{ watched hello }");
        assert_eq!(client.next().await, next("1", &json!({ "watched": true, "hello": "world" })));
        assert_eq!(client.next().await, complete("1"));
    }
}

#[tokio::test]
async fn subscriptions_have_many_and_an_end() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.subscribe("s", "subscription($to:Int=3){ n: count(to: $to) }");
    for number in 1..=3 {
        assert_eq!(client.next().await, next("s", &json!({ "n": number })));
    }
    assert_eq!(client.next().await, complete("s"));
    quiet(&mut client).await;
}

#[tokio::test]
async fn a_document_that_is_not_executed_is_an_error() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    let deep = "{ hello ".repeat(40);
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{nothing}", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription{nothing}", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription{count(to:1) forever}", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription{count(to:\"x\")}", "BAD_USER_INPUT"),
        ("subscription($n:Int!){count(to:$n)}", "BAD_USER_INPUT"),
        (&format!("{{{}}}", "a:hello ".repeat(20)), "COST_LIMIT_EXCEEDED"),
        (&format!("{deep}{}", "}".repeat(40)), "COST_LIMIT_EXCEEDED"),
        ("query A{hello} query B{hello}", "BAD_USER_INPUT"),
        ("{panics}", "INTERNAL_SERVER_ERROR"),
        ("subscription{panics}", "INTERNAL_SERVER_ERROR"),
        ("subscription{fails}", "FORBIDDEN"),
    ] {
        client.subscribe("1", query);
        let message = client.next().await;
        assert_eq!(codes(&message), [code], "{query}");
        assert!(!message.to_string().contains("hunter2"), "{message}");
        quiet(&mut client).await;
    }
}

#[tokio::test]
async fn a_source_that_fails_ends_its_subscription_and_a_result_that_fails_does_not() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.subscribe("1", "subscription{breaks}");
    assert_eq!(client.next().await, next("1", &json!({ "breaks": 1 })));
    assert_eq!(codes(&client.next().await), ["BAD_USER_INPUT"]);
    quiet(&mut client).await;
    client.subscribe("2", "subscription{thing{number broken}}");
    let result = client.next().await;
    assert_eq!(result["type"], "next", "{result}");
    assert_eq!(result["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(client.next().await, complete("2"));
}

#[tokio::test]
async fn a_client_ends_its_operations() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.complete("unknown");
    for query in ["subscription{forever}", "{waits}"] {
        client.subscribe("1", query);
        quiet(&mut client).await;
        client.complete("1");
        toy.world.dropped.notified().await;
        quiet(&mut client).await;
    }
    client.subscribe("1", "{hello}");
    assert_eq!(client.next().await["type"], "next", "the id is free again");
}

#[tokio::test]
async fn a_socket_has_so_many_operations() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    for id in ["1", "2", "3"] {
        client.subscribe(id, "subscription{forever}");
    }
    client.subscribe("4", "{hello}");
    assert_eq!(codes(&client.next().await), ["RATE_LIMITED"]);
    client.complete("2");
    client.subscribe("4", "{hello}");
    assert_eq!(client.next().await["type"], "next");
}

#[tokio::test]
async fn each_operation_asks_again_who_it_is() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.subscribe("1", "{hello}");
    assert_eq!(client.next().await["type"], "next");
    assert_eq!(client.next().await, complete("1"));
    toy.world.revoked.lock().unwrap().insert("a".to_owned());
    client.subscribe("2", "{hello}");
    assert_eq!(client.closed().await, (4403, "Forbidden".to_owned()));
}

#[tokio::test]
async fn what_comes_on_top_of_too_much_is_refused() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    toy.world.full.store(true, std::sync::atomic::Ordering::SeqCst);
    client.subscribe("1", "{hello}");
    assert_eq!(codes(&client.next().await), ["SERVICE_UNAVAILABLE"]);
    let late = toy.connect();
    late.init("a");
    assert_eq!(late.closed().await.0, 1013);
}
