//! The development outbox in a browser and for scripts. It shows every mail to anybody who can reach it, so it is mounted only
//! while the public URL is loopback, and answers only to this host, and only to a loopback `Host`: no other site gets at it by a
//! name it controls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use mail_parser::{Address, Message, MessageParser};
use serde::{Deserialize, Serialize};

use super::view::{MessageView, View};
use super::{page_headers, render};

/// Mails the list shows.
const SHOWN: usize = 200;
/// Mails `/dev/mail.json` lists unless asked for fewer or more.
const LISTED: usize = 100;
/// The HTML of a mail: no scripts, nothing loaded, and links work because they replace the page around it or open a tab.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox \
                           allow-top-navigation-by-user-activation";

/// `/dev/mail`, `/dev/mail/{id}` with `/html` and `/raw`, and `/dev/mail.json?to=ADDRESS&limit=N`, over the `.eml` files of `folder`.
pub fn router(folder: PathBuf) -> Router {
    Router::new()
        .route("/dev/mail", get(list))
        .route("/dev/mail.json", get(list_json))
        .route("/dev/mail/{id}", get(show))
        .route("/dev/mail/{id}/html", get(show_html))
        .route("/dev/mail/{id}/raw", get(show_raw))
        .route_layer(from_fn(only_loopback))
        .with_state(Arc::new(Outbox { folder }))
}

struct Outbox {
    folder: PathBuf,
}

/// A mail of the list.
#[derive(Serialize)]
struct Row {
    id: String,
    time: String,
    to: String,
    subject: String,
}

#[derive(Serialize)]
struct ListView {
    mails: Vec<Row>,
    older: usize,
}

impl View for ListView {
    const TEMPLATE: &'static str = "dev-mail-list.html";
}

#[derive(Serialize)]
struct MailView {
    #[serde(flatten)]
    row: Row,
    from: String,
    text: String,
    links: Vec<String>,
}

impl View for MailView {
    const TEMPLATE: &'static str = "dev-mail.html";
    const POLICY: &'static str = "default-src 'none'; style-src 'self'; form-action 'none'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'";
}

/// A mail for scripts.
#[derive(Serialize)]
struct Listed {
    id: String,
    /// RFC 3339, UTC.
    time: String,
    /// Address of the recipient.
    to: String,
    subject: String,
    text: String,
    /// Addresses of the text part, in order.
    links: Vec<String>,
}

#[derive(Deserialize)]
struct Filter {
    to: Option<String>,
    limit: Option<usize>,
}

async fn list(State(outbox): State<Arc<Outbox>>) -> Response {
    read(move || {
        let ids = outbox.ids()?;
        let older = ids.len().saturating_sub(SHOWN);
        let rows = ids.iter().take(SHOWN).filter_map(|id| outbox.with(id, |mail| row(id, mail)).transpose());
        Ok(render(StatusCode::OK, &ListView { mails: rows.collect::<io::Result<_>>()?, older }))
    })
    .await
}

async fn list_json(State(outbox): State<Arc<Outbox>>, Query(filter): Query<Filter>) -> Response {
    read(move || {
        let mut found = Vec::new();
        for id in outbox.ids()? {
            if found.len() == filter.limit.unwrap_or(LISTED) {
                break;
            }
            let listed = outbox.with(&id, |mail| listed(&id, mail))?;
            let wanted = |mail: &Listed| filter.to.as_ref().is_none_or(|to| mail.to.eq_ignore_ascii_case(to));
            found.extend(listed.filter(wanted));
        }
        Ok((page_headers(MAIL_POLICY), Json(found)).into_response())
    })
    .await
}

async fn show(State(outbox): State<Arc<Outbox>>, UrlPath(id): UrlPath<String>) -> Response {
    read(move || {
        let view = outbox.with(&id, |mail| {
            let text = text(mail);
            let from = address(mail.from());
            MailView { row: row(&id, mail), from, links: links(&text), text }
        })?;
        Ok(view.map_or_else(absent, |view| render(StatusCode::OK, &view)))
    })
    .await
}

async fn show_html(State(outbox): State<Arc<Outbox>>, UrlPath(id): UrlPath<String>) -> Response {
    read(move || {
        let html = outbox.with(&id, |mail| mail.body_html(0).unwrap_or_default().into_owned())?;
        Ok(html.map_or_else(absent, |html| {
            (page_headers(MAIL_POLICY), Html(links_leave_the_frame(&html))).into_response()
        }))
    })
    .await
}

async fn show_raw(State(outbox): State<Arc<Outbox>>, UrlPath(id): UrlPath<String>) -> Response {
    read(move || {
        let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        Ok(outbox.raw(&id)?.map_or_else(absent, |raw| (page_headers(MAIL_POLICY), headers, raw).into_response()))
    })
    .await
}

