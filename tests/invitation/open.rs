//! What administrators do with an invitation that is still open: send, resend, correct, withdraw.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{codes, ids, invited, item, listed, look, pool, refusals};
use crate::support::app::{Answer, App, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const BEN: &str = "ben@work.example";

async fn resend(app: &App, by: &Person, id: &str) -> Result<Answer> {
    let input = json!({ "invitationIds": [id] });
    app.mutate(Some(&by.token), "invitationResend", input, "invitations { state delivery expiresAt }").await
}

/// Invites somebody without a mail; answers the invitation's id.
async fn unsent(app: &App, by: &Person, email: &str) -> Result<String> {
    let input = json!({ "invitations": [item(email)], "send": false });
    let answer = app.mutate(Some(&by.token), "memberInvite", input, "invitations { id }").await?;
    Ok(answer.text("/memberInvite/invitations/0/id"))
}

#[track_caller]
fn retry_at(answer: &Answer) -> Timestamp {
    assert_eq!(answer.codes(), ["MAIL_LIMIT"], "{}", answer.body);
    answer.user_errors()[0]["retryAt"].as_str().unwrap().parse().unwrap()
}

/// Whether two times are the same, give or take the seconds that a test takes.
#[track_caller]
fn assert_near(left: Timestamp, right: Timestamp) {
    assert!(left.duration_since(right).abs() < SignedDuration::from_secs(30), "{left} is not about {right}");
}

#[tokio::test]
async fn an_unsent_invitation_is_sent_once_and_then_resent() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let id = unsent(&app, &owner, BEN).await?;
    assert_eq!(resend(&app, &owner, &id).await?.codes(), ["INVITATION_NOT_SENT"]);
    let input = json!({ "invitationIds": [id, "nonsense", "inv_00000000000070008000000000000000"] });
    let sent = app.mutate(Some(&owner.token), "invitationSend", input, "invitations { state }").await?;
    assert_eq!(refusals(&sent), ["NOT_FOUND input.invitationIds.1", "NOT_FOUND input.invitationIds.2"]);
    assert_eq!(sent.text("/invitationSend/invitations/0/state"), "PENDING");
    assert_eq!(pool(&app, &owner).await?, (2, 1, 3), "it had its seat already");
    let token = app.letter(BEN).await?.token();
    let again = codes(&app, &owner, "invitationSend", json!({ "invitationIds": [id] })).await?;
    assert_eq!(again, ["INVITATION_ALREADY_SENT"]);
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    let done = codes(&app, &owner, "invitationSend", json!({ "invitationIds": [id] })).await?;
    assert_eq!(done, ["INVITATION_NOT_OPEN"]);
    app.finish().await
}

