//! How exports end, and how their files go.

use domain::error::Result as Ruled;
use domain::export;
use domain::infra::db::Db;
use domain::job::{Lane, Verdict};
use domain::outbox;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;

use super::*;

/// An installation in which nobody works unless told to.
async fn idle() -> Result<(App, Person)> {
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    crate::support::firm::found(&app.db, OWNER).await;
    let owner = app.person(OWNER).await?;
    Ok((app, owner))
}

/// Claims the job of the one export that is due, and does it.
async fn work(app: &App) -> Result<Verdict> {
    let mut conn = app.db.pool.acquire().await?;
    let hints = outbox::hint(&mut conn, Lane::Bulk, outbox::Pick::up_to(10), Uuid::nil()).await?;
    let ids: Vec<Uuid> = hints.iter().map(|hint| hint.job_id).collect();
    let job = outbox::claim(&mut conn, &ids, Uuid::new_v4()).await?.pop().context("a job")?;
    drop(conn);
    let registry = worker::job::export::register(Registry::default(), &app.db, &app.files, &CancellationToken::new());
    let (_, handler) = registry.find(&job.kind).context("a handler")?;
    Ok(handler.run(job).await)
}

async fn purge(db: &Db, app: &App) -> Ruled<usize> {
    export::purge_expired(db, &app.files, db.now().await?).await
}

#[tokio::test]
async fn who_may_not_read_members_any_more_gets_no_file() -> Result<()> {
    let (app, owner) = idle().await?;
    let id = ask(&app, &owner, json!({})).await?;
    let waiting = look(&app, &owner, &id).await?;
    assert_eq!(
        (&waiting["status"], &waiting["url"], &waiting["startedAt"]),
        (&json!("QUEUED"), &Value::Null, &Value::Null)
    );
    // As if somebody without rights had asked.
    let other: Uuid = Uuid::now_v7();
    let (account, member): (domain::id::AccountId, domain::id::MemberId) =
        (owner.account_id.parse()?, owner.member_id.parse()?);
    sqlx::query("INSERT INTO member (account_id, member_id, email, status, created_at) VALUES ($1, $2, 'x@work.example', 'INVITED', now())")
        .bind(account)
        .bind(other)
        .execute(&app.db.pool)
        .await?;
    sqlx::query("UPDATE export SET requested_by = $1").bind(other).execute(&app.db.pool).await?;
    assert_eq!(work(&app).await?, Verdict::Settled);
    sqlx::query("UPDATE export SET requested_by = $1").bind(member).execute(&app.db.pool).await?;
    let failed = look(&app, &owner, &id).await?;
    assert_eq!(
        (&failed["status"], &failed["errorCode"], &failed["url"]),
        (&json!("FAILED"), &json!("NOT_PERMITTED"), &Value::Null)
    );
    assert!(failed["errorMessage"].as_str().context("a sentence")?.contains("Ask an administrator"));
    assert_eq!(files(&app).await?, 0);
    assert_eq!(app.jobs("kind = 'export.make' AND finished_at IS NOT NULL").await?, 1);
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn an_export_that_was_given_up_begins_anew_when_its_job_does() -> Result<()> {
    let (app, owner) = idle().await?;
    let id = ask(&app, &owner, json!({})).await?;
    let job: Uuid =
        app.look("SELECT job_id FROM outbox WHERE kind = 'export.make'").await?.context("a job")?.parse()?;
    assert!(outbox::bury_by_operator(&app.db, job).await?);
    let failed = look(&app, &owner, &id).await?;
    assert_eq!((&failed["status"], &failed["errorCode"]), (&json!("FAILED"), &json!("ABANDONED")));
    assert!(failed["errorMessage"].as_str().context("a sentence")?.contains("once more"));
    assert_eq!(outbox::replay(&app.db, job).await?, outbox::Replay::Due);
    assert_eq!(look(&app, &owner, &id).await?["status"], "QUEUED");
    assert_eq!(work(&app).await?, Verdict::Settled);
    let export = look(&app, &owner, &id).await?;
    assert_eq!((&export["status"], &export["errorCode"]), (&json!("FINISHED"), &Value::Null));
    assert_eq!(get(&app, export["url"].as_str().context("a link")?).await?.0, 200);
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_file_goes_after_a_week_with_all_that_hangs_on_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let id = ask(&app, &owner, json!({})).await?;
    app.settle().await?;
    app.pass(SignedDuration::from_hours(7 * 24 - 1));
    let fresh = app.person(OWNER).await?;
    let url = look(&app, &fresh, &id).await?["url"].as_str().context("still there")?.to_owned();
    assert_eq!((get(&app, &url).await?.0, app.sweep("exports.purge").await?, files(&app).await?), (200, 0, 1));
    app.pass(SignedDuration::from_hours(1));
    let fresh = app.person(OWNER).await?;
    assert!(look(&app, &fresh, &id).await?["url"].is_null(), "its time is over before the sweep comes");
    assert_eq!(get(&app, &url).await?.0, 404);
    assert_eq!((app.sweep("exports.purge").await?, files(&app).await?), (1, 0));
    assert!(look(&app, &fresh, &id).await?.is_null());
    assert_eq!(app.look("SELECT count(*) FROM export_member").await?.as_deref(), Some("0"));
    app.finish().await
}

#[tokio::test]
async fn a_file_that_nothing_leads_to_goes_after_a_day() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    made(&app, &owner, json!({})).await?;
    let named = app.files.older_than("exports", SignedDuration::from_hours(-1)).await?.remove(0);
    let folder = app.config.data_dir.join("files");
    let named = folder.join(named);
    let left = named.with_file_name("00000000000000000000000000000001");
    std::fs::copy(&named, &left)?;
    assert_eq!(purge(&app.db, &app).await?, 0, "it may be being written");
    let two_days_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    for path in [&named, &left] {
        std::fs::OpenOptions::new().append(true).open(path)?.set_modified(two_days_ago)?;
    }
    assert_eq!(purge(&app.db, &app).await?, 1);
    assert!(named.exists() && !left.exists());
    app.finish().await
}

#[tokio::test]
async fn a_file_goes_at_once_when_somebody_in_it_is_deleted() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Auditor]).await?;
    app.join(&owner, "bob@harborandfinch.example", &[SystemRole::Standard]).await?;
    let all = made(&app, &owner, json!({})).await?;
    let of_ann = made(&app, &ann, json!({ "filter": { "text": "bob@" } })).await?;
    let without = made(&app, &owner, json!({ "filter": { "text": "bob@" } })).await?;
    assert_eq!(files(&app).await?, 3);
    done(&app, &owner, "memberDelete", json!({ "memberId": ann.member_id })).await?;
    assert_eq!(get(&app, &all).await?.0, 404, "before anything was deleted");
    app.settle().await?;
    assert_eq!((get(&app, &all).await?.0, get(&app, &of_ann).await?.0, get(&app, &without).await?.0), (404, 404, 200));
    assert_eq!(files(&app).await?, 1, "only the one that they are not in and did not ask for");
    assert_eq!(app.look("SELECT count(*) FROM export").await?.as_deref(), Some("1"));
    app.finish().await
}
