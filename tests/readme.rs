//! The first steps of README.md, run as they are printed.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::support::app::Options;
use crate::support::process::Fleet;

/// Nothing in there takes this long.
const PATIENCE: Duration = Duration::from_mins(2);

/// The shell blocks between two headings.
fn blocks(text: &str, from: &str, to: &str) -> Vec<String> {
    let section = text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).expect("the headings are there").0;
    section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// What an answer refuses.
fn faults(answer: &Value) -> Vec<&Value> {
    match answer {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::Array(list) if name == "userErrors" && !list.is_empty() => vec![value],
                _ => faults(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(faults).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_first_steps_run_as_printed() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the checkout")?;
    let steps = blocks(&std::fs::read_to_string(root.join("README.md"))?, "## First steps", "## Read on");
    ensure!(steps.len() > 3, "the steps are found: {steps:?}");

    let mut fleet = Fleet::new(false, Options::default()).await?;
    // Links in mails and addresses of uploads name the port, so it is chosen before.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    fleet.extra = vec![("MUSTER_HTTP_LISTEN", format!("127.0.0.1:{port}")), ("MUSTER_HTTP_PUBLIC_URL", url.clone())];
    let seed = fleet.run(&["seed", "--env"]).await?;
    let catalogue = root.join("docs/examples/catalogue.toml");
    fleet.run(&["catalogue", "apply", catalogue.to_str().context("a path")?]).await?;
    let process = fleet.start("serve").await?;

    let checkout = fleet.app.config.data_dir.join("checkout");
    std::fs::create_dir_all(checkout.join(".dev"))?;
    symlink(root.join("tests"), checkout.join("tests"))?;
    let env = format!("set -a\n{seed}MUSTER_URL='{url}'\nMUSTER_MAIL_URL='{url}/dev/mail'\nset +a\n");
    std::fs::write(checkout.join(".dev/env"), env)?;

    let mut shell = Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", &steps.concat()]).current_dir(&checkout).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, shell.output()).await.context("the steps do not come to an end")??;
    let (printed, complaint) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{complaint}\n{printed}");
    let answers: Vec<Value> = printed
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    for answer in &answers {
        assert!(answer.get("errors").is_none() && faults(answer).is_empty(), "{answer:#}");
    }
    let found = |pointer: &str| answers.iter().rev().find_map(|answer| answer.pointer(pointer));
    assert_eq!(found("/data/memberInvite/invitations/0/state").and_then(Value::as_str), Some("PENDING"));
    assert!(found("/data/sessionCreate/token").is_some_and(Value::is_string), "Ada is signed in: {printed}");
    assert_eq!(found("/data/memberImport/status").and_then(Value::as_str), Some("FINISHED"), "{printed}");
    assert!(found("/data/memberImport/rowsInvited").and_then(Value::as_u64).is_some_and(|rows| rows > 0), "{printed}");
    assert_eq!(
        found("/data/account/licenseChanges/nodes/0/status").and_then(Value::as_str),
        Some("APPLIED"),
        "{printed}"
    );
    fleet.finish(vec![process]).await
}
