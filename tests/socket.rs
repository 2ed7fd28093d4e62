//! Sockets of the product. The protocol itself is tested where it is implemented.

mod clients;

use anyhow::Result;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::support::app::{App, Options};
use crate::support::socket::Socket;

const FEED: &str = "subscription { accountEvents { kind } }";

/// What a refused upgrade answers.
async fn refused(url: &str, headers: &[(&'static str, &str)]) -> u16 {
    match Socket::open_with(url, headers).await.map_err(|error| *error) {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn a_socket_is_opened_by_token_header_or_cookie_and_by_nothing_else() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let bearer = format!("Bearer {}", owner.token);
    let cookie = format!("muster_session={}", owner.token);
    let (own, ack) = (app.url.as_str(), json!({ "type": "connection_ack" }));
    let shown: [(Vec<(&'static str, &str)>, Value); 4] = [
        (vec![], json!({ "authorization": bearer })),
        (vec![], json!({ "headers": { "Authorization": bearer } })),
        (vec![("authorization", &bearer)], json!({})),
        (vec![("cookie", &cookie), ("origin", own)], json!({})),
    ];
    for (headers, payload) in shown {
        let mut socket = Socket::open(&app.url, &headers).await?;
        socket.init(payload).await?;
        assert_eq!(socket.next().await?, ack, "{headers:?}");
        socket.leave().await?;
    }
    let nothing: [(Vec<(&'static str, &str)>, Value); 5] = [
        (vec![], json!({})),
        (vec![], json!({ "authorization": "Bearer nonsense" })),
        (vec![("authorization", &bearer)], json!({ "authorization": "Bearer nonsense" })),
        (vec![("cookie", &cookie)], json!({})),
        (vec![("cookie", "muster_session=nonsense"), ("origin", own)], json!({})),
    ];
    for (headers, payload) in nothing {
        let mut socket = Socket::open(&app.url, &headers).await?;
        socket.init(payload).await?;
        assert_eq!(socket.closed().await?, 4403, "{headers:?}");
    }
    app.finish().await
}

#[tokio::test]
async fn pages_of_other_sites_and_other_protocols_open_no_socket() -> Result<()> {
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    assert_eq!(refused(&app.url, &[protocol, ("origin", "https://evil.example")]).await, 403);
    assert_eq!(refused(&app.url, &[protocol, ("origin", "null")]).await, 403);
    assert_eq!(refused(&app.url, &[protocol, ("sec-websocket-version", "7")]).await, 400);
    for other in ["graphql-ws", "soap"] {
        // A client of this crate fails by itself when the server does not take up its protocol.
        assert!(Socket::open_with(&app.url, &[("sec-websocket-protocol", other)]).await.is_err());
    }
    assert_eq!(Socket::open_with(&app.url, &[]).await?.closed().await?, 4406);
    app.finish().await
}

#[tokio::test]
async fn queries_and_mutations_run_over_a_socket() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    socket.subscribe("q", "query ($id: ID!) { node(id: $id) { id } }", json!({ "id": owner.member_id })).await?;
    let result = json!({ "data": { "node": { "id": owner.member_id } } });
    assert_eq!(socket.next().await?, json!({ "id": "q", "type": "next", "payload": result }));
    assert_eq!(socket.next().await?, json!({ "id": "q", "type": "complete" }));
    let rename = "mutation ($input: AccountRenameInput!) { accountRename(input: $input) { account { name } } }";
    socket.subscribe("m", rename, json!({ "input": { "name": "Finch & Harbor" } })).await?;
    let result = json!({ "data": { "accountRename": { "account": { "name": "Finch & Harbor" } } } });
    assert_eq!(socket.next().await?, json!({ "id": "m", "type": "next", "payload": result }));
    assert_eq!(socket.next().await?["type"], "complete");
    for (query, code) in [("{", "GRAPHQL_PARSE_FAILED"), ("{ nothing }", "GRAPHQL_VALIDATION_FAILED")] {
        socket.subscribe("e", query, json!({})).await?;
        let error = socket.next().await?;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("e")), "{error}");
        assert_eq!(error["payload"][0]["extensions"]["code"], code);
        assert_eq!(error["payload"][0]["extensions"]["requestId"].as_str().unwrap().len(), 32);
    }
    app.finish().await
}

#[tokio::test]
async fn a_socket_that_is_open_follows_and_is_closed_when_its_session_ends() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    let past =
        app.graphql(Some(&owner.token), "{ accountEvents(first: 2) { nodes { cursor kind } } }", Value::Null).await?;
    let feed = "subscription ($after: String) { accountEvents(after: $after) { kind } }";
    socket.subscribe("f", feed, json!({ "after": past.text("/accountEvents/nodes/0/cursor") })).await?;
    let event = socket.next().await?;
    assert_eq!(event["payload"]["data"]["accountEvents"]["kind"], *past.data("/accountEvents/nodes/1/kind"), "{event}");
    let input = json!({ "name": "Finch & Harbor" });
    app.mutate(Some(&owner.token), "accountRename", input, "account { name }").await?;
    while socket.next().await?["payload"]["data"]["accountEvents"]["kind"] != "account.renamed" {}
    let out = app.mutate(Some(&owner.token), "sessionRevoke", json!({}), "sessionId").await?;
    assert!(out.codes().is_empty());
    assert_eq!(socket.closed().await?, 4403);
    app.finish().await
}

#[tokio::test]
async fn a_user_has_ten_sockets_and_a_socket_twenty_operations() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let other = app.sign_in(&owner.email).await?;
    let mut sockets = Vec::new();
    for number in 0..10 {
        let token = if number % 2 == 0 { &owner.token } else { &other };
        sockets.push(Socket::enter(&app, token).await?);
    }
    let mut eleventh = Socket::open(&app.url, &[]).await?;
    eleventh.init(json!({ "authorization": format!("Bearer {other}") })).await?;
    assert_eq!(eleventh.closed().await?, 4429);
    let socket = &mut sockets[0];
    for number in 0..20 {
        socket.subscribe(&number.to_string(), FEED, json!({})).await?;
    }
    socket.subscribe("21", "{ viewer { member { id } } }", json!({})).await?;
    let error = socket.next().await?;
    assert_eq!((&error["id"], &error["type"]), (&json!("21"), &json!("error")));
    assert_eq!(error["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    socket.send(json!({ "id": "7", "type": "complete" })).await?;
    socket.subscribe("21", "{ viewer { member { id } } }", json!({})).await?;
    assert_eq!(socket.next().await?["type"], "next");
    app.finish().await
}

#[tokio::test]
async fn a_message_above_64_kb_closes_the_socket() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    socket.send(json!({ "type": "ping", "payload": { "x": "x".repeat(65_000) } })).await?;
    assert_eq!(socket.next().await?["type"], "pong");
    socket.send(json!({ "type": "ping", "payload": { "x": "x".repeat(66_000) } })).await?;
    assert_eq!(socket.closed().await?, 1009);
    app.finish().await
}

#[tokio::test]
async fn a_stopping_process_closes_its_sockets_with_1012() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    socket.subscribe("f", FEED, json!({})).await?;
    let silent = Socket::open(&app.url, &[]).await?;
    app.settle().await?;
    let (followed, silent, ()) = tokio::join!(socket.closed(), silent.closed(), app.close());
    assert_eq!((followed?, silent?), (1012, 1012));
    Ok(())
}
