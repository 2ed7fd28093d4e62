//! Registering resources, who answers for them, their archive, and to whom they are open.

use anyhow::{Context as _, Result};
use domain::id::UnitId;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::world::World;

fn item(external: &str, name: &str) -> Value {
    json!({ "type": "matter", "externalId": external, "name": name })
}

/// A unit, and members of it. Written directly: units have mutations of their own elsewhere.
async fn unit(world: &World, name: &str, members: &[&str]) -> Result<String> {
    let id = UnitId::new();
    let account: domain::id::AccountId = world.owner.account_id.parse()?;
    sqlx::query("INSERT INTO unit (account_id, unit_id, name, created_at) VALUES ($1, $2, $3, now())")
        .bind(account)
        .bind(id)
        .bind(name)
        .execute(&world.app.db.pool)
        .await?;
    for member in members {
        let member: domain::id::MemberId = member.parse()?;
        sqlx::query("INSERT INTO member_unit (account_id, member_id, unit_id, added_at) VALUES ($1, $2, $3, now())")
            .bind(account)
            .bind(member)
            .bind(id)
            .execute(&world.app.db.pool)
            .await?;
    }
    Ok(id.to_string())
}

/// Somebody who manages members and resources in one unit only.
async fn manager_of(world: &World, unit: &str) -> Result<crate::support::app::Person> {
    let email = "mia@harborandfinch.example";
    let role = SystemRole::MemberManager.id().to_string();
    let input = json!({ "invitations": [{ "email": email, "unitRoles": [{ "roleId": role, "unitId": unit }] }] });
    let invited = world.app.mutate(Some(&world.owner.token), "memberInvite", input, "__typename").await?;
    assert!(invited.codes().is_empty(), "{}", invited.body);
    let token = world.app.letter(email).await?.token();
    assert!(world.app.accept(&token, "Mia", "Moe").await?.codes().is_empty());
    world.app.person(email).await
}

#[tokio::test]
async fn what_is_known_by_type_and_external_id_is_brought_up_to_date() -> Result<()> {
    let world = World::new().await?;
    let input = json!({ "resources": [item("1", " Smith v. Jones "), item("2", "Estate of Doe")] });
    let made = world.done("resourceRegister", input).await?;
    let first = made.data("/resourceRegister/resources/0").clone();
    assert_eq!(
        (&first["name"], &first["openToAll"], &first["version"]),
        (&json!("Smith v. Jones"), &json!(false), &json!(1))
    );
    let mut again = item("1", "Smith v. Smith");
    again["responsibleMemberId"] = json!(world.ann.member_id);
    again["openToAll"] = json!(true);
    let input = json!({ "resources": [item("2", "Estate of Doe"), again, item("3", "New")] });
    let changed = world.done("resourceRegister", input).await?;
    let list = changed.data("/resourceRegister/resources").as_array().context("a list")?;
    assert_eq!(list[1]["id"], first["id"], "the same one");
    let seen: Vec<(&Value, &Value)> = list.iter().map(|one| (&one["externalId"], &one["version"])).collect();
    assert_eq!(seen, [(&json!("2"), &json!(1)), (&json!("1"), &json!(2)), (&json!("3"), &json!(1))]);
    assert_eq!(list[1]["responsibleMemberId"], json!(world.ann.member_id));
    let kept = world.done("resourceRegister", json!({ "resources": [item("1", "Smith v. Smith")] })).await?;
    let kept = kept.data("/resourceRegister/resources/0");
    assert_eq!(
        (&kept["responsibleMemberId"], &kept["openToAll"]),
        (&json!(world.ann.member_id), &json!(true)),
        "left out, it stays"
    );
    let mut cleared = item("1", "Smith v. Smith");
    cleared["responsibleMemberId"] = Value::Null;
    let cleared = world.done("resourceRegister", json!({ "resources": [cleared] })).await?;
    assert!(cleared.data("/resourceRegister/resources/0/responsibleMemberId").is_null());
    let other = json!({ "type": "contact", "externalId": "1", "name": "Another type" });
    let other = world.done("resourceRegister", json!({ "resources": [other] })).await?;
    assert_ne!(other.data("/resourceRegister/resources/0/id"), &first["id"]);
    let found = world.app.graphql(
        Some(&world.owner.token),
        "{ resourceByExternalId(type: \"matter\", externalId: \" 1\") { name } account { resourcesCount } }",
        Value::Null,
    );
    let found = found.await?;
    assert_eq!(found.data("/resourceByExternalId/name"), "Smith v. Smith");
    assert_eq!(found.data("/account/resourcesCount"), 4);
    world.app.finish().await
}

