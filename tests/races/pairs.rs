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

/// Somebody of one firm who was asked into another: the owner there, themselves, and the link.
async fn asked_elsewhere(app: &App, owner: &Person, email: &str) -> Result<(Person, Person, String)> {
    let person = app.join(owner, email, &[SystemRole::Standard]).await?;
    let other = app.found(&format!("other-{email}"), 5).await?;
    let (_, token) = invited(app, &other, email).await?;
    Ok((other, person, token))
}

/// Waits until a statement like this one waits for a lock of another transaction.
async fn waits(app: &App, statement: &str) -> Result<()> {
    let waiting = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                                  WHERE NOT l.granted AND a.datname = current_database() AND a.query LIKE $1)";
    for _ in 0..1000 {
        if sqlx::query_scalar(waiting).bind(statement).fetch_one(&app.db.pool).await? {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    anyhow::bail!("nothing like {statement} waits")
}

#[tokio::test]
async fn whoever_is_erased_while_they_accept_elsewhere_has_proven_nothing() -> Result<()> {
    let (app, owner, _) = two_apis().await?;
    for (email, with_session) in [("ann@work.example", true), ("ben@work.example", false)] {
        let (_, person, token) = asked_elsewhere(&app, &owner, email).await?;
        let member = person.member_id.parse::<domain::id::MemberId>()?.0;
        let mut deleting = app.db.pool.begin().await?;
        let user: uuid::Uuid = sqlx::query_scalar(
            "SELECT user_id FROM app_user WHERE user_id = (SELECT user_id FROM member WHERE member_id = $1) FOR UPDATE",
        )
        .bind(member)
        .fetch_one(&mut *deleting)
        .await?;
        let by = with_session.then_some(person.token.as_str());
        let accepting = app.mutate(by, "invitationAccept", acceptance(&token), "memberId");
        let deleted = async {
            waits(&app, "%FROM app_user WHERE user_id = $1 FOR KEY SHARE%").await?;
            // Whoever waits for the person holds nothing that goes with the person.
            sqlx::query("SELECT FROM user_credential WHERE user_id = $1 FOR UPDATE NOWAIT")
                .bind(user)
                .execute(&mut *deleting)
                .await?;
            sqlx::query("DELETE FROM session WHERE user_id = $1").bind(user).execute(&mut *deleting).await?;
            sqlx::query("UPDATE member SET user_id = NULL, joined_at = NULL, status = 'INVITED' WHERE member_id = $1")
                .bind(member)
                .execute(&mut *deleting)
                .await?;
            sqlx::query("DELETE FROM app_user WHERE user_id = $1").bind(user).execute(&mut *deleting).await?;
            Ok::<_, anyhow::Error>(deleting.commit().await?)
        };
        let (answer, deleted) = join(accepting, deleted).await;
        deleted?;
        assert_eq!(answer?.codes(), ["CREDENTIALS_INVALID"]);
        // The address is nobody's now: the link is as good for somebody new.
        assert!(app.accept(&token, "Jo", "Doe").await?.codes().is_empty());
    }
    app.finish().await
}

#[tokio::test]
async fn whoever_accepts_elsewhere_first_outlives_their_last_membership() -> Result<()> {
    let (app, owner, _) = two_apis().await?;
    let (other, person, token) = asked_elsewhere(&app, &owner, "ann@work.example").await?;
    let account = other.account_id.parse::<domain::id::AccountId>()?.0;
    let mut holding = app.db.pool.begin().await?;
    sqlx::query("SELECT FROM member WHERE account_id = $1 AND status = 'INVITED' FOR UPDATE")
        .bind(account)
        .execute(&mut *holding)
        .await?;
    let accepting = app.mutate(Some(&person.token), "invitationAccept", acceptance(&token), "memberId");
    let deleting = async {
        waits(&app, "%FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE%").await?;
        let input = json!({ "memberId": person.member_id });
        let deleting = app.mutate(Some(&owner.token), "memberDelete", input, "deletedIds");
        let going_on = async {
            waits(&app, "%FROM app_user%FOR UPDATE%").await?;
            Ok::<_, anyhow::Error>(holding.commit().await?)
        };
        let (deleted, going_on) = join(deleting, going_on).await;
        going_on?;
        deleted
    };
    let (accepted, deleted) = join(accepting, deleting).await;
    assert!(accepted?.codes().is_empty());
    assert!(deleted?.codes().is_empty());
    assert_eq!(app.person(&person.email).await?.account_id, other.account_id);
    check_invariants(&app.db.pool).await?;
    app.finish().await
}

#[tokio::test]
async fn deleting_the_last_membership_and_accepting_elsewhere_at_once_both_get_an_answer() -> Result<()> {
    let (app, owner, urls) = two_apis().await?;
    for round in 0..ROUNDS {
        let (other, person, token) = asked_elsewhere(&app, &owner, &format!("p{round}@work.example")).await?;
        let input = json!({ "memberId": person.member_id });
        let by = (round % 2 == 0).then_some(person.token.as_str());
        let deleting = settled(&app, &urls[0], Some(&owner.token), "memberDelete", input);
        let accepting = app.mutate_at(&urls[1], by, "invitationAccept", acceptance(&token), "__typename");
        let (deleted, accepted) = join(deleting, accepting).await;
        let accepted = accepted?;
        assert!(deleted.is_empty(), "{deleted:?}");
        let (errors, codes) = (accepted.errors(), if accepted.errors().is_empty() { accepted.codes() } else { vec![] });
        let known = ["CREDENTIALS_INVALID", "PASSWORD_REQUIRED", "OTHER_PERSON", "UNAUTHENTICATED"];
        assert!(errors.iter().chain(&codes).all(|code| known.contains(&code.as_str())), "{}", accepted.body);
        if errors.is_empty() && codes.is_empty() {
            assert_eq!(app.person(&person.email).await?.account_id, other.account_id);
        }
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
