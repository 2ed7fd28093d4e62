//! Steps of many members at once, successors, leaving.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{OWNER, lives, seats, status};
use crate::support::app::{Answer, App, Person};

/// What the host product registers, responsible of which is a member.
pub(super) async fn resource(app: &App, member: &str, name: &str) -> Result<String> {
    let id = domain::id::ResourceId::new();
    let member: domain::id::MemberId = member.parse()?;
    sqlx::query(
        "INSERT INTO resource (account_id, resource_id, resource_type, external_id, name, responsible_member_id, created_at)
         SELECT account_id, $1, 'matter', $1::text, $2, member_id, now() FROM member WHERE member_id = $3",
    )
    .bind(id)
    .bind(name)
    .bind(member)
    .execute(&app.db.pool)
    .await?;
    Ok(id.to_string())
}

async fn responsible(app: &App, resource: &str) -> Result<Option<String>> {
    let id: domain::id::ResourceId = resource.parse()?;
    let statement = format!("SELECT responsible_member_id FROM resource WHERE resource_id = '{}'", id.0);
    let id: Option<domain::id::MemberId> = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&app.db.pool).await?;
    Ok(id.map(|id| id.to_string()))
}

async fn step(app: &App, by: &Person, mutation: &str, input: Value) -> Result<Answer> {
    let fields = if mutation == "memberDelete" { "deletedIds" } else { "member { id } members { id status }" };
    app.mutate(Some(&by.token), mutation, input, fields).await
}

fn refusals(answer: &Answer) -> Vec<(String, Value)> {
    let refusal = |error: &Value| (error["code"].as_str().unwrap().to_owned(), error["field"].clone());
    answer.user_errors().iter().map(refusal).collect()
}

#[tokio::test]
async fn many_are_handled_in_one_step_and_each_refusal_names_its_place() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let mut people = Vec::new();
    for name in ["ann", "bob", "cid"] {
        people.push(app.join(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await?);
    }
    let unknown = domain::id::MemberId::new().to_string();
    let ids = [
        &people[2].member_id,
        &owner.member_id,
        &people[0].member_id,
        &admin.member_id,
        &unknown,
        &people[2].member_id,
    ];
    let wanted = |place: &str| json!(["input", "memberIds", place]);
    let refused = vec![
        ("OWNER_PROTECTED".to_owned(), wanted("1")),
        ("OWN_STATUS".to_owned(), wanted("3")),
        ("NOT_FOUND".to_owned(), wanted("4")),
    ];
    let nothing = step(&app, &admin, "memberSuspend", json!({ "memberIds": ids })).await?;
    assert_eq!(refusals(&nothing), refused);
    assert!(nothing.data("/memberSuspend/members").is_null());
    assert!(lives(&app, &people[0].token).await?, "all or nothing unless told otherwise");

    let some = step(&app, &admin, "memberSuspend", json!({ "memberIds": ids, "errorPolicy": "PARTIAL" })).await?;
    assert_eq!(refusals(&some), refused);
    let done = json!([{ "id": people[2].member_id, "status": "SUSPENDED" }, { "id": people[0].member_id, "status": "SUSPENDED" }]);
    assert_eq!((some.data("/memberSuspend/members"), some.data("/memberSuspend/member")), (&done, &Value::Null));
    assert!(!lives(&app, &people[0].token).await? && lives(&app, &people[1].token).await?);

    let all: Vec<&String> = people.iter().map(|person| &person.member_id).collect();
    let wrong = step(&app, &admin, "memberActivate", json!({ "memberIds": all })).await?;
    assert_eq!(refusals(&wrong), [("WRONG_STATUS".to_owned(), wanted("1"))]);
    let out = step(&app, &admin, "memberDeactivate", json!({ "memberIds": all })).await?;
    assert_eq!(out.codes(), Vec::<String>::new(), "{}", out.body);
    assert_eq!(seats(&app, &owner).await?, (2, 0));

    // Seats go to the first ones, and what refuses the others says how many there were.
    app.grant_seats(&owner.account_id, 4).await?;
    let back = json!({ "memberIds": all, "errorPolicy": "PARTIAL" });
    let back = step(&app, &admin, "memberReactivate", back).await?;
    assert_eq!(refusals(&back), [("SEAT_SHORTAGE".to_owned(), wanted("2"))]);
    assert_eq!((&back.user_errors()[0]["required"], &back.user_errors()[0]["available"]), (&json!(3), &json!(2)));
    assert_eq!(seats(&app, &owner).await?, (4, 0));
    let none = step(&app, &admin, "memberReactivate", json!({ "memberId": all[2] })).await?;
    assert_eq!(refusals(&none), [("SEAT_SHORTAGE".to_owned(), json!(["input", "memberId"]))]);

    for (input, code, field) in [
        (json!({}), "REQUIRED", "memberId"),
        (json!({ "memberId": all[0], "memberIds": all }), "OUT_OF_RANGE", "memberIds"),
        (json!({ "memberIds": [] }), "REQUIRED", "memberIds"),
        (json!({ "memberIds": vec![all[0]; 501] }), "TOO_MANY", "memberIds"),
    ] {
        let answer = step(&app, &admin, "memberSuspend", input).await?;
        assert_eq!(refusals(&answer), [(code.to_owned(), json!(["input", field]))]);
    }
    app.finish().await
}

