//! Many ask for few seats.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::{check_invariants, was_busy};
use crate::support::app::{Answer, Options};
use crate::support::process::{Fleet, Process};
use domain::permission::SystemRole;

/// 200 people are invited at once, one by one, for the 10 seats that are free.
async fn two_hundred_for_ten(fleet: &Fleet, apis: &[&Process]) -> Result<()> {
    let app = &fleet.app;
    let owner = app.found("olivia@harborandfinch.example", 11).await?;
    let started = Instant::now();
    let invitations = (0..200).map(|number| {
        let (url, owner) = (&apis[number % apis.len()].url, &owner);
        let role = SystemRole::Standard.id().to_string();
        let input = json!({ "invitations": [{ "email": format!("p{number}@work.example"), "roleIds": [role] }] });
        async move {
            // Who is told to try again after a second does.
            let mut busy = 0;
            loop {
                let answer =
                    app.mutate_at(url, Some(&owner.token), "memberInvite", input.clone(), "invitations { id }");
                let answer = answer.await.unwrap();
                if !was_busy(&answer) {
                    return (answer, busy);
                }
                busy += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
    let answers: Vec<(Answer, u32)> = futures::future::join_all(invitations).await;
    let seconds = started.elapsed().as_secs_f64();
    let invited = answers.iter().filter(|(answer, _)| answer.codes().is_empty()).count();
    let short = answers.iter().filter(|(answer, _)| answer.codes() == ["SEAT_SHORTAGE"]).count();
    let busy: u32 = answers.iter().map(|(_, busy)| busy).sum();
    let allocations: i64 =
        sqlx::query_scalar("SELECT count(*) FROM license_allocation WHERE reserved").fetch_one(&app.db.pool).await?;
    let (granted, in_use): (i32, i32) =
        sqlx::query_as("SELECT granted + paid, in_use FROM license_pool").fetch_one(&app.db.pool).await?;
    println!(
        "200 invitations for 10 seats through {} API process(es): {invited} invited, {short} SEAT_SHORTAGE, {busy} told to try again; \
         pool {in_use} of {granted} in use, {allocations} reserved; {seconds:.2} s",
        apis.len(),
    );
    assert_eq!((invited, short), (10, 190));
    assert_eq!((granted, in_use, allocations), (11, 11, 10));
    check_invariants(&app.db.pool).await?;
    app.settle().await?;
    let mails = app.mailbox.all()?.iter().filter(|letter| letter.to.ends_with("@work.example")).count();
    assert_eq!(mails, 10, "who is invited gets a mail, and nobody else does");
    Ok(())
}

#[tokio::test]
async fn two_hundred_invitations_for_ten_seats_through_two_processes_give_ten() -> Result<()> {
    let mut fleet = Fleet::new(true, Options::default()).await?;
    let processes = vec![fleet.start("api").await?, fleet.start("api").await?, fleet.start("worker").await?];
    two_hundred_for_ten(&fleet, &[&processes[0], &processes[1]]).await?;
    let logs: String = processes.iter().map(Process::log).collect();
    assert!(!logs.contains("deadlock"), "{logs}");
    assert!(!logs.contains("@work.example"), "no address reaches a log");
    fleet.finish(processes).await
}

#[tokio::test]
async fn one_process_without_redis_does_the_same() -> Result<()> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    let process = fleet.start("serve").await?;
    two_hundred_for_ten(&fleet, &[&process]).await?;
    let letter = fleet.app.mailbox.all()?.into_iter().find(|letter| letter.to.ends_with("@work.example")).unwrap();
    let joined = fleet.app.accept(&letter.token(), "Jo", "Doe").await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);
    fleet.app.person(&letter.to).await?;
    fleet.finish(vec![process]).await
}
