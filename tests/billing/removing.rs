//! Fewer licences: scheduled, named, cancelled; linked products follow.

use anyhow::Result;
use domain::license::allocate::Direction;
use domain::license::change::{self as license_change, ChangeStatus};
use domain::license::terms::{QuoteKind, Release, Wish};
use domain::member::{self, Step, Subjects};
use futures::FutureExt as _;

use super::world::{Firm, code, wish};

#[tokio::test]
async fn what_is_scheduled_cannot_be_given_away() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 4).await?;
    let ann = firm.join("ann").await?;
    // Five owned, two in use; three are scheduled, one of them Ann's: one is left.
    let scheduled = firm.remove("base", 3, &[ann]).await?;
    assert_eq!(scheduled.status, ChangeStatus::Scheduled);
    assert_eq!(firm.pool("base").await?.unwrap().available, 1);
    firm.join("ben").await?;
    let invited = firm
        .app
        .invite(
            &firm.app.person("olivia@work.example").await?,
            "cat@work.example",
            &[domain::permission::SystemRole::Standard],
        )
        .await?;
    assert_eq!(invited.codes(), ["SEAT_SHORTAGE"]);
    // The last seat stays.
    assert_eq!(code(firm.quote(&wish(QuoteKind::Remove, "base", 2)).await), "NOT_REMOVABLE");
    // Taken back, all of it is free again.
    let actor = firm.actor().await?;
    domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { license_change::cancel(change, actor, scheduled.change_id).await }.boxed()
    })
    .await?;
    let again = domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { license_change::cancel(change, actor, scheduled.change_id).await }.boxed()
    });
    assert_eq!(code(again.await.map(drop)), "CHANGE_FINAL");
    let pool = firm.pool("base").await?.unwrap();
    assert_eq!((pool.scheduled, pool.available), (0, 2));
    // Without the granted one all five paid ones and no other are left.
    firm.app.grant_seats(&firm.owner.account_id.to_string(), 0).await?;
    assert_eq!(code(firm.quote(&wish(QuoteKind::Remove, "base", 4)).await), "LAST_SEAT");
    firm.app.grant_seats(&firm.owner.account_id.to_string(), 1).await?;
    assert_eq!(firm.change(scheduled.change_id).await?.status, ChangeStatus::Canceled);
    firm.finish().await
}

#[tokio::test]
async fn whoever_is_named_and_goes_earlier_frees_another() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    let (ann, ben) = (firm.join("ann").await?, firm.join("ben").await?);
    firm.remove("base", 1, &[ann]).await?;
    let actor = firm.actor().await?;
    domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { member::take(change, actor, Step::Deactivate, &Subjects::one(ann)).await.map(drop) }.boxed()
    })
    .await?;
    let pool = firm.pool("base").await?.unwrap();
    assert_eq!((pool.owned, pool.in_use, pool.scheduled, pool.available), (4, 2, 1, 1));
    firm.at("2027-04-01T00:00:01Z").await?;
    let pool = firm.pool("base").await?.unwrap();
    assert_eq!((pool.owned, pool.in_use, pool.scheduled, pool.available), (3, 2, 0, 1));
    let status = firm.app.look(&format!("SELECT status FROM member WHERE member_id = '{}'", ben.0)).await?;
    assert_eq!(status.as_deref(), Some("ACTIVE"));
    firm.finish().await
}

#[tokio::test]
async fn the_owner_oneself_and_strangers_cannot_be_named() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    let ann = firm.join("ann").await?;
    let naming = |member, product: &str| Wish {
        releases: vec![Release { member_id: member, successor_id: None, release_linked: false }],
        ..wish(QuoteKind::Remove, product, 1)
    };
    assert_eq!(code(firm.quote(&naming(firm.owner.member_id, "base")).await), "OWN_STATUS");
    assert_eq!(code(firm.quote(&naming(domain::id::MemberId::new(), "base")).await), "NOT_FOUND");
    firm.add("time", 2).await?;
    assert_eq!(code(firm.quote(&naming(ann, "time")).await), "LICENSE_NOT_HELD");
    let twice = Wish { quantity: Some(2), releases: naming(ann, "base").releases.repeat(2), ..naming(ann, "base") };
    assert_eq!(code(firm.quote(&twice).await), "DUPLICATE");
    firm.remove("base", 1, &[ann]).await?;
    assert_eq!(code(firm.quote(&naming(ann, "base")).await), "ALREADY_NAMED");
    firm.finish().await
}

