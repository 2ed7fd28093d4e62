//! The messages of the protocol, as JSON.

use std::borrow::Cow;

use async_graphql::{Response, ServerError};
use axum::extract::ws::{Message, Utf8Bytes};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::close::Close;
use crate::graphql::params::Params;

/// Bytes of an operation's id: several times what any client sends.
const ID_BYTES: usize = 128;

/// Any JSON object.
pub(super) type Map = serde_json::Map<String, serde_json::Value>;

/// A message of a client. Not `Debug`: it holds tokens and passwords.
pub(super) enum Incoming {
    /// Wants the connection acknowledged.
    Init(Map),
    /// Wants a pong with the same payload, which is JSON.
    Ping(Option<String>),
    /// Answers a ping.
    Pong,
    /// Begins an operation.
    Subscribe(String, Params),
    /// Ends an operation.
    Complete(String),
}

/// What all messages have in common. Other keys are left alone.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<String>,
    /// Looked at only as far as its message needs it; nesting is refused by whoever does.
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Incoming {
    /// Reads a message.
    ///
    /// # Errors
    /// The reason to close the socket.
    pub(super) fn read(text: &str) -> Result<Self, Close> {
        // Structures are read from lists as well, which is nothing the protocol has.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Close::BadMessage("Invalid message: expected a JSON object"));
        }
        let message: Envelope<'_> = serde_json::from_str(text)
            .map_err(|_| Close::BadMessage("Invalid message: expected JSON with \"type\", \"id\" and \"payload\""))?;
        let payload = message.payload.map(RawValue::get);
        if payload.is_some_and(|payload| !payload.starts_with('{')) {
            return Err(Close::BadMessage("Invalid message: \"payload\" must be an object"));
        }
        match &*message.kind {
            "connection_init" => {
                let fault = Close::BadMessage("Invalid message: the payload of \"connection_init\" cannot be read");
                payload
                    .map_or(Ok(Map::new()), |payload| serde_json::from_str(payload).map_err(|_| fault))
                    .map(Self::Init)
            }
            "ping" => Ok(Self::Ping(payload.map(str::to_owned))),
            "pong" => Ok(Self::Pong),
            "subscribe" => {
                let fault =
                    "Invalid message: the payload of \"subscribe\" must have a \"query\", and may have \"variables\"";
                let params = payload.and_then(Params::from_payload).ok_or(Close::BadMessage(fault))?;
                Ok(Self::Subscribe(id(message.id)?, params))
            }
            "complete" => Ok(Self::Complete(id(message.id)?)),
            _ => Err(Close::BadMessage("Invalid message: unknown \"type\"")),
        }
    }
}

fn id(id: Option<String>) -> Result<String, Close> {
    id.filter(|id| (1..=ID_BYTES).contains(&id.len()))
        .ok_or(Close::BadMessage("Invalid message: \"id\" must be a text of 1 to 128 bytes"))
}

#[derive(Serialize)]
struct Outgoing<'a, P> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    payload: P,
}

impl<P: Serialize> Outgoing<'_, P> {
    fn message(&self) -> Message {
        // A result consists of strings, numbers, lists and maps with string keys, all of which JSON has.
        let text = serde_json::to_string(self).expect("a GraphQL response can be written as JSON");
        Message::Text(text.into())
    }
}

pub(super) fn ack() -> Message {
    Message::Text(Utf8Bytes::from_static(r#"{"type":"connection_ack"}"#))
}

/// `payload` is JSON.
pub(super) fn pong(payload: Option<&str>) -> Message {
    match payload {
        None => Message::Text(Utf8Bytes::from_static(r#"{"type":"pong"}"#)),
        Some(payload) => Message::Text(format!(r#"{{"type":"pong","payload":{payload}}}"#).into()),
    }
}

/// One result of an operation.
pub(super) fn next(id: &str, payload: &Response) -> Message {
    Outgoing { id, kind: "next", payload }.message()
}

/// Why an operation is not executed, or ended.
pub(super) fn error(id: &str, payload: &[ServerError]) -> Message {
    Outgoing { id, kind: "error", payload }.message()
}

/// The end of an operation.
pub(super) fn complete(id: &str) -> Message {
    #[derive(Serialize)]
    struct Complete<'a> {
        id: &'a str,
        #[serde(rename = "type")]
        kind: &'static str,
    }
    let text = serde_json::to_string(&Complete { id, kind: "complete" }).expect("two texts can be written as JSON");
    Message::Text(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> &'static str {
        match Incoming::read(text) {
            Err(Close::BadMessage(fault)) => fault,
            Err(other) => panic!("{other:?}: {text}"),
            Ok(_) => panic!("it is read: {text}"),
        }
    }

    #[test]
    fn messages_of_the_protocol_are_read() {
        for text in [
            r#"{"type":"connection_init"}"#,
            r#" {"type":"connection_init","payload":null} "#,
            r#"{"payload":{"a":[1]},"type":"connection_init","more":1}"#,
        ] {
            assert!(matches!(Incoming::read(text), Ok(Incoming::Init(_))), "{text}");
        }
        let Ok(Incoming::Subscribe(id, params)) = Incoming::read(
            r#"{"id":"1","type":"subscribe","payload":{"query":"{a}","operationName":null,"variables":null,"extensions":{}}}"#,
        ) else {
            panic!("a subscription")
        };
        assert_eq!((id.as_str(), params.query.as_str(), params.operation_name), ("1", "{a}", None));
        let ping = Incoming::read(r#"{"type":"ping","payload": {"a" : 1} }"#);
        assert!(matches!(ping, Ok(Incoming::Ping(Some(payload))) if payload == r#"{"a" : 1}"#));
        assert!(matches!(Incoming::read(r#"{"type":"p\u006fng"}"#), Ok(Incoming::Pong)));
        assert!(matches!(Incoming::read(r#"{"type":"complete","id":"x"}"#), Ok(Incoming::Complete(id)) if id == "x"));
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!(r#"{{"type":"complete","id":"{}"}}"#, "x".repeat(129));
        let deep = "[".repeat(60_000);
        let deep_variables = format!(
            r#"{{"type":"subscribe","id":"1","payload":{{"query":"{{a}}","variables":{{"x":{}{}}}}}}}"#,
            "[".repeat(1_000),
            "]".repeat(1_000)
        );
        let deep_init =
            format!(r#"{{"type":"connection_init","payload":{{"x":{}{}}}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        for text in [
            "",
            "null",
            "[]",
            r#"["ping"]"#,
            "{",
            "{}",
            r#"{"type":null}"#,
            r#"{"type":"next","id":"1","payload":{}}"#,
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"ping","type":"ping"}"#,
            r#"{"type":"ping","payload":[]}"#,
            r#"{"type":"ping","payload":"x"}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"complete","id":""}"#,
            r#"{"type":"complete","id":1}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#,
            r#"{"type":"subscribe","payload":{"query":"{a}"}}"#,
            &long,
            &deep,
            &deep_variables,
            &deep_init,
        ] {
            assert!(fault(text).len() <= 123, "{text}");
        }
    }

    #[test]
    fn ids_are_written_as_texts() {
        assert_eq!(complete("a\"\n"), Message::Text(r#"{"id":"a\"\n","type":"complete"}"#.into()));
    }
}
