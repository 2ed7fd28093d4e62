//! `/metrics`, on a listener of its own: whoever may read it need not reach the API, and the other way round.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use domain::infra::metrics::{self, Look};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `/metrics` and nothing else, until `shutdown`.
pub async fn serve(look: Look, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let app = Router::new().route("/metrics", get(expose)).with_state(look);
    tokio::select! {
        served = axum::serve(listener, app) => served,
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn expose(State(look): State<Look>) -> impl IntoResponse {
    look.refresh().await;
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")], metrics::render())
}
