//! What Prometheus reads of real processes.

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::app::{Options, Person};
use crate::support::process::{Fleet, Process};
use crate::support::scrape::{LISTEN, Metrics, Page};

/// A process with metrics.
async fn serve() -> Result<(Fleet, Process, Metrics)> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    fleet.extra = vec![(LISTEN.0, LISTEN.1.to_owned())];
    let process = fleet.start("serve").await?;
    let metrics = Metrics::of(&process).await?;
    Ok((fleet, process, metrics))
}

/// Growth as it is written down in a test.
fn growth(after: &Page, before: &Page, metric: &str) -> Vec<(String, i64)> {
    let grown = after.growth(before, metric).into_iter();
    grown.map(|(name, by)| (name.replace(metric, ""), format!("{by}").parse().expect("a whole number"))).collect()
}

fn expected(series: &[(&str, i64)]) -> Vec<(String, i64)> {
    series.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect()
}

/// Signs in well and wrongly, invites, puts a file that nobody asked for.
async fn walk(fleet: &Fleet, owner: &Person) -> Result<()> {
    fleet.app.sign_in(&owner.email).await?;
    let wrong = json!({ "email": owner.email, "password": "not the right one" });
    let answer = fleet.app.mutate(None, "sessionCreate", wrong, "token").await?;
    assert_eq!(answer.codes(), ["CREDENTIALS_INVALID"]);
    assert!(fleet.app.invite(owner, "ada@firm.example", &[SystemRole::Standard]).await?.codes().is_empty());
    assert_eq!(fleet.app.graphql(None, "query Q { account { id } }", Value::Null).await?.errors(), ["UNAUTHENTICATED"]);
    let put = fleet.app.http.put(format!("{}/uploads/mus_unknown", fleet.app.url)).body("x").send().await?;
    assert_eq!(put.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_known_walk_counts_exactly_what_happened() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let owner = fleet.app.found("olivia@harbor.example", 5).await?;
    let done = |page: &Page| page.get(r#"muster_jobs_total{kind="mail.sign_up",outcome="done"}"#) == Some(1.0);
    let before = metrics.until(done).await?;
    walk(&fleet, &owner).await?;
    fleet.app.letter("ada@firm.example").await?;
    let settled = r#"muster_jobs_total{kind="mail.invitation",outcome="settled"}"#;
    let after = metrics.until(|page| page.get(settled).is_some()).await?;
    let grown = |metric: &str| growth(&after, &before, metric);
    let requests = [
        (r#"{operation="account",code="UNAUTHENTICATED"}"#, 1),
        (r#"{operation="memberInvite",code="OK"}"#, 1),
        (r#"{operation="sessionCreate",code="OK"}"#, 2),
    ];
    assert_eq!(grown("muster_requests_total"), expected(&requests));
    let counts =
        [(r#"{operation="account"}"#, 1), (r#"{operation="memberInvite"}"#, 1), (r#"{operation="sessionCreate"}"#, 2)];
    assert_eq!(grown("muster_request_duration_seconds_count"), expected(&counts));
    let http = [(r#"{route="/graphql",status="200"}"#, 4), (r#"{route="/uploads/{token}",status="404"}"#, 1)];
    assert_eq!(grown("muster_http_requests_total"), expected(&http));
    assert_eq!(grown("muster_user_errors_total"), expected(&[(r#"{code="CREDENTIALS_INVALID"}"#, 1)]));
    assert_eq!(grown("muster_jobs_total"), expected(&[(r#"{kind="mail.invitation",outcome="settled"}"#, 1)]));
    assert_eq!(grown("muster_job_duration_seconds_count"), expected(&[(r#"{kind="mail.invitation"}"#, 1)]));
    let mail = [(r#"{kind="mail.invitation",outcome="sent",code="OK"}"#, 1)];
    assert_eq!(grown("muster_mails_total"), expected(&mail));
    assert_eq!(grown("muster_mail_duration_seconds_count"), expected(&[("", 1)]));
    assert_eq!(grown("muster_relay_hints_total"), expected(&[(r#"{lane="INTERACTIVE"}"#, 1)]));
    assert_eq!(grown("muster_uploads_total"), expected(&[(r#"{outcome="gone"}"#, 1)]));
    assert_eq!(grown("muster_refused_total"), expected(&[]));
    assert!(after.growth(&before, "muster_pool_acquire_seconds_count")[0].1 >= 5.0, "{}", after.text);
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn every_sweep_is_counted_and_its_lag_known() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let mut names = Vec::new();
    for sweep in worker::sweeps::all(&fleet.app.db, &fleet.app.files, fleet.app.config.retention) {
        let runs = format!("muster_sweep_runs_total{{sweep=\"{}\",outcome=\"ok\"}}", sweep.name);
        metrics.until(|page| page.get(&runs).is_some_and(|runs| runs >= 1.0)).await?;
        names.push(sweep.name);
    }
    let lag = |page: &Page, name: &str| page.get(&format!("muster_sweep_lag_seconds{{sweep=\"{name}\"}}"));
    metrics.until(|page| names.iter().all(|name| lag(page, name) == Some(0.0))).await?;
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn whoever_comes_too_often_is_counted_by_cause_and_limit() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let owner = fleet.app.found("olivia@harbor.example", 5).await?;
    let mut refused = 0;
    for _ in 0..13 {
        let wrong = json!({ "email": owner.email, "password": "not the right one" });
        let answer = fleet.app.mutate(None, "sessionCreate", wrong, "token").await?;
        refused += i64::from(answer.codes() == ["RATE_LIMITED"]);
    }
    assert!(refused > 0);
    let page = metrics.read().await?;
    let count = |name: &str| page.get(name).map(|value| format!("{value}").parse::<i64>().expect("a whole number"));
    assert_eq!(count(r#"muster_refused_total{cause="rate_limit"}"#), Some(refused));
    assert_eq!(count(r#"muster_rate_limited_total{limit="sign-in"}"#), Some(refused));
    assert_eq!(count(r#"muster_user_errors_total{code="RATE_LIMITED"}"#), Some(refused));
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn what_clients_send_makes_no_series() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let mut sizes = Vec::new();
    for round in 0..3 {
        for number in 0..60 {
            let name = format!("Evil{round}x{number}");
            let documents = [
                format!("query {name} {{ viewer {{ account {{ id }} }} }}"),
                format!("query {name} {{ {name} }}"),
                format!("{{ {name}: __typename }}"),
                format!("{{ ...{name} }} fragment {name} on Query {{ {name}: viewer {{ account {{ id }} }} }}"),
                format!("mutation {name} {{ {name}(x: \"\\\"}} 1\\n\") }}"),
                format!("syntax {name}"),
            ];
            for document in documents {
                fleet.app.graphql(Some(&name), &document, json!({ name.clone(): name })).await?;
            }
            let path = format!("{}/{name}\"}}", fleet.app.url);
            fleet.app.http.get(path).header("traceparent", &name).header("x-request-id", &name).send().await?;
        }
        let page = metrics.read().await?;
        assert!(!page.text.contains("Evil"), "{}", page.text);
        let metrics = ["muster_requests_total", "muster_http_requests_total", "muster_request_duration_seconds_count"];
        sizes.push(metrics.map(|metric| page.all(metric).len()));
    }
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[1], sizes[2]);
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn the_listener_serves_metrics_and_nothing_else() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let status = async |request: reqwest::RequestBuilder| anyhow::Ok(request.send().await?.status().as_u16());
    let http = &fleet.app.http;
    for path in ["/", "/graphql", "/livez", "/readyz", "/metrics/", "/metrics/x", "/debug/pprof", "/dev/mail"] {
        assert_eq!(status(http.get(format!("{}{path}", metrics.url))).await?, 404, "{path}");
    }
    assert_eq!(status(http.post(format!("{}/metrics", metrics.url)).body("x")).await?, 405);
    assert_eq!(status(http.get(format!("{}/metrics", fleet.app.url))).await?, 404, "the API serves none");
    let answer = http.get(format!("{}/metrics", metrics.url)).send().await?;
    let kind = answer.headers()["content-type"].to_str()?.to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(answer.text().await?.ends_with("# EOF\n"));
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn no_metrics_are_served_unless_asked_for() -> Result<()> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    let process = fleet.start("serve").await?;
    fleet.app.found("olivia@harbor.example", 5).await?;
    assert!(!process.log().contains("metrics.listen"), "{}", process.log());
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn the_exposition_names_nobody() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let owner = fleet.app.found("olivia@harbor.example", 5).await?;
    walk(&fleet, &owner).await?;
    let letter = fleet.app.letter("ada@firm.example").await?;
    let page = metrics.read().await?;
    let token = letter.token();
    let secrets = [&owner.token, &owner.member_id, &owner.account_id, &token].map(String::as_str);
    for secret in secrets.into_iter().chain(["@", "olivia", "Olivia", "Harbor", "ada", "127.0.0.1"]) {
        assert!(
            !page.text.lines().filter(|line| !line.starts_with("# HELP")).any(|line| line.contains(secret)),
            "{secret}"
        );
    }
    // No id in any form; values have many digits.
    let names = page.text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name);
    let is_id = |word: &str| word.len() >= 12;
    assert!(!names.flat_map(|name| name.split(|c: char| !c.is_ascii_hexdigit())).any(is_id), "{}", page.text);
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn without_a_worker_the_backlog_shows_in_the_api() -> Result<()> {
    let mut fleet = Fleet::new(true, Options::default()).await?;
    fleet.extra = vec![(LISTEN.0, LISTEN.1.to_owned())];
    let api = fleet.start("api").await?;
    let metrics = Metrics::of(&api).await?;
    let input = json!({ "accountName": "Harbor", "firstName": "O", "lastName": "H", "email": "o@harbor.example", "password": "correct horse battery" });
    assert!(fleet.app.mutate(None, "signUp", input, "accepted").await?.codes().is_empty());
    let lane = r#"{lane="INTERACTIVE"}"#;
    let page = metrics.read().await?;
    assert_eq!(page.get(&format!("muster_jobs_unfinished{lane}")), Some(1.0), "{}", page.text);
    for metric in ["muster_jobs_oldest_due_seconds", "muster_relay_lag_seconds"] {
        assert!(page.get(&format!("{metric}{lane}")).context("no age")? > 0.0, "{metric}");
        assert_eq!(page.get(&format!("{metric}{{lane=\"BULK\"}}")), Some(0.0), "{metric}");
    }
    assert_eq!(page.get("muster_database_up"), Some(1.0));
    assert_eq!(page.get(&format!("muster_jobs_dead{lane}")), Some(0.0));
    assert!(page.all("muster_relay_leader").is_empty(), "an API relays nothing");
    let worker = fleet.start("worker").await?;
    let worker_metrics = Metrics::of(&worker).await?;
    worker_metrics.until(|page| page.get(&format!("muster_relay_leader{lane}")) == Some(1.0)).await?;
    fleet.app.letter("o@harbor.example").await?;
    metrics.until(|page| page.get(&format!("muster_jobs_unfinished{lane}")) == Some(0.0)).await?;
    fleet.finish(vec![api, worker]).await
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_said_and_leaves_no_stale_figures() -> Result<()> {
    let (fleet, process, metrics) = serve().await?;
    let mut admin = PgConnection::connect(fleet.app.config.database_url.expose_secret()).await?;
    admin.execute("ALTER TABLE sweep_tick RENAME TO sweep_tick_away").await?;
    let page = metrics.until(|page| page.get("muster_database_up") == Some(0.0)).await?;
    for metric in ["muster_jobs_unfinished", "muster_jobs_dead", "muster_sweep_lag_seconds", "muster_relay_lag_seconds"]
    {
        assert!(page.all(metric).is_empty(), "{metric}");
    }
    assert!(page.get("process_resident_memory_bytes").context("no memory")? > 1e6);
    admin.execute("ALTER TABLE sweep_tick_away RENAME TO sweep_tick").await?;
    metrics
        .until(|page| page.get("muster_database_up") == Some(1.0) && !page.all("muster_jobs_dead").is_empty())
        .await?;
    fleet.finish(vec![process]).await
}
