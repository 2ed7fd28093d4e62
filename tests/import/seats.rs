//! Seats: held ahead, given in the order of the file, given back, never oversold.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::error::{Code, Error};
use domain::import::{Options, Outcome, State, Step};
use domain::job::Verdict;
use domain::outbox::{self, Replay};
use domain::permission::SystemRole;
use domain::upload;
use tokio::process::Command;

use super::rows::people;
use super::world::World;

#[tokio::test]
async fn seats_go_to_the_first_rows() {
    let world = World::new(251).await;
    let import = world.start(&world.owner, &people(450), false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let rows = world.rows(import, None).await;
    assert_eq!(rows.len(), 450);
    assert!(rows.iter().all(|row| (row.outcome == Outcome::Invited) == (row.row_no < 252)));
    assert!(world.rejected(import).await.iter().all(|(_, codes)| codes == &["NO_SEAT"]));
    assert_eq!(world.seats().await, (251, 251));
    world.end().await;
}

#[tokio::test]
async fn a_running_import_holds_seats_and_gives_back_what_it_did_not_need() {
    let world = World::new(5_000).await;
    let once = String::from_utf8(people(600)).unwrap();
    let file = format!("{once}{}", once.split_once('\n').unwrap().1);
    let import = world.start(&world.owner, file.as_bytes(), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    assert_eq!(run.step().await.unwrap(), Step::Going);
    assert_eq!(run.step().await.unwrap(), Step::Going);
    assert_eq!(world.seats().await, (1_201, 1_201), "the whole file's seats");
    while run.step().await.unwrap() == Step::Going {}
    assert_eq!(world.seats().await, (601, 601));
    assert_eq!(world.read(import).await.rows_rejected, 600);
    world.end().await;
}

#[tokio::test]
async fn a_file_whose_people_are_there_takes_seats_from_nobody() {
    let world = World::new(5_000).await;
    world.import(&people(1_200), Options::default()).await;
    let again = world.start(&world.owner, &people(1_200), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, again);
    while run.step().await.unwrap() == Step::Going {
        assert_eq!(world.seats().await, (1_201, 1_201));
    }
    assert_eq!(world.read(again).await.rows_unchanged, 1_200);
    // Some new ones among them: about as many as are needed.
    let more = world.start(&world.owner, &people(1_210), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, more);
    let mut most = 0;
    while run.step().await.unwrap() == Step::Going {
        most = most.max(world.seats().await.0);
    }
    assert_eq!((most, world.seats().await), (1_211, (1_211, 1_211)));
    world.end().await;
}

#[tokio::test]
async fn a_buried_import_gives_its_seats_back() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(3_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..2 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    assert_eq!(world.seats().await, (2_001, 2_001));
    assert!(outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    assert_eq!(world.seats().await, (501, 501));
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ABANDONED"));
    assert_eq!(run.step().await.unwrap(), Step::Nothing);
    assert_eq!(world.seats().await, (501, 501));
    assert!(!outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    world.end().await;
}

#[tokio::test]
async fn a_replayed_import_goes_on_where_it_was_given_up() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(1_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..2 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    assert!(outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    let buried = world.read(import).await;
    assert_eq!((buried.rows_invited, buried.error_code.as_deref()), (500, Some("ABANDONED")));

    assert_eq!(outbox::replay(&world.db, job.job_id).await.unwrap(), Replay::Due);
    let reopened = world.read(import).await;
    assert_eq!((reopened.state, reopened.error_code, reopened.finished_at), (State::Running, None, None));
    assert_eq!(world.seats().await, (501, 501), "seats are taken as it goes");
    assert_eq!(domain::import::abandon_stranded(&world.db).await.unwrap(), 0);
    assert_eq!(run.step().await.unwrap(), Step::Nothing, "the claim of before is gone");
    assert_eq!(world.work().await, Verdict::Settled);
    let done = world.read(import).await;
    assert_eq!((done.state, done.rows_invited, done.rows_rejected), (State::Finished, 1_000, 0));
    assert_eq!(world.count("SELECT count(*) FROM member WHERE status = 'INVITED'").await, 1_000, "each row once");
    assert_eq!(world.seats().await, (1_001, 1_001));
    let kinds = "SELECT count(*) FROM event WHERE kind IN ('import.started', 'import.reopened', 'import.finished')";
    assert_eq!(world.count(kinds).await, 4, "started, finished, reopened, finished");
    assert_eq!(outbox::replay(&world.db, job.job_id).await.unwrap(), Replay::NotDead);
    world.end().await;
}

#[tokio::test]
async fn an_import_that_never_began_is_replayed_from_its_beginning() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(10), false).await;
    let job = world.claim().await;
    assert!(outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    assert_eq!(outbox::replay(&world.db, job.job_id).await.unwrap(), Replay::Due);
    assert_eq!(world.read(import).await.state, State::Queued);
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.read(import).await.rows_invited, 10);
    world.end().await;
}

#[tokio::test]
async fn an_import_whose_file_is_gone_is_not_replayed() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(10), false).await;
    let job = world.claim().await;
    assert!(outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    let later = world.db.now().await.unwrap() + upload::FILE_LIFETIME;
    upload::purge_expired(&world.db, &world.files, later).await.unwrap();
    assert_eq!(outbox::replay(&world.db, job.job_id).await.unwrap(), Replay::FileGone);
    let read = world.read(import).await;
    assert_eq!((read.state, read.error_code.as_deref()), (State::Failed, Some("ABANDONED")), "as before");
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL AND wake_at IS NULL").await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_handler_buries_what_hangs_on_its_job() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(700), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    run.step().await.unwrap();
    run.step().await.unwrap();
    let (_, handler) = world.registry().find(&job.kind).unwrap();
    assert!(handler.bury(job.clone(), "ATTEMPTS_SPENT").unwrap().await.unwrap());
    assert!(!handler.bury(job, "ATTEMPTS_SPENT").unwrap().await.unwrap());
    assert_eq!(world.seats().await, (501, 501));
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ABANDONED"));
    world.end().await;
}

#[tokio::test]
async fn an_import_whose_job_died_unnoticed_is_abandoned() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(700), false).await;
    assert_eq!(domain::import::abandon_stranded(&world.db).await.unwrap(), 0);
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    run.step().await.unwrap();
    run.step().await.unwrap();
    let key = (job.job_id, job.claim);
    outbox::bury(&mut world.db.pool.acquire().await.unwrap(), key, "UNKNOWN_KIND").await.unwrap();
    assert_eq!(domain::import::abandon_stranded(&world.db).await.unwrap(), 1);
    assert_eq!(world.seats().await, (501, 501));
    world.end().await;
}