#[tokio::test]
async fn a_linked_product_follows_the_seats() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    let opened = firm.do_now(&wish(QuoteKind::Enable, "sister", 0)).await?;
    // As many as base seats, the granted one among them: 4 · 5.00.
    assert_eq!((opened.status, opened.net), (ChangeStatus::Applied, 2_000));
    let added = firm.add("base", 2).await?;
    assert_eq!(added.net, 2 * 1_200 + 2 * 500, "two of each");
    assert_eq!(firm.pool("sister").await?.unwrap().owned, 6);
    let ann = firm.join("ann").await?;
    firm.allot(Direction::Allocate, "sister", &[ann]).await.unwrap();
    // Her seat does not go without it.
    let actor = firm.actor().await?;
    let take = |release_linked| {
        let subjects = Subjects { release_linked, ..Subjects::one(ann) };
        let (db, actor) = (firm.app.db.clone(), actor.clone());
        async move {
            domain::change::run(&db, &actor, domain::change::Kind::Asked, None, |change, actor| {
                let subjects = subjects.clone();
                async move { member::take(change, actor, Step::Deactivate, &subjects).await.map(drop) }.boxed()
            })
            .await
        }
    };
    assert_eq!(code(take(false).await.map(|_| ())), "LINKED_LICENSE_HELD");
    let held = Wish {
        releases: vec![Release { member_id: ann, successor_id: None, release_linked: false }],
        ..wish(QuoteKind::Remove, "base", 1)
    };
    assert_eq!(code(firm.quote(&held).await), "LINKED_LICENSE_HELD");
    firm.remove("base", 2, &[ann]).await?;
    let sister = firm.pool("sister").await?.unwrap();
    assert_eq!((sister.scheduled, sister.in_use), (2, 1));
    firm.at("2027-04-01T00:00:01Z").await?;
    let (base, sister) = (firm.pool("base").await?.unwrap(), firm.pool("sister").await?.unwrap());
    assert_eq!((base.owned, base.in_use, sister.owned, sister.in_use), (4, 1, 4, 0));
    // Closed, nobody is given one, and at the period's end it is gone.
    firm.allot(Direction::Allocate, "sister", &[firm.owner.member_id]).await.unwrap();
    let closing =
        domain::change::run(&firm.app.db, &firm.actor().await?, domain::change::Kind::Asked, None, |change, actor| {
            async move { license_change::disable(change, actor, "sister").await }.boxed()
        })
        .await?;
    let actor = firm.actor().await?;
    let again = domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { license_change::disable(change, actor, "base").await }.boxed()
    });
    assert_eq!(code(again.await.map(drop)), "NOT_LINKED");
    let refused = firm.quote(&wish(QuoteKind::Enable, "sister", 0)).await;
    assert_eq!(code(refused), "PRODUCT_CLOSING");
    assert_eq!(firm.change(closing.outcome).await?.status, ChangeStatus::Scheduled);
    let ben = firm.join("ben").await?;
    assert_eq!(code(firm.allot(Direction::Allocate, "sister", &[ben]).await), "PRODUCT_CLOSING");
    assert_eq!(firm.pool("sister").await?.unwrap().in_use, 1);
    firm.at("2027-05-01T00:00:01Z").await?;
    assert_eq!(firm.pool("sister").await?, None);
    firm.finish().await
}

#[tokio::test]
async fn add_ons_are_for_active_members() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    firm.add("time", 1).await?;
    let (ann, ben) = (firm.join("ann").await?, firm.join("ben").await?);
    assert_eq!(code(firm.allot(Direction::Allocate, "base", &[ann]).await), "BASE_LICENSE");
    firm.allot(Direction::Allocate, "time", &[ann]).await.unwrap();
    assert_eq!(code(firm.allot(Direction::Allocate, "time", &[ann]).await), "LICENSE_HELD");
    assert_eq!(code(firm.allot(Direction::Allocate, "time", &[ben]).await), "SEAT_SHORTAGE");
    assert_eq!(code(firm.allot(Direction::Deallocate, "time", &[ben]).await), "LICENSE_NOT_HELD");
    let actor = firm.actor().await?;
    domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { member::suspend(change, actor, ben).await }.boxed()
    })
    .await?;
    firm.allot(Direction::Deallocate, "time", &[ann]).await.unwrap();
    assert_eq!(code(firm.allot(Direction::Allocate, "time", &[ben]).await), "WRONG_STATUS");
    firm.finish().await
}

#[tokio::test]
async fn a_seat_goes_with_whoever_is_deactivated() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 1).await?;
    let ann = firm.join("ann").await?;
    let owner = firm.app.person("olivia@work.example").await?;
    let input = serde_json::json!({ "memberId": ann.to_string(), "removeSeat": true, "releaseLinked": true });
    let left = firm.app.mutate(Some(&owner.token), "memberDeactivate", input, "member { status }").await?;
    assert_eq!(left.text("/memberDeactivate/member/status"), "DEACTIVATED", "{}", left.body);
    let base = firm.pool("base").await?.unwrap();
    assert_eq!((base.owned, base.in_use, base.scheduled, base.available), (2, 1, 1, 0));
    firm.at("2027-04-01T00:00:01Z").await?;
    let base = firm.pool("base").await?.unwrap();
    assert_eq!((base.owned, base.paid, base.scheduled), (1, 0, 0));
    assert_eq!(firm.statements().await?.len(), 1, "nothing is paid for any more, so no period runs");
    firm.finish().await
}
