//! Files on their way in, and out again after their time.

use api::graphql::http::Origins;
use api::upload::{Arrivals, Uploads};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::error::{Code, Error};
use domain::id::UploadId;
use domain::import::Options;
use domain::job::{JobKind, Lane, NewJob, Verdict};
use domain::permission::SystemRole;
use domain::{member, outbox, upload};
use futures::{FutureExt as _, StreamExt as _};
use jiff::SignedDuration;
use reqwest::StatusCode;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rows::people;
use super::world::{MEMBERS, World};

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    let Err(Error::Refused(list)) = result else { panic!("a refusal, not {result:?}") };
    list[0].code
}

/// Serves the address of uploads with a limit of 20,000 bytes, for two that arrive at once.
async fn serve(world: &World) -> String {
    let mut http = world.config.http.clone();
    http.allowed_origins = vec!["https://app.example.com".to_owned()];
    let origins = Origins::new(&http);
    let (db, files, time_limit) = (world.db.clone(), world.files.clone(), std::time::Duration::from_mins(1));
    let routes =
        api::upload::router(Uploads { db, files, limit: 20_000, time_limit, origins, arrivals: Arrivals::new(2) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}/uploads/")
}

async fn put(url: String, body: impl Into<reqwest::Body>) -> StatusCode {
    reqwest::Client::new().put(url).body(body).send().await.unwrap().status()
}

#[tokio::test]
async fn a_file_can_be_put_again_until_it_is_used() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let url = || format!("{base}{}", world.upload_token(id));
    assert_eq!(code(world.start_of(&world.owner, id, Options::default()).await), Code::UploadNotReady);
    assert_eq!(put(url(), "email\n").await, StatusCode::NO_CONTENT);
    assert_eq!(put(url(), MEMBERS).await, StatusCode::NO_CONTENT);
    assert_eq!(world.stored().await.len(), 1, "the first file is gone");
    let import = world.start_of(&world.owner, id, Options::default()).await.unwrap();
    assert_eq!(code(world.start_of(&world.owner, id, Options::default()).await), Code::UploadUsed);
    assert_eq!(put(url(), "email\n").await, StatusCode::NOT_FOUND);
    assert_eq!(world.stored().await.len(), 1);
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.read(import).await.rows_invited, 120);
    world.end().await;
}

#[tokio::test]
async fn what_is_too_long_or_has_no_upload_is_refused_and_not_kept() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let url = || format!("{base}{}", world.upload_token(id));
    let long = people(1_000);
    assert_eq!(put(url(), long.clone()).await, StatusCode::PAYLOAD_TOO_LARGE);
    // Without a declared length.
    let chunks = long.chunks(1_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    assert_eq!(put(url(), body).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.stored().await, Vec::<String>::new());
    assert_eq!(code(world.start_of(&world.owner, id, Options::default()).await), Code::UploadNotReady);
    for token in ["nonsense".to_owned(), world.upload_token(domain::id::UploadId::new())] {
        assert_eq!(put(format!("{base}{token}"), "x").await, StatusCode::NOT_FOUND);
    }
    world.db.clock.advance(SignedDuration::from_mins(61));
    assert_eq!(put(url(), "x").await, StatusCode::NOT_FOUND);
    assert_eq!(code(world.start_of(&world.owner, id, Options::default()).await), Code::UploadExpired);
    assert_eq!(world.stored().await, Vec::<String>::new());
    world.end().await;
}

/// Begins to send a file, which ends when the sender is dropped.
fn begin(url: String) -> (JoinHandle<StatusCode>, mpsc::UnboundedSender<Vec<u8>>) {
    let (sender, mut parts) = mpsc::unbounded_channel::<Vec<u8>>();
    sender.send(b"email\n".to_vec()).unwrap();
    let parts = futures::stream::poll_fn(move |cx| parts.poll_recv(cx)).map(Ok::<_, std::io::Error>);
    (tokio::spawn(put(url, reqwest::Body::wrap_stream(parts))), sender)
}

