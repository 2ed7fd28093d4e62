//! schemathesis against the whole schema: whatever it makes up, nothing fails here. `MUSTER_TEST_FULL=1` makes it try longer,
//! `MUSTER_TEST_SEED` again what a run has printed.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use domain::permission::SystemRole;
use serde_json::{Value, json};
use tokio::process::Command;

use super::seed;
use crate::support::app::{App, Options, Person};

/// What ends the session that all else is tried with.
const ENDS_SESSIONS: [&str; 2] = ["Mutation.sessionRevoke", "Mutation.sessionSwitchAccount"];

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The folder with schemathesis, installed.
async fn installed() -> Result<String> {
    let install = [clients().join("install.py"), "fuzz-requirements.txt".into()];
    let done = Command::new("python3").args(install).output().await.context("python3 is needed for this test")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// Ids of what there is, for half of the tries to find something.
async fn ids(app: &App, owner: &Person) -> Result<String> {
    let document = "{ viewer { member { id } account { id } session { id } }
                      account { roles { id } members(first: 50) { nodes { id } } invitations(first: 50) { nodes { id } } } }";
    let found = app.graphql(Some(&owner.token), document, Value::Null).await?;
    assert!(found.errors().is_empty(), "{}", found.body);
    let mut ids = Vec::new();
    collect(&found.body, &mut ids);
    Ok(ids.join(" "))
}

fn collect(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(id) if name == "id" => ids.push(id.to_owned()),
            _ => collect(value, ids),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}

async fn run(app: &App, folder: &str, ids: &str, arguments: &[&str]) -> Result<Output> {
    let full = std::env::var_os("MUSTER_TEST_FULL").is_some();
    let mut command = Command::new("python3");
    command.args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]);
    command.arg(format!("{}/graphql", app.url)).args(["--phases", "fuzzing", "--no-color"]);
    command.args(["--checks", "nothing_fails", "--suppress-health-check", "all"]);
    command.args(["--max-examples", if full { "300" } else { "6" }]).args(arguments);
    let scratch = app.config.data_dir.join("fuzz");
    std::fs::create_dir_all(&scratch)?;
    command.current_dir(scratch).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SCHEMATHESIS_HOOKS", clients().join("fuzz_hooks.py"));
    command.env("FUZZ_IDS", ids).env("FUZZ_EMAILS", "olivia@harborandfinch.example ben@work.example");
    Ok(command.kill_on_drop(true).output().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_schemathesis_makes_up_nothing_fails_here() -> Result<()> {
    let folder = installed().await?;
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", 50).await?;
    app.join(&owner, "ben@work.example", &[SystemRole::Administrator]).await?;
    app.invite(&owner, "ann@work.example", &[SystemRole::Standard]).await?;
    app.mutate(Some(&owner.token), "uploadCreate", json!({ "fileName": "a.csv" }), "__typename").await?;
    let ids = ids(&app, &owner).await?;
    let seed = seed("schemathesis").to_string();
    let bearer = format!("Authorization: Bearer {}", owner.token);
    let further = format!("Authorization: Bearer {}", app.sign_in(&owner.email).await?);
    let [first, second] = ENDS_SESSIONS;
    for arguments in [
        vec!["--header", &bearer, "--exclude-name", first, "--exclude-name", second],
        vec![],
        vec!["--header", &further, "--include-name", first, "--include-name", second],
    ] {
        let done = run(&app, &folder, &ids, &[&["--seed", &seed], arguments.as_slice()].concat()).await?;
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{said}");
        let summary: Vec<&str> =
            said.lines().filter(|line| line.contains("generated,") || line.contains("Tested:")).collect();
        eprintln!("{}", summary.join(" "));
        assert!(summary.len() == 2, "{said}");
    }
    let still = app.graphql(Some(&owner.token), "{ viewer { permissions } }", Value::Null).await?;
    assert!(still.errors().is_empty(), "the owner's session has ended on the way: {}", still.body);
    // Mail to whatever was made up may be refused; nothing else may have died.
    app.settle().await?;
    assert_eq!(app.jobs("dead_at IS NOT NULL AND kind NOT LIKE 'mail.%'").await?, 0);
    app.close().await;
    Ok(())
}
