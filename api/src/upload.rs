//! `PUT /uploads/{token}`: a file arrives. The address is the right to it, so nothing else is asked for.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use bytes::Bytes;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::infra::metrics;
use domain::upload::{self, StoreFault};
use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::auth::request_id;
use crate::graphql::http::{Caller, Origins, origin};

/// How long a sender may pause.
const PAUSE: Duration = Duration::from_secs(30);

/// What the address needs.
#[derive(Clone, Debug)]
pub struct Uploads {
    /// The database.
    pub db: Db,
    /// Where files go.
    pub files: Files,
    /// Bytes of a file at most.
    pub limit: u64,
    /// How long a file may take to arrive.
    pub time_limit: Duration,
    /// Whose pages may put files.
    pub origins: Origins,
}

/// `/uploads/{token}`. The server must not limit bodies before they come here.
pub fn router(uploads: Uploads) -> Router {
    Router::new().route("/uploads/{token}", put(store).options(preflight)).with_state(uploads)
}

/// What a browser asks before a page of another site may put a file.
async fn preflight(State(uploads): State<Uploads>, headers: HeaderMap) -> Response {
    let caller = uploads.origins.caller(&headers);
    let status = if caller == Caller::Foreign { StatusCode::FORBIDDEN } else { StatusCode::NO_CONTENT };
    let mut response = status.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("PUT, OPTIONS"));
    origin::preflight(&caller, "PUT", "content-type", response.headers_mut());
    origin::apply(&caller, response.headers_mut());
    response
}

/// Stores the body as the file of the upload whose token is in the path.
///
/// 204 when it is stored. 403 for a page of a site that may not call; 404 for an upload that is unknown, over or used, all alike; 413
/// for a file that is too long; 400 when the body breaks off, 408 when it does not arrive in time; 503 when something failed here.
async fn store(State(uploads): State<Uploads>, Path(token): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let caller = uploads.origins.caller(&headers);
    let (outcome, status) = match caller {
        Caller::Foreign => ("foreign", StatusCode::FORBIDDEN),
        Caller::Direct | Caller::Allowed(_) => receive(&uploads, &token, &headers, body).await,
    };
    metrics::upload_ended(outcome);
    let mut response = status.into_response();
    origin::apply(&caller, response.headers_mut());
    response
}

/// What became of the file, for the metrics and for the client.
async fn receive(uploads: &Uploads, token: &str, headers: &HeaderMap, body: Body) -> (&'static str, StatusCode) {
    if declared_length(headers).is_some_and(|length| length > uploads.limit) {
        return ("too_large", StatusCode::PAYLOAD_TOO_LARGE);
    }
    let deadline = Instant::now() + uploads.time_limit;
    let mut late = false;
    let (id, body) = (request_id(headers), in_time(body.into_data_stream(), deadline, &mut late));
    let stored = upload::store(&uploads.db, &uploads.files, token, Some(id), body, uploads.limit).await;
    match stored {
        Ok(()) => ("stored", StatusCode::NO_CONTENT),
        Err(StoreFault::Gone) => ("gone", StatusCode::NOT_FOUND),
        Err(StoreFault::TooLarge) => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
        Err(StoreFault::Interrupted) if late => ("late", StatusCode::REQUEST_TIMEOUT),
        Err(StoreFault::Interrupted) => ("interrupted", StatusCode::BAD_REQUEST),
        Err(StoreFault::Failed(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an uploaded file was not stored");
            ("failed", StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// The sender stopped, or did not go on in time.
#[derive(Debug)]
struct Stopped;

/// A body that breaks off when its sender pauses for too long, or it is not there by the deadline; `late` tells.
fn in_time(
    body: BodyDataStream,
    deadline: Instant,
    late: &mut bool,
) -> impl Stream<Item = Result<Bytes, Stopped>> + Send {
    futures::stream::unfold((body, late), move |(mut body, late)| async move {
        let next = timeout_at(deadline.min(Instant::now() + PAUSE), body.next()).await;
        *late = next.is_err();
        let chunk = match next {
            Ok(chunk) => chunk?.map_err(|_| Stopped),
            Err(_elapsed) => Err(Stopped),
        };
        Some((chunk, (body, late)))
    })
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
