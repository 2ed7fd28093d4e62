//! Why somebody can, or cannot, sign in: each reason brought about as it comes about.

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{App, Options, PASSWORD, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@harborandfinch.example";

const DIAGNOSE: &str =
    "query ($email: EmailAddress!) { signInDiagnosis(email: $email) { email member { id email } findings {
    __typename code message ... on AddressSignInFinding { email at member { id } } ... on TimeSignInFinding { until }
    ... on InvitationSignInFinding { invitation { id state deliveryReply expiresAt } } } } }";

async fn firm() -> Result<(App, Person)> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    Ok((app, owner))
}

/// All findings, and the member.
async fn diagnose(app: &App, by: &Person, email: &str) -> Result<(Vec<Value>, Value)> {
    let answer = app.graphql(Some(&by.token), DIAGNOSE, json!({ "email": email })).await?;
    let findings = answer.data("/signInDiagnosis/findings").as_array().context("findings")?.clone();
    for finding in &findings {
        let message = finding["message"].as_str().context("a message")?;
        assert!(message.ends_with('.') && message.contains(". ") || message.matches('.').count() == 1, "{message}");
    }
    Ok((findings, answer.data("/signInDiagnosis/member").clone()))
}

async fn codes(app: &App, by: &Person, email: &str) -> Result<Vec<String>> {
    let (findings, _) = diagnose(app, by, email).await?;
    Ok(findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect())
}

async fn done(app: &App, by: &Person, mutation: &str, input: Value) -> Result<()> {
    let answer = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
    assert!(answer.codes().is_empty(), "{}", answer.body);
    Ok(())
}

/// Invites somebody: the ids of the invitation and the member.
async fn invite(app: &App, by: &Person, email: &str, send: bool) -> Result<(String, String)> {
    let item = json!({ "email": email, "roleIds": [SystemRole::Standard.id().to_string()] });
    let input = json!({ "invitations": [item], "send": send });
    let answer = app.mutate(Some(&by.token), "memberInvite", input, "invitations { id member { id } }").await?;
    Ok((answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id")))
}

#[tokio::test]
async fn an_invitation_that_is_not_answered_says_how_far_it_got() -> Result<()> {
    let (app, owner) = firm().await?;
    let (invitation, member) = invite(&app, &owner, BEN, false).await?;
    let (findings, who) = diagnose(&app, &owner, " Ben@HARBORandfinch.example ").await?;
    assert_eq!((&findings[0]["code"], findings.len()), (&json!("INVITATION_NOT_SENT"), 1));
    assert_eq!((&who["id"], &findings[0]["invitation"]["id"]), (&json!(member), &json!(invitation)));
    done(&app, &owner, "invitationSend", json!({ "invitationIds": [invitation] })).await?;
    app.settle().await?;
    let (findings, _) = diagnose(&app, &owner, BEN).await?;
    assert_eq!((&findings[0]["code"], findings.len()), (&json!("INVITATION_PENDING"), 1));
    assert!(findings[0]["message"].as_str().unwrap().contains("was sent on"), "{findings:?}");
    done(&app, &owner, "memberSuspend", json!({ "memberId": member })).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["SUSPENDED", "INVITATION_PENDING"]);
    done(&app, &owner, "memberActivate", json!({ "memberId": member })).await?;
    app.pass(SignedDuration::from_hours(25));
    assert_eq!(codes(&app, &owner, BEN).await?, ["INVITATION_LAPSED"], "also before the sweep");
    app.sweep("invitations.lapse").await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["INVITATION_LAPSED"]);
    app.finish().await
}

