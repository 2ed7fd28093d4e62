//! `PUT /uploads/{token}`: a file arrives. The address is the right to it, so nothing else is asked for.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::infra::metrics;
use domain::upload::{self, StoreFault};
use futures::{Stream, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::auth::request_id;
use crate::graphql::http::{Caller, Origins, origin};

mod arrivals;

pub use arrivals::Arrivals;

/// How long a sender may pause.
const PAUSE: Duration = Duration::from_secs(30);
/// Seconds after which whoever found no place, or what failed here, may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

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
    /// How many may arrive at once.
    pub arrivals: Arrivals,
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
    origin::preflight(&caller, "PUT", "content-type, content-digest", response.headers_mut());
    origin::apply(&caller, response.headers_mut());
    response
}

/// Stores the body as the file of the upload whose token is in the path.
///
/// A `Content-Digest` with SHA-256 (RFC 9530) is compared with what arrives; other algorithms are passed over.
///
/// 204 when it is stored. 403 for a page of a site that may not call; 404 for an upload that is unknown, over or used, all alike; 413
/// for a file that is too long; 415 for one that says it is no text, or begins as an archive, a spreadsheet's own file or a PDF; 422 for one
/// that is not what its digest says; 400 when the body breaks off or the digest cannot be read, 408 when it does not arrive in time; 409 when another file
/// comes for the same upload meanwhile; 503 when too many arrive at once, or something failed here.
/// All but 204 come with a body like the errors of the API: `{"errors": [{"message": …, "extensions": {"code": …, "requestId": …}}]}`.
async fn store(State(uploads): State<Uploads>, Path(token): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let caller = uploads.origins.caller(&headers);
    let id = request_id(&headers);
    let received = match caller {
        Caller::Foreign => Err(Refusal::Foreign),
        Caller::Direct | Caller::Allowed(_) => receive(&uploads, &token, (&headers, &id), body).await,
    };
    metrics::upload_ended(received.as_ref().err().map_or("stored", |refusal| refusal.told().0));
    let mut response = match received {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.response(&id, uploads.limit),
    };
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    origin::apply(&caller, response.headers_mut());
    response
}

/// Why a file is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Foreign,
    TooLarge,
    MediaType,
    NotText,
    Digest,
    Gone,
    Damaged,
    Late,
    Interrupted,
    Replaced,
    Full,
    Failed,
}

impl Refusal {
    /// As metrics name it, its status, the code for programs, and what to do.
    fn told(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::Foreign => (
                "foreign",
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "Pages of this site may not put files; have it added to http.allowed_origins.",
            ),
            Self::TooLarge => (
                "too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "FILE_TOO_LARGE",
                "The file is too long; split it into several.",
            ),
            Self::MediaType => (
                "unsupported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "Content-Type names something that is no CSV; send text/csv, or leave it out.",
            ),
            Self::NotText => (
                "unsupported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "NOT_TEXT",
                "This is a spreadsheet's own file, an archive or a PDF; save it as \"CSV UTF-8\" and put that.",
            ),
            Self::Digest => (
                "malformed",
                StatusCode::BAD_REQUEST,
                "INVALID_DIGEST",
                "Content-Digest cannot be read; write it like sha-256=:…:, with 32 bytes in base64, or leave it out.",
            ),
            Self::Gone => (
                "gone",
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "There is no such upload, its hour is over, or it was used; make another one.",
            ),
            Self::Damaged => (
                "damaged",
                StatusCode::UNPROCESSABLE_ENTITY,
                "DIGEST_MISMATCH",
                "What arrived is not what Content-Digest says; put the file again.",
            ),
            Self::Late => (
                "late",
                StatusCode::REQUEST_TIMEOUT,
                "TIMEOUT",
                "The file did not arrive in time; put it again over a faster connection, or split it into several.",
            ),
            Self::Interrupted => {
                ("interrupted", StatusCode::BAD_REQUEST, "INTERRUPTED", "The file broke off on its way; put it again.")
            }
            Self::Replaced => (
                "replaced",
                StatusCode::CONFLICT,
                "CONFLICT",
                "Another file came for this upload meanwhile; that one counts.",
            ),
            Self::Full => (
                "full",
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "Too many files arrive at once; put the file again in a moment.",
            ),
            Self::Failed => (
                "failed",
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "Something failed in Muster; put the file again.",
            ),
        }
    }

    /// With a body like the errors of the API.
    fn response(self, request_id: &str, limit: u64) -> Response {
        let (_, status, code, message) = self.told();
        let message = match self {
            Self::TooLarge => format!("{message} At most {limit} bytes are taken."),
            _ => message.to_owned(),
        };
        let error = json!({ "message": message, "extensions": { "code": code, "requestId": request_id } });
        (status, Json(json!({ "errors": [error] }))).into_response()
    }
}

