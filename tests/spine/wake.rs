//! Wake-ups between processes.

use anyhow::Result;
use domain::infra::wake::{Wake, Waker};
use domain::job::Lane;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::stage::{Stage, Transport};

#[tokio::test]
async fn a_wake_up_reaches_other_processes_of_the_same_prefix() -> Result<()> {
    let (stage, stranger) = (Stage::new(Transport::Redis(7)).await?, Stage::new(Transport::Redis(7)).await?);
    let stop = CancellationToken::new();
    let url = stage.config.redis_url.as_ref().expect("there is a Redis");
    let other = Waker::connect(url, &stage.config.redis_prefix, &stop)?;
    let (mut here, mut there) = (stage.waker.subscribe(), other.subscribe());
    // Told once the subscription stands, and then this.
    while there.next().await != Wake::Missed {}
    let account = Uuid::new_v4();
    stranger.waker.account_moved(Uuid::nil());
    stage.waker.account_moved(account);
    stage.waker.work_due(Lane::Money);
    let told = [there.next().await, there.next().await];
    assert!(told.contains(&Wake::AccountMoved(account)) && told.contains(&Wake::WorkDue(Lane::Money)), "{told:?}");
    // Nothing of one's own comes back.
    other.work_due(Lane::Bulk);
    let mut heard = Vec::new();
    while heard.last() != Some(&Wake::WorkDue(Lane::Bulk)) {
        heard.push(here.next().await);
    }
    heard.retain(|wake| *wake != Wake::Missed);
    assert_eq!(heard, [Wake::AccountMoved(account), Wake::WorkDue(Lane::Money), Wake::WorkDue(Lane::Bulk)]);
    stop.cancel();
    stranger.close().await?;
    stage.close().await
}