#[tokio::test]
async fn an_invitation_that_no_server_takes_says_what_the_server_said() -> Result<()> {
    // Nobody works here: what the mail server says is recorded as the worker does.
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    crate::support::firm::found(&app.db, OWNER).await;
    let owner = app.person(OWNER).await?;
    let (invitation, _) = invite(&app, &owner, BEN, true).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["INVITATION_PENDING"]);
    let reply = "550 5.1.1 no such mailbox".to_owned();
    let outcome = domain::invitation::Outcome::Refused { reply: reply.clone() };
    let (account, origin) = (owner.account_id.parse()?, domain::actor::Origin::system());
    let kind = domain::change::Kind::System;
    let mut change = domain::change::Change::begin(&app.db, account, kind, origin, None).await?;
    domain::invitation::record_delivery(&mut change, invitation.parse()?, 1, &outcome).await?;
    change.commit().await?;
    let (findings, _) = diagnose(&app, &owner, BEN).await?;
    assert_eq!(findings[0]["code"], "INVITATION_UNDELIVERABLE");
    assert_eq!(findings[0]["invitation"]["deliveryReply"], json!(reply));
    assert!(findings[0]["message"].as_str().unwrap().contains("550 5.1.1"), "{findings:?}");
    let (_, _) = invite(&app, &owner, "una@harborandfinch.example", true).await?;
    app.pass(SignedDuration::from_hours(73));
    app.sweep("invitations.lapse").await?;
    assert_eq!(codes(&app, &owner, "una@harborandfinch.example").await?, ["INVITATION_UNDELIVERABLE"]);
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_member_says_what_keeps_them_out() -> Result<()> {
    let (app, owner) = firm().await?;
    let (_, member) = invite(&app, &owner, BEN, true).await?;
    let token = app.letter(BEN).await?.token();
    assert!(app.accept(&token, "Ben", "B").await?.codes().is_empty());
    assert_eq!(codes(&app, &owner, BEN).await?, ["NEVER_SIGNED_IN"]);
    app.sign_in(BEN).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["NOTHING_WRONG"]);
    let id = json!({ "memberId": member });
    done(&app, &owner, "memberSuspend", id.clone()).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["SUSPENDED"]);
    done(&app, &owner, "memberDeactivate", id).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["DEACTIVATED"]);
    app.finish().await
}

#[tokio::test]
async fn too_many_wrong_passwords_say_until_when() -> Result<()> {
    let (app, owner) = firm().await?;
    let stranger = app.found("sofia@secondfirm.example", 3).await?;
    app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    let wrong = json!({ "email": BEN, "password": "wrong horse battery" });
    let mut refused = app.mutate(None, "sessionCreate", wrong.clone(), "").await?;
    for _ in 0..11 {
        assert_eq!(codes(&app, &owner, BEN).await?, ["NOTHING_WRONG"]);
        if refused.codes() == ["RATE_LIMITED"] {
            break;
        }
        refused = app.mutate(None, "sessionCreate", wrong.clone(), "").await?;
        if refused.codes() == ["RATE_LIMITED"] {
            break;
        }
    }
    assert_eq!(refused.codes(), ["RATE_LIMITED"]);
    let (findings, _) = diagnose(&app, &owner, BEN).await?;
    assert_eq!((&findings[0]["code"], &findings[0]["until"]), (&json!("LOCKED"), &refused.user_errors()[0]["retryAt"]));
    assert_eq!(codes(&app, &stranger, BEN).await?, ["NO_SUCH_MEMBER"], "nothing of people who are not here");
    app.pass(SignedDuration::from_mins(16));
    assert_eq!(codes(&app, &owner, BEN).await?, ["NOTHING_WRONG"]);
    app.finish().await
}

#[tokio::test]
async fn an_address_that_was_changed_or_waits_leads_to_the_person() -> Result<()> {
    let (app, owner) = firm().await?;
    let ben = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    let stranger = app.found("sofia@secondfirm.example", 3).await?;
    let new = "benedikt@harborandfinch.example";
    done(&app, &owner, "loginEmailChangeRequest", json!({ "memberId": ben.member_id, "newEmail": new })).await?;
    for email in [BEN, new] {
        let (findings, _) = diagnose(&app, &owner, email).await?;
        assert_eq!(
            (&findings[0]["code"], &findings[0]["email"]),
            (&json!("NEW_ADDRESS_NOT_CONFIRMED"), &json!(new)),
            "{email}"
        );
        assert_eq!(findings[0]["member"]["id"], json!(ben.member_id));
    }
    assert_eq!(codes(&app, &stranger, new).await?, ["NO_SUCH_MEMBER"]);
    let token = app.letter(new).await?.token();
    done(&app, &owner, "loginEmailChangeConfirm", json!({ "token": token })).await?;
    let (findings, who) = diagnose(&app, &owner, BEN).await?;
    assert_eq!(
        (&findings[0]["code"], &findings[0]["email"], findings.len()),
        (&json!("ADDRESS_CHANGED"), &json!(new), 1)
    );
    assert!(who.is_null() && findings[0]["at"].is_string());
    assert_eq!(codes(&app, &owner, new).await?, ["NOTHING_WRONG"]);
    assert_eq!(codes(&app, &stranger, BEN).await?, ["NO_SUCH_MEMBER"]);
    app.finish().await
}

