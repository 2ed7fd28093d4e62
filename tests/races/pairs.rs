//! Two things at once, each through an API of its own.

use anyhow::Result;
use domain::permission::SystemRole;
use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::{check_invariants, was_busy};
use crate::support::app::{App, PASSWORD, Person};

/// Rounds of each race.
const ROUNDS: usize = 10;

async fn two_apis() -> Result<(App, Person, [String; 2])> {
    let mut app = App::with(crate::support::app::Options {
        configure: |config| config.limits.rate_limits = false,
        ..Default::default()
    })
    .await?;
    let other = app.replica().await?;
    let owner = app.found("olivia@harborandfinch.example", 200).await?;
    let urls = [app.url.clone(), other];
    Ok((app, owner, urls))
}

/// Runs a mutation until it is not told to try again; answers its codes.
async fn settled(app: &App, url: &str, by: Option<&str>, mutation: &str, input: Value) -> Vec<String> {
    loop {
        let answer = app.mutate_at(url, by, mutation, input.clone(), "__typename").await.unwrap();
        if !was_busy(&answer) {
            return answer.codes();
        }
    }
}

/// Invites somebody; answers their member id and the token of their mail.
async fn invited(app: &App, by: &Person, email: &str) -> Result<(String, String)> {
    let answer = app.invite(by, email, &[SystemRole::Standard]).await?;
    Ok((answer.text("/memberInvite/invitations/0/member/id"), app.letter(email).await?.token()))
}

fn acceptance(token: &str) -> Value {
    json!({ "token": token, "firstName": "Jo", "lastName": "Doe", "password": PASSWORD })
}

async fn status(app: &App, email: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT status FROM member WHERE email = $1")
        .bind(email)
        .fetch_optional(&app.db.pool)
        .await?)
}

#[tokio::test]
async fn one_of_two_who_accept_through_two_apis_joins() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    for round in 0..ROUNDS {
        let (_, token) = invited(&app, &owner, &format!("p{round}@work.example")).await?;
        let both =
            join_all((0..6).map(|n| settled(&app, &urls[n % 2], None, "invitationAccept", acceptance(&token)))).await;
        assert_eq!(both.iter().filter(|codes| codes.is_empty()).count(), 1, "{both:?}");
        assert!(both.iter().flatten().all(|code| code == "INVITATION_USED"), "{both:?}");
    }
    check_invariants(&app.db.pool).await?;
    app.finish().await
}

#[tokio::test]
async fn accepting_and_declining_and_revoking_end_an_invitation_once() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    for round in 0..ROUNDS {
        let email = format!("p{round}@work.example");
        let (_, token) = invited(&app, &owner, &email).await?;
        let id: uuid::Uuid = sqlx::query_scalar("SELECT invitation_id FROM invitation WHERE email = $1")
            .bind(&email)
            .fetch_one(&app.db.pool)
            .await?;
        let revocation = json!({ "invitationId": format!("inv_{}", id.simple()) });
        let (accepted, (declined, revoked)) = join(
            settled(&app, &urls[0], None, "invitationAccept", acceptance(&token)),
            join(
                settled(&app, &urls[1], None, "invitationDecline", json!({ "token": token })),
                settled(&app, &urls[1], Some(&owner.token), "invitationRevoke", revocation),
            ),
        )
        .await;
        let won = [&accepted, &declined, &revoked].into_iter().filter(|codes| codes.is_empty()).count();
        assert_eq!(won, 1, "{accepted:?} {declined:?} {revoked:?}");
        assert_eq!(status(&app, &email).await?.is_some(), accepted.is_empty());
    }
    check_invariants(&app.db.pool).await?;
    app.finish().await
}

#[tokio::test]
async fn suspending_and_accepting_end_suspended_either_way() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    let mut joined = 0;
    for round in 0..ROUNDS {
        let email = format!("p{round}@work.example");
        let (member, token) = invited(&app, &owner, &email).await?;
        let (accepted, suspended) = join(
            settled(&app, &urls[round % 2], None, "invitationAccept", acceptance(&token)),
            settled(&app, &urls[(round + 1) % 2], Some(&owner.token), "memberSuspend", json!({ "memberId": member })),
        )
        .await;
        assert_eq!(suspended, Vec::<String>::new());
        assert!(accepted.is_empty() || accepted == ["INVITATION_SUSPENDED"], "{accepted:?}");
        joined += usize::from(accepted.is_empty());
        assert_eq!(status(&app, &email).await?.as_deref(), Some("SUSPENDED"));
        let input = json!({ "email": email, "password": PASSWORD });
        let refused = app.mutate(None, "sessionCreate", input, "token").await?.codes();
        assert_eq!(refused.len(), 1, "nobody who is suspended signs in");
        settled(&app, &urls[0], Some(&owner.token), "memberActivate", json!({ "memberId": member })).await;
        let now = status(&app, &email).await?;
        assert_eq!(now.as_deref(), Some(if accepted.is_empty() { "ACTIVE" } else { "INVITED" }));
    }
    println!("suspend against accept: {joined} of {ROUNDS} had joined before they were suspended");
    check_invariants(&app.db.pool).await?;
    app.finish().await
}

#[tokio::test]
async fn deactivating_and_reactivating_at_once_leaves_one_of_both() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    for _ in 0..ROUNDS {
        let all = join_all((0..6).map(|n| {
            let mutation = if n % 2 == 0 { "memberDeactivate" } else { "memberReactivate" };
            settled(&app, &urls[n % 2], Some(&owner.token), mutation, json!({ "memberId": ben.member_id }))
        }))
        .await;
        let done = |which: usize| all.iter().skip(which).step_by(2).filter(|codes| codes.is_empty()).count();
        assert!(all.iter().flatten().all(|code| code == "WRONG_STATUS"), "{all:?}");
        assert!(done(0).abs_diff(done(1)) <= 1, "each undoes the other: {all:?}");
        check_invariants(&app.db.pool).await?;
    }
    app.finish().await
}

#[tokio::test]
async fn whoever_is_demoted_grants_nothing_afterwards() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    let administrator = SystemRole::Administrator.id().to_string();
    let (mut invited, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let admin =
            app.join(&owner, &format!("ada{round}@harborandfinch.example"), &[SystemRole::Administrator]).await?;
        let invitations = (0..8).map(|n| {
            let item = json!({ "email": format!("p{round}-{n}@work.example"), "roleIds": [administrator] });
            settled(&app, &urls[n % 2], Some(&admin.token), "memberInvite", json!({ "invitations": [item] }))
        });
        let demotion = json!({ "memberId": admin.member_id, "roleIds": [SystemRole::Standard.id().to_string()] });
        let (answers, demoted) =
            join(join_all(invitations), settled(&app, &urls[1], Some(&owner.token), "memberAssignRoles", demotion))
                .await;
        assert_eq!(demoted, Vec::<String>::new());
        invited += answers.iter().filter(|codes| codes.is_empty()).count();
        refused += answers.iter().filter(|codes| *codes == &["NOT_PERMITTED"]).count();
        let later: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM event d JOIN event i ON i.account_id = d.account_id AND i.seq > d.seq AND i.actor_id = d.subject_id
             WHERE d.kind = 'member.roles_changed' AND i.kind = 'invitation.created'",
        )
        .fetch_one(&app.db.pool)
        .await?;
        assert_eq!(later, 0, "an invitation was committed after the demotion of whoever made it");
    }
    println!("demotion against invitations: {invited} made before, {refused} refused after");
    assert_eq!(invited + refused, ROUNDS * 8);
    check_invariants(&app.db.pool).await?;
    app.settle().await?;
    app.finish().await
}
