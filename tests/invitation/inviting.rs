//! Inviting: one or many, and every reason why not.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::{codes, ids, invite_all, invited, item, item_with, listed, pool, refusals};
use crate::support::app::App;

const OWNER: &str = "olivia@harborandfinch.example";

/// Two good ones among faults of every kind.
fn mixed() -> Vec<Value> {
    vec![
        item("ben@harborandfinch.example"),
        item("not an address"),
        item("BEN@HarborAndFinch.example"),
        item_with("cleo@harborandfinch.example", &[]),
        item("dan@harborandfinch.example"),
        json!({ "email": "eve@harborandfinch.example", "roleIds": [ids(&[SystemRole::Standard])[0], "rol_00000000000070008000000000000000", "nonsense"] }),
        json!({ "email": "", "firstName": "Line\nbreak", "message": "x".repeat(501), "roleIds": ids(&[SystemRole::Standard]) }),
    ]
}

#[tokio::test]
async fn partial_invites_the_good_ones_and_names_the_others_by_their_place() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let answer = invite_all(&app, &owner, mixed(), "PARTIAL").await?;
    let mut refused = refusals(&answer);
    refused.sort();
    assert_eq!(
        refused,
        [
            "DUPLICATE_ADDRESS input.invitations.2.email",
            "INVALID_CHARACTERS input.invitations.6.firstName",
            "INVALID_EMAIL input.invitations.1.email",
            "NOT_FOUND input.invitations.5.roleIds.1",
            "REQUIRED input.invitations.6.email",
            "ROLE_REQUIRED input.invitations.3.roleIds",
            "TOO_LONG input.invitations.6.message",
        ],
    );
    assert_eq!(answer.text("/memberInvite/invitations/0/email"), "ben@harborandfinch.example");
    assert_eq!(answer.text("/memberInvite/invitations/1/email"), "dan@harborandfinch.example");
    assert_eq!(pool(&app, &owner).await?, (3, 2, 7));
    app.letter("dan@harborandfinch.example").await?;
    app.finish().await
}

#[tokio::test]
async fn all_or_nothing_invites_nobody_when_one_is_refused() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let answer = invite_all(&app, &owner, mixed(), "ALL_OR_NOTHING").await?;
    assert!(refusals(&answer).contains(&"INVALID_EMAIL input.invitations.1.email".to_owned()), "{}", answer.body);
    assert!(answer.data("/memberInvite/invitations").is_null());
    let more = vec![item("ben@harborandfinch.example"), item_with("cleo@harborandfinch.example", &[])];
    let default = app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": more }), "__typename").await?;
    assert_eq!(refusals(&default), ["ROLE_REQUIRED input.invitations.1.roleIds"], "it is the default");
    assert_eq!(pool(&app, &owner).await?, (1, 0, 9));
    assert_eq!(listed(&app, &owner, "ben@harborandfinch.example", "id").await?, Value::Null);
    app.finish().await
}

#[tokio::test]
async fn spellings_of_one_address_are_one_address() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let spellings = ["ben@b\u{fc}cher.example", " Ben@BU\u{308}CHER.example ", "BEN@xn--bcher-kva.example"];
    let answer = invite_all(&app, &owner, spellings.map(item).to_vec(), "PARTIAL").await?;
    assert_eq!(answer.codes(), ["DUPLICATE_ADDRESS", "DUPLICATE_ADDRESS"]);
    assert_eq!(
        refusals(&answer),
        ["DUPLICATE_ADDRESS input.invitations.1.email", "DUPLICATE_ADDRESS input.invitations.2.email"],
    );
    for spelling in spellings {
        let again = app.invite(&owner, spelling, &[SystemRole::Standard]).await?;
        assert_eq!(refusals(&again), ["ALREADY_INVITED input.invitations.0.email"]);
    }
    app.letter("ben@xn--bcher-kva.example").await?;
    app.finish().await
}

#[tokio::test]
async fn a_taken_address_is_answered_by_how_it_is_taken() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    invited(&app, &owner, "asked@harborandfinch.example").await?;
    for (email, mutation) in
        [("sue@harborandfinch.example", "memberSuspend"), ("del@harborandfinch.example", "memberDeactivate")]
    {
        let member = app.join(&owner, email, &[SystemRole::Standard]).await?;
        assert_eq!(codes(&app, &owner, mutation, json!({ "memberId": member.member_id })).await?, Vec::<String>::new());
    }
    let taken = [
        (OWNER, "ALREADY_MEMBER"),
        ("asked@harborandfinch.example", "ALREADY_INVITED"),
        ("sue@harborandfinch.example", "MEMBER_INACTIVE"),
        ("del@harborandfinch.example", "MEMBER_INACTIVE"),
    ];
    for (email, code) in taken {
        let answer = app.invite(&owner, email, &[SystemRole::Standard]).await?;
        assert_eq!(refusals(&answer), [format!("{code} input.invitations.0.email")], "{email}");
        let message = answer.user_errors()[0]["message"].as_str().unwrap().to_owned();
        assert!(!message.contains('@'), "{message}");
    }
    app.finish().await
}

