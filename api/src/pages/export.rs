//! `/export/{token}`: a file that was made for somebody. The address is the right to it, for a few minutes.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::error::Error;
use domain::export;
use object_store::Error as StoreError;
use tokio_util::io::ReaderStream;

use super::ClosedLink;
use super::file::headers;
use super::visit::{Failure, Visit};
use crate::state::State;

/// The file.
pub fn router() -> Router<State> {
    Router::new().route("/export/{token}", get(download))
}

/// 200 with the file; 404 with a page for a link that is unknown, over, or whose reader may not read that any more, all alike.
async fn download(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match open(&state, &token).await {
        Ok(Some(response)) => response,
        Ok(None) => ClosedLink::File.response(),
        Err(error) => Failure::of(error, &visit, |_| None).page(),
    }
}

async fn open(state: &State, token: &str) -> Result<Option<Response>, Error> {
    let Some(file) = export::open(&state.db, token).await? else { return Ok(None) };
    let stream = match file.stream(&state.files).await {
        // Deleted this moment.
        Err(StoreError::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let mut headers = headers(&file.file_name, file.kind.media_type());
    headers.insert(header::CONTENT_LENGTH, file.size.into());
    Ok(Some((headers, Body::from_stream(ReaderStream::new(stream))).into_response()))
}
