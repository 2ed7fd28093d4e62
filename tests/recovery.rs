//! What is away comes back, and work goes on by itself, within a time that is printed and bounded.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use domain::infra::migrate;
use domain::permission::SystemRole;
use domain::verify::{self, Level};
use serde_json::{Value, json};

use crate::support::app::{App, Options, Person};
use crate::support::cluster;
use crate::support::mail_server::Server;
use crate::support::mailbox::Mailbox;
use crate::support::process::{Fleet, Process};

const OWNER: &str = "olivia@harborandfinch.example";

/// Whatever was disturbed has recovered before this.
const PATIENCE: Duration = Duration::from_mins(3);

/// The work of a killed worker is done by another after this.
const AFTER_A_KILL: Duration = Duration::from_secs(30);
/// Work is done after Redis lost everything.
const AFTER_A_WIPE: Duration = Duration::from_mins(2);
/// Mutations are done again after PostgreSQL is there again.
const AFTER_POSTGRESQL: Duration = Duration::from_secs(5);
/// Requests are refused while PostgreSQL is away.
const REFUSED: Duration = Duration::from_secs(2);

/// Says how long something took, and fails when that is too long.
#[track_caller]
fn assert_within(limit: Duration, what: &str, took: Duration) {
    println!("{what}: {:.2} s (at most {} s)", took.as_secs_f64(), limit.as_secs());
    assert!(took <= limit, "{what}: {took:?}, more than {limit:?}");
}

/// Waits until `what` answers yes; answers how long that took.
async fn until<F, Fut>(what: F) -> Result<Duration>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let started = Instant::now();
    while !what().await? {
        if started.elapsed() > PATIENCE {
            bail!("it does not recover");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(started.elapsed())
}

async fn count(app: &App, of: &str) -> Result<i64> {
    Ok(app.look(&format!("SELECT count(*) FROM {of}")).await?.context("a count")?.parse()?)
}

async fn assert_unbroken(app: &App) -> Result<()> {
    let mut conn = migrate::connect(&app.config).await?;
    let mut broken = Vec::new();
    verify::run(&mut conn, None, |finding| {
        if finding.level == Level::Broken {
            broken.push(finding);
        }
    })
    .await?;
    ensure!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

/// Invites many with one request.
async fn invite(app: &App, owner: &Person, name: &str, people: usize) -> Result<()> {
    let role = SystemRole::Standard.id().to_string();
    let invitations: Vec<Value> = (0..people)
        .map(|number| json!({ "email": format!("{name}{number}@work.example"), "roleIds": [role] }))
        .collect();
    let input = json!({ "invitations": invitations });
    let answer = app.mutate(Some(&owner.token), "memberInvite", input, "__typename").await?;
    ensure!(answer.codes().is_empty(), "{}", answer.body);
    Ok(())
}

async fn rename(app: &App, owner: &Person, name: &str) -> Result<crate::support::app::Answer> {
    app.mutate(Some(&owner.token), "accountRename", json!({ "name": name }), "account { name }").await
}

#[tokio::test]
async fn the_work_of_a_killed_worker_is_done_by_another() -> Result<()> {
    let server = Server::start(&[]);
    let mut fleet = Fleet::new(true, Options { smtp_port: Some(server.port), ..Options::default() }).await?;
    fleet.app.mailbox = Mailbox::new(server.spool());
    let api = fleet.start("api").await?;
    let worker = fleet.start("worker").await?;
    let owner = fleet.app.found(OWNER, 5).await?;
    let before = server.mails().len();
    fleet.app.invite(&owner, "slow+4@work.example", &[SystemRole::Standard]).await?;
    until(|| async { Ok(server.mails().len() > before) }).await?;
    worker.kill().await?;
    let killed = Instant::now();
    let next = fleet.start("worker").await?;
    let app = &fleet.app;
    until(|| async { Ok(count(app, "invitation WHERE delivery = 'SENT'").await? == 1) }).await?;
    assert_within(AFTER_A_KILL, "work of a killed worker done", killed.elapsed());
    fleet.finish(vec![api, next]).await
}

/// People who are invited at once, each with a mail.
const PEOPLE: usize = 300;

async fn with_redis(url: &str) -> Result<(Fleet, Vec<Process>, Person)> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(false, Options { configure, ..Options::default() }).await?;
    fleet.use_redis(url);
    let processes = vec![fleet.start("api").await?, fleet.start("worker").await?];
    let owner = fleet.app.found(OWNER, 2_000).await?;
    Ok((fleet, processes, owner))
}

#[tokio::test]
async fn an_emptied_redis_delays_work_and_loses_none() -> Result<()> {
    let (mut redis, url) = cluster::redis()?;
    let (fleet, processes, owner) = with_redis(&url).await?;
    let app = &fleet.app;
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        invite(app, &owner, &format!("r{round}-"), 100).await?;
        // Some ids are in it, some were taken out of it, some are yet to come.
        until(|| async { Ok(app.jobs("hinted OR claim IS NOT NULL").await? > 0) }).await?;
        redis.stop()?;
        redis.start()?;
        let sent = 100 * (round + 1);
        slowest =
            slowest.max(until(|| async { Ok(count(app, "invitation WHERE delivery = 'SENT'").await? == sent) }).await?);
    }
    assert_within(AFTER_A_WIPE, "work done after Redis was emptied, at the longest of 3", slowest);
    let mut ids: Vec<String> = app.mailbox.all()?.into_iter().map(|letter| letter.message_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 301, "a sign-up and three hundred invitations");
    assert_unbroken(app).await?;
    fleet.finish(processes).await
}

