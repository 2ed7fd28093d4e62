//! `/member-imports/{token}/{name}`: the template of an import, and the rows of one that have faults. The address is the right to them, for
//! a while.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::error::Error;
use domain::import::file::FileLimits;
use domain::import::link::{self, File};
use domain::import::{self, template};

use super::ClosedLink;
use super::file::headers;
use super::visit::{Failure, Visit};
use crate::state::State;

/// The files.
pub fn router() -> Router<State> {
    Router::new().route("/member-imports/{token}/{name}", get(download))
}

/// 200 with the file; 404 with a page for a link that is unknown, over, or whose reader may not see imports any more, and for rows whose
/// file is deleted, all alike.
async fn download(Shared(state): Shared<State>, Path((token, name)): Path<(String, String)>, visit: Visit) -> Response {
    match open(&state, &token, &name).await {
        Ok(Some(body)) => (headers(&name, "text/csv; charset=utf-8"), body).into_response(),
        Ok(None) => ClosedLink::File.response(),
        Err(error) => Failure::of(error, &visit, |_| None).page(),
    }
}

async fn open(state: &State, token: &str, name: &str) -> Result<Option<Body>, Error> {
    let found = link::open(&state.db, token).await?;
    let Some((account, file)) = found.filter(|(_, file)| file.name() == name) else { return Ok(None) };
    match file {
        File::Template => {
            let mut conn = state.db.pool.acquire().await?;
            let columns = template::columns(&mut conn, account).await?;
            Ok(Some(Body::from(template::csv(&columns))))
        }
        File::FailedRows(import) => {
            let limits = FileLimits::from(&state.config.limits);
            let rows = import::failed_rows(state.db.clone(), &state.files, limits, (account, import)).await?;
            Ok(rows.map(Body::from_stream))
        }
    }
}