#[tokio::test]
async fn faults_are_told_per_resource() -> Result<()> {
    let world = World::new().await?;
    let archived = world.matter("archived").await?;
    world.done("resourceArchive", json!({ "resourceId": archived })).await?;
    let invited = world.app.invite(&world.owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    let ivy = invited.text("/memberInvite/invitations/0/member/id");
    let with = |external: &str, key: &str, value: Value| {
        let mut item = item(external, "Name");
        item[key] = value;
        item
    };
    let absent = |prefix: &str| json!(format!("{prefix}_{}", uuid::Uuid::now_v7().simple()));
    let items = json!([
        item("1", "Good"),
        item("", "No id"),
        with("2", "name", json!("x".repeat(201))),
        with("3", "type", json!("a\u{0}b")),
        item("1", "Again"),
        item("archived", "In the archive"),
        with("4", "unitId", absent("unt")),
        with("5", "responsibleMemberId", absent("mem")),
        with("6", "responsibleMemberId", json!(ivy)),
        item("7", "Good as well"),
    ]);
    let told = |answer: &crate::support::app::Answer| -> Vec<String> {
        let told = answer.user_errors().into_iter().map(|error| {
            let path = error["field"].as_array().unwrap().iter().skip(2).map(|part| part.as_str().unwrap().to_owned());
            format!("{} {}", path.collect::<Vec<_>>().join("."), error["code"].as_str().unwrap())
        });
        told.collect()
    };
    let wanted = [
        "1.externalId REQUIRED",
        "2.name TOO_LONG",
        "3.type INVALID_CHARACTERS",
        "4.externalId DUPLICATE",
        "5.externalId ARCHIVED",
        "6.unitId NOT_FOUND",
        "7.responsibleMemberId NOT_FOUND",
        "8.responsibleMemberId WRONG_STATUS",
    ];
    let all = world.act(&world.owner, "resourceRegister", json!({ "resources": items })).await?;
    assert_eq!(told(&all), wanted);
    assert!(all.data("/resourceRegister/resources").is_null());
    let partly = json!({ "resources": items, "errorPolicy": "PARTIAL" });
    let partly = world.act(&world.owner, "resourceRegister", partly).await?;
    assert_eq!(told(&partly), wanted);
    let made = partly.data("/resourceRegister/resources").as_array().context("a list")?;
    assert_eq!(made.iter().map(|one| &one["externalId"]).collect::<Vec<_>>(), ["1", "7"]);
    let none = world.act(&world.owner, "resourceRegister", json!({ "resources": [] })).await?;
    assert_eq!(none.codes(), ["REQUIRED"]);
    let twice = json!({ "resources": [item("8", "Name"), item(" 8", "Name")] });
    assert_eq!(
        world.act(&world.owner, "resourceRegister", twice).await?.codes(),
        ["DUPLICATE"],
        "trimmed, they are alike"
    );
    let many = json!({ "resources": vec![item("1", "Name"); 501] });
    assert_eq!(world.act(&world.owner, "resourceRegister", many).await?.codes(), ["TOO_MANY"]);
    world.app.finish().await
}

#[tokio::test]
async fn two_who_register_the_same_make_one() -> Result<()> {
    let world = World::new().await?;
    let register = async |number: usize| {
        let items =
            if number.is_multiple_of(2) { [item("a", "A"), item("b", "B")] } else { [item("b", "B"), item("a", "A")] };
        world.done("resourceRegister", json!({ "resources": items })).await
    };
    futures::future::try_join_all((0..6).map(register)).await?;
    assert_eq!(world.app.look("SELECT count(*) FROM resource").await?.as_deref(), Some("2"));
    let events = world.app.look("SELECT count(*) FROM event WHERE kind = 'resource.registered'").await?;
    assert_eq!(events.as_deref(), Some("2"));
    world.app.finish().await
}

#[tokio::test]
async fn the_archive_forgets_the_name_and_keeps_the_rest() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    world.done("resourceAssign", json!({ "resourceId": matter, "memberId": world.ann.member_id })).await?;
    assert_eq!(world.ground(&world.ann, &matter).await?, "RESPONSIBLE");
    let archived = world.done("resourceArchive", json!({ "resourceId": matter })).await?;
    let shown = archived.data("/resourceArchive/resource");
    assert_eq!((&shown["name"], shown["archivedAt"].is_string()), (&json!("7"), true));
    assert_eq!(world.app.look("SELECT count(*) FROM resource WHERE name LIKE 'Matter%'").await?.as_deref(), Some("0"));
    assert!(world.ground(&world.ann, &matter).await?.is_null(), "nobody has access");
    let group = world.group("Tax", &[]).await?;
    for (mutation, input) in [
        ("resourceAssign", json!({ "memberId": world.ben.member_id })),
        ("resourceGrant", json!({ "everybody": true })),
        ("resourceRateSet", json!({ "groupId": group, "rate": { "amount": "1", "currency": "USD" } })),
    ] {
        let mut input = input;
        input["resourceId"] = json!(matter);
        assert_eq!(world.act(&world.owner, mutation, input).await?.codes(), ["ARCHIVED"], "{mutation}");
    }
    let bad = json!({ "resourceId": matter, "name": " " });
    assert_eq!(world.act(&world.owner, "resourceUnarchive", bad).await?.codes(), ["REQUIRED"]);
    let back = world.done("resourceUnarchive", json!({ "resourceId": matter, "name": "Smith v. Jones" })).await?;
    assert_eq!(back.data("/resourceUnarchive/resource/name"), "Smith v. Jones");
    assert_eq!(world.ground(&world.ann, &matter).await?, "RESPONSIBLE", "as it was");

    world.done("resourceArchive", json!({ "resourceId": matter })).await?;
    world
        .app
        .mutate(Some(&world.owner.token), "memberDeactivate", json!({ "memberId": world.ann.member_id }), "")
        .await?;
    let back = world.done("resourceUnarchive", json!({ "resourceId": matter })).await?;
    assert!(back.data("/resourceUnarchive/resource/responsibleMemberId").is_null(), "she is gone: {}", back.body);
    world.app.finish().await
}

