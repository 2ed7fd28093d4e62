//! GraphQL over HTTP (the working draft of the GraphQL foundation), in two steps so that the caller can be authenticated
//! between them:
//!
//! 1. [`Endpoint::receive`] (or [`Endpoint::prepare`], for a body that is read already) needs no database: origin, media types, parameters, parsing, the cost guard.
//! 2. [`Endpoint::execute`] validates and runs what passed, within the time a request may take.
//!
//! What is the same over every transport (the guards, and how an operation runs) is [`Operations`].
//!
//! A handler looks like this:
//!
//! ```ignore
//! let (head, prepared) = match endpoint.receive(request, &request_id).await {
//!     Ok(received) => received,
//!     Err(response) => return *response,          // also the answer to a preflight
//! };
//! // Who is it? A session cookie counts only together with `carries_csrf_header(&head.headers)`.
//! // On failure: `return endpoint.refuse(&prepared, ErrorCode::Unauthenticated, "Sign in again.")`.
//! let mut data = async_graphql::Data::default();
//! data.insert(actor);
//! endpoint.execute(prepared, data).await
//! ```

mod body;
mod media;
pub mod origin;
mod reply;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationType;
use async_graphql::{Data, Executor};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use domain::infra::config;

use self::media::Media;
pub use self::origin::{CSRF_HEADER, Caller, Origins, carries_csrf_header};
pub use self::reply::REQUEST_ID_HEADER;
use self::reply::Reply;
use super::error::ErrorCode;
use super::operation::{Operation, Operations};
use super::params::Params;

/// The `/graphql` endpoint of an executor. Clones share everything.
#[derive(Clone)]
pub struct Endpoint<E> {
    operations: Operations<E>,
    shared: Arc<Shared>,
}

struct Shared {
    origins: Origins,
    request_bytes: usize,
    time_limit: Duration,
}

/// A request that may be executed. Not `Debug`: variables hold passwords.
pub struct Prepared {
    operation: Operation,
    reply: Reply,
}

impl Prepared {
    /// What is asked for.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// How to refuse the request once it is under way.
    pub fn refusal(&self) -> Refusal {
        Refusal(self.reply.clone())
    }
}

/// Answers a request in place of its execution.
#[derive(Debug)]
pub struct Refusal(Reply);

impl Refusal {
    /// The answer with an error alone.
    pub fn answer(&self, code: ErrorCode, message: &str) -> Response {
        self.0.refuse_with(code, message)
    }
}

impl<E: Executor> Endpoint<E> {
    /// An endpoint of these operations for callers that `http` allows, within `limits`.
    pub fn new(operations: Operations<E>, limits: &config::Limits, http: &config::Http) -> Self {
        let shared = Shared {
            origins: Origins::new(http),
            request_bytes: limits.request_bytes,
            time_limit: Duration::from_secs(limits.request_seconds),
        };
        Self { operations, shared: Arc::new(shared) }
    }

    /// Reads a request with its body and prepares it, see [`Self::prepare`]; the head comes back for whoever authenticates.
    ///
    /// # Errors
    /// As [`Self::prepare`]; and 413 for a body that is too long, which is not read to its end, 408 for one that does not
    /// arrive in the time of a request, 400 for one that breaks off.
    pub async fn receive(
        &self,
        request: axum::http::Request<Body>,
        request_id: &str,
    ) -> Result<(Parts, Prepared), Box<Response>> {
        let (head, body) = request.into_parts();
        let reading = body::read(body, self.shared.request_bytes);
        let body = match tokio::time::timeout(self.shared.time_limit, reading).await {
            Ok(Ok(body)) => body,
            Ok(Err(fault)) => {
                return Err(Box::new(fault.answer(&self.reply(&head, request_id))));
            }
            Err(_elapsed) => {
                let error = ErrorCode::Timeout.request_error("The body did not arrive in time.");
                let reply = self.reply(&head, request_id);
                return Err(Box::new(reply.refuse(StatusCode::REQUEST_TIMEOUT, error)));
            }
        };
        let prepared = self.prepare(&head, &body, request_id)?;
        Ok((head, prepared))
    }