/// The sweep has it on its list, and meanwhile an operator lets it go on.
#[tokio::test]
async fn an_import_that_is_replayed_this_moment_is_not_abandoned() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(700), false).await;
    let job = world.claim().await;
    let key = (job.job_id, job.claim);
    outbox::bury(&mut world.db.pool.acquire().await.unwrap(), key, "UNKNOWN_KIND").await.unwrap();
    let mut replay = world.db.pool.begin().await.unwrap();
    let due = "UPDATE outbox SET wake_at = now(), dead_at = NULL, attempts = 0 WHERE job_id = $1";
    sqlx::query(due).bind(job.job_id).execute(&mut *replay).await.unwrap();
    let db = world.db.clone();
    let mut sweep = Box::pin(domain::import::abandon_stranded(&db));
    let ended = loop {
        match futures::poll!(sweep.as_mut()) {
            std::task::Poll::Ready(ended) => break ended,
            std::task::Poll::Pending if world.waits().await => {
                replay.commit().await.unwrap();
                break sweep.await;
            }
            std::task::Poll::Pending => {}
        }
    };
    assert_eq!(ended.unwrap(), 0);
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.read(import).await.rows_invited, 700);
    world.end().await;
}

/// Ten thousand rows, and invitations all the while, for fewer seats than either could use.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_and_invitations_never_oversell() {
    let world = World::new(6_001).await;
    let made = Command::new("python3")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/make_members.py"), "10000"])
        .output()
        .await
        .unwrap();
    let import = world.start(&world.owner, &made.stdout, false).await;
    let over = AtomicBool::new(false);
    let invite = async |kind: &str| {
        let (mut invited, mut refused) = (0, 0);
        for i in 0.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            // Some of them are in the file as well.
            let email = format!("{kind}{:07}@corp{}.example", 9_999 - i, (9_999 - i) % 97);
            match world.invite(&world.owner, &email, SystemRole::Standard.id()).await {
                Ok(_) => invited += 1,
                Err(Error::Refused(list)) => {
                    assert!(matches!(list[0].code, Code::SeatShortage | Code::AlreadyInvited), "{list:?}");
                    refused += 1;
                }
                Err(Error::Busy) => {}
                Err(other) => panic!("{other}"),
            }
        }
        (invited, refused)
    };
    let watch = async {
        while !over.load(Ordering::SeqCst) {
            let (in_use, held) = world.seats().await;
            assert_eq!(in_use, held);
            assert!(in_use <= 6_001);
        }
    };
    let work = async {
        let verdict = world.work().await;
        over.store(true, Ordering::SeqCst);
        verdict
    };
    let (verdict, twins, others, ()) = tokio::join!(work, invite("member"), invite("other"), watch);
    assert_eq!(verdict, Verdict::Settled);
    let read = world.read(import).await;
    let invited = read.rows_invited + twins.0 + others.0;
    assert_eq!(world.seats().await, (invited + 1, invited + 1));
    assert_eq!(invited, 6_000, "{read:?} {twins:?} {others:?}");
    assert!(twins.0 + others.0 > 0 && read.rows_invited > 0);
    assert_eq!(world.count("SELECT count(*) FROM member_import_row").await, 10_000);
    assert_eq!(world.count("SELECT count(*) FROM member WHERE status = 'INVITED'").await, invited);
    world.end().await;
}
