//! Imports of all rows or none, and those that want all seats beforehand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::group::{self, NewGroup};
use domain::import::{Options, Outcome, Step};
use domain::invitation::ErrorPolicy;
use domain::job::Verdict;
use domain::permission::SystemRole;
use futures::FutureExt as _;

use super::rows::people;
use super::world::World;

const WHOLE: fn() -> Options = || Options { error_policy: ErrorPolicy::AllOrNothing, ..Options::default() };

async fn members(world: &World) -> i32 {
    world.count("SELECT count(*) FROM member WHERE status = 'INVITED'").await
}

#[tokio::test]
async fn one_faulty_row_keeps_all_others_out() {
    let world = World::new(3_000).await;
    let file = [&people(1_200)[..], b"nobody,A,B,Attorney,,\n"].concat();
    let import = world.import(&file, WHOLE()).await;
    let read = world.read(import).await;
    assert_eq!((read.error_code.as_deref(), read.applied), (Some("ROWS_REJECTED"), false));
    assert!(read.error_message.unwrap().ends_with("Rows with faults: 1."));
    assert_eq!((read.rows_invited, read.rows_rejected), (1_200, 1));
    assert_eq!(world.rejected(import).await, [(1_202, vec!["INVALID_EMAIL"])]);
    assert_eq!((members(&world).await, world.seats().await), (0, (1, 1)));
    world.end().await;
}

