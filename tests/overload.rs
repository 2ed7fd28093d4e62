//! More requests than a process can take: the rest is refused at once, and nothing else suffers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use domain::id::AccountId;
use domain::permission::SystemRole;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::app::{App, Options, PASSWORD};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(1);

/// Waits until a statement waits for a lock.
async fn somebody_waits(app: &App) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                              WHERE NOT l.granted AND a.datname = current_database())";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&app.db.pool).await? {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "nobody waits for a lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_wait_too_long_is_refused_at_once_and_told_when_to_come_again() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.concurrent_requests = 2;
    let app = std::sync::Arc::new(App::with(Options { configure, ..Options::default() }).await?);
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let ben = app.join(&olivia, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let account: AccountId = olivia.account_id.parse()?;
    // Whoever writes in the account waits for this.
    let mut holder = app.db.pool.begin().await?;
    sqlx::query("SELECT FROM account_feed WHERE account_id = $1 FOR UPDATE")
        .bind(account.0)
        .execute(&mut *holder)
        .await?;
    let rename = json!({ "input": { "name": "Harbor, Finch & Co" } });
    let document = "mutation ($input: AccountRenameInput!) { accountRename(input: $input) { userErrors { code } } }";
    let mut tasks = JoinSet::new();
    let (first, token, input) = (std::sync::Arc::clone(&app), olivia.token.clone(), rename.clone());
    tasks.spawn(async move { first.graphql(Some(&token), document, input).await });
    somebody_waits(&app).await?;
    let mut others = JoinSet::new();
    for _ in 0..6 {
        let (app, token) = (std::sync::Arc::clone(&app), olivia.token.clone());
        others.spawn(async move {
            let begin = Instant::now();
            (app.graphql(Some(&token), "{ viewer { permissions } }", Value::Null).await, begin.elapsed())
        });
    }
    // Half of the places are one person's: two requests wait, however much could be worked on; the others have their answer while nothing moves.
    for _ in 0..4 {
        let (refused, _) = tokio::time::timeout(PATIENCE, others.join_next()).await?.context("an answer")??;
        let refused = refused?;
        assert_eq!((refused.status, refused.errors()), (503, vec!["SERVICE_UNAVAILABLE".to_owned()]));
        assert_eq!(refused.headers["retry-after"], "1");
    }
    // Somebody else finds the other half.
    let of_ben = app.graphql(Some(&ben.token), "{ viewer { permissions } }", Value::Null);
    assert_eq!(tokio::time::timeout(PATIENCE, of_ben).await??.status, 200);
    // What is no request for work is answered all the same.
    assert!(app.http.get(format!("{}/livez", app.url)).send().await?.status().is_success());
    holder.rollback().await?;
    let renamed = tasks.join_next().await.context("an answer")???;
    assert!(renamed.codes().is_empty(), "{}", renamed.body);
    while let Some(answer) = others.join_next().await {
        // Unless the place became free too late, because this machine has other things to do.
        let (answer, took) = answer?;
        assert!(answer?.status == 200 || took >= WAIT, "refused after {took:?}");
    }
    std::sync::Arc::into_inner(app).context("nobody else uses it")?.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_sign_ins_takes_no_place_from_others() -> Result<()> {
    // A hash takes some 100 ms here, so that the flood outlasts what is asked meanwhile.
    let configure = |config: &mut domain::infra::config::Config| {
        config.limits.rate_limits = false;
        config.password = domain::infra::config::Password { memory_kib: 40_000, passes: 3, concurrency: 4 };
    };
    let app = std::sync::Arc::new(App::with(Options { configure, ..Options::default() }).await?);
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let mut flood = JoinSet::new();
    for number in 0..150 {
        let app = std::sync::Arc::clone(&app);
        let input = json!({ "email": format!("nobody{number}@harborandfinch.example"), "password": PASSWORD });
        flood.spawn(async move { app.mutate(None, "sessionCreate", input, "token").await });
    }
    let mut answered = 0;
    let mut refused = 0;
    let mut queries = 0;
    while let Some(answer) = flood.join_next().await {
        let answer = answer??;
        match answer.errors().first().map(String::as_str) {
            None => answered += 1,
            Some("SERVICE_UNAVAILABLE") => refused += 1,
            Some(other) => anyhow::bail!("{other}: {}", answer.body),
        }
        if answered + refused < 140 {
            let asked = app.graphql(Some(&olivia.token), "{ viewer { permissions } }", Value::Null).await?;
            assert_eq!(asked.status, 200, "{}", asked.body);
            queries += 1;
        }
    }
    assert!(refused > 0 && answered > 0 && queries > 100, "{answered} answered, {refused} refused, {queries} queries");
    std::sync::Arc::into_inner(app).context("nobody else uses it")?.finish().await
}
