//! Processes are replaced one after the other while people work and listen: nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::id::{AccountId, EventId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::app::{Options, Person};
use crate::support::process::Fleet;
use crate::support::socket::Socket;

/// How often the balancer looks at `/readyz`.
const LOOK: Duration = Duration::from_millis(100);

const PATIENCE: Duration = Duration::from_secs(30);

const RENAME: &str = "mutation ($input: AccountRenameInput!) {
    accountRename(input: $input) { account { name } userErrors { code } } }";

fn restarts() -> usize {
    if std::env::var_os("MUSTER_TEST_FULL").is_some() { 20 } else { 5 }
}

/// Sends each request to the next process that is ready. One that says that it is stopping gets none from then on; one that does
/// not answer well twice in a row, as balancers are set up by default, none until it does. It tries nothing again.
#[derive(Clone)]
struct Balancer {
    http: reqwest::Client,
    known: Arc<Mutex<Vec<Backend>>>,
    next: Arc<AtomicUsize>,
}

struct Backend {
    url: String,
    ready: bool,
    /// How often in a row it did not answer well.
    faults: u32,
}

impl Backend {
    fn looked_at(&mut self, ready: bool, stopping: bool) {
        self.faults = if ready { 0 } else { self.faults + 1 };
        self.ready = ready || (self.ready && !stopping && self.faults < 2);
    }
}

