//! What clients make of it: the scripts of `tests/clients`, on an API that is stopped and started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::server::Server;
use api::state::State;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::app::{App, Person};

const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// An API of its own beside the one of the app, which can be stopped.
struct Api {
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Api {
    async fn start(app: &App, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let server = Server::new(State::new(app.db.clone(), Arc::clone(&app.config), app.files.clone()));
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(async move { server.serve(listener, stopping).await });
        Ok(Self { port, stop, task })
    }

    async fn restart(self, app: &App) -> Result<Self> {
        self.stop.cancel();
        self.task.await?;
        Self::start(app, self.port).await
    }
}

/// A running script.
struct Script {
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
    _process: Child,
}

impl Script {
    fn start(mut command: Command) -> Result<Self> {
        let mut process = command.current_dir(folder()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().context("no output")?;
        Ok(Self { lines: BufReader::new(output).lines(), seen: Vec::new(), _process: process })
    }

    /// Reads until a line that begins so.
    async fn until(&mut self, wanted: &str) -> Result<()> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.ok().and_then(|line| line.ok().flatten());
            let line = line.with_context(|| format!("no \"{wanted}\" after {:?}", self.seen))?;
            ensure!(!line.starts_with("failed"), "{line} after {:?}", self.seen);
            self.seen.push(line.clone());
            if line.starts_with(wanted) {
                return Ok(());
            }
        }
    }
}

async fn rename(app: &App, owner: &Person, name: &str) -> Result<()> {
    let renamed = app.mutate(Some(&owner.token), "accountRename", json!({ "name": name }), "account { name }").await?;
    ensure!(renamed.codes().is_empty(), "{}", renamed.body);
    Ok(())
}

/// Runs a client through a query, an invalid document, events, and a restart.
async fn lives_through_a_restart(command: impl FnOnce() -> Result<Command>) -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 3).await?;
    let newest = app.graphql(Some(&owner.token), "{ accountEvents { newestCursor } }", Value::Null).await?;
    let api = Api::start(&app, 0).await?;
    let mut command = command()?;
    command.args([&format!("ws://127.0.0.1:{}/graphql", api.port), &owner.token]);
    command.arg(newest.text("/accountEvents/newestCursor"));
    let mut script = Script::start(command)?;
    script.until("connected 1").await?;
    script.until(&format!("queried {}", owner.account_id)).await?;
    script.until("refused GRAPHQL_VALIDATION_FAILED").await?;
    script.until("account Harbor & Finch").await?;
    rename(&app, &owner, "Second").await?;
    script.until("saw account.renamed").await?;
    let api = api.restart(&app).await?;
    script.until("closed 1012").await?;
    // Perhaps not for the second time: whoever comes while the process stops is sent away again.
    script.until("connected ").await?;
    // From the same cursor once more.
    script.until("saw account.renamed").await?;
    rename(&app, &owner, "Third").await?;
    script.until("saw account.renamed").await?;
    drop(script);
    api.stop.cancel();
    api.task.await?;
    app.finish().await
}

/// The script of JavaScript clients. Needs Node, as `./dev test` does.
fn javascript(client: &str) -> Result<Command> {
    if !folder().join("node_modules/graphql-ws").exists() {
        let mut install = std::process::Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder());
        ensure!(install.status()?.success(), "npm ci in tests/clients fails");
    }
    let node = std::env::var("MUSTER_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    let mut command = Command::new(node);
    command.args(["socket.mjs", client]);
    Ok(command)
}

#[tokio::test]
async fn graphql_ws_works() -> Result<()> {
    lives_through_a_restart(|| javascript("graphql-ws")).await
}

#[tokio::test]
async fn apollo_client_works() -> Result<()> {
    lives_through_a_restart(|| javascript("apollo")).await
}

#[tokio::test]
async fn urql_works() -> Result<()> {
    lives_through_a_restart(|| javascript("urql")).await
}

#[tokio::test]
async fn gql_works() -> Result<()> {
    lives_through_a_restart(|| {
        let installed = std::process::Command::new("python3").arg(folder().join("install.py")).output()?;
        ensure!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", String::from_utf8(installed.stdout)?.trim()).arg("gql_socket.py");
        Ok(command)
    })
    .await
}
