//! Files for people to keep.

use axum::http::{HeaderMap, HeaderValue, header};

use super::page_headers;

/// A file is shown by nothing and runs nothing, should a browser open it all the same.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// What a file is answered with. Its name is made of letters, digits, dots and dashes.
pub(super) fn headers(name: &str, media_type: &'static str) -> HeaderMap {
    let mut headers = page_headers(POLICY);
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    headers.insert(header::CONTENT_DISPOSITION, disposition.expect("no name has other characters"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers
}