#[tokio::test]
async fn the_newest_file_of_an_upload_cuts_the_one_before() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let url = format!("{base}{}", world.upload_token(id));
    let other = format!("{base}{}", world.upload_token(world.create_upload(&world.owner).await));
    let (mut first, mut sender) = begin(url.clone());
    // Of two places an account has one: once this file has it, a file of another upload finds none.
    let refused = loop {
        let answer = reqwest::Client::new().put(&other).body("email\n").send().await.unwrap();
        if first.is_finished() {
            // The other one was there before it.
            (first, sender) = begin(url.clone());
        } else if answer.status() != StatusCode::NO_CONTENT {
            break answer;
        }
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(
        put(url.clone(), MEMBERS).await,
        StatusCode::NO_CONTENT,
        "whoever lost the connection is not locked out"
    );
    assert_eq!(first.await.unwrap(), StatusCode::CONFLICT);
    drop(sender);
    assert_eq!(put(other, "email\n").await, StatusCode::NO_CONTENT, "the place is free again");
    let import = world.start_of(&world.owner, id, Options::default()).await.unwrap();
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.read(import).await.rows_invited, 120);
    world.end().await;
}

/// Begins a transaction that has the row of an upload under lock.
async fn lock(world: &World, id: UploadId) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut row = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM upload WHERE upload_id = $1 FOR UPDATE").bind(id.0).execute(&mut *row).await.unwrap();
    row
}

#[tokio::test]
async fn a_file_is_stored_although_rights_change_at_its_end() {
    let world = World::new(200).await;
    let id = world.create_upload(&world.owner).await;
    let mia = world.member("mia@firm.example", SystemRole::Auditor).await.member_id;
    let row = lock(&world, id).await;
    let changed = async {
        while !world.waits().await {
            tokio::task::yield_now().await;
        }
        world.ask(&world.owner, |change, actor| member::suspend(change, actor, mia).boxed()).await.unwrap();
        row.rollback().await.unwrap();
    };
    let (stored, ()) = tokio::join!(world.put(id, MEMBERS), changed);
    stored.unwrap();
    assert_eq!(world.stored().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_file_that_certainly_no_row_names_goes_at_once() {
    let world = World::new(200).await;
    let id = world.create_upload(&world.owner).await;
    let row = lock(&world, id).await;
    let stored = world.put(id, MEMBERS).await;
    assert!(matches!(stored, Err(upload::StoreFault::Failed(Error::Busy))), "{stored:?}");
    assert_eq!(world.stored().await, Vec::<String>::new());
    row.rollback().await.unwrap();
    world.put(id, MEMBERS).await.unwrap();
    world.end().await;
}

/// The erasure of an upload waits for its import, however often it has to look.
#[tokio::test]
async fn the_erasure_of_a_file_outlasts_its_import() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, MEMBERS, false).await;
    let upload: Uuid = sqlx::query_scalar("SELECT upload_id FROM upload").fetch_one(&world.db.pool).await.unwrap();
    let upload = UploadId(upload);
    let running = world.claim().await;
    sqlx::query("UPDATE upload SET expires_at = now()").execute(&world.db.pool).await.unwrap();
    let job = NewJob {
        account_id: world.account().0,
        kind: JobKind::EraseUpload,
        payload: serde_json::json!({ "uploadId": upload }),
        dedupe_key: upload.to_string(),
    };
    let mut conn = world.db.pool.acquire().await.unwrap();
    outbox::insert(&mut conn, &[job], None).await.unwrap();
    let registry = worker::job::registry(&world.db, &world.config, &world.files, &CancellationToken::new()).unwrap();
    let mut last = None;
    for _ in 0..=JobKind::EraseUpload.max_attempts() {
        let job = world.claim().await;
        assert_eq!((job.kind.as_str(), job.attempts), ("upload.erase", 1));
        let Verdict::Wait { code, after } = registry.find(&job.kind).unwrap().1.run(job.clone()).await else {
            panic!("it does not wait")
        };
        assert!(outbox::wait(&mut conn, (job.job_id, job.claim), after, code).await.unwrap());
        last = Some(job.job_id);
        sqlx::query("UPDATE outbox SET wake_at = now() WHERE job_id = $1")
            .bind(last)
            .execute(&mut *conn)
            .await
            .unwrap();
    }
    let (_, handler) = registry.find(&running.kind).unwrap();
    assert_eq!(handler.run(running).await, Verdict::Settled);
    assert_eq!(world.read(import).await.rows_invited, 120);
    let hints = outbox::hint(&mut conn, Lane::Bulk, outbox::Pick::up_to(10), Uuid::nil()).await.unwrap();
    assert_eq!(hints.iter().map(|hint| Some(hint.job_id)).collect::<Vec<_>>(), [last]);
    let job = outbox::claim(&mut conn, &[hints[0].job_id], Uuid::new_v4()).await.unwrap().remove(0);
    assert_eq!(registry.find(&job.kind).unwrap().1.run(job).await, Verdict::Done);
    assert_eq!(world.stored().await, Vec::<String>::new());
    drop(conn);
    world.end().await;
}

