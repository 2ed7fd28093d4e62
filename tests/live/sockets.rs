//! The same through processes and sockets: whoever loses the right to follow is cut off at every process.

use super::*;
use crate::support::app::Options;
use crate::support::process::{Fleet, Process};
use crate::support::socket::Socket;

const FEED: &str = "subscription { accountEvents { number } }";

/// The design says a second; the machines that tests run on may be busy with others.
const AT_MOST: Duration = Duration::from_secs(5);

/// How a follower's socket ended.
struct Ended {
    /// The last number that it was handed.
    seen: i64,
    /// The code with which it was closed; none if it came to the goal.
    code: Option<u16>,
    at: Instant,
}

/// Follows an account at a process until it is closed, or to the goal.
async fn follow_at(url: String, token: String, pace: Arc<Pace>) -> Result<Ended> {
    let mut socket = Socket::open(&url, &[]).await?;
    socket.init(json!({ "authorization": format!("Bearer {token}") })).await?;
    assert_eq!(socket.next().await?, json!({ "type": "connection_ack" }));
    socket.subscribe("f", FEED, Value::Null).await?;
    let mut seen = 0;
    while seen < pace.goal.load(Ordering::SeqCst) {
        let message = match socket.next_or_close().await? {
            Ok(message) => message,
            Err(code) => return Ok(Ended { seen, code: Some(code), at: Instant::now() }),
        };
        let Some(number) = message["payload"]["data"]["accountEvents"]["number"].as_i64() else {
            // The operation may be ended before the socket is.
            anyhow::ensure!(message["type"] == "complete", "{message}");
            continue;
        };
        anyhow::ensure!(seen == 0 || number == seen + 1, "{number} after {seen}");
        if seen == 0 {
            pace.begun.add_permits(1);
        }
        seen = number;
    }
    socket.leave().await?;
    Ok(Ended { seen, code: None, at: Instant::now() })
}

/// Has somebody lose the right to follow while events flow; answers how long it took until their last socket was closed.
async fn lose_among_events(fleet: &Fleet, apis: &[&Process], loss: Loss, owner: &Person) -> Result<Duration> {
    let app = &fleet.app;
    let auditor =
        app.join(owner, &format!("{loss:?}@harborandfinch.example").to_lowercase(), &[SystemRole::Auditor]).await?;
    let pace = Arc::new(Pace { goal: AtomicI64::new(i64::MAX), begun: Semaphore::new(0) });
    let mut followers = JoinSet::new();
    for api in apis {
        followers.spawn(follow_at(api.url.clone(), auditor.token.clone(), Arc::clone(&pace)));
    }
    let all = u32::try_from(apis.len())?;
    let _all = tokio::time::timeout(PATIENCE, pace.begun.acquire_many(all)).await.context("not all follow")??;
    lose(app, loss, owner, &auditor).await?;
    let answered = Instant::now();
    let sql = "SELECT max(seq) FROM event WHERE account_id = $1 AND kind = $2";
    let last = sqlx::query_scalar(sql).bind(account(owner)?.0).bind(loss.event().as_str());
    let last: i64 = last.fetch_one(&app.db.pool).await?;
    if loss == Loss::RoleWon {
        pace.goal.store(last + 50, Ordering::SeqCst);
    }
    let mut took = Duration::ZERO;
    while let Some(ended) = tokio::time::timeout(PATIENCE, followers.join_next()).await.context("it goes on")? {
        let Ended { seen, code, at } = ended??;
        if loss == Loss::RoleWon {
            anyhow::ensure!(code.is_none(), "closed with {code:?} though nothing was lost");
            continue;
        }
        anyhow::ensure!(code == Some(4403), "{loss:?}: {code:?}");
        anyhow::ensure!(seen <= last, "{loss:?}: saw {seen}, the right ended with {last}");
        took = took.max(at.saturating_duration_since(answered));
    }
    Ok(took)
}

/// Events flow at two processes, which hear of each other's commits through Redis, or only by asking the database.
async fn at_two_processes(redis: bool) -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(redis, Options { configure, ..Options::default() }).await?;
    let role = if redis { "api" } else { "serve" };
    let mut processes = vec![fleet.start(role).await?, fleet.start(role).await?];
    if redis {
        processes.push(fleet.start("worker").await?);
    }
    let owner = fleet.app.found("olivia@harborandfinch.example", 20).await?;
    let (stop, mut db, of) = (CancellationToken::new(), fleet.app.db.clone(), account(&owner)?);
    if let Some((url, prefix)) = fleet.redis() {
        db.waker = Waker::connect(&url.into(), prefix, &stop)?;
    }
    let stopped = stop.clone();
    let flow = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            burst(&db, of).await.unwrap();
        }
    });
    let begun = (Instant::now(), newest(&fleet.app, of).await?);
    for loss in LOSSES {
        let took = lose_among_events(&fleet, &[&processes[0], &processes[1]], loss, &owner).await?;
        println!("{loss:?}, {role}: all sockets closed {took:.1?} after the answer (aim: 1 s)");
        assert!(took < AT_MOST, "{loss:?}: {took:?}");
    }
    let flown = f64::from(u32::try_from(newest(&fleet.app, of).await? - begun.1)?);
    println!("{:.0} events a second meanwhile", flown / begun.0.elapsed().as_secs_f64());
    stop.cancel();
    flow.await?;
    fleet.finish(processes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_two_processes_end_with_the_right_to_follow() -> Result<()> {
    at_two_processes(true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_two_processes_without_redis_end_with_the_right_to_follow() -> Result<()> {
    at_two_processes(false).await
}
