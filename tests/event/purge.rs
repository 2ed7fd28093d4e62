//! Old events go, and nobody takes what is left for the whole, or finds a gap in it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use domain::actor::Origin;
use domain::change::{Change, Kind};
use domain::event::purge::purge_due;
use domain::event::read::{self, ReadError};
use domain::event::{Cursor, EventKind, NewEvent, seal};
use domain::id::AccountId;
use domain::infra::db::Db;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::{OWNER, busy, done, events, superuser, verify};
use crate::support::app::{Answer, App, Options};
use crate::support::database::Database;
use crate::support::firm;
use crate::support::socket::Socket;

const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
const LONGER: SignedDuration = SignedDuration::from_hours(24 * 401);

async fn page(app: &App, token: &str, after: &Value) -> Result<Answer> {
    let document = "query ($after: String) { accountEvents(after: $after, first: 100) {
        nodes { number cursor } oldestCursor newestCursor pageInfo { hasPreviousPage } } }";
    app.graphql(Some(token), document, json!({ "after": after })).await
}

fn numbers(page: &Answer) -> Vec<i64> {
    let nodes = page.data("/accountEvents/nodes").as_array().unwrap();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

const FOLLOW: &str =
    "subscription ($after: String, $first: Int) { accountEvents(after: $after, first: $first) { number } }";

#[tokio::test]
async fn an_expired_cursor_is_told_where_to_begin_again() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let account: AccountId = owner.account_id.parse()?;
    busy(&app, &owner).await?;
    seal::seal_due(&app.db.pool).await?;
    let before = page(&app, &owner.token, &Value::Null).await?;
    let old = numbers(&before).len();
    let cursor = |number: usize| before.data(&format!("/accountEvents/nodes/{}/cursor", number - 1)).clone();

    app.pass(KEPT - SignedDuration::from_hours(1));
    assert_eq!(app.sweep("events.purge").await?, 0, "not a day early");
    app.pass(SignedDuration::from_hours(25));
    let owner = app.person(OWNER).await?;
    done(&app, &owner, "accountRename", json!({ "name": "A year later" })).await?;
    seal::seal_due(&app.db.pool).await?;
    assert_eq!(usize::try_from(app.sweep("events.purge").await?)?, old);
    assert_eq!(app.sweep("events.purge").await?, 0);

    let left: Vec<i64> = events(&app, account).await?.iter().map(|event| event.seq).collect();
    let first = i64::try_from(old)? + 1;
    assert_eq!(left, [first, first + 1], "a sign-in and a name");
    assert_eq!(
        app.look(
            "SELECT count(*) FROM event_personal p WHERE NOT EXISTS (SELECT FROM event e WHERE e.event_id = p.event_id)"
        )
        .await?,
        Some("0".to_owned())
    );
    let whole = page(&app, &owner.token, &Value::Null).await?;
    assert_eq!(numbers(&whole), left);
    assert_eq!(whole.data("/accountEvents/pageInfo/hasPreviousPage"), false);
    for number in [1, 2, old - 1] {
        let expired = page(&app, &owner.token, &cursor(number)).await?;
        assert_eq!(expired.errors(), ["CURSOR_EXPIRED"], "{number}: {}", expired.body);
        let oldest = &expired.body["errors"][0]["extensions"]["oldestCursor"];
        assert_eq!(oldest, whole.data("/accountEvents/oldestCursor"));
        assert_eq!(numbers(&page(&app, &owner.token, oldest).await?), left);
        let mut socket = Socket::enter(&app, &owner.token).await?;
        socket.subscribe("1", FOLLOW, json!({ "after": cursor(number) })).await?;
        let refused = socket.next().await?;
        assert_eq!(refused["type"], "error", "{refused}");
        assert_eq!(refused["payload"][0]["extensions"]["code"], "CURSOR_EXPIRED");
        assert_eq!(&refused["payload"][0]["extensions"]["oldestCursor"], oldest);
        socket.subscribe("2", FOLLOW, json!({ "after": oldest, "first": left.len() })).await?;
        for number in &left {
            assert_eq!(socket.next().await?["payload"]["data"]["accountEvents"]["number"], *number);
        }
        assert_eq!(socket.next().await?, json!({ "id": "2", "type": "complete" }), "no more than asked for");
        socket.leave().await?;
    }
    assert_eq!(numbers(&page(&app, &owner.token, &cursor(old)).await?), left, "whoever has read it all misses nothing");
    assert_eq!(verify(&app, account).await?, None);
    app.finish().await
}

