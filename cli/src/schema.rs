//! `muster schema`: the GraphQL schema, as `schema.graphql` holds it.

use std::io::Write as _;
use std::process::ExitCode;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    write!(std::io::stdout().lock(), "{}", api::graphql::sdl())?;
    Ok(ExitCode::SUCCESS)
}
