//! Connections that do nothing, or nothing but harm.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Raw;
use crate::support::app::{App, Options};

/// Everything is given up after a second.
fn impatient(config: &mut domain::infra::config::Config) {
    config.http.idle_seconds = 1;
    config.limits.request_seconds = 1;
    config.limits.upload_seconds = 1;
}

async fn start(configure: fn(&mut domain::infra::config::Config)) -> Result<App> {
    App::with(Options { configure, worker: false, ..Options::default() }).await
}

/// Sends a byte now and then until the server closes; answers what it said.
async fn drip(raw: &mut Raw, bytes: &[u8]) -> Result<String> {
    let (mut reader, mut writer) = raw.0.split();
    let dripping = async {
        for byte in bytes.iter().cycle() {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
            said.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::select! {
        () = dripping => {}
        ended = tokio::time::timeout(super::PATIENCE, reading) => ended?,
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_request_that_never_comes_or_never_ends_is_given_up() -> Result<()> {
    let app = start(impatient).await?;
    let mut silent = Raw::open(&app.url).await?;
    assert_eq!(silent.text().await?, "");
    for start in ["P", "POST /graphql HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut raw = Raw::open(&app.url).await?;
        raw.send(start).await?;
        drip(&mut raw, b"X-A: b\r\n").await?;
    }
    // One that was of use, and is kept for later.
    let mut kept = Raw::open(&app.url).await?;
    kept.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    assert!(kept.text().await?.starts_with("HTTP/1.1 200"));
    let mut kept = Raw::open(&app.url).await?;
    kept.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    drip(&mut kept, b"G").await?;
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_and_leaves_nothing() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.http.idle_seconds = 30;
        config.limits.request_seconds = 2;
        config.limits.upload_seconds = 1;
    };
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    let made = app.mutate(Some(&owner.token), "uploadCreate", json!({ "fileName": "a.csv" }), "upload { url }").await?;
    let upload = made.text("/uploadCreate/upload/url").replace(&app.url, "");
    for (target, kind) in [
        ("POST /graphql".to_owned(), "application/json"),
        (format!("PUT {upload}"), "text/csv"),
        ("POST /invitation/x".to_owned(), "application/x-www-form-urlencoded"),
        ("POST /password-reset/x".to_owned(), "application/x-www-form-urlencoded"),
    ] {
        for length in ["Content-Length: 5000", "Transfer-Encoding: chunked"] {
            let mut raw = Raw::open(&app.url).await?;
            raw.send(format!("{target} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{length}\r\n\r\n")).await?;
            let said = if length.starts_with('C') {
                drip(&mut raw, b"a").await?
            } else {
                drip(&mut raw, b"1\r\na\r\n").await?
            };
            assert!(said.starts_with("HTTP/1.1 408"), "{target} {length}: {said}");
        }
    }
    let stored = app.look("SELECT state FROM upload").await?;
    assert_eq!(stored.as_deref(), Some("OPEN"));
    assert_eq!(files_in(&app.config.data_dir.join("files")), 0, "files were left");
    let again = app.http.put(format!("{}{upload}", app.url)).body("email\n").send().await?;
    assert_eq!(again.status(), 204, "it can still be put");
    assert_eq!(files_in(&app.config.data_dir.join("files")), 1, "where files are looked for");
    app.finish().await
}

fn files_in(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

/// As many answers as can be asked for, and none is read.
#[tokio::test]
async fn whoever_does_not_read_is_cut_off() -> Result<()> {
    let app = start(impatient).await?;
    let whole = app.http.get(format!("{}/graphql/schema.graphql", app.url)).send().await?.bytes().await?.len();
    let mut raw = Raw::narrow(&app.url).await?;
    let asked = 200;
    let ask = "GET /graphql/schema.graphql HTTP/1.1\r\nHost: a\r\n\r\n".repeat(asked);
    raw.send(ask).await?;
    // Meanwhile the server gives up; what it had handed to the system arrives.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let read = raw.rest().await?.len();
    assert!(read < whole * asked / 2, "{read} of {} bytes", whole * asked);
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn connections_above_the_limit_wait_and_idle_ones_make_room() -> Result<()> {
    let app = start(|config| {
        impatient(config);
        config.http.connections = 20;
    })
    .await?;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(Raw::open(&app.url).await?);
    }
    // It comes after all of them, who are given up twenty at a time.
    let answer = tokio::time::timeout(super::PATIENCE, app.http.get(format!("{}/livez", app.url)).send()).await??;
    assert_eq!(answer.status(), 200);
    for mut raw in silent {
        assert_eq!(raw.text().await?, "");
    }
    app.close().await;
    Ok(())
}

/// Requests whose end two readers could see in different places: refused, or read in one way and the connection closed.
#[tokio::test]
async fn no_second_request_is_smuggled_in() -> Result<()> {
    let app = start(impatient).await?;
    let hidden = "GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: smuggled\r\n\r\n";
    let heads = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: -1",
        "Content-Length: 5 5",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding\r\n : chunked",
        "X: y\rContent-Length: 6",
    ];
    for head in heads {
        let mut raw = Raw::open(&app.url).await?;
        let request = format!(
            "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{head}\r\n\r\n0\r\n\r\n{hidden}"
        );
        raw.send(request).await?;
        let said = raw.text().await?;
        assert!(said.starts_with("HTTP/1.1 400"), "{head:?}: {said}");
        assert!(said.matches("HTTP/1.1 ").count() == 1 && !said.contains("smuggled"), "{head:?}: {said}");
    }
    for chunks in ["5;\nGET", "0x0\r\n\r\n", "fffffffffffffffff\r\n", "+0\r\n\r\n", "0 \n\r\n", "1\r\nab\r\n0\r\n\r\n"]
    {
        let mut raw = Raw::open(&app.url).await?;
        let head = "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
        raw.send(format!("{head}\r\n\r\n{chunks}{hidden}")).await?;
        let said = raw.text().await?;
        assert!(!said.contains("smuggled"), "{chunks:?}: {said}");
    }
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() -> Result<()> {
    let app = start(impatient).await?;
    for (head, expected) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)), "414"),
        (format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(200_000)), "431"),
        (format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(200)), "431"),
        (format!("{} /livez HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(200_000)), "4"),
        ("GET /livez HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("GET /li vez HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("\0\0\0\0\0\0\0\0\r\n\r\n".to_owned(), "400"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".to_owned(), "400"),
    ] {
        let mut raw = Raw::open(&app.url).await?;
        // It may refuse before all of it was sent.
        let _ = raw.send(&head).await;
        let said = raw.text().await?;
        assert!(said.is_empty() || said.starts_with(&format!("HTTP/1.1 {expected}")), "{head:.60}: {said}");
    }
    assert_eq!(app.http.get(format!("{}/livez", app.url)).send().await?.status(), 200);
    app.close().await;
    Ok(())
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// The head of `GET / http a`, from the static table.
const GET_ROOT: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

async fn http2(app: &App) -> Result<Raw> {
    let mut raw = Raw::open(&app.url).await?;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    raw.send(frame(SETTINGS, 0, 0, &[])).await?;
    Ok(raw)
}

/// The kinds of frames in what the server said.
fn kinds(mut said: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, rest @ ..] = said {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        kinds.push(*kind);
        said = rest.get(5 + length..).unwrap_or_default();
    }
    kinds
}

#[tokio::test]
async fn floods_of_http2_end_their_connection() -> Result<()> {
    let app = start(impatient).await?;
    // Requests that are taken back as soon as they are made.
    let mut reset = Vec::new();
    for number in 0..2_000 {
        reset.extend(frame(HEADERS, 0x05, 2 * number + 1, GET_ROOT));
        reset.extend(frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]));
    }
    // A head that never ends.
    let mut endless = frame(HEADERS, 0x01, 1, GET_ROOT);
    for _ in 0..3_000 {
        endless.extend(frame(CONTINUATION, 0, 1, &[0x00, 0x01, b'x', 0x02, b'y', b'z'].repeat(20)));
    }
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(100);
    for (what, flood, ends) in [("resets", reset, true), ("continuations", endless, true), ("pings", pings, false)] {
        let mut raw = http2(&app).await?;
        let _ = raw.send(&flood).await;
        let said = kinds(&raw.rest().await?);
        eprintln!("{what}: {} frames came back", said.len());
        assert!(said.len() < 5_000, "{what}");
        assert!(!ends || said.is_empty() || said.contains(&GOAWAY), "{what}: {said:?}");
    }
    // And one that is merely kept open.
    let mut raw = http2(&app).await?;
    raw.send(frame(HEADERS, 0x05, 1, GET_ROOT)).await?;
    let said = kinds(&raw.rest().await?);
    assert!(said.contains(&HEADERS) && said.contains(&GOAWAY), "{said:?}");
    assert_eq!(app.http.get(format!("{}/livez", app.url)).send().await?.status(), 200);
    app.close().await;
    Ok(())
}
