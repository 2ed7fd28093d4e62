//! What every request has in common: an id, a span that carries it, and a line in the log.

use std::time::{Duration, Instant};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use domain::infra::{metrics, telemetry};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::auth::request_id;
use crate::graphql::http::REQUEST_ID_HEADER;

/// Whose `traceparent` is believed: proxies that are trusted otherwise too. Anybody else could have any request sampled, or
/// hang it into any trace; their spans are linked to.
#[derive(Clone, Debug, Default)]
pub struct Believed(Arc<[IpAddr]>);

impl Believed {
    /// Proxies by their addresses.
    pub fn new(proxies: &[IpAddr]) -> Self {
        Self(proxies.into())
    }

    /// Hangs the span of a request into the trace that it belongs to.
    fn place(&self, span: &Span, request: &Request) {
        let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        if peer.is_some_and(|peer| self.0.contains(&peer)) {
            telemetry::continue_from(span, parent);
        } else {
            telemetry::link_to(span, parent);
        }
    }
}

/// Gives a request its id, for whoever handles it in `x-request-id`, for its sender in the same header of the answer, and logs
/// what became of it.
///
/// The line names the route's template, never the path: paths carry tokens.
pub async fn trace(State(believed): State<Believed>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let header = HeaderValue::from_str(&id).expect("an id consists of digits and dashes");
    request.headers_mut().insert(HeaderName::from_static(REQUEST_ID_HEADER), header.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = operation_span(&id);
    believed.place(&span, &request);
    telemetry::attribute(&span, "http.route", route.clone());
    let traced = span.clone();
    let answer = async {
        let mut response = next.run(request).await;
        response.headers_mut().entry(REQUEST_ID_HEADER).or_insert(header);
        let status = response.status();
        telemetry::attribute(&traced, "http.response.status_code", i64::from(status.as_u16()));
        metrics::http_answered(&route, status.as_u16());
        log(&method, &route, status, started.elapsed());
        response
    };
    answer.instrument(span).await
}

/// The span of a request, or of an operation on a socket: on the lines of all levels, as those of jobs have theirs. What is not
/// known yet is recorded by whoever learns it.
pub fn operation_span(request_id: &str) -> Span {
    tracing::error_span!("request", request.id = %request_id, graphql.operation = Empty, graphql.mutation = Empty)
}

/// Probes come every few seconds and say the same: they are for whoever looks closer.
fn log(method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
    let (status, millis) = (status.as_u16(), u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    if matches!(route, "/livez" | "/readyz") {
        tracing::debug!(http.method = %method, http.route = route, http.status = status, elapsed.ms = millis, "request");
    } else {
        tracing::info!(http.method = %method, http.route = route, http.status = status, elapsed.ms = millis, "request");
    }
}
