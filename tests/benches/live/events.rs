//! Events a second, through the rules' own transaction and through GraphQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::actor::Origin;
use domain::change::{Change, Kind};
use domain::event::{EventKind, NewEvent};
use serde_json::json;
use tokio::task::JoinSet;

use super::client::{Owner, found};
use super::support::app::Options;
use super::support::process::Fleet;

const WRITERS: usize = 16;
const TIME: Duration = Duration::from_secs(6);

pub(crate) async fn run() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(true, Options { configure, ..Options::default() }).await?;
    let api = fleet.start("api").await?;
    let owners = found(&fleet.app.db, 100, 3).await?;
    for accounts in [1, 100] {
        let db = fleet.app.db.clone();
        let rate = many(&owners[..accounts], move |owner, _| {
            let db = db.clone();
            async move {
                let mut change = Change::begin(&db, owner.account, Kind::System, Origin::system(), None).await?;
                change.record(NewEvent::new(EventKind::AccountRenamed));
                Ok(change.commit().await?)
            }
        });
        println!("events a second over {accounts} accounts, one a transaction: {:.0}", rate.await?);
        let (http, url) = (fleet.app.http.clone(), api.url.clone());
        let rate = many(&owners[..accounts], move |owner, number| {
            let (http, url) = (http.clone(), url.clone());
            async move { rename(&http, &url, &owner.token, number).await }
        });
        println!("events a second over {accounts} accounts, by mutation: {:.0}", rate.await?);
    }
    api.kill().await?;
    fleet.app.close().await;
    Ok(())
}

/// Renames an account.
pub(crate) async fn rename(http: &reqwest::Client, url: &str, token: &str, number: usize) -> Result<()> {
    let query = "mutation ($input: AccountRenameInput!) { accountRename(input: $input) { userErrors { code } } }";
    let body = json!({ "query": query, "variables": { "input": { "name": format!("Name {number}") } } });
    let answer = http.post(format!("{url}/graphql")).bearer_auth(token).json(&body).send().await?;
    let body = answer.text().await?;
    anyhow::ensure!(body.contains("\"userErrors\":[]"), "{body}");
    Ok(())
}

/// How often a second `write` is done by all writers together.
async fn many<F, Fut>(owners: &[Owner], write: F) -> Result<f64>
where
    F: Fn(Owner, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let written = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let (write, written, owners) = (write.clone(), Arc::clone(&written), owners.to_vec());
        tasks.spawn(async move {
            while begin.elapsed() < TIME {
                let number = written.fetch_add(1, Ordering::Relaxed);
                write(owners[number % owners.len()].clone(), number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(written.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}
