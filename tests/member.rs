//! What administrators do to members: the table of statuses, with seats and sessions, and whose roles they may change.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

mod deleting;
mod life;
mod profile;
mod sight;
mod walk;

const OWNER: &str = "olivia@harborandfinch.example";
const ACTIONS: [&str; 4] = ["memberSuspend", "memberActivate", "memberDeactivate", "memberReactivate"];

async fn act(app: &App, by: &Person, action: &str, member: &str) -> Result<Answer> {
    app.mutate(Some(&by.token), action, json!({ "memberId": member }), "member { status }").await
}

/// [`act`] that must succeed.
async fn done(app: &App, by: &Person, action: &str, member: &str) -> Result<()> {
    let answer = act(app, by, action, member).await?;
    assert!(answer.codes().is_empty(), "{action}: {}", answer.body);
    Ok(())
}

async fn assign(app: &App, by: &Person, member: &str, roles: &[SystemRole]) -> Result<Answer> {
    let roles: Vec<String> = roles.iter().map(|role| role.id().to_string()).collect();
    let input = json!({ "memberId": member, "roleIds": roles });
    app.mutate(Some(&by.token), "memberAssignRoles", input, "member { roles { systemKey } }").await
}

async fn lives(app: &App, token: &str) -> Result<bool> {
    let answer = app.graphql(Some(token), "{ viewer { permissions } }", Value::Null).await?;
    assert!(answer.errors().is_empty() || answer.errors() == ["UNAUTHENTICATED"], "{}", answer.body);
    Ok(answer.errors().is_empty())
}

/// Seats in use, and of those reserved.
async fn seats(app: &App, by: &Person) -> Result<(i64, i64)> {
    let answer = app.graphql(Some(&by.token), "{ account { licensePools { inUse reserved } } }", Value::Null).await?;
    let pool = answer.data("/account/licensePools/0");
    Ok((pool["inUse"].as_i64().unwrap(), pool["reserved"].as_i64().unwrap()))
}

async fn status(app: &App, by: &Person, member: &str) -> Result<Value> {
    let document = "query ($id: ID!) { node(id: $id) { ... on Member { status } } }";
    let answer = app.graphql(Some(&by.token), document, json!({ "id": member })).await?;
    Ok(answer.data("/node").clone())
}

async fn events(app: &App) -> Result<i64> {
    Ok(app.look("SELECT count(*) FROM event").await?.unwrap().parse()?)
}

/// Where a member stands before something is done to them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Invited,
    Lapsed,
    Active,
    Suspended,
    SuspendedInvited,
    Deactivated,
    DeactivatedSuspended,
}

