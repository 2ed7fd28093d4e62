//! Following an account live: no event is missed, repeated or handed to somebody who may not see it. These speak to the hubs
//! directly; `socket` does so as clients do.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::live::{Live, Watch};
use domain::actor::Origin;
use domain::change::{Change, Kind};
use domain::event::read::{Event, ReadError};
use domain::event::{Cursor, EventKind, NewEvent};
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::infra::wake::Waker;
use domain::permission::SystemRole;
use domain::session::authenticate;
use futures::{Stream, StreamExt as _};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::app::{App, Person};

mod sockets;

const PATIENCE: Duration = Duration::from_secs(30);

/// The hubs of a process.
struct Process {
    db: Db,
    live: Live,
    _stop: DropGuard,
}

impl Process {
    /// With wake-ups of all commits in this test, or with none: then only polling tells it.
    fn start(app: &App, woken: bool) -> Self {
        let mut db = app.db.clone();
        if !woken {
            db.waker = Waker::local();
        }
        let (live, stop) = (Live::new(&db), CancellationToken::new());
        let (running, stopped) = (live.clone(), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        Self { db, live, _stop: stop.drop_guard() }
    }

    async fn watch(&self, token: &str) -> Result<Arc<Watch>> {
        let session = authenticate(&self.db, token, Origin::system()).await?;
        Ok(Arc::new(self.live.watch(&session).await?))
    }
}

fn account(person: &Person) -> Result<AccountId> {
    Ok(person.account_id.parse()?)
}

/// Commits so many transactions of one to three events each, one after the other.
async fn write(db: &Db, account: AccountId, transactions: usize) -> Result<()> {
    for number in 0..transactions {
        let mut change = Change::begin(db, account, Kind::System, Origin::system(), None).await?;
        for _ in 0..=number % 3 {
            change.record(NewEvent::new(EventKind::AccountRenamed).detail(json!({ "number": number })));
        }
        change.commit().await?;
    }
    Ok(())
}

/// Commits ten events at once: a writer does so a hundred times a second and more.
async fn burst(db: &Db, account: AccountId) -> Result<()> {
    let mut change = Change::begin(db, account, Kind::System, Origin::system(), None).await?;
    for number in 0..10 {
        change.record(NewEvent::new(EventKind::AccountRenamed).detail(json!({ "number": number })));
    }
    Ok(change.commit().await?)
}

async fn newest(app: &App, account: AccountId) -> Result<i64> {
    let sql = "SELECT next_seq - 1 FROM account_feed WHERE account_id = $1";
    Ok(sqlx::query_scalar(sql).bind(account.0).fetch_one(&app.db.pool).await?)
}

/// The place after an event.
async fn place(db: &Db, account: AccountId, number: i64) -> Result<Cursor> {
    let sql = "SELECT event_id FROM event WHERE account_id = $1 AND seq = $2";
    let id = sqlx::query_scalar(sql).bind(account.0).bind(number).fetch_optional(&db.pool).await?;
    Ok(Cursor::at(number, id))
}

async fn next(stream: &mut (impl Stream<Item = Result<Arc<Event>, ReadError>> + Unpin)) -> Result<Arc<Event>> {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.context("no event comes")?;
    Ok(item.context("the stream ended")??)
}

/// Follows from a number until another one was seen; every number between comes once, in order.
async fn follow(watch: Arc<Watch>, after: Cursor, until: i64, pause: Duration) -> Result<()> {
    let mut events = pin!(watch.events(Some(after), Vec::new()).await?);
    for number in after.seq() + 1..=until {
        assert_eq!(next(&mut events).await?.seq, number);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

const WRITERS: usize = 3;
const TRANSACTIONS: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_follower_sees_every_event_once_and_in_order() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let account = account(&olivia)?;
    let before = newest(&app, account).await?;
    write(&app.db, account, 100).await?;
    let processes = [Process::start(&app, true), Process::start(&app, false)];
    let in_all = |transactions: usize| (0..transactions).map(|number| number % 3 + 1).sum::<usize>();
    let last = before + i64::try_from(in_all(100) + WRITERS * in_all(TRANSACTIONS))?;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let db = app.db.clone();
        tasks.spawn(async move { write(&db, account, TRANSACTIONS).await });
    }
    // From the beginning, from the middle of what was there, and from wherever it is by then; one of them is slow.
    for (number, after) in [0, before + 50, before + 130, 0, before + 7].into_iter().enumerate() {
        for process in &processes {
            let after = place(&app.db, account, after).await?;
            let pause = if number == 3 { Duration::from_micros(200) } else { Duration::ZERO };
            tasks.spawn(follow(process.watch(&olivia.token).await?, after, last, pause));
        }
    }
    for process in &processes {
        let watch = process.watch(&olivia.token).await?;
        tasks.spawn(async move {
            let mut events = pin!(watch.events(None, Vec::new()).await?);
            let mut seen = next(&mut events).await?.seq;
            while seen < last {
                let number = next(&mut events).await?.seq;
                assert_eq!(number, seen + 1);
                seen = number;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    app.finish().await
}

#[tokio::test]
async fn whoever_falls_behind_reads_the_table_and_misses_nothing() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let account = account(&olivia)?;
    let process = Process::start(&app, true);
    let watch = process.watch(&olivia.token).await?;
    let first = newest(&app, account).await?;
    let mut events = pin!(watch.events(None, Vec::new()).await?);
    // Far more than the hub keeps for it.
    write(&app.db, account, 600).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    for number in first + 1..=newest(&app, account).await? {
        assert_eq!(next(&mut events).await?.seq, number);
    }
    app.finish().await
}

#[tokio::test]
async fn kinds_that_are_rare_are_found_in_a_long_past() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let account = account(&olivia)?;
    write(&app.db, account, 150).await?;
    let process = Process::start(&app, true);
    let watch = process.watch(&olivia.token).await?;
    let kinds = vec![EventKind::AccountCreated, EventKind::SeatsSet];
    let mut events = pin!(watch.events(Some(Cursor::at(0, None)), kinds).await?);
    let mut seen = vec![next(&mut events).await?.kind.clone(), next(&mut events).await?.kind.clone()];
    app.grant_seats(&olivia.account_id, 9).await?;
    seen.push(next(&mut events).await?.kind.clone());
    assert_eq!(seen, ["account.created", "seats.set", "seats.set"]);
    app.finish().await
}

/// What takes a follower's right to follow, and what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Suspended,
    Deactivated,
    RoleLost,
    RoleWon,
    SignedOut,
    RevokedElsewhere,
    PasswordChanged,
    PasswordReset,
    AddressChanged,
}

const LOSSES: [Loss; 9] = [
    Loss::Suspended,
    Loss::Deactivated,
    Loss::RoleLost,
    Loss::RoleWon,
    Loss::SignedOut,
    Loss::RevokedElsewhere,
    Loss::PasswordChanged,
    Loss::PasswordReset,
    Loss::AddressChanged,
];

impl Loss {
    /// The event that its transaction leaves.
    fn event(self) -> EventKind {
        match self {
            Self::Suspended => EventKind::MemberSuspended,
            Self::Deactivated => EventKind::MemberDeactivated,
            Self::RoleLost | Self::RoleWon => EventKind::MemberRolesChanged,
            Self::SignedOut | Self::RevokedElsewhere => EventKind::SessionRevoked,
            Self::PasswordChanged | Self::PasswordReset => EventKind::PasswordChanged,
            Self::AddressChanged => EventKind::LoginEmailChanged,
        }
    }
}

async fn lose(app: &App, loss: Loss, owner: &Person, auditor: &Person) -> Result<()> {
    let (token, member) = (Some(owner.token.as_str()), json!({ "memberId": auditor.member_id }));
    let roles = |role: &[SystemRole]| {
        let ids: Vec<String> = role.iter().map(|role| role.id().to_string()).collect();
        json!({ "memberId": auditor.member_id, "roleIds": ids })
    };
    let answer = match loss {
        Loss::Suspended => app.mutate(token, "memberSuspend", member, "").await?,
        Loss::Deactivated => app.mutate(token, "memberDeactivate", member, "").await?,
        Loss::RoleLost => app.mutate(token, "memberAssignRoles", roles(&[SystemRole::Standard]), "").await?,
        Loss::RoleWon => {
            let roles = roles(&[SystemRole::Auditor, SystemRole::MemberManager]);
            app.mutate(token, "memberAssignRoles", roles, "").await?
        }
        Loss::SignedOut => app.mutate(Some(&auditor.token), "sessionRevoke", json!({}), "").await?,
        Loss::RevokedElsewhere => {
            let other = app.sign_in(&auditor.email).await?;
            let id = app.graphql(Some(&auditor.token), "{ viewer { session { id } } }", Value::Null).await?;
            let input = json!({ "sessionId": id.text("/viewer/session/id") });
            app.mutate(Some(&other), "sessionRevoke", input, "").await?
        }
        Loss::PasswordChanged => {
            let other = app.sign_in(&auditor.email).await?;
            let input =
                json!({ "currentPassword": crate::support::app::PASSWORD, "newPassword": "another-Xq7-password" });
            app.mutate(Some(&other), "passwordChange", input, "").await?
        }
        Loss::PasswordReset => {
            app.mutate(None, "passwordResetRequest", json!({ "email": auditor.email }), "").await?;
            let token = app.letter(&auditor.email).await?.token();
            let input = json!({ "token": token, "password": "another-Xq7-password" });
            app.mutate(None, "passwordReset", input, "").await?
        }
        Loss::AddressChanged => {
            let new = "audrey@harborandfinch.example";
            let input = json!({ "memberId": auditor.member_id, "newEmail": new });
            app.mutate(token, "loginEmailChangeRequest", input, "").await?;
            let token = app.letter(new).await?.token();
            app.mutate(None, "loginEmailChangeConfirm", json!({ "token": token }), "").await?
        }
    };
    assert!(answer.codes().is_empty(), "{loss:?}: {}", answer.body);
    Ok(())
}

/// How far followers go, and how many of them have seen anything.
struct Pace {
    goal: AtomicI64,
    begun: Semaphore,
}

/// Follows to the goal. The last number seen, if the right to follow ended before.
async fn follow_as_a_socket(
    watch: Arc<Watch>,
    events: impl Stream<Item = Result<Arc<Event>, ReadError>>,
    pace: Arc<Pace>,
) -> Option<i64> {
    let (mut events, mut seen) = (pin!(events), 0);
    while seen < pace.goal.load(Ordering::SeqCst) {
        let event = tokio::select! {
            biased;
            () = watch.ended() => return Some(seen),
            event = events.next() => event.unwrap().unwrap(),
        };
        if seen == 0 {
            pace.begun.add_permits(1);
        }
        seen = event.seq;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_handed_an_event_of_after_their_right_was_gone() -> Result<()> {
    for loss in LOSSES {
        let app = App::start().await?;
        let olivia = app.found("olivia@harborandfinch.example", 5).await?;
        let auditor = app.join(&olivia, "aud@harborandfinch.example", &[SystemRole::Auditor]).await?;
        let account = account(&olivia)?;
        let processes = [Process::start(&app, true), Process::start(&app, false)];
        let stop = CancellationToken::new();
        let (stopped, db) = (stop.clone(), app.db.clone());
        let flow = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                burst(&db, account).await.unwrap();
            }
        });
        let pace = Arc::new(Pace { goal: AtomicI64::new(i64::MAX), begun: Semaphore::new(0) });
        let mut followers = JoinSet::new();
        for process in &processes {
            let watch = process.watch(&auditor.token).await?;
            let events = watch.events(None, Vec::new()).await?;
            followers.spawn(follow_as_a_socket(watch, events, Arc::clone(&pace)));
        }
        let all = u32::try_from(processes.len())?;
        let _all = tokio::time::timeout(PATIENCE, pace.begun.acquire_many(all)).await.context("not all follow")??;
        let (asked, before) = (Instant::now(), newest(&app, account).await?);
        lose(&app, loss, &olivia, &auditor).await?;
        // What the same transaction recorded is the last that may be seen.
        let sql = "SELECT max(seq) FROM event WHERE account_id = $1 AND kind = $2";
        let last: i64 =
            sqlx::query_scalar(sql).bind(account.0).bind(loss.event().as_str()).fetch_one(&app.db.pool).await?;
        if loss == Loss::RoleWon {
            pace.goal.store(last + 50, Ordering::SeqCst);
        }
        while let Some(seen) = tokio::time::timeout(PATIENCE, followers.join_next()).await.context("it goes on")? {
            let seen = seen?;
            assert_eq!(seen.is_none(), loss == Loss::RoleWon, "{loss:?}");
            assert!(seen.unwrap_or_default() <= last, "{loss:?}: saw {seen:?}, the right ended with {last}");
        }
        let (flown, took) = (newest(&app, account).await? - before, asked.elapsed());
        println!("{loss:?}: all followers ended {took:.1?} after it was asked for, among {flown} events");
        stop.cancel();
        flow.await?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_ends_by_itself_ends_its_following_unless_it_is_used() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let process = Process::start(&app, false);
    let watch = process.watch(&olivia.token).await?;
    let idle = SignedDuration::from_hours(24 * 6);
    app.pass(idle);
    // Used over HTTP meanwhile.
    assert!(app.graphql(Some(&olivia.token), "{ viewer { permissions } }", Value::Null).await?.errors().is_empty());
    app.activity.flush(&app.db).await?;
    app.pass(idle);
    let later = tokio::time::timeout(Duration::from_millis(1200), watch.ended()).await;
    assert!(later.is_err(), "it was used six days ago");
    app.pass(idle);
    tokio::time::timeout(PATIENCE, watch.ended()).await.context("it goes on")?;
    assert!(watch.has_ended());
    assert!(process.watch(&olivia.token).await.is_err());
    app.finish().await
}

#[tokio::test]
async fn a_cursor_beyond_the_feed_is_refused() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let process = Process::start(&app, true);
    let watch = process.watch(&olivia.token).await?;
    let account = account(&olivia)?;
    let newest = place(&app.db, account, newest(&app, account).await?).await?;
    let beyond = Cursor::at(newest.seq() + 1, None);
    let refused = watch.events(Some(beyond), Vec::new()).await.err();
    assert!(matches!(refused, Some(ReadError::CursorUnknown { .. })), "{refused:?}");
    assert!(watch.events(Some(newest), Vec::new()).await.is_ok());
    app.finish().await
}

#[tokio::test]
async fn an_account_in_motion_is_told_of_at_most_twice_a_second() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found("olivia@harborandfinch.example", 5).await?;
    let account = account(&olivia)?;
    let process = Process::start(&app, true);
    let watch = process.watch(&olivia.token).await?;
    let mut updates = pin!(watch.updates());
    updates.next().await.context("one at once")?;
    write(&app.db, account, 50).await?;
    tokio::time::timeout(PATIENCE, updates.next()).await?.context("one for all of them")?;
    // Whatever came after the update was prepared is one more, then there is rest.
    let mut more = 0;
    while tokio::time::timeout(Duration::from_millis(1500), updates.next()).await.is_ok() {
        more += 1;
    }
    assert!(more <= 1, "{more} further ones for one burst");
    app.finish().await
}

#[tokio::test]
async fn accounts_that_nobody_follows_are_forgotten() -> Result<()> {
    let app = App::start().await?;
    let process = Process::start(&app, true);
    let mut accounts = BTreeSet::new();
    for number in 0..3 {
        let person = app.found(&format!("olivia{number}@harborandfinch.example"), 5).await?;
        accounts.insert(person.account_id.clone());
        let watch = process.watch(&person.token).await?;
        assert!(process.live.followed() > 0);
        drop(watch);
    }
    assert_eq!(accounts.len(), 3);
    // A look that was under way comes to its end first.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while process.live.followed() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "it is still followed");
        tokio::task::yield_now().await;
    }
    app.finish().await
}
