//! The protocol, close code by close code, and the limits.

mod lifecycle;
mod operations;
mod toy;

use std::time::Duration;

use axum::extract::ws::Message;
use bytes::Bytes;
use serde_json::json;

use self::toy::{PATIENT, Toy};
use super::{Shown, Times};

fn token(text: &str) -> Shown {
    Shown::Token(text.into())
}

#[tokio::test]
async fn a_connection_is_acknowledged_once_the_token_is_known() {
    let toy = Toy::new(PATIENT);
    for (shown, payload) in [
        (Shown::Nothing, json!({ "authorization": "Bearer a" })),
        (Shown::Unusable, json!({ "headers": { "Authorization": "Bearer a" } })),
        (token("a"), json!(null)),
        (token("bad"), json!({ "Authorization": "Bearer a" })),
    ] {
        let mut client = toy.connect_with(shown, true);
        client.text(&json!({ "type": "connection_init", "payload": payload }).to_string());
        assert_eq!(client.next().await, json!({ "type": "connection_ack" }), "{payload}");
        client.leave().await;
    }
}

#[tokio::test]
async fn without_a_valid_token_the_socket_is_closed() {
    let toy = Toy::new(PATIENT);
    for (shown, payload) in [
        (Shown::Nothing, json!({})),
        (Shown::Unusable, json!({})),
        (token("bad"), json!({})),
        (token("a"), json!({ "authorization": "Bearer bad" })),
        (token("a"), json!({ "authorization": "a" })),
    ] {
        let client = toy.connect_with(shown, true);
        client.text(&json!({ "type": "connection_init", "payload": payload }).to_string());
        assert_eq!(client.closed().await, (4403, "Forbidden".to_owned()), "{payload}");
    }
    let client = toy.connect();
    client.init("away");
    assert_eq!(client.closed().await, (1013, "Try again later".to_owned()));
}

#[tokio::test]
async fn what_is_no_message_closes_the_socket() {
    let toy = Toy::new(PATIENT);
    let invalid = [
        Message::Text("".into()),
        Message::Text("{".into()),
        Message::Text("[]".into()),
        Message::Text(r#"{"type":"start"}"#.into()),
        Message::Text(r#"{"type":"subscribe","id":"1"}"#.into()),
        Message::Binary(Bytes::from_static(br#"{"type":"ping"}"#)),
    ];
    for message in invalid {
        for client in [toy.connect(), toy.enter("a").await] {
            client.send(message.clone());
            let (code, reason) = client.closed().await;
            assert_eq!(code, 4400, "{message:?}");
            assert!(reason.starts_with("Invalid message: ") && reason.len() <= 123, "{reason}");
        }
    }
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let toy = Toy::new(PATIENT);
    let client = toy.connect_with(token("a"), false);
    assert_eq!(client.closed().await, (4406, "Subprotocol not acceptable".to_owned()));

    let client = toy.connect();
    client.subscribe("1", "{hello}");
    assert_eq!(client.closed().await, (4401, "Unauthorized".to_owned()));

    let client = toy.enter("a").await;
    client.init("a");
    assert_eq!(client.closed().await, (4429, "Too many initialisation requests".to_owned()));

    for query in ["subscription{forever}", "{waits}"] {
        let client = toy.enter("a").await;
        client.subscribe("an id", query);
        client.subscribe("an id", "{hello}");
        assert_eq!(client.closed().await, (4409, "Subscriber for an id already exists".to_owned()));
    }
}

#[tokio::test]
async fn faults_of_the_connection_have_codes_too() {
    use tungstenite::Error as Fault;
    use tungstenite::error::{CapacityError, ProtocolError};
    let toy = Toy::new(PATIENT);
    let size = CapacityError::MessageTooLong { size: 70_000, max_size: 65_536 };
    for (fault, code) in [
        (Fault::Capacity(size), 1009),
        (Fault::Utf8(String::new()), 4400),
        (Fault::Protocol(ProtocolError::UnmaskedFrameFromClient), 1002),
    ] {
        let client = toy.enter("a").await;
        client.fault(fault);
        assert_eq!(client.closed().await.0, code);
    }
    let mut client = toy.enter("a").await;
    client.fault(Fault::Protocol(ProtocolError::ResetWithoutClosingHandshake));
    assert_eq!(client.from.recv().await, None, "there is nobody to tell");
}

#[tokio::test]
async fn a_socket_without_init_is_closed_however_much_it_says() {
    let toy = Toy::new(Times { init: Duration::from_millis(20), ..PATIENT });
    assert_eq!(toy.connect().closed().await, (4408, "Connection initialisation timeout".to_owned()));
    let mut busy = toy.connect();
    loop {
        busy.text(r#"{"type":"ping"}"#);
        match busy.from.recv().await {
            Some(Message::Text(_)) => {}
            Some(Message::Close(Some(frame))) => break assert_eq!(frame.code, 4408),
            other => panic!("{other:?}"),
        }
    }
    let slow = toy.connect();
    slow.init("slow");
    assert_eq!(slow.closed().await.0, 1013, "it is not the client's fault");
}

#[tokio::test]
async fn pings_are_answered_with_their_payload() {
    let toy = Toy::new(PATIENT);
    // Also before the acknowledgement.
    let mut client = toy.connect();
    client.text(r#"{"type":"ping"}"#);
    assert_eq!(client.next().await, json!({ "type": "pong" }));
    client.text(r#"{"type":"ping","payload":{"a":[1,"é"]}}"#);
    assert_eq!(client.next().await, json!({ "type": "pong", "payload": { "a": [1, "é"] } }));
    client.text(r#"{"type":"pong"}"#);
    client.init("a");
    assert_eq!(client.next().await, json!({ "type": "connection_ack" }));
}

/// In one thread, so that the peer has its turn before the next ping however slow the machine is.
#[tokio::test]
async fn whoever_answers_pings_stays_and_whoever_does_not_is_cut_off() {
    let toy = Toy::new(Times { ping: Duration::from_millis(20), ..PATIENT });
    let mut client = toy.enter("a").await;
    for _ in 0..4 {
        assert_eq!(client.from.recv().await, Some(Message::Ping(Bytes::new())));
        client.send(Message::Pong(Bytes::new()));
    }
    assert_eq!(client.from.recv().await, Some(Message::Ping(Bytes::new())));
    assert_eq!(client.from.recv().await, None, "it is cut off without a word");
    client.task.await.unwrap();
    assert_eq!(toy.open.count(), 0);
}

#[tokio::test]
async fn a_user_has_so_many_sockets() {
    let toy = Toy::new(PATIENT);
    let first = toy.enter("a").await;
    let _second = toy.enter("a/2").await;
    let third = toy.connect();
    third.init("a");
    assert_eq!(third.closed().await, (4429, "Too many sockets".to_owned()));
    let _other = toy.enter("b").await;
    assert_eq!(toy.open.count(), 3);
    first.leave().await;
    toy.enter("a").await;
}