#[tokio::test]
async fn only_an_active_member_answers_for_a_resource() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let assign = async |member: Value| {
        world.act(&world.owner, "resourceAssign", json!({ "resourceId": matter, "memberId": member })).await
    };
    world.app.mutate(Some(&world.owner.token), "memberSuspend", json!({ "memberId": world.ben.member_id }), "").await?;
    let refused = assign(json!(world.ben.member_id)).await?;
    assert_eq!(refused.codes(), ["WRONG_STATUS"]);
    assert_eq!(refused.user_errors()[0]["field"], json!(["input", "memberId"]));
    let done = assign(json!(world.ann.member_id)).await?;
    assert_eq!(done.data("/resourceAssign/resource/responsibleMemberId"), &json!(world.ann.member_id));
    assert!(assign(Value::Null).await?.data("/resourceAssign/resource/responsibleMemberId").is_null());
    world.app.finish().await
}

#[tokio::test]
async fn who_manages_a_unit_registers_and_finds_resources_of_that_unit_only() -> Result<()> {
    let world = World::new().await?;
    let mine = unit(&world, "Tax", &[&world.ann.member_id]).await?;
    let other = unit(&world, "Litigation", &[&world.ben.member_id]).await?;
    let mia = manager_of(&world, &mine).await?;
    let within = |external: &str, unit: &str| {
        let mut item = item(external, "Name");
        item["unitId"] = json!(unit);
        json!({ "resources": [item] })
    };
    let wide = world.matter("wide").await?;
    let theirs =
        world.done("resourceRegister", within("theirs", &other)).await?.text("/resourceRegister/resources/0/id");
    let made = world.act(&mia, "resourceRegister", within("mine", &mine)).await?;
    let id = made.text("/resourceRegister/resources/0/id");
    assert_eq!(made.data("/resourceRegister/resources/0/viewerCanManage"), true);
    let mut outside = item("mine", "Name");
    outside["unitId"] = Value::Null;
    for (input, code, field) in [
        (json!({ "resources": [item("new", "Name")] }), "UNIT_REQUIRED", "unitId"),
        (within("new", &other), "NOT_FOUND", "unitId"),
        (within("theirs", &mine), "NOT_FOUND", "externalId"),
        (within("wide", &mine), "NOT_FOUND", "externalId"),
        (json!({ "resources": [outside] }), "UNIT_REQUIRED", "unitId"),
    ] {
        let refused = world.act(&mia, "resourceRegister", input.clone()).await?;
        assert_eq!(refused.codes(), [code], "{input}");
        assert_eq!(refused.user_errors()[0]["field"][3], field, "{input}");
    }
    for (mutation, input) in [
        ("resourceAssign", json!({ "memberId": world.ann.member_id })),
        ("resourceGrant", json!({ "everybody": true })),
        ("resourceRevoke", json!({ "everybody": true })),
        ("resourceArchive", json!({})),
        ("resourceUnarchive", json!({})),
    ] {
        for hidden in [&wide, &theirs] {
            let mut input = input.clone();
            input["resourceId"] = json!(hidden);
            let refused = world.act(&mia, mutation, input).await?;
            assert_eq!(refused.codes(), ["NOT_FOUND"], "{mutation}");
        }
        let mut input = input.clone();
        input["resourceId"] = json!(id);
        assert!(world.act(&mia, mutation, input).await?.codes().is_empty(), "{mutation}");
    }
    let assign = json!({ "resourceId": id, "memberId": world.ben.member_id });
    assert_eq!(world.act(&mia, "resourceAssign", assign).await?.codes(), ["NOT_FOUND"], "Ben is in another unit");
    let places = "{ account { resources { nodes { externalId unit { id name } } } } }";
    let seen = world.app.graphql(Some(&mia.token), places, Value::Null).await?;
    let tax = json!({ "id": mine, "name": "Tax" });
    assert_eq!(seen.data("/account/resources/nodes"), &json!([{ "externalId": "mine", "unit": tax }]));
    let seen = world.app.graphql(Some(&world.owner.token), places, Value::Null).await?;
    let unit_of = |external: &str| {
        let nodes = seen.data("/account/resources/nodes").as_array().unwrap();
        nodes.iter().find(|node| node["externalId"] == external).unwrap()["unit"]["name"].clone()
    };
    assert_eq!([unit_of("mine"), unit_of("theirs"), unit_of("wide")], [json!("Tax"), json!("Litigation"), Value::Null]);
    let list = "{ account { resourcesCount resources { nodes { externalId } } } }";
    let seen = world.app.graphql(Some(&mia.token), list, Value::Null).await?;
    assert_eq!(seen.data("/account/resources/nodes"), &json!([{ "externalId": "mine" }]));
    assert_eq!(seen.data("/account/resourcesCount"), 1);
    let node = "query ($id: ID!) { node(id: $id) { id } resource(id: $id) { id } }";
    let hidden = world.app.graphql(Some(&mia.token), node, json!({ "id": theirs })).await?;
    assert_eq!(hidden.data(""), &json!({ "node": null, "resource": null }));
    world.app.finish().await
}

