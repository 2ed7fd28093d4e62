//! Trials: once, for nothing, and then for money unless the account does not want to go on.

use anyhow::Result;
use domain::actor::Actor;
use domain::change::{self, Kind};
use domain::error::Error;
use domain::license::allocate::Direction;
use domain::license::trial;
use futures::FutureExt as _;

use super::world::{CATALOGUE, Firm, START, code, sell};

async fn start(firm: &Firm, product: &'static str, quantity: i32) -> Result<(), Error> {
    let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
    let done = change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        async move { trial::start(change, actor, product, quantity).await }.boxed()
    });
    done.await.map(drop)
}

async fn opt(firm: &Firm, out: bool) -> Result<(), Error> {
    let actor = Actor { now: firm.app.db.now().await?, ..firm.owner.clone() };
    let done = change::run(&firm.app.db, &actor, Kind::Asked, None, |change, actor| {
        async move { trial::opt(change, actor, "time", out).await }.boxed()
    });
    done.await.map(drop)
}

#[tokio::test]
async fn a_trial_is_once_and_within_its_bounds() -> Result<()> {
    let firm = Firm::new().await?;
    assert_eq!(code(start(&firm, "base", 1).await), "NOT_TRIALABLE");
    assert_eq!(code(start(&firm, "nothing", 1).await), "NOT_FOUND");
    assert_eq!(code(start(&firm, "time", 6).await), "OUT_OF_RANGE");
    assert_eq!(code(opt(&firm, true).await), "NO_TRIAL");
    start(&firm, "time", 5).await.unwrap();
    assert_eq!(code(start(&firm, "time", 5).await), "TRIAL_USED");
    let pool = firm.pool("time").await?.unwrap();
    assert_eq!((pool.owned, pool.paid, pool.trial.unwrap().quantity), (5, 0, 5));
    firm.finish().await
}

#[tokio::test]
async fn who_opts_out_pays_nothing() -> Result<()> {
    let firm = Firm::new().await?;
    start(&firm, "time", 2).await.unwrap();
    firm.allot(Direction::Allocate, "time", &[firm.owner.member_id]).await.unwrap();
    opt(&firm, true).await.unwrap();
    opt(&firm, false).await.unwrap();
    opt(&firm, true).await.unwrap();
    // Three days before its end the owner is told, once.
    firm.at("2027-03-12T09:00:00Z").await?;
    firm.at("2027-03-13T09:00:00Z").await?;
    let told = firm.app.mailbox.to("olivia@work.example")?;
    assert_eq!(told.iter().filter(|mail| mail.subject.contains("Time keeping")).count(), 1);
    firm.at("2027-03-15T00:00:01Z").await?;
    assert_eq!(firm.pool("time").await?, None, "nothing of it is left");
    assert!(firm.statements().await?.is_empty(), "and there is nothing to pay");
    assert_eq!(code(start(&firm, "time", 1).await), "TRIAL_USED");
    firm.finish().await
}

#[tokio::test]
async fn a_trial_may_be_the_first_thing_that_is_paid_for() -> Result<()> {
    let firm = Firm::new().await?;
    start(&firm, "time", 3).await.unwrap();
    firm.allot(Direction::Allocate, "time", &[firm.owner.member_id]).await.unwrap();
    // The worker was away for two months: the trial's end comes first, then both periods.
    firm.at("2027-05-20T09:00:00Z").await?;
    let issued = firm.issued().await?;
    // From the 15th of March on: a whole month with the change, then in advance.
    assert_eq!(issued.iter().map(|one| one.net).collect::<Vec<_>>(), [700 + 700, 700]);
    assert_eq!(issued[0].issued_on.unwrap().0.to_string(), "2027-04-15");
    firm.finish().await
}

#[tokio::test]
async fn licences_that_were_bought_meanwhile_are_not_paid_twice() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 2).await?;
    start(&firm, "time", 2).await.unwrap();
    firm.add("time", 1).await?;
    let ann = firm.join("ann").await?;
    firm.allot(Direction::Allocate, "time", &[firm.owner.member_id, ann]).await.unwrap();
    firm.at("2027-03-15T00:00:01Z").await?;
    let pool = firm.pool("time").await?.unwrap();
    assert_eq!((pool.owned, pool.paid, pool.in_use), (2, 2, 2));
    firm.finish().await
}

#[tokio::test]
async fn a_trial_that_is_not_paid_for_is_closed_after_dunning() -> Result<()> {
    let firm = Firm::with(|config| config.billing.retry_days = vec![3, 7], START).await?;
    sell(&firm.app, CATALOGUE).await?;
    firm.pay_by("sandbox_declined").await?;
    start(&firm, "time", 2).await.unwrap();
    firm.allot(Direction::Allocate, "time", &[firm.owner.member_id]).await.unwrap();
    firm.at("2027-03-15T00:00:01Z").await?;
    firm.at("2027-04-15T00:00:01Z").await?;
    assert_eq!(firm.issued().await?[0].state, domain::billing::statement::State::Open);
    firm.at("2027-04-18T00:01:00Z").await?;
    assert!(!firm.pool("time").await?.unwrap().closing, "it is tried again");
    firm.at("2027-04-22T00:02:00Z").await?;
    assert_eq!(firm.issued().await?[0].state, domain::billing::statement::State::PastDue);
    assert!(firm.pool("time").await?.unwrap().closing);
    assert_eq!(
        firm.app.look("SELECT count(*) FROM charge_attempt WHERE state = 'DECLINED'").await?.as_deref(),
        Some("3")
    );
    let told = firm.app.mailbox.to("olivia@work.example")?;
    assert_eq!(told.iter().filter(|mail| mail.subject.contains("past due")).count(), 1);
    firm.at("2027-05-15T00:00:01Z").await?;
    assert_eq!(firm.pool("time").await?, None);
    firm.finish().await
}
