//! What JavaScript clients make of it. Needs Node, as `./dev test` does.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::support::app::{App, Options};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

async fn run(program: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder()).kill_on_drop(true);
    let done = command.output().await.with_context(|| format!("{program} is missing: ./dev test installs it"))?;
    let output = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((done.status.success(), output))
}

/// Runs a script of `tests/clients` against the product.
async fn script(name: &str) -> Result<(bool, String)> {
    if !folder().join("node_modules/graphql-http").exists() {
        let (installed, output) = run("npm", &["ci", "--no-audit", "--no-fund"]).await?;
        ensure!(installed, "npm ci in tests/clients: {output}");
    }
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    let node = std::env::var("MUSTER_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    let outcome = run(&node, &[name, &format!("{}/graphql", app.url)]).await?;
    app.finish().await?;
    Ok(outcome)
}

#[tokio::test]
async fn all_audits_of_graphql_http_pass() -> Result<()> {
    let (passed, output) = script("audits.mjs").await?;
    assert!(passed && output.contains("61 of 61"), "{output}");
    Ok(())
}

#[tokio::test]
async fn the_introspection_query_of_graphql_js_gives_a_valid_schema() -> Result<()> {
    let (passed, output) = script("introspection.mjs").await?;
    eprintln!("{output}");
    assert!(passed && output.contains(" types, "), "{output}");
    Ok(())
}
