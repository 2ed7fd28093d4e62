//! Answers: their status, headers and body.

use std::time::Instant;

use async_graphql::{Response as GraphqlResponse, ServerError, Value};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use domain::infra::metrics;
use domain::infra::telemetry;
use tracing::Span;

use super::media::Media;
use super::origin::{self, Caller};
use crate::graphql::error::{self, ErrorCode};
use crate::graphql::operation::Outcome;

/// Header that names the request, in answers and in logs.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Seconds after which a request that was refused for its time may be sent again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// How to answer one request.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) media: Media,
    pub(super) caller: Caller,
    pub(super) request_id: String,
    /// As metrics name it; `none` until the document is read.
    pub(super) operation: &'static str,
    pub(super) began: Instant,
}

impl Reply {
    /// An answer without a result, because of the request as a whole.
    pub(super) fn refuse(&self, status: StatusCode, error: ServerError) -> Response {
        let mut response = self.write(status, GraphqlResponse::from_errors(vec![error]));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(RETRY_AFTER);
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read: the connection ends here, and the client must not send its next request on it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The same with the status that belongs to the code.
    pub(super) fn refuse_with(&self, code: ErrorCode, message: &str) -> Response {
        self.refuse(code.status(), code.request_error(message))
    }

    /// A refused document: 400, except for clients of `application/json`, to whom it is an answer like any other.
    pub(super) fn refuse_document(&self, error: ServerError) -> Response {
        self.refuse(self.document_status(), error)
    }

    /// The result of an execution. Where a part of the installation was away or had too much to do, it says when to come again;
    /// when that left no data at all, the request is refused like one that was not executed.
    fn answer(&self, mut response: GraphqlResponse) -> Response {
        let (away, empty) = (error::is_unavailable(&response), error::is_empty(&response));
        let status = if error::is_request_error(&response) {
            self.document_status()
        } else if away && empty {
            // Fields that are null are data, with which the status would have to be 200.
            response.data = Value::Null;
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        let mut response = self.write(status, response);
        if away {
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(RETRY_AFTER);
        }
        response
    }

    /// How the execution ended.
    pub(super) fn outcome(&self, outcome: Outcome) -> Response {
        match outcome {
            Outcome::Answered(response) => self.answer(*response),
            Outcome::Failed(code, message) => self.refuse_with(code, &message),
        }
    }

    /// No body.
    pub(super) fn empty(&self, status: StatusCode) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        self.finish(response.headers_mut());
        response
    }

    fn document_status(&self) -> StatusCode {
        match self.media {
            Media::Json => StatusCode::OK,
            Media::GraphqlResponse => StatusCode::BAD_REQUEST,
        }
    }

    fn write(&self, status: StatusCode, mut answer: GraphqlResponse) -> Response {
        let executed = !error::is_request_error(&answer);
        error::complete(&mut answer, &self.request_id);
        let code = error::first_code(&answer);
        metrics::request_answered(self.operation, code, self.began.elapsed());
        telemetry::attribute(&Span::current(), "graphql.root_field", self.operation);
        telemetry::attribute(&Span::current(), "graphql.code", code);
        let body = if executed {
            serde_json::to_vec(&answer)
        } else {
            // There is no `data` entry where nothing was executed.
            serde_json::to_vec(&serde_json::json!({ "errors": answer.errors }))
        };
        // A result consists of strings, numbers, lists and maps with string keys, all of which JSON has.
        let mut response = Response::new(Body::from(body.expect("a GraphQL response can be written as JSON")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.extend(answer.http_headers);
        headers.insert(header::CONTENT_TYPE, self.media.content_type());
        self.finish(headers);
        response
    }

    fn finish(&self, headers: &mut HeaderMap) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
        }
        origin::apply(&self.caller, headers);
    }
}
