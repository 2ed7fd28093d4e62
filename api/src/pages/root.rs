//! `/`: says what this is, to whoever follows the address of the API in a browser.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use domain::infra::config::is_loopback_url;

use super::{RootView, render};
use crate::state::State;

/// The page at `/`.
pub fn router() -> Router<State> {
    Router::new().route("/", get(show))
}

async fn show(Shared(state): Shared<State>) -> Response {
    let config = &state.config;
    let view = RootView {
        sign_in_url: config.links.sign_in.clone(),
        explorer_url: is_loopback_url(&config.http.public_url).then(|| "/graphiql".to_owned()),
    };
    render(StatusCode::OK, &view)
}
