//! Sockets that harm: they are closed or cut off, and nobody else notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{PATIENCE, Raw};
use crate::support::app::{App, Options};
use crate::support::socket::Socket;

const TEXT: u8 = 1;
const CONTINUED: u8 = 0;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// A frame of a client, masked by nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        middle @ 126..65_536 => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(middle).expect("in range").to_be_bytes());
        }
        long => {
            frame.push(0x80 | 0x7f);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn message(value: &Value) -> Vec<u8> {
    frame(FINAL | TEXT, value.to_string().as_bytes())
}

/// Asks for a socket on a connection; answers it when it is one.
async fn upgrade(mut raw: Raw) -> Result<Raw> {
    raw.send(
        "GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    )
    .await?;
    let head = raw.until("\r\n\r\n").await?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 101") && !head.to_lowercase().contains("deflate"), "{head}");
    Ok(raw)
}

async fn signed_in(raw: Raw, token: &str) -> Result<Raw> {
    let mut raw = upgrade(raw).await?;
    raw.send(message(&json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {token}") } })))
        .await?;
    raw.until("connection_ack\"}").await?;
    Ok(raw)
}

/// The code of the close at the end of what the server sent; `None` when there is none.
fn closed(said: &[u8]) -> Option<u16> {
    let mut rest = said;
    loop {
        let (first, second) = (*rest.first()?, *rest.get(1)?);
        let (length, head) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?])), 4),
            127 => (usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let payload = rest.get(head..head + length)?;
        if first & 0x0f == 8 {
            return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
        }
        rest = &rest[head + length..];
    }
}

/// What somebody does with a socket, and how that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    NeverInits,
    PingsInsteadOfInit,
    EndlessMessage,
    EmptyFragments,
    HugeFrame,
    Compressed,
    Unmasked,
    UnknownOpcode,
    NoText,
    NotReading,
    FloodOfPings,
    FloodOfSubscribes,
    FloodOfNonsense,
}

const DEEDS: [(Deed, Option<u16>); 13] = [
    (Deed::NeverInits, Some(4408)),
    (Deed::PingsInsteadOfInit, Some(4408)),
    (Deed::EndlessMessage, Some(1009)),
    (Deed::EmptyFragments, Some(4408)),
    (Deed::HugeFrame, Some(1009)),
    (Deed::Compressed, Some(1002)),
    (Deed::Unmasked, Some(1002)),
    (Deed::UnknownOpcode, Some(1002)),
    (Deed::NoText, Some(4400)),
    (Deed::NotReading, None),
    (Deed::FloodOfPings, Some(4400)),
    (Deed::FloodOfSubscribes, Some(4400)),
    (Deed::FloodOfNonsense, Some(4400)),
];