#[tokio::test]
async fn what_is_no_text_or_was_damaged_is_refused_and_not_kept() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let put = async |header: &str, value: &str, body: &'static [u8]| {
        let url = format!("{base}{}", world.upload_token(id));
        reqwest::Client::new().put(url).header(header, value).body(body).send().await.unwrap().status()
    };
    let digest = |of: &[u8]| format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(of)));
    assert_eq!(put("content-type", "image/png", b"email\n").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(put("content-type", "text/csv", b"PK\x03\x04\x14").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(put("content-digest", &digest(b"email"), b"email\n").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(put("content-digest", "sha-256=:no:", b"email\n").await, StatusCode::BAD_REQUEST);
    assert_eq!(world.stored().await, Vec::<String>::new());
    assert_eq!(put("content-digest", &digest(b"email\n"), b"email\n").await, StatusCode::NO_CONTENT);
    for of_a_table in ["text/csv; charset=utf-8", "text/comma-separated-values", "text/x-csv", "application/x-csv"] {
        assert_eq!(put("content-type", of_a_table, b"email\n").await, StatusCode::NO_CONTENT, "{of_a_table}");
    }
    assert_eq!(world.stored().await.len(), 1);
    world.end().await;
}

/// As the API's errors are.
#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let url = format!("{base}{}", world.upload_token(id));
    let put = async |url: &str, name: &str, value: &str, body: Vec<u8>| {
        let sent = reqwest::Client::new().put(url).header(name, value).body(body).send().await.unwrap();
        let text = sent.text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let error = &answer["errors"][0];
        let told = error["message"].as_str().unwrap();
        assert!(told.ends_with('.'), "{told}");
        assert_eq!(error["extensions"]["requestId"].as_str().unwrap().len(), 32, "{text}");
        error["extensions"]["code"].as_str().unwrap().to_owned()
    };
    let file = || b"email\n".to_vec();
    assert_eq!(put(&url, "content-type", "text/html", file()).await, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(put(&url, "content-type", "text/csv", b"PK\x03\x04\x14".to_vec()).await, "NOT_TEXT");
    assert_eq!(put(&url, "content-digest", "sha-256=:no:", file()).await, "INVALID_DIGEST");
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"other")));
    assert_eq!(put(&url, "content-digest", &digest, file()).await, "DIGEST_MISMATCH");
    assert_eq!(put(&url, "content-type", "text/csv", vec![b'x'; 20_001]).await, "FILE_TOO_LARGE");
    assert_eq!(put(&url, "origin", "https://evil.example", file()).await, "FORBIDDEN");
    assert_eq!(put(&format!("{base}nonsense"), "content-type", "text/csv", file()).await, "NOT_FOUND");
    world.end().await;
}

#[tokio::test]
async fn a_sender_who_stops_leaves_nothing() {
    let world = World::new(200).await;
    let id = world.create_upload(&world.owner).await;
    let body = futures::stream::iter([Ok("email".into()), Err(std::io::Error::other("gone"))]);
    let place = upload::find(&world.db, &world.upload_token(id)).await.unwrap().unwrap();
    let stored = upload::store(&world.db, &world.files, &place, None, body, 1_000, None).await;
    assert!(matches!(stored, Err(upload::StoreFault::Interrupted)));
    assert_eq!(world.stored().await, Vec::<String>::new());
    world.end().await;
}

#[tokio::test]
async fn only_who_may_import_may_upload() {
    let world = World::new(200).await;
    let auditor = world.member("auditor@firm.example", SystemRole::Auditor).await;
    let created = world.ask(&auditor, |change, actor| upload::create(change, actor, "x.csv").boxed()).await;
    assert_eq!(code(created), Code::NotPermitted);
    let id = world.create_upload(&world.owner).await;
    world.put(id, MEMBERS).await.unwrap();
    assert_eq!(code(world.start_of(&auditor, id, Options::default()).await), Code::NotPermitted);
    let mut conn = world.db.pool.acquire().await.unwrap();
    assert!(upload::read(&mut conn, &auditor, id).await.unwrap().is_none());
    assert!(upload::read(&mut conn, &world.owner, id).await.unwrap().is_some());
    drop(conn);
    world.end().await;
}