/// The middle of so many renames' times.
async fn renames(app: &App, owner: &Person) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 0..51 {
        let started = Instant::now();
        let answer = rename(app, owner, &format!("Name {number}")).await?;
        times.push(started.elapsed());
        ensure!(answer.codes().is_empty(), "{}", answer.body);
    }
    times.sort();
    Ok(times[25])
}

#[tokio::test]
async fn without_redis_the_api_is_up_and_jobs_wait() -> Result<()> {
    let (mut redis, url) = cluster::redis()?;
    let (fleet, processes, owner) = with_redis(&url).await?;
    let app = &fleet.app;
    let with = renames(app, &owner).await?;
    for frozen in [false, true] {
        if frozen {
            redis.freeze()?;
        } else {
            redis.stop()?;
        }
        let without = renames(app, &owner).await?;
        let how = if frozen { "frozen" } else { "stopped" };
        println!("a mutation takes {with:?} with Redis, {without:?} with Redis {how} (medians)");
        invite(app, &owner, how, 20).await?;
        let ready = app.http.get(format!("{}/readyz", app.url)).send().await?;
        let (status, lines) = (ready.status().as_u16(), ready.text().await?);
        assert!(status == 200 && lines.contains("redis: away") && lines.contains("postgresql: ok"), "{status} {lines}");
        let sent = count(app, "invitation WHERE delivery = 'SENT'").await?;
        if frozen {
            redis.thaw()?;
        } else {
            redis.start()?;
        }
        let all = if frozen { 40 } else { 20 };
        assert!(sent < all, "it was not done without Redis");
        let back = until(|| async { Ok(count(app, "invitation WHERE delivery = 'SENT'").await? == all) }).await?;
        println!("jobs are done {:.1} s after Redis is back from being {how}", back.as_secs_f64());
    }
    assert_unbroken(app).await?;
    fleet.finish(processes).await
}

/// How a process says that it lives, and whether it is ready.
async fn health(app: &App) -> Result<(u16, u16, String)> {
    let live = app.http.get(format!("{}/livez", app.url)).send().await?.status().as_u16();
    let ready = app.http.get(format!("{}/readyz", app.url)).send().await?;
    Ok((live, ready.status().as_u16(), ready.text().await?))
}

