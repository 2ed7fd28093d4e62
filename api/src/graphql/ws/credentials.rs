//! Where a client shows its token: in its first message, else in the request for the socket.

use axum::http::{HeaderMap, header};
use secrecy::SecretString;
use serde_json::Value;

use super::message::Map;
use crate::auth::{bearer, cookie};
use crate::graphql::http::Caller;

/// What somebody shows.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// Something that is no token.
    Unusable,
    /// A token.
    Token(SecretString),
}

impl Shown {
    /// By the request for the socket: its `Authorization`, else the session cookie. A browser sends the cookie whatever page asks,
    /// and no page can add the header that HTTP demands beside it; here the `Origin`, which no page can leave out or change, says
    /// instead that an allowed page asks.
    pub fn by_request(headers: &HeaderMap, caller: &Caller) -> Self {
        match (headers.get(header::AUTHORIZATION), cookie(headers), caller) {
            (Some(value), _, _) => Self::of_header(value.to_str().ok()),
            (None, Some(token), Caller::Allowed(_)) => Self::Token(token.into()),
            (None, Some(_), _) => Self::Unusable,
            (None, None, _) => Self::Nothing,
        }
    }

    /// By the payload of `connection_init`: `authorization`, also below `headers`, as clients send it.
    pub(super) fn by_payload(payload: &Map) -> Self {
        let below = |map: &Map| {
            let value = map.get("authorization").or_else(|| map.get("Authorization"));
            value.map(|value| Self::of_header(value.as_str()))
        };
        let headers = || payload.get("headers").and_then(Value::as_object).and_then(below);
        below(payload).or_else(headers).unwrap_or(Self::Nothing)
    }

    fn of_header(value: Option<&str>) -> Self {
        value.and_then(bearer).map_or(Self::Unusable, |token| Self::Token(token.into()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn text(shown: Shown) -> String {
        match shown {
            Shown::Nothing => "nothing".to_owned(),
            Shown::Unusable => "unusable".to_owned(),
            Shown::Token(token) => token.expose_secret().to_owned(),
        }
    }

    #[test]
    fn a_payload_shows_a_token_where_clients_put_it() {
        for (payload, shown) in [
            (json!({}), "nothing"),
            (json!({ "authorization": "Bearer abc" }), "abc"),
            (json!({ "Authorization": "bearer  abc" }), "abc"),
            (json!({ "headers": { "Authorization": "Bearer abc" } }), "abc"),
            (json!({ "headers": { "authorization": "Bearer abc" }, "other": 1 }), "abc"),
            (json!({ "headers": "Bearer abc" }), "nothing"),
            (json!({ "authorization": "abc" }), "unusable"),
            (json!({ "authorization": "Basic abc" }), "unusable"),
            (json!({ "authorization": null }), "unusable"),
            (json!({ "authorization": ["Bearer abc"] }), "unusable"),
        ] {
            assert_eq!(text(Shown::by_payload(payload.as_object().unwrap())), shown, "{payload}");
        }
    }

    #[test]
    fn a_cookie_counts_only_from_a_page_that_names_its_origin() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
        };
        let page = Caller::Allowed(HeaderValue::from_static("https://muster.example.com"));
        let with_cookie = headers(&[("cookie", "a=b; muster_session=abc")]);
        assert_eq!(text(Shown::by_request(&with_cookie, &page)), "abc");
        assert_eq!(text(Shown::by_request(&with_cookie, &Caller::Direct)), "unusable");
        let both = headers(&[("cookie", "muster_session=abc"), ("authorization", "Bearer xyz")]);
        assert_eq!(text(Shown::by_request(&both, &Caller::Direct)), "xyz");
        assert_eq!(text(Shown::by_request(&headers(&[]), &page)), "nothing");
    }
}