/// What becomes of each by [`ACTIONS`]: the status after, and how the number of seats in use changes.
type Row = (Start, [Option<(&'static str, i64)>; 4]);
const TABLE: [Row; 7] = [
    (Start::Invited, [Some(("SUSPENDED", 0)), None, None, None]),
    (Start::Lapsed, [Some(("SUSPENDED", 0)), None, None, None]),
    (Start::Active, [Some(("SUSPENDED", 0)), None, Some(("DEACTIVATED", -1)), None]),
    (Start::Suspended, [None, Some(("ACTIVE", 0)), Some(("DEACTIVATED", -1)), None]),
    (Start::SuspendedInvited, [None, Some(("INVITED", 0)), None, None]),
    (Start::Deactivated, [None, None, None, Some(("ACTIVE", 1))]),
    (Start::DeactivatedSuspended, [None, None, None, Some(("SUSPENDED", 1))]),
];

/// Brings a new member to a start; answers their id and the token of a session, dead or alive.
async fn bring(app: &App, owner: &Person, email: &str, start: Start) -> Result<(String, Option<String>)> {
    let path: &[&str] = match start {
        Start::Invited | Start::Lapsed | Start::Active => &[],
        Start::Suspended | Start::SuspendedInvited => &["memberSuspend"],
        Start::Deactivated => &["memberDeactivate"],
        Start::DeactivatedSuspended => &["memberSuspend", "memberDeactivate"],
    };
    let (member, token) = if matches!(start, Start::Invited | Start::Lapsed | Start::SuspendedInvited) {
        let invited = app.invite(owner, email, &[SystemRole::Standard]).await?;
        (invited.text("/memberInvite/invitations/0/member/id"), None)
    } else {
        let person = app.join(owner, email, &[SystemRole::Standard]).await?;
        (person.member_id, Some(person.token))
    };
    for action in path {
        done(app, owner, action, &member).await?;
    }
    if start == Start::Lapsed {
        app.settle().await?;
        app.pass(SignedDuration::from_hours(25));
        app.sweep("invitations.lapse").await?;
    }
    Ok((member, token))
}

#[tokio::test]
async fn every_status_allows_what_the_table_says() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 40).await?;
    for (start, row) in TABLE {
        for (action, expected) in ACTIONS.iter().zip(row) {
            let email = format!("{start:?}.{action}@harborandfinch.example").to_lowercase();
            let (member, token) = bring(&app, &owner, &email, start).await?;
            let (before, events_before, seats_before) =
                (status(&app, &owner, &member).await?, events(&app).await?, seats(&app, &owner).await?);
            let alive = start == Start::Active;
            if let Some(token) = &token {
                assert_eq!(lives(&app, token).await?, alive, "{start:?}");
            }
            let answer = act(&app, &owner, action, &member).await?;
            let seats_after = seats(&app, &owner).await?;
            let context = format!("{action} of {start:?}: {}", answer.body);
            if let Some((after, delta)) = expected {
                assert_eq!(answer.codes(), Vec::<String>::new(), "{context}");
                assert_eq!(answer.text(&format!("/{action}/member/status")), after, "{context}");
                assert_eq!(seats_after.0 - seats_before.0, delta, "{context}");
                assert_eq!(events(&app).await? - events_before, 1, "{context}");
                if let Some(token) = &token {
                    assert!(!lives(&app, token).await?, "{context}: no session survives, none comes back");
                }
            } else {
                assert_eq!(answer.codes(), ["WRONG_STATUS"], "{context}");
                assert_eq!(answer.user_errors()[0]["field"], json!(["input", "memberId"]), "{context}");
                assert_eq!(status(&app, &owner, &member).await?, before, "{context}");
                assert_eq!((seats_after, events(&app).await?), (seats_before, events_before), "{context}");
                if let Some(token) = &token {
                    assert_eq!(lives(&app, token).await?, alive, "{context}");
                }
            }
        }
    }
    app.finish().await
}

#[tokio::test]
async fn nobody_acts_on_themselves_the_owner_or_the_greater() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let manager = app.join(&owner, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let equal = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let auditor = app.join(&owner, "aude@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let standard = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    let stranger = app.found("sofia@secondfirm.example", 3).await?;
    let before = events(&app).await?;
    for action in ACTIONS {
        let refused = async |by: &Person, member: &str| -> Result<Value> {
            let answer = act(&app, by, action, member).await?;
            assert_eq!(answer.user_errors().len(), 1, "{}", answer.body);
            Ok(answer.user_errors()[0].clone())
        };
        for by in [&owner, &admin, &manager] {
            assert_eq!(refused(by, &by.member_id).await?["code"], "OWN_STATUS", "{action} by {}", by.email);
        }
        for by in [&admin, &manager] {
            assert_eq!(refused(by, &owner.member_id).await?["code"], "OWNER_PROTECTED", "{action} by {}", by.email);
        }
        let greater = refused(&manager, &admin.member_id).await?;
        assert_eq!(greater["code"], "NOT_PERMITTED");
        assert_eq!(
            greater["permissions"],
            json!([
                "roles.manage",
                "licenses.read",
                "licenses.manage",
                "billing.read",
                "billing.manage",
                "activity.read",
                "account.update"
            ]),
            "what the manager lacks"
        );
        // The auditor may read the licences and the feed, which the manager may not.
        let other = refused(&manager, &auditor.member_id).await?;
        let lacks = json!(["licenses.read", "activity.read"]);
        assert_eq!((&other["code"], &other["permissions"]), (&json!("NOT_PERMITTED"), &lacks));
        let wanted = if matches!(action, "memberSuspend" | "memberActivate") { "suspend" } else { "deactivate" };
        for by in [&auditor, &standard] {
            for member in [&manager.member_id, &owner.member_id, &by.member_id, &stranger.member_id] {
                let lacks = refused(by, member).await?;
                assert_eq!(lacks["code"], "NOT_PERMITTED", "{action} by {}", by.email);
                assert_eq!(lacks["permissions"], json!([format!("members.{wanted}")]));
            }
        }
        let unknown = domain::id::MemberId::new().to_string();
        for absent in [&stranger.member_id, &unknown, &"mem_1".to_owned(), &owner.account_id] {
            let absent = refused(&owner, absent).await?;
            assert_eq!((&absent["code"], &absent["field"]), (&json!("NOT_FOUND"), &json!(["input", "memberId"])));
        }
        let nobody = app.mutate(None, action, json!({ "memberId": standard.member_id }), "").await?;
        assert_eq!(nobody.errors(), ["UNAUTHENTICATED"]);
    }
    assert_eq!(events(&app).await?, before, "a refusal leaves no event");
    for (member, action) in [(&equal, "memberSuspend"), (&equal, "memberActivate"), (&standard, "memberDeactivate")] {
        done(&app, &manager, action, &member.member_id).await?;
    }
    done(&app, &admin, "memberSuspend", &manager.member_id).await?;
    assert_eq!(act(&app, &manager, "memberSuspend", &equal.member_id).await?.errors(), ["UNAUTHENTICATED"]);
    app.finish().await
}

#[tokio::test]
async fn a_suspended_invitation_is_refused_and_comes_back() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let email = "ben@harborandfinch.example";
    let invited = app.invite(&owner, email, &[SystemRole::Standard]).await?;
    let (member, invitation) =
        (invited.text("/memberInvite/invitations/0/member/id"), invited.text("/memberInvite/invitations/0/id"));
    let token = app.letter(email).await?.token();
    let link =
        "query ($token: String!) { invitationByToken(token: $token) { invitation { email } userErrors { code } } }";

    done(&app, &owner, "memberSuspend", &member).await?;
    assert_eq!(seats(&app, &owner).await?, (2, 1), "it keeps its seat");
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["INVITATION_SUSPENDED"]);
    let declined = app.mutate(None, "invitationDecline", json!({ "token": token }), "declined").await?;
    assert_eq!(declined.codes(), ["INVITATION_SUSPENDED"]);
    let looked = app.graphql(None, link, json!({ "token": token })).await?;
    assert_eq!(looked.codes(), ["INVITATION_SUSPENDED"]);
    app.pass(SignedDuration::from_mins(2));
    let again = json!({ "invitationIds": [invitation] });
    let resent = app.mutate(Some(&owner.token), "invitationResend", again, "invitations { id }").await?;
    assert_eq!(resent.codes(), ["INVITATION_SUSPENDED"]);
    let again = app.invite(&owner, email, &[SystemRole::Standard]).await?;
    assert_eq!(again.codes(), ["MEMBER_INACTIVE"]);

    done(&app, &owner, "memberActivate", &member).await?;
    let looked = app.graphql(None, link, json!({ "token": token })).await?;
    assert_eq!(looked.text("/invitationByToken/invitation/email"), email, "the same link works again");
    assert!(app.accept(&token, "Ben", "Brandt").await?.codes().is_empty());
    assert_eq!(seats(&app, &owner).await?, (2, 0));
    app.finish().await
}

