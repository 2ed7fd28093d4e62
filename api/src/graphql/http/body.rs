//! Reading a body, as long as it may be.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::reply::Reply;
use crate::graphql::error::ErrorCode;
use crate::graphql::guard;

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum BodyFault {
    /// Longer than a request may be.
    TooLong(guard::Refusal),
    /// The connection broke off.
    Broken,
}

impl BodyFault {
    pub(super) fn answer(self, reply: &Reply) -> Response {
        match self {
            Self::TooLong(refusal) => reply.refuse(StatusCode::PAYLOAD_TOO_LARGE, refusal.into_error()),
            Self::Broken => reply.refuse_with(ErrorCode::BadUserInput, "The body broke off."),
        }
    }
}

/// Whether `bytes` are as many as a request may have.
pub(super) fn check_length(bytes: usize, limit: usize) -> Result<(), BodyFault> {
    guard::within("requestBytes", limit, bytes).map_err(BodyFault::TooLong)
}

/// Reads a body of at most `limit` bytes, and no further.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, BodyFault> {
    let mut read = BytesMut::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyFault::Broken)?;
        check_length(read.len() + chunk.len(), limit)?;
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}
