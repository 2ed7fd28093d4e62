//! Who sends a request: its id, its network address, its session.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};
use domain::actor::{Author, Origin};
use domain::error::{Error, Result};
use domain::infra::config;
use domain::session::{Authenticated, authenticate};
use uuid::Uuid;

use crate::asker::Asker;
use crate::graphql::http::{REQUEST_ID_HEADER, carries_csrf_header};
use crate::state::State;

/// Name of the session cookie.
pub const SESSION_COOKIE: &str = "muster_session";

/// The id of a request: the client's, if it is a short plain word, so that its logs and ours can be joined; else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    given.filter(plain).map_or_else(new_request_id, str::to_owned)
}

/// An id for a request that brings none.
pub fn new_request_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// The network address of the client. `X-Forwarded-For` is believed only from proxies the operator named, and only as far back
/// as those reach.
pub fn network_address(http: &config::Http, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = peer.ip().to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        if !http.trusted_proxies.contains(&address) {
            break;
        }
        // Some proxies add the client's port.
        let before = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
        match before {
            Ok(before) => address = before.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// Where a request comes from, before it is known who sends it.
pub fn origin(request_id: &str, network_address: IpAddr) -> Origin {
    Origin { author: Author::System, request_id: Some(request_id.to_owned()), network_address: Some(network_address) }
}

/// What a request proves about its sender.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing was shown.
    Anonymous,
    /// A valid session.
    Session(Box<Authenticated>),
    /// A token was shown that is not valid (any more).
    Invalid,
    /// The cookie of a session that has ended. It counts as nothing, and is taken away: a page cannot delete it by itself, and
    /// must be able to sign in again.
    EndedCookie,
    /// A session cookie without the header that proves that a script of an allowed page sent it.
    NoCsrfHeader,
}

/// The token that a request shows, in the `Authorization` header, else in the session cookie, and what it proves when that is not
/// valid; else what it proves without one.
fn shown(headers: &HeaderMap) -> std::result::Result<(&str, Credentials), Credentials> {
    match (headers.get(header::AUTHORIZATION), cookie(headers)) {
        (Some(value), _) => {
            let token = value.to_str().ok().and_then(bearer).ok_or(Credentials::Invalid)?;
            Ok((token, Credentials::Invalid))
        }
        (None, Some(_)) if !carries_csrf_header(headers) => Err(Credentials::NoCsrfHeader),
        (None, Some(token)) => Ok((token, Credentials::EndedCookie)),
        (None, None) => Err(Credentials::Anonymous),
    }
}

/// Who asks, before anybody is looked up.
pub fn asker(state: &State, headers: &HeaderMap, address: IpAddr) -> Asker {
    state.askers.of(shown(headers).ok().map(|(token, _)| token), address)
}

/// Finds out what a request proves.
pub async fn credentials(state: &State, headers: &HeaderMap, origin: Origin) -> Result<Credentials> {
    let (token, ended) = match shown(headers) {
        Ok(shown) => shown,
        Err(proved) => return Ok(proved),
    };
    let session = authenticate(&state.db, token, origin).await;
    state.askers.learn(token, session.as_ref().map(|session| session.actor.user_id));
    if matches!(session, Ok(_) | Err(Error::Unauthenticated)) {
        state.presence.heard();
    }
    match session {
        Ok(session) => {
            state.activity.note(&session.actor);
            Ok(Credentials::Session(Box::new(session)))
        }
        Err(Error::Unauthenticated) => Ok(ended),
        Err(other) => Err(other),
    }
}

/// The token in an `Authorization` of the scheme `Bearer`.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token in the session cookie.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// The `Set-Cookie` value that keeps a session in a browser for so many seconds; none of it can be read by scripts.
pub fn session_cookie(http: &config::Http, token: &str, seconds: i64) -> String {
    let secure = if http.public_url.starts_with("https:") { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn http(proxies: &[&str]) -> config::Http {
        let mut http = domain::infra::config::Config::defaults("postgres://localhost/muster").http;
        http.trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        http
    }

    #[test]
    fn believes_only_named_proxies() {
        let peer: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1, 203.0.113.9, 10.0.0.2"));
        let seen = |proxies: &[&str]| network_address(&http(proxies), peer, &headers).to_string();
        assert_eq!(seen(&[]), "10.0.0.1");
        assert_eq!(seen(&["10.0.0.1"]), "10.0.0.2");
        let both: SocketAddr = "[::ffff:10.0.0.1]:4000".parse().unwrap();
        assert_eq!(
            network_address(&http(&["10.0.0.1"]), both, &headers).to_string(),
            "10.0.0.2",
            "a listener for both families"
        );
        assert_eq!(seen(&["10.0.0.1", "10.0.0.2"]), "203.0.113.9", "what the client wrote itself is not believed");
    }

    #[test]
    fn takes_plain_request_ids_only() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID_HEADER, HeaderValue::from_static("abc-123"));
        assert_eq!(request_id(&headers), "abc-123");
        headers.insert(REQUEST_ID_HEADER, HeaderValue::from_static("a b"));
        assert_ne!(request_id(&headers), "a b");
    }
}