#[tokio::test]
async fn only_what_is_sealed_goes_and_an_empty_feed_goes_on() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.retention.events_days = 30;
    let app = App::with(Options { worker: false, configure, ..Options::default() }).await?;
    let account = firm::found(&app.db, OWNER).await.account_id;
    let all = events(&app, account).await?.len();
    app.pass(SignedDuration::from_hours(24 * 31));
    assert_eq!(app.sweep("events.purge").await?, 0, "nothing is sealed");
    assert_eq!(events(&app, account).await?.len(), all);

    seal::seal_due(&app.db.pool).await?;
    assert_eq!(usize::try_from(app.sweep("events.purge").await?)?, all);
    assert_eq!(events(&app, account).await?.len(), 0);
    assert_eq!(verify(&app, account).await?, None);
    let mut conn = app.db.pool.acquire().await?;
    let empty = read::page(&mut conn, account, None, &[], 10).await?;
    assert_eq!((empty.events.len(), empty.has_next, empty.has_previous), (0, false, false));
    assert_eq!((empty.oldest, empty.newest.seq()), (empty.newest, i64::try_from(all)?));

    let owner = app.person(OWNER).await?;
    let next = read::page(&mut conn, account, Some(empty.newest), &[], 10).await?;
    let numbers: Vec<i64> = next.events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [i64::try_from(all)? + 1], "the sign-in");
    seal::seal_due(&app.db.pool).await?;
    assert_eq!(verify(&app, account).await?, None);
    assert_eq!(app.sweep("events.purge").await?, 0);
    let again = page(&app, &owner.token, &json!(empty.newest.encode())).await?;
    assert_eq!(again.data("/accountEvents/nodes").as_array().unwrap().len(), 1);
    drop(conn);
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn seals_hold_after_a_purge_and_name_what_was_tampered_with() -> Result<()> {
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    let account = firm::found(&app.db, OWNER).await.account_id;
    seal::seal_due(&app.db.pool).await?;
    app.pass(LONGER);
    let owner = app.person(OWNER).await?;
    for number in 0..3 {
        done(&app, &owner, "accountRename", json!({ "name": format!("Name {number}") })).await?;
        seal::seal_due(&app.db.pool).await?;
    }
    // One more that is not sealed.
    done(&app, &owner, "accountRename", json!({ "name": "Unsealed" })).await?;
    assert!(app.sweep("events.purge").await? > 0);
    let left: Vec<i64> = events(&app, account).await?.iter().map(|event| event.seq).collect();
    assert_eq!(left.len(), 5);
    let seals = app.look("SELECT count(*) FROM event_seal").await?;
    assert_eq!(seals, Some("4".to_owned()), "the last purged one and those after it");

    let mut root = superuser(&app).await?;
    sqlx::query("DELETE FROM event_personal").execute(&mut root).await?;
    assert_eq!(verify(&app, account).await?, None, "an erasure breaks no seal");
    for seq in &left {
        let sealed = *seq != left[4];
        for (statement, found) in [
            ("UPDATE event SET detail = '{\"x\": 1}' WHERE account_id = $1 AND seq = $2", sealed),
            ("UPDATE event SET occurred_at = occurred_at + interval '1 s' WHERE account_id = $1 AND seq = $2", sealed),
            ("DELETE FROM event WHERE account_id = $1 AND seq = $2", true),
            (
                "DELETE FROM event_seal WHERE account_id = $1 AND $2 BETWEEN first_seq AND last_seq",
                sealed && *seq != left[3],
            ),
            ("UPDATE account_feed SET oldest_seq = $2 + 1 WHERE account_id = $1", true),
        ] {
            let mut conn = root.begin().await?;
            sqlx::query(statement).bind(account).bind(seq).execute(&mut *conn).await?;
            assert_eq!(seal::verify(&mut conn, account).await?.is_some(), found, "{seq}: {statement}");
            conn.rollback().await?;
        }
    }
    for statement in [
        "UPDATE event_seal SET seal = 'x' WHERE account_id = $1 AND last_seq = $2 - 1",
        "DELETE FROM event_seal WHERE account_id = $1 AND last_seq = $2 - 1",
    ] {
        let mut conn = root.begin().await?;
        sqlx::query(statement).bind(account).bind(left[0]).execute(&mut *conn).await?;
        assert!(seal::verify(&mut conn, account).await?.is_some(), "{statement}");
        conn.rollback().await?;
    }
    assert_eq!(verify(&app, account).await?, None);
    app.close().await;
    Ok(())
}

/// Leaves so many events at once.
async fn leave(db: &Db, account: AccountId, count: usize) -> Result<()> {
    let mut change = Change::begin(db, account, Kind::System, Origin::system(), None).await?;
    for number in 0..count {
        let renamed = json!({ "before": "x", "after": number.to_string() });
        change.record(NewEvent::new(EventKind::AccountRenamed).detail(renamed).personal(json!({ "email": "x" })));
    }
    Ok(change.commit().await?)
}

