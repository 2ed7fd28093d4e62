//! How a socket ends, and what becomes of what it was doing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::Message;
use serde_json::json;

use super::Times;
use super::toy::{PATIENT, Toy};

#[tokio::test]
async fn a_right_that_ends_closes_the_socket_before_anything_else_is_handed_out() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.subscribe("1", "subscription{endless}");
    for _ in 0..3 {
        assert_eq!(client.next().await["type"], "next");
    }
    let given = toy.world.given.load(Ordering::SeqCst);
    toy.world.ended.cancel();
    // One message was written, one may be on its way to be; it is given up.
    loop {
        match client.from.recv().await {
            Some(Message::Text(_)) => assert!(toy.world.given.load(Ordering::SeqCst) <= given + 1),
            Some(Message::Close(Some(frame))) => break assert_eq!(frame.code, 4403),
            None => break,
            other => panic!("{other:?}"),
        }
    }
    client.leave().await;
}

#[tokio::test]
async fn an_idle_socket_whose_right_ends_is_told() {
    let toy = Toy::new(PATIENT);
    let mut client = toy.enter("a").await;
    client.subscribe("1", "subscription{forever}");
    client.subscribe("2", "{hello}");
    while client.next().await["type"] != "complete" {}
    toy.world.ended.cancel();
    assert_eq!(client.closed().await, (4403, "Forbidden".to_owned()));
    toy.world.dropped.notified().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_its_operations_and_is_cut_off() {
    let toy = Toy::new(Times { write: Duration::from_millis(20), ..PATIENT });
    let client = toy.enter("a").await;
    client.subscribe("1", "subscription{endless}");
    // It never reads.
    client.task.await.unwrap();
    assert!(toy.world.given.load(Ordering::SeqCst) <= 3, "one is on its way, one waits, one is held");
    assert_eq!(toy.open.count(), 0);
}

#[tokio::test]
async fn a_peer_that_leaves_ends_its_queries_but_not_its_mutations() {
    let toy = Toy::new(PATIENT);
    let client = toy.enter("a").await;
    client.subscribe("1", "{waits}");
    toy.world.entered.notified().await;
    client.subscribe("2", "mutation{waits}");
    toy.world.entered.notified().await;
    client.leave().await;
    toy.world.dropped.notified().await;
    toy.world.gate.notify_one();
    toy.world.done.notified().await;
}

#[tokio::test]
async fn a_stopping_process_ends_mutations_and_then_sockets() {
    let toy = Toy::new(PATIENT);
    let idle = toy.enter("a").await;
    let silent = toy.connect();
    let mut busy = toy.enter("b").await;
    busy.subscribe("s", "subscription{forever}");
    busy.subscribe("m", "mutation{waits}");
    toy.world.entered.notified().await;
    let sockets = toy.sockets.clone();
    let drained = tokio::spawn(async move { sockets.drain().await });
    for client in [idle, silent] {
        assert_eq!(client.closed().await, (1012, "Service restart".to_owned()));
    }
    toy.world.dropped.notified().await;
    busy.subscribe("late", "{hello}");
    assert!(!drained.is_finished());
    toy.world.gate.notify_one();
    assert_eq!(busy.next().await, json!({ "id": "m", "type": "next", "payload": { "data": { "waits": 7 } } }));
    assert_eq!(busy.next().await, json!({ "id": "m", "type": "complete" }));
    assert_eq!(busy.closed().await.0, 1012);
    drained.await.unwrap();
    assert_eq!(Arc::strong_count(&toy.open), 2, "the toy's and the sockets' own");
}