#[tokio::test]
async fn somebody_with_a_login_elsewhere_answers_like_an_unknown_address() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    app.found("known@elsewhere.example", 5).await?;
    let mut answers = Vec::new();
    for email in ["known@elsewhere.example", "nobody@elsewhere.example"] {
        let answer = app
            .mutate(
                Some(&owner.token),
                "memberInvite",
                json!({ "invitations": [item(email)] }),
                "invitations { state firstName lastName delivery expiresAt
                   member { firstName lastName status phone lastSignInAt roles { name } } }",
            )
            .await?;
        answers.push(answer.body);
    }
    assert_eq!(answers[0], answers[1]);
    app.finish().await
}

#[tokio::test]
async fn the_policy_decides_about_domains() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let policy = json!({ "refusePersonalDomains": true, "allowedPersonalDomains": ["gmx.de"], "allowedDomains": [] });
    assert_eq!(codes(&app, &owner, "accountPolicyUpdate", policy).await?, Vec::<String>::new());
    let asked = ["ben@GMail.com", "ben@gmx.de", "ben@work.example"].map(item).to_vec();
    let answer = invite_all(&app, &owner, asked, "PARTIAL").await?;
    assert_eq!(refusals(&answer), ["PERSONAL_DOMAIN input.invitations.0.email"]);

    let policy = json!({ "refusePersonalDomains": false, "allowedDomains": ["B\u{fc}cher.example"] });
    assert_eq!(codes(&app, &owner, "accountPolicyUpdate", policy).await?, Vec::<String>::new());
    let asked = ["cleo@work.example", "cleo@mail.xn--bcher-kva.example", "cleo@notb\u{fc}cher.example"];
    let answer = invite_all(&app, &owner, asked.map(item).to_vec(), "PARTIAL").await?;
    assert_eq!(answer.codes(), ["DOMAIN_NOT_ALLOWED", "DOMAIN_NOT_ALLOWED"]);
    assert_eq!(
        refusals(&answer),
        ["DOMAIN_NOT_ALLOWED input.invitations.0.email", "DOMAIN_NOT_ALLOWED input.invitations.2.email"],
    );
    app.finish().await
}

#[tokio::test]
async fn a_message_has_at_most_500_characters_and_names_one_line() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let with = |email: &str, field: &str, text: &str| {
        let mut item = item(email);
        item[field] = json!(text);
        item
    };
    let answer = invite_all(
        &app,
        &owner,
        vec![
            with("a@work.example", "message", &"\u{e9}".repeat(500)),
            with("b@work.example", "message", &"\u{e9}".repeat(501)),
            with("c@work.example", "message", "Two\nlines"),
            with("d@work.example", "message", "A bell \u{7}"),
            with("e@work.example", "lastName", "O'Brien\r\nBcc: x@y.example"),
            with("f@work.example", "firstName", &"x".repeat(5000)),
        ],
        "PARTIAL",
    )
    .await?;
    assert_eq!(
        refusals(&answer),
        [
            "TOO_LONG input.invitations.1.message",
            "INVALID_CHARACTERS input.invitations.3.message",
            "INVALID_CHARACTERS input.invitations.4.lastName",
            "TOO_LONG input.invitations.5.firstName",
        ],
    );
    assert_eq!(listed(&app, &owner, "c@work.example", "message").await?["message"], "Two\nlines");
    app.finish().await
}

#[tokio::test]
async fn one_to_500_people_are_invited_at_once() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 502).await?;
    let none = invite_all(&app, &owner, Vec::new(), "PARTIAL").await?;
    assert_eq!(refusals(&none), ["REQUIRED input.invitations"]);
    let mut people: Vec<Value> = (0..501).map(|number| item(&format!("p{number}@work.example"))).collect();
    let many = invite_all(&app, &owner, people.clone(), "PARTIAL").await?;
    assert_eq!(refusals(&many), ["TOO_MANY input.invitations"]);
    people.pop();
    let input = json!({ "invitations": people, "send": false });
    let most = app.mutate(Some(&owner.token), "memberInvite", input, "invitations { id }").await?;
    assert_eq!(most.codes(), Vec::<String>::new());
    assert_eq!(pool(&app, &owner).await?, (501, 500, 1));

    let ids: Vec<&str> = vec!["inv_00000000000070008000000000000000"; 501];
    for mutation in ["invitationSend", "invitationResend"] {
        let many = app.mutate(Some(&owner.token), mutation, json!({ "invitationIds": ids }), "__typename").await?;
        assert_eq!(refusals(&many), ["TOO_MANY input.invitationIds"]);
        let none = app.mutate(Some(&owner.token), mutation, json!({ "invitationIds": [] }), "__typename").await?;
        assert_eq!(refusals(&none), ["REQUIRED input.invitationIds"]);
    }
    app.finish().await
}

