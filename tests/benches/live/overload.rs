//! What happens when more comes than a process can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Owner, found};
use super::spread;
use super::support::app::{Options, PASSWORD};
use super::support::process::Fleet;

const TIME: Duration = Duration::from_secs(10);

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Served,
    /// 503 with Retry-After.
    Refused,
    Failed,
}

#[derive(Clone)]
struct Load {
    http: reqwest::Client,
    url: String,
    owners: Arc<Vec<Owner>>,
}

pub(crate) async fn run() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(true, Options { configure, ..Options::default() }).await?;
    fleet.extra.push(("MUSTER_LOG_FILTER", "warn,muster=info".to_owned()));
    // What a password costs unless set otherwise.
    fleet.extra.push(("MUSTER_PASSWORD_MEMORY_KIB", "19456".to_owned()));
    fleet.extra.push(("MUSTER_PASSWORD_PASSES", "2".to_owned()));
    let api = fleet.start("api").await?;
    let owners = Arc::new(found(&fleet.app.db, 50, 3).await?);
    let load = Load { http: reqwest::Client::new(), url: api.url.clone(), owners };
    load.closed(16, Duration::from_secs(3)).await?;
    let mut peak = 0.0_f64;
    for clients in [8, 32, 64] {
        let rate = load.closed(clients, Duration::from_secs(6)).await?;
        println!("{clients} clients, each with its next request after the answer: {rate:.0} a second");
        peak = peak.max(rate);
    }
    for share in [0.5, 1.0, 2.0, 3.0] {
        load.open(share, peak).await?;
    }
    load.flood().await?;
    api.kill().await?;
    fleet.app.close().await;
    Ok(())
}

impl Load {
    /// Seven of ten read, three rename.
    async fn request(&self, number: usize) -> (End, Duration) {
        let owner = &self.owners[number % self.owners.len()];
        let body = if number % 10 < 7 {
            json!({ "query": "{ viewer { permissions account { id name } } account { members(first: 20) { nodes { id } } } }" })
        } else {
            let query =
                "mutation ($input: AccountRenameInput!) { accountRename(input: $input) { userErrors { code } } }";
            json!({ "query": query, "variables": { "input": { "name": format!("Name {number}") } } })
        };
        self.send(Some(&owner.token), &body).await
    }

    async fn send(&self, token: Option<&str>, body: &Value) -> (End, Duration) {
        let begin = Instant::now();
        let mut request = self.http.post(format!("{}/graphql", self.url)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let Ok(answer) = request.send().await else { return (End::Failed, begin.elapsed()) };
        let (status, told) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let text = answer.text().await.unwrap_or_default();
        let end = match status {
            200 if text.contains("\"data\":{") => End::Served,
            503 if told => End::Refused,
            _ => End::Failed,
        };
        (end, begin.elapsed())
    }

    /// Requests served a second when each client sends its next one after the answer.
    async fn closed(&self, clients: usize, time: Duration) -> Result<f64> {
        let (begin, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (load, next) = (self.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                let mut served = 0;
                while begin.elapsed() < time {
                    let (end, _) = load.request(next.fetch_add(1, Ordering::Relaxed)).await;
                    served += usize::from(end == End::Served);
                }
                served
            });
        }
        let served: usize = tasks.join_all().await.into_iter().sum();
        Ok(served as f64 / begin.elapsed().as_secs_f64())
    }

    /// Requests that come at a steady pace, whatever becomes of those before.
    async fn open(&self, share: f64, peak: f64) -> Result<()> {
        let count = (peak * share * TIME.as_secs_f64()) as usize;
        let pause = TIME.as_secs_f64() / count as f64;
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            tokio::time::sleep_until((begin + Duration::from_secs_f64(pause * number as f64)).into()).await;
            let load = self.clone();
            tasks.spawn(async move { load.request(number).await });
        }
        let sent = begin.elapsed();
        let all = tasks.join_all().await;
        let of =
            |wanted: End| all.iter().filter(move |(end, _)| *end == wanted).map(|(_, time)| *time).collect::<Vec<_>>();
        let (served, refused, failed) = (of(End::Served), of(End::Refused), of(End::Failed));
        println!(
            "{share} times the peak ({:.0} a second): {:.0} served a second, {:.0} % of the peak ({}); {:.1} % refused with Retry-After ({}); {} failed",
            count as f64 / sent.as_secs_f64(),
            served.len() as f64 / begin.elapsed().as_secs_f64(),
            served.len() as f64 / begin.elapsed().as_secs_f64() / peak * 100.0,
            spread(served),
            refused.len() as f64 / all.len() as f64 * 100.0,
            spread(refused),
            failed.len(),
        );
        Ok(())
    }

    /// Reads at a steady pace, alone and beside 500 people who sign in at once.
    async fn flood(&self) -> Result<()> {
        println!("reads, 50 a second, alone: {}", spread(self.reads(TIME).await));
        let mut tasks = JoinSet::new();
        for number in 0..500 {
            let load = self.clone();
            // A hash is computed for whoever does not exist, too.
            let input = json!({ "email": format!("nobody{number}@work.example"), "password": PASSWORD });
            let query =
                "mutation ($input: SessionCreateInput!) { sessionCreate(input: $input) { token userErrors { code } } }";
            let body = json!({ "query": query, "variables": { "input": input } });
            tasks.spawn(async move {
                let begin = Instant::now();
                while begin.elapsed() < TIME {
                    if load.send(None, &body).await.0 == End::Refused {
                        // As Retry-After says.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            });
        }
        println!(
            "reads, 50 a second, beside 500 who sign in, and again after each answer: {}",
            spread(self.reads(TIME).await)
        );
        tasks.shutdown().await;
        Ok(())
    }

    async fn reads(&self, time: Duration) -> Vec<Duration> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (begin, mut tasks) = (Instant::now(), JoinSet::new());
        while begin.elapsed() < time {
            ticks.tick().await;
            let load = self.clone();
            tasks.spawn(async move {
                let body = json!({ "query": "{ viewer { permissions } }" });
                load.send(Some(&load.owners[0].token), &body).await
            });
        }
        tasks.join_all().await.into_iter().filter(|(end, _)| *end == End::Served).map(|(_, time)| time).collect()
    }
}
