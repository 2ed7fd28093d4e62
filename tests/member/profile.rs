//! Profiles, and from when until when somebody is a member.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::{SignedDuration, ToSpan as _};
use serde_json::{Value, json};

use super::{OWNER, lives, seats, status};
use crate::support::app::{Answer, App, PASSWORD, Person};

const PROFILE: &str =
    "member { id version firstName lastName initials timeZone address city state zip country phone jobTitle
                       subscriptionType validFrom validUntil } warnings { code field }";

/// Changes a profile, decided on the current version unless another one is named.
async fn update(app: &App, by: &Person, member: &str, version: Option<i32>, mut fields: Value) -> Result<Answer> {
    fields["memberId"] = json!(member);
    let statement =
        format!("SELECT version FROM member WHERE member_id = '{}'", member.parse::<domain::id::MemberId>()?.0);
    let current: i32 = app.look(&statement).await?.unwrap().parse()?;
    fields["expectedVersion"] = json!(version.unwrap_or(current));
    app.mutate(Some(&by.token), "memberUpdate", fields, PROFILE).await
}

fn refusals(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    answer.user_errors().iter().map(|error| (text(&error["code"]), text(&error["field"][1]))).collect()
}

#[tokio::test]
async fn everybody_changes_their_own_profile_field_by_field() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let full = json!({
        "firstName": " Ann ", "lastName": "Lee", "initials": "AL", "timeZone": "europe/berlin", "address": "1 Main St", "city": "Springfield",
        "state": "IL", "zip": "62701", "country": "us", "phone": "+1 (212) 555-0100", "jobTitle": "Partner", "subscriptionType": "ATTORNEY",
    });
    let answer = update(&app, &ann, &ann.member_id, None, full).await?;
    assert_eq!(refusals(&answer), [], "{}", answer.body);
    let stored = json!({
        "id": ann.member_id, "version": 3, "firstName": "Ann", "lastName": "Lee", "initials": "AL", "timeZone": "Europe/Berlin",
        "address": "1 Main St", "city": "Springfield", "state": "IL", "zip": "62701", "country": "US", "phone": "+12125550100",
        "jobTitle": "Partner", "subscriptionType": "ATTORNEY", "validFrom": null, "validUntil": null,
    });
    assert_eq!(answer.data("/memberUpdate/member"), &stored);
    assert_eq!(answer.data("/memberUpdate/warnings"), &json!([]));

    let stale = update(&app, &ann, &ann.member_id, Some(1), json!({ "city": "Chicago" })).await?;
    assert_eq!(refusals(&stale), [("VERSION_CONFLICT".to_owned(), "expectedVersion".to_owned())]);
    let some = json!({ "city": "", "phone": null, "subscriptionType": null, "state": "Ontario" });
    let some = update(&app, &ann, &ann.member_id, None, some).await?;
    let member = some.data("/memberUpdate/member");
    assert_eq!(
        (&member["city"], &member["phone"], &member["subscriptionType"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&member["zip"], &member["version"]), (&json!("62701"), &json!(4)), "what is left out stays");
    assert_eq!(some.data("/memberUpdate/warnings"), &json!([{ "code": "UNKNOWN_STATE", "field": ["input", "state"] }]));
    let again = update(&app, &ann, &ann.member_id, None, json!({ "zip": "62701" })).await?;
    assert_eq!(again.data("/memberUpdate/member/version"), 4, "nothing differs");

    let wrong = json!({ "firstName": "", "initials": "A.B.", "timeZone": "Mars", "country": "XX", "phone": "12", "jobTitle": "a\u{0}b" });
    let wrong = update(&app, &ann, &ann.member_id, None, wrong).await?;
    let codes: Vec<String> = refusals(&wrong).into_iter().map(|(code, field)| format!("{code} {field}")).collect();
    assert_eq!(
        codes,
        [
            "INVALID_INITIALS initials",
            "INVALID_TIME_ZONE timeZone",
            "INVALID_COUNTRY country",
            "INVALID_PHONE phone",
            "INVALID_CHARACTERS jobTitle"
        ]
    );
    let nameless = update(&app, &ann, &ann.member_id, None, json!({ "firstName": null })).await?;
    assert_eq!(refusals(&nameless), [("REQUIRED".to_owned(), "firstName".to_owned())]);
    let event = "SELECT p.body->'after' FROM event e JOIN event_personal p USING (account_id, event_id) WHERE kind = 'member.updated' ORDER BY seq DESC LIMIT 1";
    let told: Value = serde_json::from_str(&app.look(event).await?.unwrap())?;
    assert_eq!(told, json!({ "city": null, "phone": null, "state": "Ontario" }));
    app.finish().await
}