#[tokio::test]
async fn an_invitation_that_lapses_while_suspended_frees_the_seat_and_comes_back_lapsed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 2).await?;
    let email = "ben@harborandfinch.example";
    let invited = app.invite(&owner, email, &[SystemRole::Standard]).await?;
    let member = invited.text("/memberInvite/invitations/0/member/id");
    let token = app.letter(email).await?.token();
    done(&app, &owner, "memberSuspend", &member).await?;
    app.pass(SignedDuration::from_hours(24));
    assert_eq!(app.sweep("invitations.lapse").await?, 1);
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    assert_eq!(status(&app, &owner, &member).await?["status"], "SUSPENDED");
    done(&app, &owner, "memberActivate", &member).await?;
    assert_eq!(seats(&app, &owner).await?, (1, 0), "coming back takes no seat");
    assert_eq!(status(&app, &owner, &member).await?["status"], "INVITED");
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["INVITATION_EXPIRED"]);
    let invitation = invited.text("/memberInvite/invitations/0/id");
    let again = json!({ "invitationIds": [invitation] });
    let resent = app.mutate(Some(&owner.token), "invitationResend", again, "invitations { state }").await?;
    assert_eq!(resent.text("/invitationResend/invitations/0/state"), "PENDING");
    assert_eq!(seats(&app, &owner).await?, (2, 1));
    let fresh = app.letter(email).await?.token();
    assert_eq!(app.accept(&token, "Ben", "Brandt").await?.codes(), ["TOKEN_INVALID"], "the old link is dead");
    assert!(app.accept(&fresh, "Ben", "Brandt").await?.codes().is_empty());
    app.finish().await
}