#[tokio::test]
async fn lists_are_filtered_and_paged_by_name() -> Result<()> {
    let world = World::new().await?;
    for (external, name) in [("C-1", "beta"), ("C-2", "Alpha"), ("X-3", "gamma")] {
        world.done("resourceRegister", json!({ "resources": [item(external, name)] })).await?;
    }
    let contact =
        json!({ "type": "contact", "externalId": "9", "name": "delta", "responsibleMemberId": world.ann.member_id });
    world.done("resourceRegister", json!({ "resources": [contact] })).await?;
    let names = async |filter: Value| -> Result<Vec<String>> {
        let document = "query ($f: ResourceFilter) { account { resources(filter: $f) { nodes { name } } } }";
        let answer = world.app.graphql(Some(&world.owner.token), document, json!({ "f": filter })).await?;
        let nodes = answer.data("/account/resources/nodes").as_array().context("nodes")?;
        Ok(nodes.iter().map(|node| node["name"].as_str().unwrap_or_default().to_owned()).collect())
    };
    assert_eq!(names(Value::Null).await?, ["Alpha", "beta", "delta", "gamma"]);
    assert_eq!(names(json!({ "text": "c-" })).await?, ["Alpha", "beta"]);
    assert_eq!(names(json!({ "text": "LT" })).await?, ["delta"]);
    assert_eq!(names(json!({ "type": "matter" })).await?, ["Alpha", "beta", "gamma"]);
    assert_eq!(names(json!({ "responsibleMemberId": world.ann.member_id })).await?, ["delta"]);
    assert_eq!(names(json!({ "archived": true })).await?, Vec::<String>::new());
    let page = "query ($after: String) { account { resources(first: 3, after: $after) { nodes { name groupIds rates { groupId } }
        pageInfo { hasNextPage endCursor } } } }";
    let first = world.app.graphql(Some(&world.owner.token), page, Value::Null).await?;
    let after = first.data("/account/resources/pageInfo/endCursor");
    let second = world.app.graphql(Some(&world.owner.token), page, json!({ "after": after })).await?;
    assert_eq!(second.data("/account/resources/nodes/0/name"), "gamma");
    assert_eq!(second.data("/account/resources/pageInfo/hasNextPage"), false);
    world.app.finish().await
}