#[tokio::test]
async fn others_profiles_are_changed_by_permission_and_the_owners_by_the_owner() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let manager = app.join(&owner, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let title = || json!({ "jobTitle": "Clerk" });
    for (by, target, codes) in [
        (&owner, &owner, vec![]),
        (&admin, &owner, vec!["OWNER_PROTECTED"]),
        (&manager, &owner, vec!["OWNER_PROTECTED"]),
        (&manager, &admin, vec!["NOT_PERMITTED"]),
        (&manager, &ann, vec![]),
        (&ann, &manager, vec!["NOT_PERMITTED"]),
    ] {
        let answer = update(&app, by, &target.member_id, None, title()).await?;
        assert_eq!(answer.codes(), codes, "{} changes {}", by.email, target.email);
    }
    // Names of an invited person stand on the invitation as well.
    let invited = app.invite(&owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    let ivy = invited.text("/memberInvite/invitations/0/member/id");
    assert!(update(&app, &manager, &ivy, None, json!({ "firstName": "Ivy" })).await?.codes().is_empty());
    let listed = app
        .graphql(Some(&owner.token), "{ account { invitations(first: 1) { nodes { firstName } } } }", Value::Null)
        .await?;
    assert_eq!(listed.text("/account/invitations/nodes/0/firstName"), "Ivy");
    app.finish().await
}

/// A day from today in the account's time zone, UTC here.
fn day(app: &App, days: i32) -> String {
    let now = app.db.clock.business(domain::infra::clock::Timestamp(jiff::Timestamp::now()));
    now.0.to_zoned(jiff::tz::TimeZone::UTC).date().saturating_add(days.days()).to_string()
}

async fn sign_in(app: &App, person: &Person) -> Result<Answer> {
    let input = json!({ "email": person.email, "password": PASSWORD });
    let document =
        "mutation ($input: SessionCreateInput!) { sessionCreate(input: $input) { token userErrors { code message
                    ... on ClosedAccountsError { accounts { reason status validFrom } } } } }";
    app.graphql(None, document, json!({ "input": input })).await
}

#[tokio::test]
async fn before_its_first_day_a_membership_lets_nobody_in() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let own = update(&app, &ann, &ann.member_id, None, json!({ "validUntil": day(&app, 5) })).await?;
    assert_eq!(refusals(&own), [("OWN_STATUS".to_owned(), "validUntil".to_owned())]);
    let owners = update(&app, &owner, &owner.member_id, None, json!({ "validFrom": day(&app, 5) })).await?;
    assert_eq!(owners.codes(), ["OWN_STATUS"]);
    for wrong in
        [json!({ "validUntil": day(&app, -1) }), json!({ "validFrom": day(&app, 5), "validUntil": day(&app, 4) })]
    {
        let refused = update(&app, &owner, &ann.member_id, None, wrong).await?;
        assert_eq!(refusals(&refused), [("OUT_OF_RANGE".to_owned(), "validUntil".to_owned())]);
    }
    let from = day(&app, 2);
    let set = update(&app, &owner, &ann.member_id, None, json!({ "validFrom": from })).await?;
    assert_eq!(set.data("/memberUpdate/member/validFrom"), &json!(from));
    assert!(!lives(&app, &ann.token).await?, "the session has ended");
    let refused = sign_in(&app, &ann).await?;
    assert_eq!(refused.codes(), ["NO_USABLE_MEMBERSHIP"]);
    let accounts = &refused.user_errors()[0]["accounts"];
    assert_eq!(accounts, &json!([{ "reason": "NOT_YET_VALID", "status": "ACTIVE", "validFrom": from }]));
    app.pass(SignedDuration::from_hours(48));
    assert!(sign_in(&app, &ann).await?.codes().is_empty(), "the first day counts");
    app.finish().await
}

