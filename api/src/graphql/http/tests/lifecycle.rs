//! From the first byte of a body to the end of a task.

use super::toy::{Toy, limits, toy};
use super::*;

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
    toy.endpoint.operations.drain().await;
    assert_eq!(toy.calls(), 1);
}

#[tokio::test]
async fn who_finds_a_part_away_is_told_when_to_come_again() {
    let toy = toy();
    for query in ["{unavailable}", "{unavailable forbidden}", "{a:unavailable b:unavailable}"] {
        let answer = post(&toy, query).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"), "{query}");
        assert_eq!(answer.json()["data"], Json::Null);
        assert_eq!(answer.codes()[0], "SERVICE_UNAVAILABLE");
    }
    let part = post(&toy, "{unavailable hello}").await;
    assert_eq!((part.status, part.header("retry-after")), (StatusCode::OK, "1"));
    assert_eq!(part.json()["data"]["hello"], "hello ");
    let other = post(&toy, "{forbidden}").await;
    assert_eq!((other.status, other.header("retry-after")), (StatusCode::OK, ""));
}

#[tokio::test]
async fn documents_are_kept_once_the_schema_accepted_them() {
    let toy = toy();
    let kept = |query: &str| toy.endpoint.operations.keeps(query);
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
