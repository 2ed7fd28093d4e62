//! `GET /member-imports/{token}/…`: the template of an import, and the rows of one that have faults. The address is signed for one member
//! and a while; whether they may still see imports is looked at each time.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::error::Error;
use domain::import::file::FileLimits;
use domain::import::link::{Leads, Link};
use domain::import::{self, template};

use crate::state;

/// `/member-imports/{token}/{name}`.
pub fn router(state: state::State) -> Router {
    Router::new().route("/member-imports/{token}/{name}", get(fetch)).with_state(state)
}

/// 200 with the file; 404 for an address that was not made here or is over, for one whose member may not see imports any more, and for
/// rows whose file is deleted, all alike; 503 when something failed here.
async fn fetch(State(state): State<state::State>, Path((token, name)): Path<(String, String)>) -> Response {
    match find(&state, &token).await {
        Ok(Some((expected, body))) if expected == name => file(&name, body),
        Ok(_) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a file of an import could not be made");
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
        }
    }
}

/// The file's name, and what is in it.
async fn find(state: &state::State, token: &str) -> Result<Option<(&'static str, Body)>, Error> {
    let Some(link) = Link::open(&state.db, token).await? else { return Ok(None) };
    match link.leads {
        Leads::Template => {
            let mut conn = state.db.pool.acquire().await?;
            let columns = template::columns(&mut conn, link.account).await?;
            Ok(Some(("template.csv", Body::from(template::csv(&columns)))))
        }
        Leads::FailedRows(import) => {
            let limits = FileLimits::from(&state.config.limits);
            let rows = import::failed_rows(state.db.clone(), &state.files, limits, (link.account, import)).await?;
            Ok(rows.map(|rows| ("failed-rows.csv", Body::from_stream(rows))))
        }
    }
}

fn file(name: &str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, body).into_response()
}
