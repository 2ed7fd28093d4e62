//! Somebody else's address.

use anyhow::Result;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn an_administrator_changes_it_and_the_new_address_confirms() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let asked = ask_for(&app, &owner, &ben, NEW).await?;
    assert!(asked.codes().is_empty(), "{}", asked.body);
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.1["state"], "PENDING");
    let suspended = json!({ "memberId": ben.member_id });
    assert!(app.mutate(Some(&owner.token), "memberSuspend", suspended, "").await?.codes().is_empty());
    assert_eq!(confirm(&app, NEW).await?, "CHANGED", "also of somebody who is suspended");
    assert_eq!(sign_in(&app, NEW, PASSWORD).await?, ["NO_USABLE_MEMBERSHIP"]);
    let kinds: Vec<Value> = told(&app, &owner).await?.iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["login_email.change_requested", "login_email.changed"]);
    app.finish().await
}

#[tokio::test]
async fn nobody_changes_that_of_somebody_greater() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let manager = app.join(&owner, "mara@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let refused = ask_for(&app, &manager, &admin, "a@harborandfinch.example").await?;
    assert_eq!(refused.codes(), ["NOT_PERMITTED"]);
    assert!(!refused.user_errors()[0]["permissions"].as_array().unwrap().is_empty());
    assert_eq!(ask_for(&app, &admin, &owner, "o@harborandfinch.example").await?.codes(), ["OWNER_PROTECTED"]);
    assert_eq!(ask_for(&app, &ben, &manager, NEW).await?.codes(), ["NOT_PERMITTED"]);
    let invited = app.invite(&owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    let ivy = Person { member_id: invited.text("/memberInvite/invitations/0/member/id"), ..ben.clone() };
    assert_eq!(ask_for(&app, &manager, &ivy, "i@harborandfinch.example").await?.codes(), ["MEMBER_INVITED"]);
    assert!(ask_for(&app, &manager, &ben, NEW).await?.codes().is_empty());
    let gone = json!({ "memberId": ben.member_id });
    assert!(app.mutate(Some(&owner.token), "memberDeactivate", gone, "").await?.codes().is_empty());
    assert_eq!(ask_for(&app, &manager, &ben, "b@harborandfinch.example").await?.codes(), ["WRONG_STATUS"]);
    assert_eq!(confirm(&app, NEW).await?, "WRONG_STATUS", "looked at again");
    app.finish().await
}

#[tokio::test]
async fn whoever_asked_must_still_be_allowed_when_it_is_confirmed() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let manager = app.join(&owner, "mara@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    assert!(ask_for(&app, &manager, &ben, NEW).await?.codes().is_empty());
    let roles =
        |member: &Person, role: SystemRole| json!({ "memberId": member.member_id, "roleIds": [role.id().to_string()] });
    let assign = async |input| app.mutate(Some(&owner.token), "memberAssignRoles", input, "").await;
    assign(roles(&ben, SystemRole::Administrator)).await?;
    assert_eq!(confirm(&app, NEW).await?, "REQUESTER_LOST_RIGHTS", "the person is greater by now");
    assign(roles(&ben, SystemRole::Standard)).await?;
    assign(roles(&manager, SystemRole::Standard)).await?;
    assert_eq!(confirm(&app, NEW).await?, "REQUESTER_LOST_RIGHTS", "who asked is smaller by now");
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.0, BEN);
    assign(roles(&manager, SystemRole::MemberManager)).await?;
    assert_eq!(confirm(&app, NEW).await?, "CHANGED");
    app.finish().await
}