#[tokio::test]
async fn an_overdue_invitation_blocks_nobody_before_the_sweep_finds_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let (ben, cleo) = ("ben@harborandfinch.example", "cleo@harborandfinch.example");
    assert!(app.invite(&owner, ben, &[SystemRole::Standard]).await?.codes().is_empty());
    let old = app.letter(ben).await?.token();
    assert_eq!(app.invite(&owner, ben, &[SystemRole::Standard]).await?.codes(), ["ALREADY_INVITED"]);
    app.pass(SignedDuration::from_hours(24));
    let again = app.invite(&owner, ben, &[SystemRole::Standard]).await?;
    assert_eq!(again.codes(), Vec::<String>::new(), "{}", again.body);
    assert_eq!(seats(&app, &owner).await?, (2, 1));
    assert_eq!(app.accept(&old, "Ben", "Brandt").await?.codes(), ["INVITATION_REVOKED"]);
    app.settle().await?;
    app.pass(SignedDuration::from_hours(24));
    let invited = app.invite(&owner, cleo, &[SystemRole::Standard]).await?;
    let input = json!({ "invitationId": invited.text("/memberInvite/invitations/0/id"), "email": ben });
    let moved = app.mutate(Some(&owner.token), "invitationUpdate", input, "invitation { email }").await?;
    assert_eq!(moved.codes(), Vec::<String>::new(), "a correction is not blocked either: {}", moved.body);
    assert_eq!(seats(&app, &owner).await?, (2, 1));
    app.finish().await
}

#[tokio::test]
async fn coming_back_takes_a_free_seat_or_fails() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 2).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    done(&app, &owner, "memberSuspend", &ben.member_id).await?;
    done(&app, &owner, "memberDeactivate", &ben.member_id).await?;
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    let cleo = app.invite(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert!(cleo.codes().is_empty());
    app.settle().await?;
    let short = act(&app, &owner, "memberReactivate", &ben.member_id).await?;
    assert_eq!(short.codes(), ["SEAT_SHORTAGE"]);
    let shortage = &short.user_errors()[0];
    assert_eq!((&shortage["required"], &shortage["available"]), (&json!(1), &json!(0)));
    app.pass(SignedDuration::from_hours(24));
    // Nobody swept: who needs a seat lapses what is overdue.
    done(&app, &owner, "memberReactivate", &ben.member_id).await?;
    assert_eq!(status(&app, &owner, &ben.member_id).await?["status"], "SUSPENDED", "as before");
    let shut = json!({ "email": ben.email, "password": crate::support::app::PASSWORD });
    assert_eq!(app.mutate(None, "sessionCreate", shut, "").await?.codes(), ["NO_USABLE_MEMBERSHIP"]);
    done(&app, &owner, "memberActivate", &ben.member_id).await?;
    assert_eq!(app.person(&ben.email).await?.member_id, ben.member_id);
    assert_eq!(seats(&app, &owner).await?, (2, 0));
    app.finish().await
}

