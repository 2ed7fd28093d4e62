//! `muster schema`: the GraphQL schema, as `schema.graphql` holds it.

use std::process::ExitCode;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!("schema is not part of this build")
}
