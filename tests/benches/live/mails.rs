//! Mails a second, from due jobs to recorded mails.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::client::{Owner, found};
use super::sink::Sink;
use super::support::app::{App, Options};
use super::support::process::Fleet;

const MAILS: usize = 10_000;

pub(crate) async fn run() -> Result<()> {
    for accounts in [1, 20] {
        for (hands, connections) in [(16, 4), (100, 32)] {
            measure(accounts, hands, connections).await?;
        }
    }
    Ok(())
}

async fn measure(accounts: usize, hands: usize, connections: usize) -> Result<()> {
    let sink = Sink::start().await?;
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let options = Options { configure, smtp_port: Some(sink.port), ..Options::default() };
    let mut fleet = Fleet::new(true, options).await?;
    let api = fleet.start("api").await?;
    let owners = found(&fleet.app.db, accounts, 20_000).await?;
    for owner in &owners {
        invite(&fleet.app, owner, MAILS / accounts).await?;
    }
    fleet.extra.push(("MUSTER_WORKER_CONCURRENCY", hands.to_string()));
    fleet.extra.push(("MUSTER_MAIL_SMTP_CONNECTIONS", connections.to_string()));
    fleet.extra.push(("MUSTER_DATABASE_CONNECTIONS", "20".to_owned()));
    let sent = "SELECT count(*) FROM invitation WHERE delivery = 'SENT'";
    let worker = fleet.start("worker").await?;
    let mut begin = None;
    let seconds = loop {
        let done: i64 = sqlx::query_scalar(sent).fetch_one(&fleet.app.db.pool).await?;
        if done > 0 && begin.is_none() {
            begin = Some((done, Instant::now()));
        }
        if let Some((before, begin)) = begin
            && usize::try_from(done)? == MAILS
        {
            break begin.elapsed().as_secs_f64() * MAILS as f64 / (MAILS as f64 - before as f64);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!(
        "{MAILS} mails of {accounts} accounts with {hands} hands and {connections} connections: {:.0} a second",
        MAILS as f64 / seconds
    );
    worker.kill().await?;
    api.kill().await?;
    fleet.app.close().await;
    Ok(())
}

async fn invite(app: &App, owner: &Owner, count: usize) -> Result<()> {
    let role = SystemRole::Standard.id().to_string();
    let people: Vec<Value> = (0..count)
        .map(|number| json!({ "email": format!("p{number}.{}@work.example", owner.account.0.simple()), "roleIds": [role] }))
        .collect();
    for some in people.chunks(100) {
        let answer =
            app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": some }), "__typename").await?;
        ensure!(answer.codes().is_empty(), "{}", answer.body);
    }
    Ok(())
}
