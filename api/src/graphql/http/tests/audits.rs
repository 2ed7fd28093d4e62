//! The audits of the npm package `graphql-http`, over a real connection.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use tokio::process::Command;

use super::toy::{Toy, toy};
use super::*;

async fn handle(State(toy): State<Toy>, request: HttpRequest<Body>) -> Response {
    toy.call(request).await
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients")
}

async fn run(program: &str, arguments: &[&str]) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(clients()).kill_on_drop(true).output().await
}

/// Passes without a look where there is no Node: the audits exist in JavaScript only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_audits_pass() {
    if run("node", &["--version"]).await.is_err() {
        return;
    }
    if !clients().join("node_modules/graphql-http").exists() {
        let installed = run("npm", &["ci", "--no-audit", "--no-fund"]).await.unwrap();
        let errors = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "npm ci in tests/clients: {errors}");
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/graphql", listener.local_addr().unwrap());
    let router = Router::new().route("/graphql", any(handle)).with_state(toy());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let audits = run("node", &["audits.mjs", &url]).await.unwrap();
    let output = String::from_utf8_lossy(&audits.stdout);
    assert!(audits.status.success(), "{output}{}", String::from_utf8_lossy(&audits.stderr));
    assert!(output.contains("61 of 61"), "{output}");
    server.abort();
}
