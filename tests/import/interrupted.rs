//! Workers that die, lose their job or are told to stop: each row is done once.

use std::time::{Duration, Instant};

use domain::id::ImportId;
use domain::import::Step;
use domain::infra::wake::Wake;
use domain::job::{JobKind, Verdict};
use tokio_util::sync::CancellationToken;
use worker::{Parts, Registry, Worker};

use super::rows::people;
use super::world::World;

const ROWS: i32 = 2_000;

async fn assert_each_row_once(world: &World, import: ImportId) {
    let read = world.read(import).await;
    assert_eq!((read.rows_total, read.rows_invited, read.rows_rejected), (Some(ROWS), ROWS, 0));
    let rows = world.rows(import, None).await;
    assert!(rows.iter().map(|row| row.row_no).eq(2..ROWS + 2));
    let sql = "SELECT count(DISTINCT r.member_id) FROM member_import_row r JOIN member m USING (account_id, member_id)";
    assert_eq!(world.count(sql).await, ROWS);
    assert_eq!(world.count("SELECT count(*) FROM member WHERE status = 'INVITED'").await, ROWS);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'invitation.created'").await, ROWS);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'import.finished'").await, 1);
    assert_eq!(world.seats().await, (ROWS + 1, ROWS + 1));
}

#[tokio::test]
async fn whoever_takes_the_job_over_goes_on_and_the_other_stops_without_effect() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(2_000), false).await;
    let first = world.claim().await;
    let mut slow = world.run_of(&first, import);
    for _ in 0..2 {
        assert_eq!(slow.step().await.unwrap(), Step::Going);
    }
    assert!(world.lapse_lease(&first).await);
    let second = world.claim().await;
    let mut quick = world.run_of(&second, import);
    assert_eq!(quick.step().await.unwrap(), Step::Going);
    assert_eq!(slow.step().await.unwrap(), Step::Nothing, "its claim is gone");
    assert_eq!(quick.step().await.unwrap(), Step::Going);
    assert_eq!(slow.step().await.unwrap(), Step::Nothing);
    assert_eq!(world.read(import).await.rows_invited, 1_000);
    while quick.step().await.unwrap() == Step::Going {}
    assert_each_row_once(&world, import).await;
    world.end().await;
}

/// The handler is dropped wherever it happens to be, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_anywhere_is_followed_by_one_that_goes_on() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(2_000), false).await;
    let mut kills = 0;
    loop {
        let job = world.claim().await;
        let (_, handler) = world.registry().find(&job.kind).unwrap();
        let life = Duration::from_millis(20 + kills * 37);
        match tokio::time::timeout(life, handler.run(job.clone())).await {
            Ok(verdict) => {
                assert_eq!(verdict, Verdict::Settled);
                break;
            }
            Err(_killed) => kills += 1,
        }
        // It may have died between its last commit and its answer.
        if !world.lapse_lease(&job).await {
            break;
        }
    }
    assert!(kills > 0);
    assert_each_row_once(&world, import).await;
    world.end().await;
}

/// It is interrupted now and then, and goes on each time: that is no reason to give it up.
#[tokio::test]
async fn attempts_are_counted_from_the_last_batch_on() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(600), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    let most = JobKind::ImportMembers.max_attempts();
    let spend = "UPDATE outbox SET attempts = $1 WHERE kind = 'import.members'";
    sqlx::query(spend).bind(most).execute(&world.db.pool).await.unwrap();
    for (rows, attempts) in [(0, most), (500, 1)] {
        assert_eq!(run.step().await.unwrap(), Step::Going);
        assert_eq!(world.read(import).await.rows_invited, rows);
        assert_eq!(world.count("SELECT attempts::bigint FROM outbox WHERE kind = 'import.members'").await, attempts);
    }
    world.end().await;
}

#[tokio::test]
async fn a_stopping_worker_gives_the_job_back() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(2_000), false).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let (db, files) = (world.db.clone(), world.files.clone());
    let registry = worker::job::import::register(Registry::default(), db, files, &world.config.limits, stop);
    let job = world.claim().await;
    let (_, handler) = registry.find(&job.kind).unwrap();
    assert_eq!(handler.run(job).await, Verdict::Settled);
    let again = world.claim().await;
    assert_eq!(again.attempts, 1, "the attempt does not count");
    let mut run = world.run_of(&again, import);
    while run.step().await.unwrap() == Step::Going {}
    assert_each_row_once(&world, import).await;
    world.end().await;
}

/// Imports so many people with a real worker, and answers the seconds from before the upload to the end.
async fn import_by_worker(world: &World, count: usize) -> (ImportId, f64) {
    let began = Instant::now();
    let import = world.start(&world.owner, &people(count), false).await;
    let ended = work_until_the_end(world, import).await;
    (import, (ended - began).as_secs_f64())
}

/// Runs a real worker until an import has ended, and answers when that was.
async fn work_until_the_end(world: &World, import: ImportId) -> Instant {
    let mut wakes = world.db.waker.subscribe();
    let parts = Parts {
        pool: world.db.pool.clone(),
        clock: world.db.clock.clone(),
        registry: world.registry(),
        sweeps: worker::job::import::sweeps(&world.db, &world.files),
        waker: world.db.waker.clone(),
    };
    let shutdown = CancellationToken::new();
    let worker = Worker::start(parts, &world.config, &shutdown).unwrap();
    while world.read(import).await.finished_at.is_none() {
        while !matches!(wakes.next().await, Wake::AccountMoved(_) | Wake::Missed) {}
    }
    let ended = Instant::now();
    shutdown.cancel();
    worker.stopped().await.unwrap();
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_imports_what_was_asked_for() {
    let world = World::new(5_000).await;
    let (import, _) = import_by_worker(&world, 2_000).await;
    assert_each_row_once(&world, import).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark"]
#[expect(clippy::print_stderr, reason = "it prints its figure")]
async fn rows_per_second() {
    for count in [10_000_u32, 100_000] {
        let world = World::new(200_000).await;
        let (import, seconds) = import_by_worker(&world, count as usize).await;
        assert_eq!(Some(world.read(import).await.rows_invited), i32::try_from(count).ok());
        eprintln!("{count} rows in {seconds:.1} s: {:.0} rows/s", f64::from(count) / seconds);
        world.end().await;
    }
}

/// It ended its process each time, say.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_attempts_left_ends_its_import() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(600), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    run.step().await.unwrap();
    run.step().await.unwrap();
    let sql = "UPDATE outbox SET attempts = $1";
    sqlx::query(sql).bind(JobKind::ImportMembers.max_attempts()).execute(&world.db.pool).await.unwrap();
    assert!(world.lapse_lease(&job).await);
    work_until_the_end(&world, import).await;
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ABANDONED"));
    assert_eq!(
        world
            .count("SELECT count(*) FROM outbox WHERE last_error_code = 'ATTEMPTS_SPENT' AND dead_at IS NOT NULL")
            .await,
        1
    );
    assert_eq!(world.seats().await, (501, 501));
    world.end().await;
}