/// Stores the file.
async fn receive(uploads: &Uploads, token: &str, (headers, id): (&HeaderMap, &str), body: Body) -> Result<(), Refusal> {
    if declared_length(headers).is_some_and(|length| length > uploads.limit) {
        return Err(Refusal::TooLarge);
    }
    if !says_text(headers) {
        return Err(Refusal::MediaType);
    }
    let digest = declared_digest(headers).map_err(|()| Refusal::Digest)?;
    let place = upload::find(&uploads.db, token).await.map_err(|error| failed(&error))?.ok_or(Refusal::Gone)?;
    let arrival = uploads.arrivals.enter(place.account, place.upload_id).ok_or(Refusal::Full)?;
    let deadline = Instant::now() + uploads.time_limit;
    let mut late = false;
    let (id, body) = (id.to_owned(), in_time(body.into_data_stream(), deadline, &mut late));
    let storing = upload::store(&uploads.db, &uploads.files, &place, Some(id), body, uploads.limit, digest);
    // Wherever it is. What was committed by then is replaced by the file that came meanwhile, like any earlier one.
    let stored = arrival.cut().run_until_cancelled(storing).await.ok_or(Refusal::Replaced)?;
    stored.map_err(|fault| match fault {
        StoreFault::Gone => Refusal::Gone,
        StoreFault::TooLarge => Refusal::TooLarge,
        StoreFault::NotText => Refusal::NotText,
        StoreFault::Damaged => Refusal::Damaged,
        StoreFault::Interrupted if late => Refusal::Late,
        StoreFault::Interrupted => Refusal::Interrupted,
        StoreFault::Failed(error) => failed(&error),
    })
}

fn failed(error: &domain::error::Error) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "an uploaded file was not stored");
    Refusal::Failed
}

/// The sender stopped, or did not go on in time.
#[derive(Debug)]
struct Stopped;

/// A body that breaks off when its sender pauses for too long, or it is not there by the deadline, which `late` tells.
fn in_time(
    body: BodyDataStream,
    deadline: Instant,
    late: &mut bool,
) -> impl Stream<Item = Result<Bytes, Stopped>> + Send {
    futures::stream::unfold((body, late), move |(mut body, late)| async move {
        let chunk = match timeout_at(deadline.min(Instant::now() + PAUSE), body.next()).await {
            Ok(chunk) => chunk?.map_err(|_| Stopped),
            Err(_elapsed) => {
                *late = true;
                Err(Stopped)
            }
        };
        Some((chunk, (body, late)))
    })
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Media types beside `text/…` under which browsers and programs send CSV files; Windows has them be Excel's.
const ALIASES: [&str; 11] = [
    "application/csv",
    "application/x-csv",
    "application/vnd.ms-excel",
    "application/excel",
    "application/x-excel",
    "application/msexcel",
    "application/x-msexcel",
    "application/x-tsv",
    "application/tab-separated-values",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];
/// Texts that are no table.
const MARKUP: [&str; 2] = ["text/html", "text/xml"];

/// Whether a file may be a table by what its sender says of it; most say nothing.
fn says_text(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let is_text = essence.starts_with("text/") && !MARKUP.contains(&essence.as_str());
    essence.is_empty() || is_text || ALIASES.contains(&essence.as_str())
}

/// The SHA-256 that a `Content-Digest` names, like `sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:`.
fn declared_digest(headers: &HeaderMap) -> Result<Option<[u8; 32]>, ()> {
    let Some(field) = headers.get("content-digest") else { return Ok(None) };
    let members = field.to_str().map_err(drop)?.split(',').filter_map(|member| member.trim().split_once('='));
    let Some((_, value)) = members.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("sha-256")) else {
        return Ok(None);
    };
    let encoded = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or(())?;
    STANDARD.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_under_every_name_of_a_table() {
        let says = |media_type: &'static str| {
            says_text(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))]))
        };
        for media_type in [
            "",
            "text/csv; charset=utf-8",
            "text/comma-separated-values",
            "text/x-csv",
            "Text/Plain",
            "application/x-csv",
            "application/vnd.ms-excel",
            "application/octet-stream",
        ] {
            assert!(says(media_type), "{media_type}");
        }
        let workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
        for media_type in ["text/html", "TEXT/XML; charset=utf-8", "application/json", "image/png", workbook] {
            assert!(!says(media_type), "{media_type}");
        }
    }

    #[test]
    fn a_digest_is_read_among_others_or_refused() {
        let read = |field: &'static str| {
            declared_digest(&HeaderMap::from_iter([(
                "content-digest".parse().unwrap(),
                HeaderValue::from_static(field),
            )]))
        };
        let value = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(read(value).unwrap().unwrap()[..3], [0x5f, 0x8f, 0x04]);
        assert_eq!(read("md5=:AAAA:"), Ok(None));
        assert!(read("sha-512=:AA==:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:").unwrap().is_some());
        for field in ["sha-256=X48E", "sha-256=:AAAA:", "sha-256=:*:"] {
            assert_eq!(read(field), Err(()), "{field}");
        }
        assert_eq!(declared_digest(&HeaderMap::new()), Ok(None));
    }
}