#[tokio::test]
async fn what_happens_in_one_account_changes_no_other() -> Result<()> {
    let app = App::start().await?;
    let first = app.found(OWNER, 5).await?;
    let second = app.found("sofia@secondfirm.example", 5).await?;
    let email = "ben@harborandfinch.example";
    let here = app.join(&first, email, &[SystemRole::Standard]).await?;
    assert!(app.invite(&second, email, &[SystemRole::Administrator]).await?.codes().is_empty());
    assert!(app.accept(&app.letter(email).await?.token(), "Ben", "Brandt").await?.codes().is_empty());
    let input = json!({ "email": email, "password": crate::support::app::PASSWORD, "accountId": second.account_id });
    let there = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
    for action in ["memberSuspend", "memberDeactivate", "memberReactivate"] {
        done(&app, &first, action, &here.member_id).await?;
        assert!(lives(&app, &there).await?, "{action}");
    }
    assert!(!lives(&app, &here.token).await?);
    app.finish().await
}

#[tokio::test]
async fn roles_are_set_and_bind_on_the_next_request() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let may = async || -> Result<Value> {
        let answer = app.graphql(Some(&ben.token), "{ viewer { permissions } }", Value::Null).await?;
        Ok(answer.data("/viewer/permissions").clone())
    };
    assert_eq!(may().await?, json!([]));
    let set = assign(&app, &owner, &ben.member_id, &[SystemRole::Auditor, SystemRole::Standard]).await?;
    assert_eq!(set.data("/memberAssignRoles/member/roles").as_array().unwrap().len(), 2, "{}", set.body);
    assert_eq!(
        may().await?,
        json!(["members.read", "resources.read", "licenses.read", "billing.read", "imports.read", "activity.read"])
    );
    let set = assign(&app, &owner, &ben.member_id, &[SystemRole::Auditor, SystemRole::Auditor]).await?;
    assert_eq!(set.data("/memberAssignRoles/member/roles"), &json!([{ "systemKey": "AUDITOR" }]), "each once");
    let before = events(&app).await?;
    assert!(assign(&app, &owner, &ben.member_id, &[SystemRole::Auditor]).await?.codes().is_empty());
    assert_eq!(events(&app).await?, before, "nothing changed");
    assert!(assign(&app, &owner, &ben.member_id, &[SystemRole::Standard]).await?.codes().is_empty());
    assert_eq!(may().await?, json!([]));
    let refused = app.graphql(Some(&ben.token), "{ account { licensePools { owned } } }", Value::Null).await?;
    assert_eq!(refused.errors(), ["FORBIDDEN"]);
    app.finish().await
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let manager = app.join(&owner, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let lacks = [
        "roles.manage",
        "licenses.read",
        "licenses.manage",
        "billing.read",
        "billing.manage",
        "activity.read",
        "account.update",
    ];

    let up = assign(&app, &manager, &ben.member_id, &[SystemRole::Standard, SystemRole::Administrator]).await?;
    assert_eq!(up.codes(), ["NOT_PERMITTED"]);
    assert_eq!(up.user_errors()[0]["permissions"], json!(lacks));
    assert_eq!(up.user_errors()[0]["field"], json!(["input", "roleIds"]));
    let up = assign(&app, &manager, &ben.member_id, &[SystemRole::Auditor]).await?;
    assert_eq!(up.user_errors()[0]["permissions"], json!(["licenses.read", "activity.read"]));
    let own = assign(&app, &manager, &manager.member_id, &[SystemRole::Administrator]).await?;
    assert_eq!(own.codes(), ["NOT_PERMITTED"]);
    let down = assign(&app, &manager, &admin.member_id, &[SystemRole::Standard]).await?;
    assert_eq!(down.codes(), ["NOT_PERMITTED"], "who holds more is not touched");
    assert_eq!(down.user_errors()[0]["field"], json!(["input", "memberId"]));
    let invite = app.invite(&manager, "new@harborandfinch.example", &[SystemRole::Administrator]).await?;
    assert_eq!(invite.codes(), ["NOT_PERMITTED"]);
    let none = assign(&app, &ben, &ben.member_id, &[SystemRole::Auditor]).await?;
    assert_eq!(none.user_errors()[0]["permissions"], json!(["roles.assign"]));

    assert!(assign(&app, &manager, &ben.member_id, &[SystemRole::MemberManager]).await?.codes().is_empty());
    assert!(assign(&app, &admin, &ben.member_id, &[SystemRole::Administrator]).await?.codes().is_empty());
    let own = assign(&app, &manager, &manager.member_id, &[SystemRole::Standard]).await?;
    assert!(own.codes().is_empty(), "one may give up one's own: {}", own.body);
    let back = assign(&app, &manager, &manager.member_id, &[SystemRole::MemberManager]).await?;
    assert_eq!(back.codes(), ["NOT_PERMITTED"], "and not take it back");
    app.finish().await
}

