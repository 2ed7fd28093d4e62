//! The table of jobs by itself.

use anyhow::Result;
use domain::job::{JobKind, Lane, NewJob};
use domain::outbox::{self, Replay};
use domain::sweep;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::support::stage::{Stage, Transport};

const KIND: JobKind = JobKind::MailInvitation;

#[tokio::test]
async fn an_equal_job_is_written_once_and_supersedes_a_dead_one() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let mut conn = stage.pool.acquire().await?;
    let job = NewJob {
        account_id: Uuid::nil(),
        kind: KIND,
        payload: serde_json::json!({}),
        dedupe_key: "invitation 1 generation 1".to_owned(),
    };
    assert_eq!(outbox::insert(&mut conn, &[job.clone(), job.clone()], None).await?, 1);
    assert_eq!(outbox::insert(&mut conn, std::slice::from_ref(&job), None).await?, 0);
    let id: Uuid = sqlx::query_scalar("SELECT job_id FROM outbox").fetch_one(&mut *conn).await?;
    assert!(outbox::bury_by_operator(&stage.db(), id).await?);
    assert!(!outbox::bury_by_operator(&stage.db(), id).await?);
    assert_eq!(outbox::insert(&mut conn, &[job], None).await?, 1);
    assert_eq!(outbox::replay(&stage.db(), id).await?, Replay::Superseded);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn an_outcome_under_a_lapsed_claim_is_discarded() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::nil(), 1).await?;
    let mut conn = stage.pool.acquire().await?;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let hints = outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(10), Uuid::nil()).await?;
    let ids = [hints[0].job_id];
    assert_eq!(outbox::claim(&mut conn, &ids, first).await?.len(), 1);
    assert_eq!(outbox::claim(&mut conn, &ids, second).await?.len(), 0, "held");
    assert_eq!(
        outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(10), Uuid::nil()).await?.len(),
        0,
        "held"
    );
    assert_eq!(outbox::renew(&mut conn, &[(ids[0], first), (ids[0], second)]).await?, 1);
    // The lease passes.
    stage.execute("UPDATE outbox SET wake_at = now()").await?;
    assert_eq!(outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(10), Uuid::nil()).await?[0].hint_no, 2);
    let again = outbox::claim(&mut conn, &ids, second).await?;
    assert_eq!(again[0].attempts, 2);
    let lapsed = (ids[0], first);
    assert!(!outbox::retry(&mut conn, lapsed, SignedDuration::ZERO, "X").await?);
    assert!(!outbox::bury(&mut conn, lapsed, "X").await?);
    assert_eq!(outbox::renew(&mut conn, &[lapsed]).await?, 0);
    assert_eq!(outbox::put_back(&mut conn, &[lapsed]).await?, 0);
    assert!(outbox::finish(&mut conn, &[lapsed]).await?.is_empty());
    assert_eq!(outbox::finish(&mut conn, &[(ids[0], second), lapsed]).await?, ids);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn an_account_has_no_more_on_its_way_than_it_may() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    let (busy, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    stage.enqueue(KIND, busy, 9).await?;
    let mut conn = stage.pool.acquire().await?;
    let pick = outbox::Pick { limit: 10, of_account: 3 };
    let first = outbox::hint(&mut conn, KIND.lane(), pick, Uuid::nil()).await?;
    assert_eq!(first.len(), 3);
    assert_eq!(outbox::hint(&mut conn, KIND.lane(), pick, Uuid::nil()).await?, []);
    stage.enqueue(KIND, other, 1).await?;
    assert_eq!(outbox::hint(&mut conn, KIND.lane(), pick, Uuid::nil()).await?[0].account_id, other);
    // What is claimed is nobody's way any more, and neither is a hint that has lapsed.
    outbox::claim(&mut conn, &[first[0].job_id], Uuid::new_v4()).await?;
    assert_eq!(outbox::hint(&mut conn, KIND.lane(), pick, Uuid::nil()).await?.len(), 1);
    stage.execute("UPDATE outbox SET wake_at = now() - interval '1 s' WHERE hinted AND account_id = '00000000-0000-0000-0000-000000000001'").await?;
    assert_eq!(outbox::hint(&mut conn, KIND.lane(), pick, Uuid::nil()).await?.len(), 3);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn accounts_share_a_hint_and_take_turns_when_there_are_many() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    for account in 1..=6 {
        stage.enqueue(KIND, Uuid::from_u128(account), if account == 1 { 100 } else { 1 }).await?;
    }
    let mut conn = stage.pool.acquire().await?;
    let accounts = |hints: Vec<outbox::Hinted>| {
        let mut accounts: Vec<_> = hints.iter().map(|hint| hint.account_id.as_u128()).collect();
        accounts.sort_unstable();
        accounts
    };
    let first = outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(3), Uuid::from_u128(4)).await?;
    assert_eq!(accounts(first), [1, 5, 6], "those after the last one served come first");
    let second = outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(12), Uuid::from_u128(1)).await?;
    assert_eq!(accounts(second), [1, 1, 1, 2, 3, 4]);
    drop(conn);
    stage.close().await
}

#[tokio::test]
async fn old_rows_are_purged_and_dead_ones_kept() -> Result<()> {
    let stage = Stage::new(Transport::Memory).await?;
    stage.enqueue(KIND, Uuid::nil(), 3).await?;
    let mut conn = stage.pool.acquire().await?;
    let hints = outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(2), Uuid::nil()).await?;
    let claim = Uuid::new_v4();
    outbox::claim(&mut conn, &[hints[0].job_id, hints[1].job_id], claim).await?;
    outbox::finish(&mut conn, &[(hints[0].job_id, claim)]).await?;
    assert!(outbox::bury(&mut conn, (hints[1].job_id, claim), "X").await?);
    let now = sweep::database_now(&mut conn).await?;
    let week = outbox::FINISHED_KEPT;
    assert_eq!(outbox::purge_finished(&mut conn, now + week - SignedDuration::from_secs(60), 10).await?, 0);
    assert_eq!(outbox::purge_finished(&mut conn, now + week + SignedDuration::from_secs(60), 10).await?, 1);
    drop(conn);
    assert_eq!(stage.count("true").await?, 2);
    stage.close().await
}
