//! `/export/{token}`: a file that was made for somebody. The address is the right to it, for a few minutes.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::error::Error;
use domain::export::{self, Download};
use object_store::Error as StoreError;
use tokio_util::io::ReaderStream;

use super::visit::{Failure, Visit};
use super::{ClosedLink, page_headers};
use crate::state::State;

/// A file is shown by nothing and runs nothing, should a browser open it all the same.
const FILE_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// The file.
pub fn router() -> Router<State> {
    Router::new().route("/export/{token}", get(download))
}

/// 200 with the file; 404 with a page for a link that is unknown, over, or whose reader may not read that any more, all alike.
async fn download(Shared(state): Shared<State>, Path(token): Path<String>, visit: Visit) -> Response {
    match open(&state, &token).await {
        Ok(Some(response)) => response,
        Ok(None) => ClosedLink::Export.response(),
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
    Ok(Some((StatusCode::OK, headers(&file), Body::from_stream(ReaderStream::new(stream))).into_response()))
}

fn headers(file: &Download) -> HeaderMap {
    let mut headers = page_headers(FILE_POLICY);
    let disposition = format!("attachment; filename=\"{}\"", file.file_name);
    let disposition =
        HeaderValue::try_from(disposition).expect("names of files are made of letters, digits and dashes");
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind.media_type()));
    headers.insert(header::CONTENT_LENGTH, file.size.into());
    headers
}