#[tokio::test]
async fn a_person_in_two_accounts_agrees_as_the_old_address_and_nobody_sees_that_it_takes_that() -> Result<()> {
    for confirmed_first in [true, false] {
        let (app, owner, ben) = firm().await?;
        let cleo = app.join(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
        let second = further_account(&app, &ben).await?;
        let asked = ask_for(&app, &owner, &ben, NEW).await?;
        let alone = ask_for(&app, &owner, &cleo, "c@harborandfinch.example").await?;
        let shape = |answer: &Answer| {
            let mut body = answer.body.clone();
            let member = &mut body["data"]["loginEmailChangeRequest"]["member"];
            (member["id"], member["email"]) = (Value::Null, Value::Null);
            for field in ["newEmail", "requestedAt", "expiresAt"] {
                member["pendingEmailChange"][field] = Value::Null;
            }
            body
        };
        assert_eq!(shape(&asked), shape(&alone));
        let approve = letter(&app, BEN, "another address").await?.token();
        let confirm = letter(&app, NEW, "Confirm your new").await?.token();
        assert!(letter(&app, "cleo@harborandfinch.example", "another address").await.is_err());

        let order = if confirmed_first {
            [("Confirm", &confirm), ("Approve", &approve)]
        } else {
            [("Approve", &approve), ("Confirm", &confirm)]
        };
        assert_eq!(follow(&app, order[0].0, order[0].1).await?, "PENDING");
        let (email, pending) = seen(&app, &owner, &ben.member_id).await?;
        assert_eq!((email, &pending["state"]), (json!(BEN), &json!("PENDING")));
        assert!(app.graphql(Some(&ben.token), "{ viewer { permissions } }", Value::Null).await?.errors().is_empty());
        assert_eq!(follow(&app, order[0].0, order[0].1).await?, "PENDING", "again does no harm");
        assert_eq!(follow(&app, order[1].0, order[1].1).await?, "CHANGED");
        assert_eq!(follow(&app, order[1].0, order[1].1).await?, "TOKEN_USED");
        assert_eq!(sign_in(&app, NEW, PASSWORD).await?, Vec::<String>::new());
        let place = app
            .look(&format!(
                "SELECT email FROM member WHERE account_id = '{}'",
                second.account_id.parse::<domain::id::AccountId>()?.0
            ))
            .await?;
        assert_eq!(place.as_deref(), Some(NEW));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_account_sees_nothing_of_what_waits_in_another() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let sofia = app.found("sofia@secondfirm.example", 5).await?;
    app.invite(&sofia, BEN, &[SystemRole::Standard]).await?;
    let joining = json!({ "token": letter(&app, BEN, "invites").await?.token(), "password": PASSWORD, "firstName": "Jo", "lastName": "Doe" });
    let joined = app.mutate(None, "invitationAccept", joining, "memberId").await?;
    let there = Person { member_id: joined.text("/invitationAccept/memberId"), ..ben.clone() };
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    assert_eq!(seen(&app, &sofia, &there.member_id).await?.1, Value::Null);
    assert!(told(&app, &sofia).await?.is_empty());
    // Both may ask; what is done first ends the other.
    assert!(ask_for(&app, &sofia, &there, "b@secondfirm.example").await?.codes().is_empty());
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.1["newEmail"], NEW);
    let cancel = json!({ "memberId": there.member_id });
    let cancelled = app.mutate(Some(&sofia.token), "loginEmailChangeCancel", cancel.clone(), "member { id }").await?;
    assert!(cancelled.codes().is_empty(), "{}", cancelled.body);
    let again = app.mutate(Some(&sofia.token), "loginEmailChangeCancel", cancel, "member { id }").await?;
    assert_eq!(again.codes(), ["NO_PENDING_CHANGE"]);
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.1["newEmail"], NEW);
    app.finish().await
}

#[tokio::test]
async fn joining_another_account_meanwhile_takes_the_consent_of_the_old_address() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    let notice = letter(&app, BEN, "about to change").await?;
    assert!(notice.link().contains("revert"));
    further_account(&app, &ben).await?;
    assert_eq!(confirm(&app, NEW).await?, "PENDING");
    let approve = letter(&app, BEN, "another address").await?.token();
    assert_eq!(follow(&app, "Approve", &approve).await?, "CHANGED");
    app.finish().await
}

#[tokio::test]
async fn an_open_invitation_to_the_new_address_is_settled_where_they_are_and_theirs_elsewhere() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let sofia = app.found("sofia@secondfirm.example", 5).await?;
    app.invite(&owner, NEW, &[SystemRole::Standard]).await?;
    app.invite(&sofia, NEW, &[SystemRole::Standard]).await?;
    app.settle().await?;
    let elsewhere = app.mailbox.to(NEW)?.into_iter().filter(|letter| letter.subject.contains("invites"));
    let tokens: Vec<String> = elsewhere.map(|letter| letter.token()).collect();
    let seats = "{ account { licensePools { inUse } } }";
    let in_use = async || {
        Ok::<_, anyhow::Error>(
            app.graphql(Some(&owner.token), seats, Value::Null).await?.data("/account/licensePools/0/inUse").clone(),
        )
    };
    assert_eq!(in_use().await?, 3);
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    assert_eq!(confirm(&app, NEW).await?, "CHANGED");
    assert_eq!(in_use().await?, 2, "the seat of the settled invitation is free");
    let listed = app
        .graphql(
            Some(&owner.token),
            "{ account { invitations(filter: { state: [REVOKED] }) { nodes { email } } } }",
            Value::Null,
        )
        .await?;
    assert_eq!(listed.data("/account/invitations/nodes"), &json!([{ "email": NEW }]));
    let mut answers = Vec::new();
    for token in tokens {
        let input = json!({ "token": token, "password": PASSWORD, "firstName": "Ben", "lastName": "B" });
        let accepted = app.mutate(None, "invitationAccept", input, "accountId").await?;
        answers.push(if accepted.codes().is_empty() {
            accepted.text("/invitationAccept/accountId")
        } else {
            accepted.codes().join(" ")
        });
    }
    answers.sort();
    let mut expected = vec!["INVITATION_REVOKED".to_owned(), sofia.account_id.clone()];
    expected.sort();
    assert_eq!(answers, expected);
    let verified =
        app.look("SELECT count(*) FROM member m JOIN app_user u USING (user_id) WHERE u.email <> m.email").await?;
    assert_eq!(verified.as_deref(), Some("0"));
    app.finish().await
}