#[tokio::test]
async fn who_leaves_hands_over_and_the_successor_is_told() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let join =
        async |name: &str| app.join(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await;
    let (ann, bob, cid, dan) = (join("ann").await?, join("bob").await?, join("cid").await?, join("dan").await?);
    let matters =
        [resource(&app, &ann.member_id, "Doe v. Roe").await?, resource(&app, &ann.member_id, "Estate of Poe").await?];
    let archived = resource(&app, &ann.member_id, "Old").await?;
    sqlx::query("UPDATE resource SET archived_at = now() WHERE name = 'Old'").execute(&app.db.pool).await?;

    for mutation in ["memberDeactivate", "memberDelete"] {
        let alone = step(&app, &owner, mutation, json!({ "memberId": ann.member_id })).await?;
        assert_eq!(refusals(&alone), [("SUCCESSOR_REQUIRED".to_owned(), json!(["input", "memberId"]))], "{mutation}");
    }
    let leave = async |by: &Person, input| app.mutate(Some(&by.token), "memberLeave", input, "memberId").await;
    assert_eq!(leave(&ann, json!({})).await?.codes(), ["SUCCESSOR_REQUIRED"]);
    step(&app, &owner, "memberSuspend", json!({ "memberId": dan.member_id })).await?;
    let unknown = domain::id::MemberId::new().to_string();
    for (successor, code) in
        [(&dan.member_id, "SUCCESSOR_INVALID"), (&ann.member_id, "SUCCESSOR_INVALID"), (&unknown, "NOT_FOUND")]
    {
        let input = json!({ "memberId": ann.member_id, "successorId": successor });
        let answer = step(&app, &owner, "memberDeactivate", input).await?;
        assert_eq!(refusals(&answer), [(code.to_owned(), json!(["input", "successorId"]))]);
        assert_eq!(leave(&ann, json!({ "successorId": successor })).await?.codes(), [code]);
    }
    assert_eq!(responsible(&app, &matters[0]).await?.as_deref(), Some(ann.member_id.as_str()));

    let input = json!({ "memberId": ann.member_id, "successorId": bob.member_id });
    assert_eq!(step(&app, &owner, "memberDeactivate", input).await?.codes(), Vec::<String>::new());
    for matter in &matters {
        assert_eq!(responsible(&app, matter).await?.as_deref(), Some(bob.member_id.as_str()));
    }
    assert_eq!(responsible(&app, &archived).await?.as_deref(), Some(ann.member_id.as_str()), "nobody works on it");
    let letter = app.letter(&bob.email).await?;
    assert!(letter.subject.contains("took over") && letter.text.contains("2 things"), "{letter:?}");

    // By themselves, to another one.
    assert_eq!(
        leave(&bob, json!({ "successorId": cid.member_id })).await?.text("/memberLeave/memberId"),
        bob.member_id
    );
    assert!(!lives(&app, &bob.token).await?);
    assert_eq!(status(&app, &owner, &bob.member_id).await?["status"], "DEACTIVATED");
    assert_eq!(responsible(&app, &matters[1]).await?.as_deref(), Some(cid.member_id.as_str()));
    // For good, to the owner; what is archived is nobody's then.
    let input = json!({ "memberIds": [ann.member_id, cid.member_id], "successorId": owner.member_id });
    let deleted = step(&app, &owner, "memberDelete", input).await?;
    assert_eq!(deleted.data("/memberDelete/deletedIds"), &json!([ann.member_id, cid.member_id]), "{}", deleted.body);
    assert_eq!(responsible(&app, &matters[0]).await?.as_deref(), Some(owner.member_id.as_str()));
    assert_eq!(responsible(&app, &archived).await?, None);
    let moved = app.look("SELECT count(*) FROM event WHERE kind = 'member.succeeded'").await?;
    assert_eq!(moved.as_deref(), Some("3"));
    app.finish().await
}

#[tokio::test]
async fn anybody_but_the_owner_leaves_and_their_other_accounts_do_not_notice() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let leave = async |token: &str| app.mutate(Some(token), "memberLeave", json!({}), "memberId").await;
    assert_eq!(leave(&owner.token).await?.codes(), ["OWNER_PROTECTED"]);
    let made = app.mutate(Some(&ann.token), "accountCreate", json!({ "name": "Second" }), "accountId").await?;
    let second = made.text("/accountCreate/accountId");
    let input = json!({ "email": ann.email, "password": crate::support::app::PASSWORD, "accountId": second });
    let elsewhere = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
    let again = app.sign_in(&ann.email).await?;
    assert_eq!(leave(&ann.token).await?.codes(), Vec::<String>::new());
    assert!(!lives(&app, &ann.token).await?);
    assert!(lives(&app, &elsewhere).await? && lives(&app, &again).await?, "another account is another account");
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    let kinds = "SELECT string_agg(kind, ' ') FROM event WHERE kind IN ('member.left', 'member.deactivated')";
    assert_eq!(app.look(kinds).await?.as_deref(), Some("member.left"));
    let back = step(&app, &owner, "memberReactivate", json!({ "memberId": ann.member_id })).await?;
    assert_eq!(back.text("/memberReactivate/members/0/status"), "ACTIVE");
    app.finish().await
}