impl Balancer {
    fn start() -> (Self, DropGuard) {
        let http = reqwest::Client::new();
        let balancer = Self { http, known: Arc::default(), next: Arc::default() };
        let (stop, looking) = (CancellationToken::new(), balancer.clone());
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(looking.look()).await });
        (balancer, stop.drop_guard())
    }

    async fn look(&self) {
        loop {
            let urls: Vec<String> = self.known.lock().unwrap().iter().map(|backend| backend.url.clone()).collect();
            for url in urls {
                let answer = self.http.get(format!("{url}/readyz")).timeout(Duration::from_secs(5)).send().await;
                let (ready, said) = match answer {
                    Ok(answer) => (answer.status() == 200, answer.text().await.unwrap_or_default()),
                    Err(_) => (false, String::new()),
                };
                let mut known = self.known.lock().unwrap();
                for known in known.iter_mut().filter(|known| known.url == url) {
                    known.looked_at(ready, said.contains("process: stopping"));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a process is used.
    async fn add(&self, url: &str) -> Result<()> {
        self.known.lock().unwrap().push(Backend { url: url.to_owned(), ready: false, faults: 0 });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.known.lock().unwrap().iter().any(|known| known.url == url && known.ready) {
            ensure!(tokio::time::Instant::now() < deadline, "{url} does not become ready");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn remove(&self, url: &str) {
        self.known.lock().unwrap().retain(|known| known.url != url);
    }

    fn pick(&self) -> Result<String> {
        let known = self.known.lock().unwrap();
        let ready: Vec<&Backend> = known.iter().filter(|known| known.ready).collect();
        ensure!(!ready.is_empty(), "no process is ready");
        Ok(ready[self.next.fetch_add(1, Ordering::Relaxed) % ready.len()].url.clone())
    }

    async fn send(&self, token: &str, query: &str, variables: Value) -> Result<Value> {
        let url = self.pick()?;
        let body = json!({ "query": query, "variables": variables });
        let answer = self.http.post(format!("{url}/graphql")).bearer_auth(token).json(&body).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status == 200, "{status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// Reads and renames until it is over; answers how many requests were served. The first that fails ends it.
async fn work(balancer: Balancer, token: String, worker: usize, over: Arc<AtomicBool>) -> Result<usize> {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let name = format!("Name {worker}-{served}");
        let input = json!({ "name": name, "idempotencyKey": name });
        let answer = balancer.send(&token, RENAME, json!({ "input": input })).await?;
        ensure!(answer["data"]["accountRename"]["userErrors"] == json!([]), "{answer}");
        let answer = balancer.send(&token, "{ viewer { permissions } }", Value::Null).await?;
        ensure!(answer["data"]["viewer"]["permissions"].is_array(), "{answer}");
        served += 2;
    }
    Ok(served)
}

/// What somebody has seen of their account.
struct Seen {
    ids: Vec<String>,
    connections: usize,
}

/// Follows an account from its beginning until an event of this number, connecting again whenever a socket is closed.
async fn follow(balancer: Balancer, token: String, last: Arc<Mutex<Option<i64>>>) -> Result<Seen> {
    let mut seen = Seen { ids: Vec::new(), connections: 0 };
    let (mut after, mut number) = (String::new(), 0);
    loop {
        let mut socket = Socket::open(&balancer.pick()?, &[]).await?;
        seen.connections += 1;
        socket.init(json!({ "authorization": format!("Bearer {token}") })).await?;
        let query = "subscription ($after: String) { accountEvents(after: $after) { id number cursor } }";
        let after_or_null = if after.is_empty() { Value::Null } else { json!(after) };
        loop {
            if last.lock().unwrap().is_some_and(|last| number >= last) {
                return Ok(seen);
            }
            let message =
                match tokio::time::timeout(PATIENCE, socket.next_or_close()).await.context("nothing comes")?? {
                    Ok(message) => message,
                    Err(code) => {
                        ensure!(code == 1012, "closed with {code}");
                        break;
                    }
                };
            match message["type"].as_str() {
                Some("connection_ack") => socket.subscribe("1", query, json!({ "after": after_or_null })).await?,
                Some("next") => {
                    let event = &message["payload"]["data"]["accountEvents"];
                    number = event["number"].as_i64().with_context(|| message.to_string())?;
                    after = event["cursor"].as_str().context("a cursor")?.to_owned();
                    seen.ids.push(event["id"].as_str().context("an id")?.to_owned());
                }
                _ => anyhow::bail!("{message}"),
            }
        }
    }
}

/// Every event of an account, in order.
async fn events(fleet: &Fleet, owner: &Person) -> Result<Vec<String>> {
    let account: AccountId = owner.account_id.parse()?;
    let ids = sqlx::query_scalar::<_, uuid::Uuid>("SELECT event_id FROM event WHERE account_id = $1 ORDER BY seq");
    let ids = ids.bind(account.0).fetch_all(&fleet.app.db.pool).await?;
    Ok(ids.into_iter().map(|id| EventId(id).to_string()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_replaced_under_load_and_no_request_fails_and_no_event_is_lost() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.limits.rate_limits = false;
        // Ten times as long as the balancer needs to notice.
        config.http.drain_seconds = 1;
    };
    let mut fleet = Fleet::new(true, Options { configure, ..Options::default() }).await?;
    let worker = fleet.start("worker").await?;
    let mut processes = vec![fleet.start("api").await?, fleet.start("api").await?];
    let owner = fleet.app.found("olivia@harborandfinch.example", 3).await?;
    let (balancer, _looking) = Balancer::start();
    for process in &processes {
        balancer.add(&process.url).await?;
    }
    let (over, last) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let mut working = JoinSet::new();
    for number in 0..4 {
        working.spawn(work(balancer.clone(), owner.token.clone(), number, Arc::clone(&over)));
    }
    let mut following = JoinSet::new();
    for _ in 0..3 {
        following.spawn(follow(balancer.clone(), owner.token.clone(), Arc::clone(&last)));
    }
    for _ in 0..restarts() {
        let process = processes.remove(0);
        let url = process.url.clone();
        process.stop().await?;
        balancer.remove(&url);
        let process = fleet.start("api").await?;
        balancer.add(&process.url).await?;
        processes.push(process);
        if let Some(ended) = working.try_join_next() {
            anyhow::bail!("a request failed: {:?}", ended?);
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut served = 0;
    while let Some(done) = working.join_next().await {
        served += done??;
    }
    let expected = events(&fleet, &owner).await?;
    *last.lock().unwrap() = Some(i64::try_from(expected.len())?);
    // Whoever waits for the next event has it now.
    balancer.send(&owner.token, RENAME, json!({ "input": { "name": "The last" } })).await?;
    let expected = events(&fleet, &owner).await?;
    let mut connections = 0;
    while let Some(seen) = following.join_next().await {
        let seen = seen??;
        connections += seen.connections;
        let first = expected.iter().position(|id| *id == seen.ids[0]).context("no event of this account")?;
        ensure!(seen.ids == expected[first..first + seen.ids.len()], "events are missing, twice, or out of order");
        ensure!(first + seen.ids.len() + 1 >= expected.len(), "the last ones are missing");
    }
    println!(
        "{} rolling restarts: {served} requests served, none failed; {connections} sockets of 3 subscribers",
        restarts()
    );
    assert!(served > restarts() * 10 && connections > 3, "{served} requests, {connections} sockets");
    processes.push(worker);
    fleet.finish(processes).await
}
