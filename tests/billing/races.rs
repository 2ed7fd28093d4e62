//! Everything that touches pools at once, by 32 tasks: no seat is sold twice, and the books agree.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::actor::Actor;
use domain::change::{self, Kind};
use domain::error::Error;
use domain::id::MemberId;
use domain::license::allocate::Direction;
use domain::license::terms::{QuoteKind, Release, Wish};
use domain::member::{self, Step, Subjects};
use domain::permission::SystemRole;
use futures::FutureExt as _;
use futures::future::join_all;
use jiff::SignedDuration;
use uuid::Uuid;

use super::world::{Firm, broken, wish};
use crate::support::dice::Dice;
use crate::support::firm;

const TASKS: u64 = 32;

async fn somebody(firm: &Firm, dice: &mut Dice) -> Result<Option<MemberId>> {
    let all: Vec<Uuid> =
        sqlx::query_scalar("SELECT member_id FROM member WHERE account_id = $1 AND member_id <> $2 ORDER BY member_id")
            .bind(firm.owner.account_id.0)
            .bind(firm.owner.member_id.0)
            .fetch_all(&firm.app.db.pool)
            .await?;
    Ok(dice.pick(&all).map(|id| MemberId(*id)))
}

async fn take(firm: &Firm, step: Step, member: MemberId) -> Result<(), Error> {
    let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
    let subjects = Subjects { release_linked: true, ..Subjects::one(member) };
    let done = change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        let subjects = subjects.clone();
        async move { member::take(change, actor, step, &subjects).await.map(drop) }.boxed()
    });
    done.await.map(drop)
}

/// One step; its name, and how it ended.
async fn step(firm: &Firm, dice: &mut Dice) -> Result<(&'static str, Result<(), Error>)> {
    let quantity = i32::try_from(dice.below(3) + 1)?;
    let product = if dice.percent(60) { "base" } else { "time" };
    Ok(match dice.below(12) {
        0..=1 => ("add", ask(firm, &wish(QuoteKind::Add, product, quantity)).await),
        2 => ("remove", ask(firm, &wish(QuoteKind::Remove, product, quantity)).await),
        3 => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            let release = Release { member_id: member, successor_id: None, release_linked: true };
            (
                "remove named",
                ask(firm, &Wish { releases: vec![release], ..wish(QuoteKind::Remove, product, quantity) }).await,
            )
        }
        4..=5 => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            ("allocate", firm.allot(Direction::Allocate, "time", &[member]).await)
        }
        6 => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            ("deallocate", firm.allot(Direction::Deallocate, "time", &[member]).await)
        }
        7..=8 => {
            let email = format!("p{}@work.example", dice.below(1_000_000));
            let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
            ("invite", invite(firm, &actor, email).await)
        }
        9 => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            ("deactivate", take(firm, Step::Deactivate, member).await)
        }
        10 => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            ("reactivate", take(firm, Step::Reactivate, member).await)
        }
        _ => {
            let Some(member) = somebody(firm, dice).await? else { return Ok(("nobody", Ok(()))) };
            ("delete", take(firm, Step::Delete, member).await)
        }
    })
}

async fn invite(firm: &Firm, actor: &Actor, email: String) -> Result<(), Error> {
    let invite = domain::invitation::Invite {
        email,
        first_name: None,
        last_name: None,
        message: None,
        subscription_type: None,
        place: domain::member::Place::with_roles([SystemRole::Standard.id()]),
        validity: domain::member::Validity::default(),
        wishes: Vec::new(),
    };
    let done = change::run(&firm.app.db, actor, Kind::Asked, None, |change, actor| {
        let invites = [invite.clone()];
        async move {
            let policy = domain::invitation::ErrorPolicy::AllOrNothing;
            domain::invitation::invite(change, actor, &invites, false, policy).await.map(drop)
        }
        .boxed()
    });
    done.await.map(drop)
}

async fn ask(firm: &Firm, wish: &Wish) -> Result<(), Error> {
    let quote = firm.quote(wish).await?;
    firm.confirm(&quote).await.map(drop)
}

fn told(result: &Result<(), Error>) -> String {
    match result {
        Ok(()) => "done".to_owned(),
        Err(Error::Refused(list)) => list[0].code.as_str().to_owned(),
        Err(Error::Busy) => "BUSY".to_owned(),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ten_seconds_of_buying_and_using_at_once_oversell_nothing() -> Result<()> {
    let seed = std::env::var("MUSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(Uuid::new_v4().as_u128() >> 80).unwrap());
    println!("MUSTER_TEST_SEED={seed}");
    let firm = Firm::with(|config| config.limits.rate_limits = false, super::world::START).await?;
    firm.add("base", 8).await?;
    firm.add("time", 3).await?;
    for name in ["ann", "ben", "cat", "dan"] {
        let member = firm.join(name).await?;
        firm::signed_in(&firm.app.db, &format!("{name}@work.example")).await;
        assert_ne!(member, firm.owner.member_id);
    }
    let seconds = if std::env::var_os("MUSTER_TEST_FULL").is_some() { 60 } else { 10 };
    let until = Instant::now() + Duration::from_secs(seconds);
    let tally: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let tasks = (0..TASKS).map(|number| {
        let (firm, tally) = (&firm, &tally);
        let mut dice = Dice(seed.wrapping_add(number));
        async move {
            while Instant::now() < until {
                let (what, result) = step(firm, &mut dice).await.unwrap();
                *tally.lock().unwrap().entry(format!("{what} {}", told(&result))).or_default() += 1;
            }
        }
    });
    let time = async {
        let mut rolled = 0;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(200)).await;
            firm.app.pass(SignedDuration::from_hours(31));
            rolled += firm.app.sweep("billing.periods").await.unwrap();
            firm.app.sweep("invitations.lapse").await.unwrap();
            let found = broken(&firm.app).await.unwrap();
            assert!(found.is_empty(), "{found:#?}");
        }
        rolled
    };
    let (_, rolled) = futures::future::join(join_all(tasks), time).await;
    for (what, count) in tally.lock().unwrap().iter() {
        println!("{count:6} {what}");
    }
    println!("{rolled} periods ended meanwhile");
    firm.app.settle().await?;
    firm.roll().await?;
    firm.finish().await
}