    /// Looks at a request as far as that needs no database. `request_id` is answered in `x-request-id` and in every error.
    ///
    /// # Errors
    /// The complete answer to whatever is not to be executed: a preflight, a foreign site (403), a method (405), a media type
    /// (406, 415), a size (413), parameters (400), a document (400, or 200 under `application/json`).
    pub fn prepare(&self, head: &Parts, body: &Bytes, request_id: &str) -> Result<Prepared, Box<Response>> {
        let reply = self.admit(head, request_id)?;
        if head.method == Method::OPTIONS {
            return Err(Box::new(preflight(&reply)));
        }
        if Media::negotiate(&head.headers).is_none() {
            let message =
                "The answer is application/json or application/graphql-response+json; \"Accept\" allows neither.";
            let error = ErrorCode::BadUserInput.request_error(message);
            return Err(Box::new(reply.refuse(StatusCode::NOT_ACCEPTABLE, error)));
        }
        let params = self.params(head, body, &reply)?;
        self.read(params, head.method == Method::GET, reply)
    }

    /// Where a request comes from that is to become a socket.
    ///
    /// # Errors
    /// The answer to a foreign site (403).
    pub fn site(&self, head: &Parts, request_id: &str) -> Result<Caller, Box<Response>> {
        self.admit(head, request_id).map(|reply| reply.caller)
    }

    /// Runs a prepared request with `data` for its resolvers, see [`Operations::run`], and answers.
    pub async fn execute(&self, prepared: Prepared, data: Data) -> Response {
        let outcome = self.operations.run(prepared.operation, data).await;
        prepared.reply.outcome(outcome)
    }

    /// Answers a prepared request without executing it: the caller is not who they say, or comes too often. Headers like
    /// `Retry-After` can be added to the answer.
    pub fn refuse(&self, prepared: &Prepared, code: ErrorCode, message: &str) -> Response {
        prepared.reply.refuse_with(code, message)
    }

    fn admit(&self, head: &Parts, request_id: &str) -> Result<Reply, Box<Response>> {
        let reply = self.reply(head, request_id);
        if reply.caller == Caller::Foreign {
            let message =
                "Pages of this site may not call the API. An operator can add its origin to the allowed ones.";
            return Err(Box::new(reply.refuse_with(ErrorCode::Forbidden, message)));
        }
        Ok(reply)
    }

    fn reply(&self, head: &Parts, request_id: &str) -> Reply {
        Reply {
            media: Media::negotiate(&head.headers).unwrap_or(Media::Json),
            caller: self.shared.origins.caller(&head.headers),
            request_id: request_id.to_owned(),
            operation: "none",
            began: Instant::now(),
        }
    }

    fn params(&self, head: &Parts, body: &Bytes, reply: &Reply) -> Result<Params, Box<Response>> {
        let bytes = head.uri.query().map_or(0, str::len).max(body.len());
        if let Err(fault) = body::check_length(bytes, self.shared.request_bytes) {
            return Err(Box::new(fault.answer(reply)));
        }
        let params = match head.method {
            Method::GET => Params::from_uri(&head.uri),
            Method::POST if media::is_json_body(&head.headers) => Params::from_body(body),
            Method::POST => {
                let error = ErrorCode::BadUserInput.request_error("The body must be application/json in UTF-8.");
                return Err(Box::new(reply.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)));
            }
            _ => {
                return Err(Box::new(method_not_allowed(reply, "GET, POST, OPTIONS", "Use POST, or GET for queries.")));
            }
        };
        params.map_err(|message| Box::new(reply.refuse_with(ErrorCode::BadUserInput, &message)))
    }

    fn read(&self, params: Params, is_get: bool, mut reply: Reply) -> Result<Prepared, Box<Response>> {
        let operation = match self.operations.read(params) {
            Ok(operation) => operation,
            Err(error) => return Err(Box::new(reply.refuse_document(error))),
        };
        reply.operation = operation.root_field();
        match operation.kind() {
            OperationType::Mutation if is_get => {
                Err(Box::new(method_not_allowed(&reply, "POST", "A mutation is sent by POST.")))
            }
            OperationType::Subscription => {
                let error = ErrorCode::BadUserInput.request_error("Subscriptions do not run over this transport.");
                Err(Box::new(reply.refuse_document(error)))
            }
            OperationType::Query | OperationType::Mutation => Ok(Prepared { operation, reply }),
        }
    }
}

fn preflight(reply: &Reply) -> Response {
    let mut response = reply.empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    origin::preflight(&reply.caller, "GET, POST", "authorization, content-type, x-muster-csrf", headers);
    response
}

fn method_not_allowed(reply: &Reply, allow: &'static str, message: &str) -> Response {
    let error = ErrorCode::BadUserInput.request_error(message);
    let mut response = reply.refuse(StatusCode::METHOD_NOT_ALLOWED, error);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests;