#[tokio::test]
async fn nobody_grants_by_invitation_what_they_do_not_hold() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let manager = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let asked = vec![
        item_with("a@work.example", &[SystemRole::Administrator]),
        item_with("b@work.example", &[SystemRole::Standard, SystemRole::BillingManager]),
        item_with("c@work.example", &[SystemRole::MemberManager]),
    ];
    let answer = invite_all(&app, &manager, asked, "PARTIAL").await?;
    assert_eq!(
        refusals(&answer),
        ["NOT_PERMITTED input.invitations.0.roleIds", "NOT_PERMITTED input.invitations.1.roleIds"],
    );
    let missing: Vec<String> = answer.user_errors()[1]["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap().to_owned())
        .collect();
    assert!(missing.iter().all(|key| key.starts_with("billing.") || key.starts_with("licenses.")), "{missing:?}");
    assert!(!missing.is_empty());

    for (email, role) in
        [("stan@harborandfinch.example", SystemRole::Standard), ("ada@harborandfinch.example", SystemRole::Auditor)]
    {
        let other = app.join(&owner, email, &[role]).await?;
        let refused = app.invite(&other, "d@work.example", &[SystemRole::Standard]).await?;
        assert_eq!(refusals(&refused), ["NOT_PERMITTED -"]);
        assert_eq!(refused.user_errors()[0]["permissions"], json!(["members.invite"]));
    }
    app.finish().await
}

#[tokio::test]
async fn the_first_ones_get_the_seats_there_are() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 3).await?;
    let people = ["a@work.example", "b@work.example", "c@work.example", "d@work.example"];
    // As often as mails to one address are allowed, and once more: who gets no seat gets no mail.
    for _ in 0..4 {
        let whole = invite_all(&app, &owner, people.map(item).to_vec(), "ALL_OR_NOTHING").await?;
        assert_eq!(whole.codes(), ["SEAT_SHORTAGE"]);
        assert_eq!((&whole.user_errors()[0]["required"], &whole.user_errors()[0]["available"]), (&json!(4), &json!(2)));
    }
    let part = invite_all(&app, &owner, people.map(item).to_vec(), "PARTIAL").await?;
    assert_eq!(refusals(&part), ["SEAT_SHORTAGE input.invitations.2", "SEAT_SHORTAGE input.invitations.3"]);
    for _ in 0..3 {
        let late = invite_all(&app, &owner, people[2..].iter().copied().map(item).collect(), "PARTIAL").await?;
        assert_eq!(late.codes(), ["SEAT_SHORTAGE", "SEAT_SHORTAGE"]);
    }
    app.grant_seats(&owner.account_id, 5).await?;
    let late = invite_all(&app, &owner, people[2..].iter().copied().map(item).collect(), "PARTIAL").await?;
    assert_eq!(late.codes(), Vec::<String>::new(), "{}", late.body);
    app.finish().await
}

#[tokio::test]
async fn without_a_mail_an_invitation_has_a_seat_but_no_link_and_no_lifetime() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let input = json!({ "invitations": [item("ben@work.example")], "send": false });
    let answer = app
        .mutate(
            Some(&owner.token),
            "memberInvite",
            input,
            "invitations { state delivery sentAt expiresAt member { status } }",
        )
        .await?;
    let wanted = json!({ "state": "NOT_SENT", "delivery": null, "sentAt": null, "expiresAt": null, "member": { "status": "INVITED" } });
    assert_eq!(answer.data("/memberInvite/invitations/0"), &wanted);
    assert_eq!(pool(&app, &owner).await?, (2, 1, 3));
    app.settle().await?;
    assert!(app.mailbox.to("ben@work.example")?.is_empty());
    let hashes: i64 = sqlx::query_scalar("SELECT count(token_hash) FROM invitation").fetch_one(&app.db.pool).await?;
    assert_eq!(hashes, 0);
    app.pass(jiff::SignedDuration::from_hours(24 * 31));
    assert_eq!(app.sweep("invitations.lapse").await?, 0, "what was never sent never lapses");
    app.finish().await
}

#[tokio::test]
async fn whoever_lapsed_is_invited_anew_before_any_sweep() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (old, _) = invited(&app, &owner, "ben@work.example").await?;
    let first = app.letter("ben@work.example").await?;
    app.pass(jiff::SignedDuration::from_hours(25));
    let owner = app.person(OWNER).await?;
    let (new, _) = invited(&app, &owner, "ben@work.example").await?;
    assert_ne!(old, new);
    assert_eq!(pool(&app, &owner).await?, (2, 1, 3), "the old seat came free");
    let second = app.letter("ben@work.example").await?;
    let dead = app.accept(&first.token(), "Ben", "Brandt").await?;
    assert_eq!(dead.codes(), ["INVITATION_REVOKED"]);
    assert_eq!(app.accept(&second.token(), "Ben", "Brandt").await?.codes(), Vec::<String>::new());
    app.finish().await
}
