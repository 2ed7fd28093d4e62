//! Imports that somebody stops.

use domain::error::{Code, Error};
use domain::import::{self, Options, State, Step};
use domain::invitation::ErrorPolicy;
use domain::permission::SystemRole;
use futures::FutureExt as _;

use super::rows::people;
use super::world::World;

#[tokio::test]
async fn a_cancelled_import_stops_between_two_batches_and_gives_its_seats_back() {
    let world = World::new(5_000).await;
    let auditor = world.member("auditor@firm.example", SystemRole::Auditor).await;
    let import = world.start(&world.owner, &people(2_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..2 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    let Err(Error::Refused(list)) = world.ask(&auditor, move |c, a| import::cancel(c, a, import).boxed()).await else {
        panic!()
    };
    assert_eq!(list[0].code, Code::NotPermitted);
    for _ in 0..2 {
        world.ask(&world.owner, move |c, a| import::cancel(c, a, import).boxed()).await.unwrap();
    }
    assert_eq!(run.step().await.unwrap(), Step::Ended);
    let read = world.read(import).await;
    assert_eq!((read.state, read.rows_invited, read.progress().total), (State::Canceled, 500, Some(2_000)));
    assert_eq!(world.seats().await, (502, 502));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'import.canceled'").await, 1);
    let Err(Error::Refused(list)) = world.ask(&world.owner, move |c, a| import::cancel(c, a, import).boxed()).await
    else {
        panic!()
    };
    assert_eq!((list[0].code.as_str(), &list[0].field[..]), ("IMPORT_ENDED", &["memberImportId".to_owned()][..]));
    world.end().await;
}

#[tokio::test]
async fn one_that_has_not_begun_or_takes_effect_as_a_whole_does_nothing() {
    let world = World::new(5_000).await;
    let import = world.start(&world.owner, &people(10), false).await;
    world.ask(&world.owner, move |c, a| import::cancel(c, a, import).boxed()).await.unwrap();
    world.work_of(import).await;
    assert_eq!(world.read(import).await.state, State::Canceled);

    let whole = Options { error_policy: ErrorPolicy::AllOrNothing, ..Options::default() };
    let import = world.start_with(&world.owner, &people(600), whole).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    while world.read(import).await.rows_invited < 600 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    // Within the one transaction, which waits here before its first member.
    let mut waits = world.db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE member IN SHARE MODE").execute(&mut *waits).await.unwrap();
    let cancel = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.ask(&world.owner, move |c, a| import::cancel(c, a, import).boxed()).await.unwrap();
        waits.rollback().await.unwrap();
    };
    let work = async { while run.step().await.unwrap() == Step::Going {} };
    tokio::join!(cancel, work);
    let read = world.read(import).await;
    assert_eq!((read.state, read.applied), (State::Canceled, false));
    assert_eq!(world.seats().await, (1, 1));
    world.end().await;
}

/// What has taken effect does not become undone by saying so.
#[tokio::test]
async fn one_whose_rows_are_all_done_is_not_cancelled_any_more() {
    let world = World::new(5_000).await;
    for error_policy in [ErrorPolicy::Partial, ErrorPolicy::AllOrNothing] {
        let options = Options { error_policy, ..Options::default() };
        let import = world.start_with(&world.owner, &people(10), options).await;
        let job = world.claim().await;
        let mut run = world.run_of(&job, import);
        while world.read(import).await.rows_done() < 10 || !world.read(import).await.applied {
            assert_eq!(run.step().await.unwrap(), Step::Going);
        }
        let asked = world.ask(&world.owner, move |c, a| import::cancel(c, a, import).boxed()).await;
        let Err(Error::Refused(list)) = asked else { panic!() };
        assert_eq!(list[0].code, Code::ImportEnded);
        assert_eq!(run.step().await.unwrap(), Step::Ended);
        assert_eq!(world.read(import).await.state, State::Finished);
    }
    world.end().await;
}