/// Reads a feed from its oldest event on until `over`; answers how often a cursor had expired. Panics at a gap.
async fn reader(db: &Db, account: AccountId, over: &AtomicBool) -> Result<usize> {
    let (mut after, mut expired, mut whole) = (None::<Cursor>, 0, false);
    while !(whole && over.load(Ordering::SeqCst)) {
        let mut conn = db.pool.acquire().await?;
        let page = match read::page(&mut conn, account, after, &[], 100).await {
            Ok(page) => page,
            Err(ReadError::CursorExpired { oldest }) => {
                (after, expired) = (Some(oldest), expired + 1);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let begin = after.unwrap_or(page.oldest).seq();
        let numbers: Vec<i64> = page.events.iter().map(|event| event.seq).collect();
        let end = begin + i64::try_from(numbers.len())?;
        assert_eq!(numbers, (begin + 1..=end).collect::<Vec<_>>(), "after {begin}");
        assert_eq!(page.has_next, end < page.newest.seq(), "none but the last page is the last");
        whole |= !page.has_next;
        after = if page.has_next { page.events.last().map(Cursor::of) } else { None };
    }
    Ok(expired)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_sweepers_writers_readers_and_a_verifier_do_not_disturb_each_other() -> Result<()> {
    let database = Database::new().await;
    let db = &database.db;
    let account = firm::found(db, OWNER).await.account_id;
    for _ in 0..5 {
        leave(db, account, 4_000).await?;
    }
    seal::seal_due(&db.pool).await?;
    let (old,): (i64,) = sqlx::query_as("SELECT next_seq - 1 FROM account_feed").fetch_one(&db.pool).await?;
    db.clock.advance(LONGER);
    let now = db.now().await?;
    let over = AtomicBool::new(false);
    let sweeps = async {
        let purged = tokio::try_join!(purge_due(db, KEPT, now), purge_due(db, KEPT, now));
        over.store(true, Ordering::SeqCst);
        purged
    };
    let writer = async {
        let mut written = 0;
        while !over.load(Ordering::SeqCst) || written < 10 {
            leave(db, account, 3).await?;
            seal::seal_due(&db.pool).await?;
            written += 3;
        }
        anyhow::Ok(written)
    };
    let verifier = async {
        while !over.load(Ordering::SeqCst) {
            assert_eq!(seal::verify(&mut *db.pool.acquire().await?, account).await?, None);
        }
        anyhow::Ok(())
    };
    let all = tokio::join!(sweeps, writer, verifier, reader(db, account, &over), reader(db, account, &over));
    let (purged, written) = (all.0?, all.1?);
    all.2?;
    println!("cursors expired for the readers: {} and {}", all.3?, all.4?);
    assert_eq!(i64::try_from(purged.0 + purged.1)?, old, "each old event was deleted by one");
    let left: (i64, i64, i64) =
        sqlx::query_as("SELECT min(seq), max(seq), count(*) FROM event").fetch_one(&db.pool).await?;
    assert_eq!(left, (old + 1, old + written, written));
    assert_eq!(seal::verify(&mut *db.pool.acquire().await?, account).await?, None);
    let (oldest,): (i64,) = sqlx::query_as("SELECT oldest_seq FROM account_feed").fetch_one(&db.pool).await?;
    assert_eq!(oldest, old + 1);
    Ok(())
}

#[tokio::test]
async fn a_failing_account_keeps_no_other_one_waiting_and_the_service_gains_no_right() -> Result<()> {
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    let first = firm::found(&app.db, OWNER).await.account_id;
    let second = firm::found(&app.db, "sofia@secondfirm.example").await.account_id;
    seal::seal_due(&app.db.pool).await?;
    app.pass(LONGER);
    let mut root = superuser(&app).await?;
    // Something is in the way of the first account's.
    let mut conn = root.begin().await?;
    sqlx::query("SELECT FROM event WHERE account_id = $1 FOR UPDATE")
        .bind(first.min(second))
        .execute(&mut *conn)
        .await?;
    assert!(app.sweep("events.purge").await.is_err());
    conn.rollback().await?;
    assert_eq!(events(&app, first.max(second)).await?.len(), 0);
    assert!(!events(&app, first.min(second)).await?.is_empty());
    assert!(app.sweep("events.purge").await? > 0, "the next time it goes");
    assert!(events(&app, first.min(second)).await?.is_empty());

    let mut held = Vec::new();
    for _ in 0..app.db.pool.options().get_max_connections() {
        let mut conn = app.db.pool.acquire().await?;
        let refused = sqlx::query("DELETE FROM event_seal").execute(&mut *conn).await.unwrap_err();
        let code = refused.as_database_error().and_then(sqlx::error::DatabaseError::code).context("a refusal")?;
        assert_eq!(code, "42501");
        held.push(conn);
    }
    drop(held);
    app.close().await;
    Ok(())
}
