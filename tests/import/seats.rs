//! Seats: held ahead, given in the order of the file, given back, never oversold.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::error::{Code, Error};
use domain::import::{Outcome, Step};
use domain::job::Verdict;
use domain::outbox;
use domain::permission::SystemRole;
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
async fn a_buried_import_gives_its_seats_back() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(3_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..3 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    assert_eq!(world.seats().await, (2_001, 2_001));
    assert!(outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    assert_eq!(world.seats().await, (401, 401));
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ABANDONED"));
    assert_eq!(run.step().await.unwrap(), Step::Nothing);
    assert_eq!(world.seats().await, (401, 401));
    assert!(!outbox::bury_by_operator(&world.db, job.job_id).await.unwrap());
    // Replayed, it finds that its import has ended.
    outbox::replay(&mut world.db.pool.acquire().await.unwrap(), job.job_id).await.unwrap();
    assert_eq!(world.work().await, Verdict::Done);
    world.end().await;
}

#[tokio::test]
async fn a_handler_buries_what_hangs_on_its_job() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(300), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    run.step().await.unwrap();
    run.step().await.unwrap();
    let (_, handler) = world.registry().find(&job.kind).unwrap();
    assert!(handler.bury(job.clone(), "ATTEMPTS_SPENT").unwrap().await.unwrap());
    assert!(!handler.bury(job, "ATTEMPTS_SPENT").unwrap().await.unwrap());
    assert_eq!(world.seats().await, (201, 201));
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("ABANDONED"));
    world.end().await;
}

#[tokio::test]
async fn an_import_whose_job_died_unnoticed_is_abandoned() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(300), false).await;
    assert_eq!(domain::import::abandon_stranded(&world.db).await.unwrap(), 0);
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    run.step().await.unwrap();
    run.step().await.unwrap();
    let key = (job.job_id, job.claim);
    outbox::bury(&mut world.db.pool.acquire().await.unwrap(), key, "UNKNOWN_KIND").await.unwrap();
    assert_eq!(domain::import::abandon_stranded(&world.db).await.unwrap(), 1);
    assert_eq!(world.seats().await, (201, 201));
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
