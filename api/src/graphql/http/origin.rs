//! Which sites' pages may call, and how a browser is told.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use domain::infra::config;

/// Header that a request with the session cookie must carry, with the value `1`: a page of another site cannot set it
/// without a preflight, which it does not pass.
pub const CSRF_HEADER: &str = "x-muster-csrf";

/// Whether a request carries [`CSRF_HEADER`]. Required of whoever is signed in by cookie and sends no `Authorization`
/// header, whatever the method.
pub fn carries_csrf_header(headers: &HeaderMap) -> bool {
    headers.get(CSRF_HEADER).is_some_and(|value| value.as_bytes() == b"1")
}

/// The origins whose pages may call the API.
#[derive(Clone, Debug)]
pub struct Origins(Vec<String>);

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No page of another site: a program, the address bar, or a page of our own that need not name its origin.
    Direct,
    /// A page of an allowed origin, which is to be named in the answer.
    Allowed(HeaderValue),
    /// A page of another site. Nothing may run.
    Foreign,
}

impl Origins {
    /// The public URL's own origin and the allowed ones. A public URL on the loopback is reached by all names of the
    /// loopback.
    pub fn new(http: &config::Http) -> Self {
        let own = normal(&http.public_url);
        let aliases = own.iter().flat_map(|own| loopback_aliases(own));
        let allowed = http.allowed_origins.iter().filter_map(|url| normal(url));
        Self(aliases.chain(allowed).chain(own.clone()).collect())
    }

    /// Where a request comes from, by `Origin` and, where a browser leaves that out (images, links, forms by GET), by
    /// `Sec-Fetch-Site`.
    pub fn caller(&self, headers: &HeaderMap) -> Caller {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => {
                let known = origin.to_str().ok().and_then(normal).is_some_and(|origin| self.0.contains(&origin));
                if known { Caller::Allowed(origin.clone()) } else { Caller::Foreign }
            }
            (Some(_), Some(_)) => Caller::Foreign,
            (None, _) => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
                None | Some(b"same-origin" | b"none") => Caller::Direct,
                Some(_) => Caller::Foreign,
            },
        }
    }
}

/// `scheme://host[:port]` in lower case, without the scheme's own port and anything behind.
fn normal(url: &str) -> Option<String> {
    let uri: Uri = url.trim_end_matches('/').parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let host = uri.host()?.to_ascii_lowercase();
    let port = match (scheme.as_str(), uri.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    Some(format!("{scheme}://{host}{port}"))
}

/// The same origin under each name of the loopback, if it is there.
fn loopback_aliases(origin: &str) -> Vec<String> {
    const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
    let Some((scheme, rest)) = origin.split_once("://") else {
        return Vec::new();
    };
    let port_of = |host: &str| {
        let port = rest.strip_prefix(host)?;
        (port.is_empty() || port.starts_with(':')).then_some(port)
    };
    let Some(port) = HOSTS.into_iter().find_map(port_of) else {
        return Vec::new();
    };
    HOSTS.map(|host| format!("{scheme}://{host}{port}")).into()
}

/// Headers of every answer to an allowed origin. `Vary` goes with every answer, allowed or not, so that no cache gives one
/// origin's answer to another.
pub fn apply(caller: &Caller, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin, Accept"));
    if let Caller::Allowed(origin) = caller {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id, retry-after"));
    }
}

/// What a browser is told before it sends a request of an allowed origin: the methods and the headers it may send.
pub fn preflight(caller: &Caller, methods: &'static str, allowed: &'static str, headers: &mut HeaderMap) {
    if matches!(caller, Caller::Allowed(_)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn origins() -> Origins {
        Origins(["https://muster.example.com", "http://localhost:5173/"].iter().filter_map(|url| normal(url)).collect())
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn known_origins_may_call_in_any_notation() {
        for origin in ["https://muster.example.com", "https://MUSTER.example.com:443", "http://localhost:5173"] {
            let caller = origins().caller(&headers(&[("origin", origin), ("sec-fetch-site", "cross-site")]));
            assert_eq!(caller, Caller::Allowed(HeaderValue::from_static(origin)));
        }
    }

    #[test]
    fn other_origins_may_not() {
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://muster.example.com",
            "https://muster.example.com.evil.example",
            "https://muster.example.com:8443",
            "http://localhost",
        ] {
            assert_eq!(origins().caller(&headers(&[("origin", origin)])), Caller::Foreign, "{origin}");
        }
        let mut twice = headers(&[("origin", "https://muster.example.com")]);
        twice.append("origin", HeaderValue::from_static("https://evil.example"));
        assert_eq!(origins().caller(&twice), Caller::Foreign);
    }

    #[test]
    fn a_browser_that_names_no_origin_tells_the_site() {
        for (site, caller) in [
            ("same-origin", Caller::Direct),
            ("none", Caller::Direct),
            ("same-site", Caller::Foreign),
            ("cross-site", Caller::Foreign),
        ] {
            assert_eq!(origins().caller(&headers(&[("sec-fetch-site", site)])), caller, "{site}");
        }
        assert_eq!(origins().caller(&HeaderMap::new()), Caller::Direct);
    }

    #[test]
    fn the_loopback_has_several_names() {
        let all = ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"];
        for own in all {
            assert_eq!(loopback_aliases(&normal(own).unwrap()), all);
        }
        assert_eq!(loopback_aliases("http://localhost")[1], "http://127.0.0.1");
        for other in ["https://muster.example.com", "http://localhost.example.com", "http://127.0.0.10:80"] {
            assert!(loopback_aliases(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn the_csrf_header_has_one_value() {
        assert!(carries_csrf_header(&headers(&[("x-muster-csrf", "1")])));
        assert!(!carries_csrf_header(&headers(&[("x-muster-csrf", "0")])));
        assert!(!carries_csrf_header(&HeaderMap::new()));
    }
}