#[tokio::test]
async fn a_member_has_a_role_and_the_owner_is_administrator() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let none = assign(&app, &owner, &admin.member_id, &[]).await?;
    assert_eq!(none.codes(), ["ROLE_REQUIRED"]);
    let many: Vec<String> = (0..21).map(|_| domain::id::RoleId::new().to_string()).collect();
    let many = json!({ "memberId": admin.member_id, "roleIds": many });
    assert_eq!(app.mutate(Some(&owner.token), "memberAssignRoles", many, "").await?.codes(), ["TOO_MANY"]);
    for unknown in [domain::id::RoleId::new().to_string(), "rol_1".to_owned()] {
        let ids = json!([SystemRole::Standard.id().to_string(), unknown]);
        let input = json!({ "memberId": admin.member_id, "roleIds": ids });
        let unknown = app.mutate(Some(&owner.token), "memberAssignRoles", input, "").await?;
        assert_eq!(unknown.codes(), ["NOT_FOUND"]);
        assert_eq!(unknown.user_errors()[0]["field"][1], "roleIds");
    }
    let down = assign(&app, &owner, &owner.member_id, &[SystemRole::Standard]).await?;
    assert_eq!(down.codes(), ["OWNER_PROTECTED"], "the owner stays administrator");
    let more = assign(&app, &owner, &owner.member_id, &[SystemRole::Standard, SystemRole::Administrator]).await?;
    assert!(more.codes().is_empty(), "{}", more.body);
    let by_other = assign(&app, &admin, &owner.member_id, &[SystemRole::Administrator]).await?;
    assert_eq!(by_other.codes(), ["OWNER_PROTECTED"]);
    app.finish().await
}

#[tokio::test]
async fn whoever_changes_an_invited_persons_roles_answers_for_them() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let manager = app.join(&owner, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let email = "ben@harborandfinch.example";
    let invited = app.invite(&manager, email, &[SystemRole::Standard]).await?;
    let member = invited.text("/memberInvite/invitations/0/member/id");
    assert!(assign(&app, &owner, &member, &[SystemRole::Administrator]).await?.codes().is_empty());
    let accepted = app.accept(&app.letter(email).await?.token(), "Ben", "Brandt").await?;
    assert_eq!(accepted.codes(), Vec::<String>::new(), "the owner grants it, not the manager: {}", accepted.body);
    let ben = app.person(email).await?;
    assert_eq!(act(&app, &manager, "memberSuspend", &ben.member_id).await?.codes(), ["NOT_PERMITTED"]);
    app.finish().await
}

#[tokio::test]
async fn a_hundred_parallel_changes_leave_one_clear_status() -> Result<()> {
    let app = App::roomy().await?;
    let owner = app.found(OWNER, 3).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let before = events(&app).await?;
    let all =
        futures::future::try_join_all((0..100).map(|n| act(&app, &owner, ACTIONS[n % 4], &ben.member_id))).await?;
    let mut successes = 0;
    for answer in &all {
        if answer.errors() == ["SERVICE_UNAVAILABLE"] || answer.errors() == ["TIMEOUT"] {
            continue;
        }
        assert!(answer.codes().is_empty() || answer.codes() == ["WRONG_STATUS"], "{}", answer.body);
        successes += i64::from(answer.codes().is_empty());
    }
    assert!(successes > 0);
    assert_eq!(events(&app).await? - before, successes, "an event per change, and none else");
    let held = "SELECT in_use = (SELECT count(*) FROM license_allocation) FROM license_pool";
    assert_eq!(app.look(held).await?.as_deref(), Some("true"));
    app.finish().await
}
