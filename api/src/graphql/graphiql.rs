//! A page to try queries on, and the schema as text.

use std::sync::Arc;

use async_graphql::http::{Credentials, GraphiQLSource};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;

use super::http::CSRF_HEADER;

/// The page, for an endpoint at the path `endpoint` of the same host. Its header editor takes an `Authorization` header;
/// whoever is signed in by cookie is recognised, too.
///
/// The library's page loads its scripts from a public content network.
pub fn page(endpoint: &str) -> Response {
    let page = GraphiQLSource::build()
        .endpoint(endpoint)
        .title("Muster GraphQL")
        .header(CSRF_HEADER, "1")
        .credentials(Credentials::SameOrigin)
        .finish();
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(page)).into_response()
}

/// The schema in its definition language, written once.
#[derive(Clone, Debug)]
pub struct Sdl(Bytes);

impl Sdl {
    /// From the text of `schema.sdl()` or its like.
    pub fn new(text: String) -> Arc<Self> {
        Arc::new(Self(text.into()))
    }

    /// The answer to `GET /graphql/schema.graphql`.
    pub fn response(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.0.clone()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_calls_the_endpoint_with_the_csrf_header() {
        let response = page("/graphql");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("createUrl('/graphql')"), "{text}");
        assert!(text.contains("'x-muster-csrf': '1'"), "{text}");
        assert!(text.contains("defaultEditorToolsVisibility: true"), "{text}");
    }

    #[tokio::test]
    async fn the_schema_is_text() {
        let response = Sdl::new("type Query { a: Int }".into()).response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(&body[..], b"type Query { a: Int }");
    }
}