#[tokio::test]
async fn a_resent_invitation_has_a_new_link_and_the_old_one_is_dead_at_once() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (id, _) = invited(&app, &owner, BEN).await?;
    let first = app.letter(BEN).await?;
    let asked_at = Timestamp::now();
    let soon = resend(&app, &owner, &id).await?;
    assert_near(retry_at(&soon), asked_at + SignedDuration::from_mins(1));
    app.pass(SignedDuration::from_secs(61));
    let resent = resend(&app, &owner, &id).await?;
    assert_eq!(resent.codes(), Vec::<String>::new(), "{}", resent.body);
    assert_eq!(look(&app, &first.token()).await?, Err("TOKEN_INVALID".to_owned()), "before the new mail is out");
    let second = app.letter(BEN).await?;
    assert_ne!(first.token(), second.token());
    assert_ne!(first.message_id, second.message_id);
    assert_eq!(app.accept(&first.token(), "Ben", "Brandt").await?.codes(), ["TOKEN_INVALID"]);
    assert_eq!(app.accept(&second.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn an_address_gets_three_mails_an_hour() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let started = Timestamp::now();
    let (id, _) = invited(&app, &owner, BEN).await?;
    for _ in 0..2 {
        app.pass(SignedDuration::from_secs(61));
        assert_eq!(resend(&app, &owner, &id).await?.codes(), Vec::<String>::new());
    }
    app.pass(SignedDuration::from_secs(61));
    let limited = resend(&app, &owner, &id).await?;
    assert_near(retry_at(&limited), started + SignedDuration::from_hours(1));
    // Withdrawing and inviting anew goes round nothing.
    assert_eq!(codes(&app, &owner, "invitationRevoke", json!({ "invitationId": id })).await?, Vec::<String>::new());
    let anew = app.invite(&owner, BEN, &[SystemRole::Standard]).await?;
    assert_eq!(refusals(&anew), ["MAIL_LIMIT input.invitations.0.email"]);
    assert_eq!(pool(&app, &owner).await?, (1, 0, 4));
    let unsent_one = unsent(&app, &owner, BEN).await?;
    let sent = app.mutate(Some(&owner.token), "invitationSend", json!({ "invitationIds": [unsent_one] }), "__typename");
    retry_at(&sent.await?);
    let moved = json!({ "invitationId": invited(&app, &owner, "x@work.example").await?.0, "email": "y@work.example" });
    assert_eq!(codes(&app, &owner, "invitationUpdate", moved).await?, Vec::<String>::new(), "other addresses are free");
    app.pass(SignedDuration::from_mins(60));
    let sent = codes(&app, &owner, "invitationSend", json!({ "invitationIds": [unsent_one] })).await?;
    assert_eq!(sent, Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn five_resends_in_a_day_are_enough() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (id, _) = invited(&app, &owner, BEN).await?;
    let started = Timestamp::now();
    for _ in 0..5 {
        app.pass(SignedDuration::from_mins(61));
        let owner = app.person(OWNER).await?;
        assert_eq!(resend(&app, &owner, &id).await?.codes(), Vec::<String>::new());
        app.letter(BEN).await?;
    }
    app.pass(SignedDuration::from_mins(61));
    let owner = app.person(OWNER).await?;
    let limited = resend(&app, &owner, &id).await?;
    assert_near(retry_at(&limited), started + SignedDuration::from_mins(61) + SignedDuration::from_hours(24));
    app.pass(SignedDuration::from_mins(24 * 60 - 5 * 61 + 1));
    let owner = app.person(OWNER).await?;
    assert_eq!(resend(&app, &owner, &id).await?.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn resending_a_lapsed_invitation_takes_a_seat_again() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 2).await?;
    let (id, _) = invited(&app, &owner, BEN).await?;
    let old = app.letter(BEN).await?;
    app.pass(SignedDuration::from_hours(25));
    assert_eq!(app.sweep("invitations.lapse").await?, 1);
    let owner = app.person(OWNER).await?;
    assert_eq!(pool(&app, &owner).await?, (1, 0, 1));
    invited(&app, &owner, "cleo@work.example").await?;
    let short = resend(&app, &owner, &id).await?;
    assert_eq!(short.codes(), ["SEAT_SHORTAGE"]);
    assert_eq!(listed(&app, &owner, BEN, "state").await?["state"], "EXPIRED");
    app.grant_seats(&owner.account_id, 3).await?;
    let resent = resend(&app, &owner, &id).await?;
    assert_eq!(
        resent.data("/invitationResend/invitations/0"),
        &json!({ "state": "PENDING", "delivery": "QUEUED", "expiresAt": null })
    );
    assert_eq!(pool(&app, &owner).await?, (3, 2, 0));
    assert_eq!(look(&app, &old.token()).await?, Err("TOKEN_INVALID".to_owned()));
    let new = app.letter(BEN).await?;
    assert_eq!(app.accept(&new.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn a_new_address_restarts_the_invitation() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 6).await?;
    let (id, member) = invited(&app, &owner, BEN).await?;
    invited(&app, &owner, "cleo@work.example").await?;
    let old = app.letter(BEN).await?;
    let change = |email: &str| json!({ "invitationId": id, "email": email });
    for (email, code) in
        [(OWNER, "ALREADY_MEMBER"), ("CLEO@work.example", "ALREADY_INVITED"), ("nobody", "INVALID_EMAIL")]
    {
        let refused = app.mutate(Some(&owner.token), "invitationUpdate", change(email), "__typename").await?;
        assert_eq!(refusals(&refused), [format!("{code} input.email")]);
    }
    assert!(look(&app, &old.token()).await?.is_ok(), "a refusal changes nothing");
    let fields = "invitation { email state delivery expiresAt member { id email } }";
    let moved = app.mutate(Some(&owner.token), "invitationUpdate", change("Benjamin@work.example"), fields).await?;
    assert_eq!(moved.codes(), Vec::<String>::new(), "{}", moved.body);
    let wanted = json!({ "email": "benjamin@work.example", "state": "PENDING", "delivery": "QUEUED", "expiresAt": null,
        "member": { "id": member, "email": "benjamin@work.example" } });
    assert_eq!(moved.data("/invitationUpdate/invitation"), &wanted);
    assert_eq!(app.accept(&old.token(), "Ben", "Brandt").await?.codes(), ["TOKEN_INVALID"]);
    let new = app.letter("benjamin@work.example").await?;
    assert_eq!(app.mailbox.to(BEN)?.len(), 1, "the old address hears nothing more");
    assert_eq!(app.accept(&new.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    let closed = app.mutate(Some(&owner.token), "invitationUpdate", change("b@work.example"), "__typename").await?;
    assert_eq!(refusals(&closed), ["INVITATION_NOT_OPEN input.invitationId"]);
    app.finish().await
}

#[tokio::test]
async fn correcting_an_unsent_or_lapsed_one_does_what_its_state_wants() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 3).await?;
    let id = unsent(&app, &owner, BEN).await?;
    let change = json!({ "invitationId": id, "email": "ben2@work.example" });
    let moved = app.mutate(Some(&owner.token), "invitationUpdate", change, "invitation { email state }").await?;
    assert_eq!(
        moved.data("/invitationUpdate/invitation"),
        &json!({ "email": "ben2@work.example", "state": "NOT_SENT" })
    );
    app.settle().await?;
    assert!(app.mailbox.to("ben2@work.example")?.is_empty(), "it mails nobody");

    let (lapsed, _) = invited(&app, &owner, "cleo@work.example").await?;
    app.letter("cleo@work.example").await?;
    app.pass(SignedDuration::from_hours(25));
    app.sweep("invitations.lapse").await?;
    let owner = app.person(OWNER).await?;
    assert_eq!(pool(&app, &owner).await?, (2, 1, 1));
    let change = json!({ "invitationId": lapsed, "email": "cleo2@work.example" });
    let moved = app.mutate(Some(&owner.token), "invitationUpdate", change, "invitation { state }").await?;
    assert_eq!(moved.text("/invitationUpdate/invitation/state"), "PENDING");
    assert_eq!(pool(&app, &owner).await?, (3, 2, 0), "a lapsed one needs a seat");
    app.letter("cleo2@work.example").await?;

    // To the address of one that has lapsed: that one is replaced.
    app.pass(SignedDuration::from_hours(25));
    app.sweep("invitations.lapse").await?;
    let owner = app.person(OWNER).await?;
    let change = json!({ "invitationId": id, "email": "cleo2@work.example" });
    assert_eq!(codes(&app, &owner, "invitationUpdate", change).await?, Vec::<String>::new());
    let of_cleo: Vec<String> =
        sqlx::query_scalar("SELECT state FROM invitation WHERE email = 'cleo2@work.example' ORDER BY state")
            .fetch_all(&app.db.pool)
            .await?;
    assert_eq!(of_cleo, ["NOT_SENT", "REVOKED"]);
    app.finish().await
}

#[tokio::test]
async fn names_roles_and_message_are_corrected_in_place() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 6).await?;
    let manager = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let (id, member) = invited(&app, &owner, BEN).await?;
    let token = app.letter(BEN).await?.token();
    let change = json!({ "invitationId": id, "firstName": "Ben", "lastName": "Brandt", "message": "Hello",
        "roleIds": ids(&[SystemRole::BillingManager]) });
    let fields = "invitation { state firstName lastName message member { firstName roles { name } } }";
    let changed = app.mutate(Some(&owner.token), "invitationUpdate", change, fields).await?;
    let wanted = json!({ "state": "PENDING", "firstName": "Ben", "lastName": "Brandt", "message": "Hello",
        "member": { "firstName": "Ben", "roles": [{ "name": "Billing manager" }] } });
    assert_eq!(changed.data("/invitationUpdate/invitation"), &wanted);
    let update = |more: Value| {
        let mut input = json!({ "invitationId": id });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    for (by, more, refusal) in [
        (&owner, json!({ "roleIds": [] }), "ROLE_REQUIRED input.roleIds"),
        (&owner, json!({ "message": "x".repeat(501) }), "TOO_LONG input.message"),
        (&owner, json!({ "firstName": "a\nb" }), "INVALID_CHARACTERS input.firstName"),
        (&manager, json!({ "roleIds": ids(&[SystemRole::Standard]) }), "NOT_PERMITTED input.invitationId"),
    ] {
        let refused = app.mutate(Some(&by.token), "invitationUpdate", update(more), "__typename").await?;
        assert_eq!(refusals(&refused), [refusal]);
    }
    let cleared = update(json!({ "message": "", "lastName": "", "roleIds": ids(&[SystemRole::Standard]) }));
    assert_eq!(codes(&app, &owner, "invitationUpdate", cleared).await?, Vec::<String>::new());
    let up = update(json!({ "roleIds": ids(&[SystemRole::Administrator]) }));
    let refused = app.mutate(Some(&manager.token), "invitationUpdate", up, "__typename").await?;
    assert_eq!(refusals(&refused), ["NOT_PERMITTED input.roleIds"]);
    let shown = look(&app, &token).await?.unwrap();
    assert_eq!(
        (&shown["firstName"], &shown["lastName"], &shown["message"]),
        (&json!("Ben"), &Value::Null, &Value::Null)
    );
    let joined = app.mutate(
        None,
        "invitationAccept",
        json!({ "token": token, "lastName": "B", "password": crate::support::app::PASSWORD }),
        "memberId",
    );
    assert_eq!(joined.await?.text("/invitationAccept/memberId"), member, "the link is the same");
    app.finish().await
}

#[tokio::test]
async fn anybody_who_may_invite_may_withdraw() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 6).await?;
    let other = app.found("mary@elsewhere.example", 3).await?;
    let manager = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let auditor = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let answer = app.invite(&owner, BEN, &[SystemRole::Administrator]).await?;
    let (id, member) =
        (answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id"));
    let token = app.letter(BEN).await?.token();
    let input = json!({ "invitationId": id });
    let foreign = app.mutate(Some(&other.token), "invitationRevoke", input.clone(), "__typename").await?;
    assert_eq!(refusals(&foreign), ["NOT_FOUND input.invitationId"]);
    let unknown = json!({ "invitationId": "inv_00000000000070008000000000000000" });
    let unknown = app.mutate(Some(&other.token), "invitationRevoke", unknown, "__typename").await?;
    assert_eq!(foreign.body, unknown.body, "a foreign one answers as an absent one");
    assert_eq!(codes(&app, &auditor, "invitationRevoke", input.clone()).await?, ["NOT_PERMITTED"]);
    assert_eq!(codes(&app, &manager, "invitationRevoke", input.clone()).await?, Vec::<String>::new());
    assert_eq!(look(&app, &token).await?, Err("INVITATION_REVOKED".to_owned()));
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["INVITATION_REVOKED"]);
    let shown = listed(&app, &owner, BEN, "state member { id } finishedAt").await?;
    assert_eq!((&shown["state"], &shown["member"]), (&json!("REVOKED"), &Value::Null));
    let node =
        app.graphql(Some(&owner.token), "query ($id: ID!) { node(id: $id) { id } }", json!({ "id": member })).await?;
    assert!(node.data("/node").is_null());
    assert_eq!(pool(&app, &owner).await?, (3, 0, 3));
    assert_eq!(codes(&app, &owner, "invitationRevoke", input).await?, ["INVITATION_NOT_OPEN"]);
    app.finish().await
}