#[tokio::test]
async fn somebody_like_the_unknown_address_is_named() -> Result<()> {
    let (app, owner) = firm().await?;
    let stranger = app.found("sofia@secondfirm.example", 3).await?;
    invite(&app, &owner, "jane.doe@harborandfinch.example", true).await?;
    app.settle().await?;
    for tried in ["jane.doe@gmail.com", "janedoe@harborandfinch.example", "jane_doe+work@other.example"] {
        let (findings, who) = diagnose(&app, &owner, tried).await?;
        let found: Vec<&Value> = findings.iter().map(|finding| &finding["code"]).collect();
        assert_eq!(found, ["NO_SUCH_MEMBER", "INVITED_AT_ANOTHER_ADDRESS"], "{tried}");
        assert_eq!(findings[1]["email"], "jane.doe@harborandfinch.example");
        assert!(who.is_null());
        assert_eq!(codes(&app, &stranger, tried).await?, ["NO_SUCH_MEMBER"]);
    }
    for tried in ["john.doe@harborandfinch.example", "___@harborandfinch.example"] {
        assert_eq!(codes(&app, &owner, tried).await?, ["NO_SUCH_MEMBER"], "{tried}");
    }
    app.finish().await
}

#[tokio::test]
async fn it_takes_an_address_and_the_right_to_read_members() -> Result<()> {
    let (app, owner) = firm().await?;
    let ben = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    let ask = async |by: &Person, email: &str| app.graphql(Some(&by.token), DIAGNOSE, json!({ "email": email })).await;
    assert_eq!(ask(&ben, OWNER).await?.errors(), ["FORBIDDEN"]);
    assert_eq!(ask(&owner, "ben").await?.errors(), ["BAD_USER_INPUT"]);
    let own = app.mutate(None, "sessionCreate", json!({ "email": BEN, "password": PASSWORD }), "").await?;
    assert!(own.codes().is_empty());
    app.finish().await
}

/// Who reads the members of some units finds nobody else.
#[tokio::test]
async fn who_reads_a_unit_finds_its_members_only() -> Result<()> {
    let (app, owner) = firm().await?;
    let limited = app.join(&owner, "mara@harborandfinch.example", &[SystemRole::Standard]).await?;
    let inside = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    app.join(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    let (account, unit) = (owner.account_id.parse::<domain::id::AccountId>()?, domain::id::UnitId::new());
    let insert = "INSERT INTO unit (account_id, unit_id, name, created_at) VALUES ($1, $2, 'Litigation', now())";
    sqlx::query(insert).bind(account).bind(unit).execute(&app.db.pool).await?;
    let member: domain::id::MemberId = inside.member_id.parse()?;
    let put = "INSERT INTO member_unit (account_id, member_id, unit_id, added_at) VALUES ($1, $2, $3, now())";
    sqlx::query(put).bind(account).bind(member).bind(unit).execute(&app.db.pool).await?;
    let role = "UPDATE member_role SET role_id = $3, unit_id = $4 WHERE account_id = $1 AND member_id = $2";
    let reader: domain::id::MemberId = limited.member_id.parse()?;
    let manager = SystemRole::MemberManager.id();
    sqlx::query(role).bind(account).bind(reader).bind(manager).bind(unit).execute(&app.db.pool).await?;
    sqlx::query("UPDATE account_feed SET access_version = access_version + 1").execute(&app.db.pool).await?;
    assert_eq!(codes(&app, &limited, BEN).await?, ["NOTHING_WRONG"]);
    assert_eq!(codes(&app, &limited, "cleo@harborandfinch.example").await?, ["NO_SUCH_MEMBER"]);
    assert_eq!(codes(&app, &limited, "cleo@gmail.com").await?, ["NO_SUCH_MEMBER"]);
    assert_eq!(codes(&app, &limited, "ben@gmail.com").await?, ["NO_SUCH_MEMBER", "INVITED_AT_ANOTHER_ADDRESS"]);
    app.finish().await
}

#[tokio::test]
async fn who_may_not_enter_yet_is_told_from_when() -> Result<()> {
    let (app, owner) = firm().await?;
    let ben = app.join(&owner, BEN, &[SystemRole::Standard]).await?;
    let update =
        |version: i32, from: Value| json!({ "memberId": ben.member_id, "expectedVersion": version, "validFrom": from });
    done(&app, &owner, "memberUpdate", update(2, json!("2199-12-31"))).await?;
    let (findings, _) = diagnose(&app, &owner, BEN).await?;
    assert_eq!(findings[0]["code"], "NOT_YET_VALID");
    assert!(findings[0]["message"].as_str().unwrap().contains("2199-12-31"), "{findings:?}");
    done(&app, &owner, "memberUpdate", update(3, Value::Null)).await?;
    assert_eq!(codes(&app, &owner, BEN).await?, ["NOTHING_WRONG"]);
    app.finish().await
}
