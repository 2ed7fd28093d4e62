//! The mails of an import count like those of invitations that are sent one by one.

use domain::actor::Actor;
use domain::id::ImportId;
use domain::job::Verdict;
use domain::permission::SystemRole;
use domain::{import, invitation};
use futures::FutureExt as _;
use jiff::SignedDuration;
use serde_json::json;

use super::world::World;

const FILE: &[u8] = b"email,first_name,last_name,subscription_type
eve@firm.example,Eve,Ek,Attorney
pat@firm.example,Pat,Po,Attorney
zoe@firm.example,Zoe,Zu,Attorney
";

/// An account that has sent Eve three mails within the hour, and withdrawn each invitation.
async fn tired_of_eve(seats: i32) -> World {
    let world = World::new(seats).await;
    for _ in 0..3 {
        let invited = world.invite(&world.owner, "eve@firm.example", SystemRole::Standard.id()).await.unwrap();
        let id = invited.invitations[0];
        world.ask(&world.owner, move |change, actor| invitation::revoke(change, actor, id).boxed()).await.unwrap();
    }
    world
}

#[tokio::test]
async fn a_row_whose_address_got_too_many_mails_is_rejected_until_the_limit_ends() {
    let world = tired_of_eve(10).await;
    let import = world.start(&world.owner, FILE, true).await;
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.rejected(import).await, [(2, vec!["MAIL_LIMIT"])]);
    let fault = &world.rows(import, None).await[0].faults[0];
    assert_eq!(fault.value.as_deref(), Some("eve@firm.example"));
    let (_, until) = fault.sentence.trim_end_matches('.').rsplit_once(' ').unwrap();
    let left = until.parse::<jiff::Timestamp>().unwrap().duration_since(world.db.now().await.unwrap().0);
    assert!(left > SignedDuration::from_mins(58) && left <= SignedDuration::from_hours(1), "{left}");
    assert_eq!(world.seats().await, (3, 3));

    world.db.clock.advance(SignedDuration::from_hours(1));
    let import = world.start(&world.owner, FILE, true).await;
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.rejected(import).await, []);
    let read = world.read(import).await;
    assert_eq!((read.rows_invited, read.rows_unchanged), (1, 2), "Eve is invited");
    world.end().await;
}

#[tokio::test]
async fn a_seat_that_a_limited_row_does_not_take_goes_to_the_next() {
    let world = tired_of_eve(3).await;
    let import = world.start(&world.owner, FILE, true).await;
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.rejected(import).await, [(2, vec!["MAIL_LIMIT"])], "the two seats go to Pat and Zoe");
    assert_eq!(world.seats().await, (3, 3));
    world.end().await;
}

#[tokio::test]
async fn without_mails_no_limit_applies_and_none_is_counted() {
    let world = tired_of_eve(10).await;
    let before = world.count("SELECT sum(hits) FROM rate_counter").await;
    let import = world.start(&world.owner, FILE, false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.rejected(import).await, []);
    // The upload and the import are counted, and nothing else.
    assert_eq!(world.count("SELECT sum(hits) FROM rate_counter").await, before + 2);
    world.end().await;
}

/// What the events say of an import whose invitations were sent later.
async fn told(world: &World) -> Vec<serde_json::Value> {
    let sql = "SELECT detail - 'import' FROM event WHERE kind = 'import.invitations_finished' ORDER BY seq";
    sqlx::query_scalar(sql).fetch_all(&world.db.pool).await.unwrap()
}

#[tokio::test]
async fn how_many_invitations_could_not_be_sent_is_told() {
    let world = tired_of_eve(20).await;
    let send = |by: Actor, id: ImportId| {
        let world = &world;
        async move {
            world.ask(&by, move |change, actor| import::send_invitations(change, actor, id).boxed()).await.unwrap();
        }
    };
    let manager = world.member("mia@firm.example", SystemRole::MemberManager).await;
    let import = world.start(&world.owner, FILE, false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    // Whoever asked may not invite by the time it is done.
    send(manager.clone(), import).await;
    let sql = "UPDATE member_role SET role_id = $1 WHERE member_id = $2";
    let standard = SystemRole::Standard.id().0;
    sqlx::query(sql).bind(standard).bind(manager.member_id.0).execute(&world.db.pool).await.unwrap();
    assert_eq!(world.work().await, Verdict::Settled);
    send(world.owner.clone(), import).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let wanted = [json!({ "notSent": 3, "errorCode": "NOT_PERMITTED" }), json!({ "notSent": 1, "errorCode": null })];
    assert_eq!(told(&world).await, wanted, "Eve waits for the limit");
    world.end().await;
}