#[tokio::test]
async fn all_rows_take_effect_in_one_transaction_with_gapless_events() {
    let world = World::new(3_000).await;
    let import = world.start_with(&world.owner, &people(2_300), WHOLE()).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while !world.read(import).await.applied {
        assert_eq!(members(&world).await, 0, "nobody before all");
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    assert_eq!(members(&world).await, 2_300);
    assert_eq!(run.step().await.unwrap(), Step::Ended);
    let rows = world.rows(import, Some(Outcome::Invited)).await;
    assert!(rows.len() == 2_300 && rows.iter().all(|row| row.member_id.is_some()));
    assert_eq!(world.count("SELECT count(DISTINCT xmin::text) FROM invitation").await, 1);
    let gaps = "SELECT count(*) FROM (SELECT seq - lag(seq) OVER (ORDER BY seq) AS step FROM event) e WHERE step <> 1";
    assert_eq!(world.count(gaps).await, 0);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'invitation.created'").await, 2_300);
    let unlike = "SELECT count(*) FROM event e JOIN event_personal p USING (account_id, event_id) WHERE e.personal_digest IS NULL";
    assert_eq!(world.count(unlike).await, 0);
    assert_eq!(world.seats().await, (2_301, 2_301));
    world.end().await;
}

#[tokio::test]
async fn too_few_seats_refuse_the_file_before_its_first_row() {
    let world = World::new(5).await;
    for options in [WHOLE(), Options { require_seats: true, ..Options::default() }] {
        let import = world.import(&people(6), options).await;
        let read = world.read(import).await;
        assert_eq!((read.error_code.as_deref(), read.seats_free), (Some("SEAT_SHORTAGE"), Some(4)));
        let message = read.error_message.clone().unwrap();
        assert!(message.contains("needs 6 licences") && message.contains("2 licences are missing"), "{message}");
        let seats = read.seats().unwrap();
        assert_eq!((seats.required, seats.available, seats.missing), (6, 4, 2));
        assert_eq!((members(&world).await, world.seats().await), (0, (1, 1)));
    }
    let enough = world.import(&people(4), Options { require_seats: true, ..Options::default() }).await;
    assert_eq!((world.read(enough).await.rows_invited, world.seats().await), (4, (5, 5)));
    // Who is there already needs none.
    let again = world.import(&people(4), Options { require_seats: true, ..Options::default() }).await;
    assert_eq!((world.read(again).await.rows_unchanged, world.seats().await), (4, (5, 5)));
    world.end().await;
}

/// Somebody is invited between the look and the moment at which all takes effect.
#[tokio::test]
async fn what_has_changed_since_the_look_is_looked_at_again() {
    let world = World::new(3_000).await;
    let import = world.start_with(&world.owner, &people(600), WHOLE()).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 600 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    world.invite(&world.owner, "p00007@firm.example", SystemRole::Standard.id()).await.unwrap();
    while run.step().await.unwrap() == Step::Going {}
    let read = world.read(import).await;
    assert_eq!((read.error_code.as_deref(), read.rows_done()), (Some("ROWS_REJECTED"), 600));
    assert_eq!(world.rejected(import).await, [(9, vec!["ALREADY_INVITED"])]);
    assert_eq!((members(&world).await, world.seats().await), (1, (2, 2)));
    world.end().await;
}

/// Somebody signs out all the while: that changes the version of rights, and nothing that this import hangs on.
#[tokio::test(flavor = "multi_thread")]
async fn rights_of_others_may_change_while_all_takes_effect() {
    let world = World::new(3_000).await;
    let import = world.start_with(&world.owner, &people(2_000), WHOLE()).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 2_000 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    let over = AtomicBool::new(false);
    let others = async {
        let mut changes = 0;
        while !over.load(Ordering::SeqCst) {
            let change = "UPDATE account_feed SET access_version = access_version + 1";
            sqlx::query(change).execute(&world.db.pool).await.unwrap();
            changes += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        changes
    };
    let work = async {
        assert_eq!(run.step().await.unwrap(), Step::Going, "all of it at once");
        over.store(true, Ordering::SeqCst);
    };
    let (changes, ()) = tokio::join!(others, work);
    assert!(changes > 1, "{changes}");
    assert_eq!((world.read(import).await.applied, members(&world).await), (true, 2_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_archived_while_all_takes_effect_is_given_to_nobody() {
    let world = World::new(30).await;
    let run_sql = async |sql: &'static str| sqlx::query(sql).execute(&world.db.pool).await.unwrap();
    run_sql("INSERT INTO role (account_id, role_id, name, created_at) SELECT account_id, gen_random_uuid(), 'Desk', now() FROM account").await;
    let new = NewGroup { name: "Tax".to_owned(), description: None, excluded_from_custom_rates: false };
    let tax = world.ask(&world.owner, move |c, a| {
        let new = new.clone();
        async move { group::create(c, a, &new, 100).await }.boxed()
    });
    let options = Options { default_groups: vec![tax.await.unwrap()], ..WHOLE() };
    let file = b"email,first_name,last_name,subscription_type,roles\nann@firm.example,A,B,Attorney,Desk\n";
    let import = world.start_with(&world.owner, file, options).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 1 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    // It waits for the group, so that there is time.
    let mut group = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM member_group FOR UPDATE").execute(&mut *group).await.unwrap();
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        run_sql("UPDATE role SET archived_at = now() WHERE name = 'Desk'").await;
        run_sql("UPDATE account_feed SET access_version = access_version + 1").await;
        group.rollback().await.unwrap();
    };
    let work = async { while run.step().await.unwrap() == Step::Going {} };
    tokio::join!(others, work);
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ROWS_REJECTED"));
    assert_eq!(world.rejected(import).await, [(2, vec!["UNKNOWN_ROLE"])]);
    assert_eq!((members(&world).await, world.seats().await), (0, (1, 1)));
    world.end().await;
}

/// By the statistics of an installation in which each account has one member, an account's id is as good as a member's to find them by.
#[tokio::test]
async fn statistics_from_before_an_account_grew_are_taken_anew() {
    for options in [Options::default(), WHOLE()] {
        let world = World::new(5_000).await;
        let analyze = "RESET ROLE; ANALYZE member; SET ROLE muster_runtime";
        sqlx::raw_sql(analyze).execute(&mut *world.db.pool.acquire().await.unwrap()).await.unwrap();
        let known = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'member'::regclass";
        assert_eq!(world.count(known).await, 1);
        world.import(&people(2_200), options).await;
        assert!(world.count(known).await >= 500);
        world.end().await;
    }
}

/// Whoever archives a group does not wait for an import that puts people into it, and nobody comes into an archived one.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_can_be_archived_while_all_takes_effect() {
    let world = World::new(30).await;
    let new = NewGroup { name: "Tax".to_owned(), description: None, excluded_from_custom_rates: false };
    let tax = world.ask(&world.owner, move |c, a| {
        let new = new.clone();
        async move { group::create(c, a, &new, 100).await }.boxed()
    });
    let tax = tax.await.unwrap();
    let file = b"email,first_name,last_name,subscription_type,groups\nann@firm.example,A,B,Attorney,Tax\n";
    let import = world.start_with(&world.owner, file, WHOLE()).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 1 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    // It waits once somebody is in the group.
    let mut row = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM member_import_row FOR UPDATE").execute(&mut *row).await.unwrap();
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.ask(&world.owner, move |c, a| group::archive(c, a, tax).boxed()).await.unwrap();
        row.rollback().await.unwrap();
    };
    let work = async { while run.step().await.unwrap() == Step::Going {} };
    tokio::join!(others, work);
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ROWS_REJECTED"));
    assert_eq!(world.rejected(import).await, [(2, vec!["UNKNOWN_GROUP"])]);
    assert_eq!((members(&world).await, world.seats().await), (0, (1, 1)));
    world.end().await;
}

/// Whoever suspends somebody, say, does not wait until all new members are written.
#[tokio::test(flavor = "multi_thread")]
async fn members_who_change_are_locked_at_the_end_only() {
    let world = World::new(2_000).await;
    world.member("ann@firm.example", SystemRole::Standard).await;
    let file = [&people(1_100)[..], b"ann@firm.example,Ann,Lee,Attorney,Auditor,\n"].concat();
    // She is among the first rows as well as the new ones.
    let file = String::from_utf8(file).unwrap();
    let (header, rows) = file.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.rotate_right(1);
    let file = format!("{header}\n{}\n", rows.join("\n"));
    let import = world.start_with(&world.owner, file.as_bytes(), Options { update_existing: true, ..WHOLE() }).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 1_100 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    // It waits once the first chunk is written.
    let mut row = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM member_import_row FOR UPDATE").execute(&mut *row).await.unwrap();
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let free = "SELECT FROM member WHERE email = 'ann@firm.example' FOR UPDATE NOWAIT";
        let free = sqlx::query(free).execute(&world.db.pool).await;
        row.rollback().await.unwrap();
        free.unwrap();
    };
    let work = async { while run.step().await.unwrap() == Step::Going {} };
    tokio::join!(others, work);
    let read = world.read(import).await;
    assert_eq!((read.applied, read.rows_invited, read.rows_updated, read.error_code), (true, 1_100, 1, None));
    let ann = "SELECT count(*) FROM member JOIN member_role USING (account_id, member_id) WHERE first_name = 'Ann' AND version = 3";
    assert_eq!(world.count(ann).await, 2);
    assert_eq!(world.rows(import, Some(Outcome::Updated)).await[0].row_no, 2);
    let events = "SELECT count(*) FROM event WHERE kind IN ('member.updated', 'member.roles_changed')";
    assert_eq!(world.count(events).await, 2);
    world.end().await;
}

/// Two that write in the account all the while are all that may, of those that share a process's connections.
#[tokio::test]
async fn an_import_does_not_wait_for_others_who_write() {
    let world = World::new(30).await;
    let import = world.start_with(&world.owner, &people(10), WHOLE()).await;
    let job = world.claim().await;
    let mut others = Vec::new();
    for _ in 0..2 {
        let (kind, origin) = (domain::change::Kind::System, domain::actor::Origin::system());
        others.push(domain::change::Change::begin(&world.db, world.account(), kind, origin, None).await.unwrap());
    }
    let mut run = world.run_of(&job, import);
    let work = async { while run.step().await.unwrap() == Step::Going {} };
    tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
    assert_eq!(members(&world).await, 10);
    drop(others);
    world.end().await;
}

/// The handler is dropped wherever it happens to be, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_anywhere_leaves_all_or_nothing() {
    let world = World::new(5_000).await;
    let import = world.start_with(&world.owner, &people(2_000), WHOLE()).await;
    let mut kills = 0;
    loop {
        let job = world.claim().await;
        let (_, handler) = world.registry().find(&job.kind).unwrap();
        let life = std::time::Duration::from_millis(30 + kills * 61);
        match tokio::time::timeout(life, handler.run(job.clone())).await {
            Ok(verdict) => {
                assert_eq!(verdict, Verdict::Settled);
                break;
            }
            Err(_killed) => kills += 1,
        }
        let found = members(&world).await;
        assert!(found == 0 || found == 2_000, "{found}");
        if !world.lapse_lease(&job).await {
            break;
        }
    }
    assert!(kills > 0);
    let read = world.read(import).await;
    assert_eq!((read.rows_invited, read.applied, members(&world).await), (2_000, true, 2_000));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'invitation.created'").await, 2_000);
    assert_eq!(world.seats().await, (2_001, 2_001));
    world.end().await;
}