/// Reads files away from the threads that serve requests.
async fn read(work: impl FnOnce() -> io::Result<Response> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(fault)) => {
            tracing::warn!(fault.kind = %fault.kind(), "the mail outbox cannot be read");
            message(StatusCode::INTERNAL_SERVER_ERROR, "The mail outbox cannot be read", "See the log of this process.")
        }
        Err(_) => {
            message(StatusCode::INTERNAL_SERVER_ERROR, "The mail cannot be shown", "It may still be read as a file.")
        }
    }
}

fn absent() -> Response {
    message(StatusCode::NOT_FOUND, "No such mail", "It may have been deleted from the outbox.")
}

fn message(status: StatusCode, title: &str, text: &str) -> Response {
    render(status, &MessageView { title: title.to_owned(), text: text.to_owned(), link: None })
}

/// Other hosts can send any `Host`, so the connection counts. A page of another site can have its own name resolve to this host; the
/// browser then sends that name.
async fn only_loopback(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_near = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    if is_near && is_loopback(request.headers(), request.uri().host()) {
        next.run(request).await
    } else {
        message(StatusCode::FORBIDDEN, "Not from here", "Open this page on the host that runs Muster, as localhost.")
    }
}

fn is_loopback(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority).unwrap_or_default();
    let host = named
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(named, |(host, _)| host);
    host == "[::1]"
        || host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

impl Outbox {
    /// Ids of all mails, newest first.
    fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".eml"));
            ids.extend(id.and_then(|id| Some((microseconds(id)?, id.to_owned()))));
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }

    /// The bytes of a mail. An id that could be anything but a file of the folder itself names none.
    fn raw(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        if microseconds(id).is_none() {
            return Ok(None);
        }
        let path = self.folder.join(format!("{id}.eml"));
        if !is_file(&path)? {
            return Ok(None);
        }
        std::fs::read(path).map(Some)
    }

    /// Applies `view` to the parsed mail, if it exists.
    fn with<T>(&self, id: &str, view: impl FnOnce(&Message<'_>) -> T) -> io::Result<Option<T>> {
        let raw = self.raw(id)?;
        Ok(raw.and_then(|raw| MessageParser::new().parse(&raw).as_ref().map(view)))
    }
}

/// A file itself, not a link to one elsewhere.
fn is_file(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(fault) if matches!(fault.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => Ok(false),
        metadata => Ok(metadata?.is_file()),
    }
}

/// When a mail was written, if this is the id of one: `<microseconds>-<letters, digits, . _ - @>`.
fn microseconds(id: &str) -> Option<i64> {
    let (time, name) = id.split_once('-')?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b));
    (plain && !name.is_empty() && time.bytes().all(|b| b.is_ascii_digit())).then(|| time.parse().ok())?
}

/// The file's name tells when: without the microseconds it would be the `Date` of the mail.
fn time(id: &str) -> jiff::Timestamp {
    microseconds(id).and_then(|time| jiff::Timestamp::from_microsecond(time).ok()).unwrap_or_default()
}

fn row(id: &str, mail: &Message<'_>) -> Row {
    Row {
        id: id.to_owned(),
        time: time(id).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        to: address(mail.to()),
        subject: mail.subject().unwrap_or_default().to_owned(),
    }
}

fn listed(id: &str, mail: &Message<'_>) -> Listed {
    let text = text(mail);
    Listed {
        id: id.to_owned(),
        time: time(id).to_string(),
        to: first(mail.to()).and_then(|to| to.address()).unwrap_or_default().to_owned(),
        subject: mail.subject().unwrap_or_default().to_owned(),
        links: links(&text),
        text,
    }
}

fn first<'a, 'x>(addresses: Option<&'a Address<'x>>) -> Option<&'a mail_parser::Addr<'x>> {
    addresses.and_then(|addresses| addresses.iter().next())
}

/// `Name <address>`.
fn address(addresses: Option<&Address<'_>>) -> String {
    let Some(first) = first(addresses) else { return String::new() };
    let address = first.address().unwrap_or_default();
    first.name().map_or_else(|| address.to_owned(), |name| format!("{name} <{address}>"))
}

fn text(mail: &Message<'_>) -> String {
    mail.body_text(0).unwrap_or_default().replace("\r\n", "\n")
}

/// Web addresses of a text, in order, each once.
fn links(text: &str) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let link = word.trim_end_matches(['.', ',', ';', ':', ')', '>', '!', '?']);
        if (link.starts_with("https://") || link.starts_with("http://")) && !links.iter().any(|known| known == link) {
            links.push(link.to_owned());
        }
    }
    links
}

/// Inside the frame a link would load there, where scripts and forms are off.
fn links_leave_the_frame(html: &str) -> String {
    const BASE: &str = "<base target=\"_top\">";
    match html.find("<head>") {
        Some(at) => format!("{}{BASE}{}", &html[..at + "<head>".len()], &html[at + "<head>".len()..]),
        None => format!("{BASE}{html}"),
    }
}

#[cfg(test)]
#[path = "dev_mail_tests.rs"]
mod tests;
