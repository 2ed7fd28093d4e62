//! The worked example of the documentation, line by line: 3 licences on the 1st of a month of 31 days, 7 on the 11th, a trial that ends on
//! the 21st, 2 named for removal, 19 % tax.

use anyhow::Result;
use domain::billing::statement::{self, Line, LineKind, State};
use domain::license::allocate::Direction;
use domain::license::trial;
use domain::member::Status;
use futures::FutureExt as _;

use super::world::Firm;

async fn lines(firm: &Firm, place: usize) -> Result<Vec<Line>> {
    let id = firm.statements().await?[place].statement_id;
    let mut conn = firm.app.db.pool.acquire().await?;
    Ok(statement::lines(&mut conn, firm.owner.account_id, &[id]).await?)
}

fn told(lines: &[Line]) -> Vec<(LineKind, &str, i32, i64, i64)> {
    lines
        .iter()
        .map(|line| (line.kind, line.product_id.as_deref().unwrap_or_default(), line.quantity, line.net, line.tax))
        .collect()
}

#[tokio::test]
async fn three_and_seven_a_trial_and_two_fewer() -> Result<()> {
    let firm = Firm::new().await?;
    let first = firm.add("base", 3).await?;
    assert_eq!((first.net, first.tax), (3_600, 684), "3 · 12.00 for 31 of 31 days");
    let (ann, ben) = (firm.join("ann").await?, firm.join("ben").await?);

    firm.at("2027-03-07T09:00:00Z").await?;
    let actor = firm.actor().await?;
    domain::change::run(&firm.app.db, &actor, domain::change::Kind::Asked, None, |change, actor| {
        async move { trial::start(change, actor, "time", 5).await }.boxed()
    })
    .await?;
    firm.allot(Direction::Allocate, "time", &[ann, ben]).await.unwrap();

    firm.at("2027-03-11T09:00:00Z").await?;
    let second = firm.add("base", 7).await?;
    assert_eq!((second.net, second.tax), (5_690, 1_081), "7 · 12.00 · 21/31 = 56.903…; tax of 92.90 less tax of 36.00");

    firm.at("2027-03-21T09:00:00Z").await?;
    let (pool, used) = (firm.pool("time").await?.unwrap(), 2);
    assert_eq!((pool.owned, pool.paid, pool.in_use, pool.trial), (used, used, used, None), "what is used is paid for");

    let removal = firm.remove("base", 2, &[ann]).await?;
    assert_eq!((removal.net, removal.delta), (0, -2));
    let base = firm.pool("base").await?.unwrap();
    assert_eq!(
        (base.owned, base.scheduled, base.in_use, base.available),
        (11, 2, 3, 7),
        "one goes with Ann, one is free"
    );

    firm.at("2027-04-01T00:00:01Z").await?;
    let all = firm.statements().await?;
    assert_eq!(
        all.iter().map(|one| (one.number, one.state)).collect::<Vec<_>>(),
        [(Some(1), State::Open), (None, State::Draft)]
    );
    assert_eq!(
        told(&lines(&firm, 0).await?),
        [
            (LineKind::Added, "base", 3, 3_600, 684),
            (LineKind::Added, "base", 7, 5_690, 1_081),
            // 2 · 7.00 · 11/31 = 4.967…
            (LineKind::Trial, "time", 2, 497, 95),
            // From here on 8 seats; Ann's add-on came free with her seat, but two are still paid for.
            (LineKind::Recurring, "base", 8, 9_600, 1_824),
            (LineKind::Recurring, "time", 2, 1_400, 266),
        ]
    );
    let (net, tax) = (3_600 + 5_690 + 497 + 9_600 + 1_400, 684 + 1_081 + 95 + 1_824 + 266);
    assert_eq!((all[0].net, all[0].tax, all[0].due), (net, tax, net + tax), "on account all of it is due");
    assert_eq!(tax, (net * 19 + 50) / 100, "the tax of the sum");
    let status = firm.app.look(&format!("SELECT status FROM member WHERE member_id = '{}'", ann.0)).await?;
    assert_eq!(status.as_deref(), Some(Status::Deactivated.as_str()), "whose seat was named");
    firm.finish().await
}