#[tokio::test]
async fn after_its_last_day_a_membership_ends_with_a_notice_before() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let matter = super::life::resource(&app, &ann.member_id, "Doe v. Roe").await?;
    let last = day(&app, 9);
    assert!(update(&app, &owner, &ann.member_id, None, json!({ "validUntil": last })).await?.codes().is_empty());
    assert_eq!(app.sweep("members.validity").await?, 0, "it is too early for a notice");
    app.pass(SignedDuration::from_hours(48));
    assert_eq!(app.sweep("members.validity").await?, 1);
    assert!(app.letter(&ann.email).await?.subject.contains("ends on"));
    assert_eq!(app.sweep("members.validity").await?, 0, "one notice for each end");
    app.pass(SignedDuration::from_hours(7 * 24));
    assert_eq!(app.sweep("members.validity").await?, 0, "the last day counts");
    let token = app.sign_in(&ann.email).await?;
    app.pass(SignedDuration::from_hours(24));
    // Its end binds at once; the sweep comes later.
    assert!(!lives(&app, &token).await?, "the last day is over");
    let refused = sign_in(&app, &ann).await?;
    assert_eq!(refused.codes(), ["NO_USABLE_MEMBERSHIP"]);
    let accounts = &refused.user_errors()[0]["accounts"];
    assert_eq!(accounts, &json!([{ "reason": "VALIDITY_OVER", "status": "ACTIVE", "validFrom": null }]));
    assert!(refused.user_errors()[0]["message"].as_str().unwrap().contains(&format!("until {last}")), "{accounts}");
    let owner = app.person(OWNER).await?;
    let document = "query ($email: EmailAddress!) { signInDiagnosis(email: $email) { findings { code } } }";
    let found = app.graphql(Some(&owner.token), document, json!({ "email": ann.email })).await?;
    assert_eq!(found.text("/signInDiagnosis/findings/0/code"), "VALIDITY_OVER");
    assert_eq!(app.sweep("members.validity").await?, 1);
    assert_eq!(status(&app, &owner, &ann.member_id).await?["status"], "DEACTIVATED");
    assert!(!lives(&app, &token).await?);
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    let id: domain::id::ResourceId = matter.parse()?;
    let handed_over = format!(
        "SELECT responsible_member_id = '{}' FROM resource WHERE resource_id = '{}'",
        owner.member_id.parse::<domain::id::MemberId>()?.0,
        id.0
    );
    assert_eq!(app.look(&handed_over).await?.as_deref(), Some("true"), "the owner takes over");
    let by = "SELECT actor_kind FROM event WHERE kind = 'member.deactivated'";
    assert_eq!(app.look(by).await?.as_deref(), Some("SYSTEM"));
    let back =
        app.mutate(Some(&owner.token), "memberReactivate", json!({ "memberId": ann.member_id }), "__typename").await?;
    assert_eq!(back.codes(), ["VALIDITY_OVER"]);
    assert!(update(&app, &owner, &ann.member_id, None, json!({ "validUntil": null })).await?.codes().is_empty());
    let back =
        app.mutate(Some(&owner.token), "memberReactivate", json!({ "memberId": ann.member_id }), "__typename").await?;
    assert_eq!(back.codes(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn an_invitation_carries_the_validity() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let email = "ivy@harborandfinch.example";
    let (from, until) = (day(&app, 3), day(&app, 30));
    let item = |from: &str, until: &str| json!({ "email": email, "roleIds": [SystemRole::Standard.id().to_string()], "validFrom": from, "validUntil": until });
    let fields = "invitations { id member { id validFrom validUntil } }";
    let invite = async |item: Value| {
        app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": [item] }), fields).await
    };
    let wrong = invite(item(&until, &from)).await?;
    assert_eq!(
        (wrong.codes(), &wrong.user_errors()[0]["field"][3]),
        (vec!["OUT_OF_RANGE".to_owned()], &json!("validUntil"))
    );
    let invited = invite(item(&from, &until)).await?;
    let member = invited.data("/memberInvite/invitations/0/member");
    assert_eq!((&member["validFrom"], &member["validUntil"]), (&json!(from), &json!(until)));
    let input = json!({ "invitationId": invited.text("/memberInvite/invitations/0/id"), "validFrom": day(&app, 4), "validUntil": null });
    let changed = app
        .mutate(Some(&owner.token), "invitationUpdate", input, "invitation { member { validFrom validUntil } }")
        .await?;
    assert_eq!(
        changed.data("/invitationUpdate/invitation/member"),
        &json!({ "validFrom": day(&app, 4), "validUntil": null })
    );
    assert!(app.accept(&app.letter(email).await?.token(), "Ivy", "Ink").await?.codes().is_empty());
    let person = Person { email: email.to_owned(), ..owner.clone() };
    assert_eq!(sign_in(&app, &person).await?.user_errors()[0]["accounts"][0]["reason"], "NOT_YET_VALID");
    app.finish().await
}

#[tokio::test]
async fn the_last_day_is_that_of_the_account() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    // Half a day to either side of UTC: today there is yesterday, or tomorrow, elsewhere.
    let (east, west) = ("Pacific/Kiritimati", "Pacific/Niue");
    let zone =
        async |zone: &str| sqlx::query("UPDATE account SET time_zone = $1").bind(zone).execute(&app.db.pool).await;
    let today = |zone: &str| {
        let now = app.db.clock.business(domain::infra::clock::Timestamp(jiff::Timestamp::now()));
        domain::infra::clock::Date::at(now, zone).0.to_string()
    };
    zone(west).await?;
    let set = update(&app, &owner, &ann.member_id, None, json!({ "validUntil": today(west) })).await?;
    assert!(set.codes().is_empty(), "{}", set.body);
    assert!(lives(&app, &ann.token).await?, "the last day counts");
    zone(east).await?;
    assert!(!lives(&app, &ann.token).await?, "that day is over there");
    assert_eq!(sign_in(&app, &ann).await?.codes(), ["NO_USABLE_MEMBERSHIP"]);
    let from = json!({ "validUntil": null, "validFrom": today(east) });
    assert!(update(&app, &owner, &ann.member_id, None, from).await?.codes().is_empty());
    let token = app.sign_in(&ann.email).await?;
    zone(west).await?;
    assert!(!lives(&app, &token).await?, "that day has not begun there");
    app.finish().await
}
