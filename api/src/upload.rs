//! `PUT /uploads/{token}`: a file arrives. The address is the right to it, so nothing else is asked for.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::infra::db::Db;
use domain::infra::files::Files;
use domain::upload::{self, StoreFault};

use crate::auth::request_id;

/// What the address needs.
#[derive(Clone, Debug)]
pub struct Uploads {
    /// The database.
    pub db: Db,
    /// Where files go.
    pub files: Files,
    /// Bytes of a file at most.
    pub limit: u64,
}

/// Stores the body as the file of the upload whose token is in the path.
///
/// 204 when it is stored. 404 for an upload that is unknown, over or used, all alike; 413 for a file that is too long; 400 when the
/// body breaks off; 503 when something failed here. The body must not be limited before it comes here.
pub async fn put(
    State(uploads): State<Uploads>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if declared_length(&headers).is_some_and(|length| length > uploads.limit) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let body = body.into_data_stream();
    let id = request_id(&headers);
    let stored = upload::store(&uploads.db, &uploads.files, &token, Some(id), body, uploads.limit).await;
    match stored {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(StoreFault::Gone) => StatusCode::NOT_FOUND,
        Err(StoreFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(StoreFault::Interrupted) => StatusCode::BAD_REQUEST,
        Err(StoreFault::Failed(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an uploaded file was not stored");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
    .into_response()
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