/// The API while the database is away, from the first moment on: 20 requests at once, and one by one.
async fn assert_refuses(app: &App, owner: &Person, how: &str) -> Result<()> {
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let ask = async |number: usize| {
            let started = Instant::now();
            let answer = if number.is_multiple_of(2) {
                rename(app, owner, "Elsewhere").await?
            } else {
                app.graphql(Some(&owner.token), "{ account { name } }", Value::Null).await?
            };
            anyhow::Ok((answer, started.elapsed()))
        };
        for (answer, took) in futures::future::try_join_all((0..20).map(ask)).await? {
            // TIMEOUT would have taken the time of a request, which is longer.
            ensure!(answer.errors() == ["SERVICE_UNAVAILABLE"], "{how}, round {round}: {}", answer.body);
            let retry_after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
            ensure!(answer.status == 503 && retry_after == Some("1"), "{how}: {} {retry_after:?}", answer.status);
            slowest = slowest.max(took);
        }
    }
    let put = app.http.put(format!("{}/uploads/mupl.x", app.url)).body("x").send().await?;
    ensure!(put.status() == 503, "{how}: {}", put.status());
    assert_within(REFUSED, &format!("refused with the database {how}"), slowest);
    let (live, ready, lines) = health(app).await?;
    ensure!(live == 200 && ready == 503 && lines.contains("postgresql: away"), "{how}: {live} {ready} {lines}");
    Ok(())
}

/// Waits for the first rename that succeeds.
async fn recovers(app: &App, owner: &Person, name: &str) -> Result<Duration> {
    until(|| async {
        let answer = rename(app, owner, name).await?;
        Ok(answer.errors().is_empty() && answer.codes().is_empty())
    })
    .await
}

#[tokio::test]
async fn without_the_database_requests_are_refused_quickly_and_all_comes_back_by_itself() -> Result<()> {
    let (mut postgres, server) = cluster::postgres()?;
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut fleet = Fleet::new(true, Options { configure, server: Some(server), ..Options::default() }).await?;
    let processes = vec![fleet.start("api").await?, fleet.start("worker").await?];
    let owner = fleet.app.found(OWNER, 2_000).await?;
    let app = &fleet.app;

    invite(app, &owner, "stopped", PEOPLE).await?;
    postgres.stop()?;
    assert_refuses(app, &owner, "stopped").await?;
    postgres.start()?;
    let back = recovers(app, &owner, "After the stop").await?;
    assert_within(AFTER_POSTGRESQL, "back after PostgreSQL takes connections again", back);
    let invited = i64::try_from(PEOPLE)?;
    assert_eq!(count(app, "invitation").await?, invited, "what was acknowledged is there");

    invite(app, &owner, "frozen", PEOPLE).await?;
    postgres.freeze()?;
    let refused = assert_refuses(app, &owner, "silent").await;
    postgres.thaw()?;
    refused?;
    let back = recovers(app, &owner, "After the silence").await?;
    assert_within(AFTER_POSTGRESQL, "back after PostgreSQL speaks again", back);

    let done = until(|| async { Ok(count(app, "invitation WHERE delivery = 'SENT'").await? == 2 * invited) }).await?;
    println!("{} mails done {:.1} s later", 2 * PEOPLE, done.as_secs_f64());
    assert_unbroken(app).await?;
    fleet.finish(processes).await
}

/// A worker and an API that are started while the database is away, and wait for it until `back` brings it back.
async fn start_without(fleet: &mut Fleet, back: impl FnOnce() -> Result<()>) -> Result<Vec<Process>> {
    let (mut api, worker, stopped) = (fleet.spawn("api")?, fleet.spawn("worker")?, fleet.spawn("worker")?);
    for process in [&api, &worker, &stopped] {
        until(|| async { Ok(process.log().contains("the database is away; waiting for it")) }).await?;
    }
    // Whoever is told to stop does not wait any longer.
    stopped.stop().await?;
    back()?;
    fleet.ready(&mut api).await?;
    until(|| async { Ok(worker.log().contains("the database is there")) }).await?;
    Ok(vec![api, worker])
}

#[tokio::test]
async fn whoever_starts_while_database_and_redis_are_away_waits_for_them() -> Result<()> {
    let (mut postgres, server) = cluster::postgres()?;
    let (mut redis, url) = cluster::redis()?;
    let mut fleet = Fleet::new(false, Options { server: Some(server), ..Options::default() }).await?;
    fleet.use_redis(&url);
    redis.stop()?;
    postgres.stop()?;
    for process in start_without(&mut fleet, || postgres.start()).await? {
        process.stop().await?;
    }
    fleet.app.url.clear();
    postgres.freeze()?;
    let processes = start_without(&mut fleet, || postgres.thaw()).await?;
    // Redis has not been there since any of them began.
    redis.start()?;
    fleet.app.found(OWNER, 5).await?;
    fleet.finish(processes).await
}