#[tokio::test]
async fn files_and_rejected_values_go_after_seven_days() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, include_bytes!("../fixtures/members-faulty.csv"), false).await;
    let running = world.start(&world.owner, MEMBERS, false).await;
    world.work_of(import).await;
    assert!(world.count("SELECT count(*) FROM member_import_row WHERE email_digest IS NOT NULL").await > 0);
    let purge = async || upload::purge_expired(&world.db, &world.files, world.db.now().await.unwrap()).await.unwrap();
    world.db.clock.advance(SignedDuration::from_hours(7 * 24 - 1));
    assert_eq!(purge().await, 0);
    world.db.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(purge().await, 1, "the other import still needs its file");
    assert_eq!(world.stored().await.len(), 1);
    let rows = world.rows(import, None).await;
    let faults: Vec<_> = rows.iter().flat_map(|row| row.faults.iter()).collect();
    assert_eq!(faults.len(), 13);
    assert!(faults.iter().all(|fault| fault.value.is_none()));
    assert_eq!(world.count("SELECT count(*) FROM member_import_row WHERE email_digest IS NOT NULL").await, 0);
    world.work_of(running).await;
    assert_eq!(world.read(running).await.rows_invited, 120);
    assert_eq!(purge().await, 1);
    assert_eq!(world.stored().await, Vec::<String>::new());
    assert_eq!(world.count("SELECT count(*) FROM upload").await, 0);
    world.end().await;
}

/// What a process that dies in the middle of a file leaves.
#[tokio::test]
async fn files_that_nobody_names_go_after_a_day() {
    let world = World::new(200).await;
    let id = world.create_upload(&world.owner).await;
    world.put(id, MEMBERS).await.unwrap();
    let kept = world.config.data_dir.join("files").join(&world.stored().await[0]);
    let folder = kept.parent().unwrap();
    let left = ["0123456789abcdef", "fedcba9876543210#1", "0123456789fedcba"].map(|name| folder.join(name));
    let two_days_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    for path in left.iter().chain([&kept]) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        if *path != left[2] {
            file.set_modified(two_days_ago).unwrap();
        }
    }
    let now = world.db.now().await.unwrap();
    assert_eq!(upload::purge_expired(&world.db, &world.files, now).await.unwrap(), 2);
    assert!(!left[0].exists() && !left[1].exists());
    assert!(left[2].exists(), "it may be on its way in");
    assert!(kept.exists());
    world.end().await;
}

/// What a browser does for a page of another site: it asks, and sends the file only if the answer names the page's origin.
#[tokio::test]
async fn pages_of_allowed_sites_may_put_files() {
    let world = World::new(200).await;
    let base = serve(&world).await;
    let id = world.create_upload(&world.owner).await;
    let url = || format!("{base}{}", world.upload_token(id));
    let http = reqwest::Client::new();
    let ask = async |origin: &str| {
        let asked = http.request(reqwest::Method::OPTIONS, url()).header("origin", origin);
        asked.header("access-control-request-method", "PUT").send().await.unwrap()
    };
    let send = async |origin: &str| {
        let sent = http.put(url()).header("origin", origin).header("content-type", "text/csv").body(MEMBERS);
        sent.send().await.unwrap()
    };
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };

    let foreign = "https://evil.example";
    let asked = ask(foreign).await;
    assert_eq!((asked.status(), header(&asked, "access-control-allow-origin")), (StatusCode::FORBIDDEN, String::new()));
    assert_eq!(send(foreign).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.stored().await.len(), 0);

    let allowed = "https://app.example.com";
    let asked = ask(allowed).await;
    assert_eq!(asked.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&asked, "access-control-allow-origin"), allowed);
    assert_eq!(header(&asked, "access-control-allow-methods"), "PUT");
    assert_eq!(header(&asked, "access-control-allow-headers"), "content-type, content-digest");
    let answer = send(allowed).await;
    assert_eq!(
        (answer.status(), header(&answer, "access-control-allow-origin").as_str()),
        (StatusCode::NO_CONTENT, allowed)
    );
    assert_eq!(world.stored().await.len(), 1);
    world.end().await;
}