/// Sends `once` and then `again`, now and then, until the server closes; reads meanwhile. Answers how it closed.
async fn exchange(raw: &mut Raw, once: &[u8], again: &[u8]) -> Result<Option<u16>> {
    let (mut reader, mut writer) = raw.0.split();
    let writing = async {
        let mut sent = writer.write_all(once).await;
        while sent.is_ok() && !again.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = writer.write_all(again).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::select! {
        () = writing => {}
        ended = tokio::time::timeout(PATIENCE, reading) => ended.context("the server does not close")?,
    }
    Ok(closed(&said))
}

fn subscribe(number: usize, query: &str) -> Vec<u8> {
    message(
        &json!({ "id": number.to_string(), "type": "subscribe", "payload": { "query": query, "variables": { "x": [[[]]] } } }),
    )
}

const FEED: &str = "subscription { accountEvents { kind } }";
const LARGE: &str =
    "{ __schema { types { name description fields { name description type { name kind ofType { name } } } } } }";

impl Deed {
    /// What is sent on a socket that was not signed in on: at once, and then again and again.
    fn of_a_stranger(self) -> (Vec<u8>, Vec<u8>) {
        let nothing = Vec::new;
        match self {
            Self::PingsInsteadOfInit => (nothing(), frame(FINAL | PING, b"x")),
            Self::EmptyFragments => (frame(TEXT, b"{"), frame(CONTINUED, b"").repeat(500)),
            Self::EndlessMessage => (frame(TEXT, b"\""), frame(CONTINUED, &[b'a'; 1_000])),
            // 2^62 bytes are announced.
            Self::HugeFrame => {
                (vec![FINAL | TEXT, 0x80 | 0x7f, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, b'x'], nothing())
            }
            Self::Compressed => (frame(FINAL | 0x40 | TEXT, &[0x12, 0x34, 0xff, 0xff]), nothing()),
            Self::Unmasked => (vec![FINAL | TEXT, 2, b'{', b'}'], nothing()),
            Self::UnknownOpcode => (frame(FINAL | 5, b"x"), nothing()),
            Self::NoText => (frame(FINAL | TEXT, b"\xff\xfe"), nothing()),
            _ => (nothing(), nothing()),
        }
    }

    /// What is sent at once on a socket that was signed in on.
    fn of_a_user(self) -> Vec<u8> {
        let ping =
            || [frame(FINAL | PING, &[0; 100]), message(&json!({ "type": "ping", "payload": { "x": 1 } }))].concat();
        match self {
            Self::NotReading => (0..400).flat_map(|number| subscribe(number, LARGE)).collect(),
            Self::FloodOfPings => ping().repeat(5_000),
            Self::FloodOfSubscribes => (0..3_000)
                .flat_map(|number| {
                    let complete = message(&json!({ "id": number.to_string(), "type": "complete" }));
                    [subscribe(number, FEED), complete].concat()
                })
                .collect(),
            Self::FloodOfNonsense => {
                (0..2_000).flat_map(|number| subscribe(number, "{ ...a } fragment a on Query { ...b ...b }")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The connection on which it is done: of whoever is let in before they do harm, a socket.
    async fn enter(self, url: &str, token: &str) -> Result<Raw> {
        match self {
            Self::NotReading => signed_in(Raw::narrow(url).await?, token).await,
            Self::FloodOfPings | Self::FloodOfSubscribes | Self::FloodOfNonsense => {
                signed_in(Raw::open(url).await?, token).await
            }
            _ => Raw::open(url).await,
        }
    }

    /// Does it, with what [`Deed::of_a_user`] says; answers how the server ended it.
    async fn done(self, mut raw: Raw, flood: Arc<Vec<u8>>) -> Result<Option<u16>> {
        match self {
            Self::NotReading => {
                // Cut off in the middle. Only a failing write tells that, because nothing is read.
                let writing = async {
                    let mut sent = raw.send(flood.as_slice()).await;
                    // Until there is more to send than the system takes: most of what comes at once is refused in a few bytes.
                    for number in 400.. {
                        if sent.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        sent = raw.send(subscribe(number, LARGE)).await;
                    }
                };
                tokio::time::timeout(PATIENCE, writing)
                    .await
                    .context("the server goes on with a peer that does not read")?;
                Ok(closed(&raw.rest().await?))
            }
            Self::FloodOfPings | Self::FloodOfSubscribes | Self::FloodOfNonsense => {
                let end = message(&json!({ "type": "nothing of the protocol" }));
                exchange(&mut raw, &[flood.as_slice(), &end].concat(), &[]).await
            }
            _ => {
                let mut raw = upgrade(raw).await?;
                let (once, again) = self.of_a_stranger();
                exchange(&mut raw, &once, &again).await
            }
        }
    }
}

/// Resident bytes of this process: server and clients.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_harm_end_and_nobody_else_notices() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.sockets = 100;
    let app = Arc::new(App::with(Options { configure, ..Options::default() }).await?);
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    // A process that has been of use has its connections: to open one takes a dozen steps, each of which waits for its turn.
    let most = app.db.pool.options().get_max_connections();
    let mut opened = Vec::new();
    for _ in 0..most {
        opened.push(app.db.pool.acquire().await?);
    }
    drop(opened);
    // All are in before the first does harm: a server that is flooded already tells who would sign in to try again.
    let mut live = Socket::enter(&app, &ben.token).await?;
    live.subscribe("1", FEED, Value::Null).await?;
    let mut entered = Vec::new();
    for (deed, end) in DEEDS.into_iter().rev() {
        // Made here: a task that computes for long would keep this process from serving anybody.
        let flood = Arc::new(deed.of_a_user());
        for _ in 0..4 {
            entered.push((deed, end, deed.enter(&app.url, &owner.token).await?, Arc::clone(&flood)));
        }
    }
    let before = resident();
    let mut deeds = JoinSet::new();
    for (deed, end, raw, flood) in entered {
        deeds.spawn(async move { (deed, end, deed.done(raw, flood).await) });
    }
    // Somebody else, all the while: over HTTP, and live.
    let (over, mut is_over) = oneshot::channel::<()>();
    let listening = tokio::spawn(async move {
        loop {
            tokio::select! {
                said = live.next() => said?,
                _ = &mut is_over => return live.leave().await,
            };
        }
    });
    let (mut asked, mut slowest, mut most) = (0, Duration::ZERO, before);
    let mut ended = Vec::new();
    loop {
        let started = Instant::now();
        let answer = app.graphql(Some(&ben.token), "{ viewer { permissions } }", Value::Null).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (asked, slowest, most) = (asked + 1, slowest.max(started.elapsed()), most.max(resident()));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            next = deeds.join_next() => match next {
                Some(done) => ended.push(done?),
                None => break,
            },
        }
    }
    eprintln!(
        "{asked} requests of others meanwhile, the slowest took {slowest:?}; {} MB more at the most",
        (most - before) >> 20
    );
    let faults: Vec<_> = ended
        .iter()
        .filter(|(_, expected, end)| !end.as_ref().is_ok_and(|end| end == expected))
        .map(|fault| format!("{fault:?}"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(asked > 100, "{asked}");
    drop(over);
    listening.await?.context("somebody else notices")?;
    let deadline = Instant::now() + PATIENCE;
    while app.sockets.count() > 0 {
        assert!(Instant::now() < deadline, "{} sockets are still counted", app.sockets.count());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Arc::into_inner(app).context("nobody else uses it")?.finish().await
}
