//! Whether a process lives, and whether it can do its work.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::infra::wake;
use tokio::time::timeout;

use crate::state::State;

const PATIENCE: Duration = Duration::from_secs(1);

/// The process runs.
pub async fn live() -> &'static str {
    "ok\n"
}

/// A line for each thing the process depends on. Without PostgreSQL it is not ready; without Redis work is delayed, and nothing
/// else, so that is a degradation.
pub async fn ready(Shared(state): Shared<State>) -> Response {
    let database = timeout(PATIENCE, state.db.now()).await.is_ok_and(|now| now.is_ok());
    let redis = match &state.config.redis_url {
        None => "redis: not configured, one process works in memory",
        Some(url) if wake::answers(url, PATIENCE).await => "redis: ok",
        Some(_) => "redis: away, degraded: work for the worker is delayed",
    };
    let status = if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let database = if database { "postgresql: ok" } else { "postgresql: away" };
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{database}\n{redis}\n")).into_response()
}
