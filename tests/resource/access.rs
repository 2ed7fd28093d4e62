//! Who has access to what, and who may ask.

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::world::{CAN_ACCESS, World};
use crate::support::app::Person;

#[tokio::test]
async fn access_follows_what_opens_it_at_once() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let group = world.group("Tax", &[&world.ann]).await?;
    assert!(world.ground(&world.ann, &matter).await?.is_null());
    world.done("resourceGrant", json!({ "resourceId": matter, "groupIds": [group] })).await?;
    assert_eq!(world.ground(&world.ann, &matter).await?, "GROUP");
    assert!(world.ground(&world.ben, &matter).await?.is_null(), "Ben is not in it");
    world.on_group("groupArchive", json!({ "groupId": group })).await?;
    assert!(world.ground(&world.ann, &matter).await?.is_null(), "an archived group grants nothing");
    world.on_group("groupUnarchive", json!({ "groupId": group })).await?;
    world.on_group("groupRemoveMembers", json!({ "groupId": group, "memberIds": [world.ann.member_id] })).await?;
    assert!(world.ground(&world.ann, &matter).await?.is_null(), "Ann has left it");

    world.done("resourceGrant", json!({ "resourceId": matter, "memberIds": [world.ben.member_id] })).await?;
    assert_eq!(world.ground(&world.ben, &matter).await?, "MEMBER");
    let closed =
        world.done("resourceRevoke", json!({ "resourceId": matter, "memberIds": [world.ben.member_id] })).await?;
    assert_eq!(closed.data("/resourceRevoke/resource/memberIds"), &json!([]));
    assert!(world.ground(&world.ben, &matter).await?.is_null());

    world.done("resourceGrant", json!({ "resourceId": matter, "everybody": true })).await?;
    assert_eq!(world.ground(&world.ben, &matter).await?, "EVERYBODY");
    world.app.mutate(Some(&world.owner.token), "memberSuspend", json!({ "memberId": world.ben.member_id }), "").await?;
    assert!(world.grounds(&world.owner, &world.ben, &[&matter]).await?[0].is_null(), "suspended people have no access");
    world.done("resourceRevoke", json!({ "resourceId": matter, "everybody": true })).await?;
    assert!(world.ground(&world.owner, &matter).await?.is_null(), "not even whoever manages resources");
    world.app.finish().await
}

#[tokio::test]
async fn only_the_days_of_a_membership_give_access() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    world.done("resourceGrant", json!({ "resourceId": matter, "everybody": true })).await?;
    let day = |days: i64| {
        let now = world.app.db.clock.business(domain::infra::clock::Timestamp(jiff::Timestamp::now()));
        let then = now + jiff::SignedDuration::from_hours(24 * days);
        domain::infra::clock::Date::at(then, "UTC").0.to_string()
    };
    let valid = async |from: Value, until: Value| {
        let document = "query ($id: ID!) { node(id: $id) { ... on Member { version } } }";
        let id = json!({ "id": world.ann.member_id });
        let read = world.app.graphql(Some(&world.owner.token), document, id).await?;
        let version = read.data("/node/version");
        let input = json!({ "memberId": world.ann.member_id, "expectedVersion": version, "validFrom": from, "validUntil": until });
        world.on_group("memberUpdate", input).await
    };
    let document = "query ($member: ID!, $matter: ID!, $resources: [ResourceReferenceInput!]!) {
        canAccess(memberId: $member, resources: $resources) { allowed ground }
        node(id: $member) { ... on Member { accessibleResources(first: 5) { nodes { id } } } }
        explainAccess(memberId: $member, permission: \"members.read\", resourceId: $matter) { missing { code } } }";
    let seen = async || -> Result<(bool, usize, Vec<Value>)> {
        let owner = world.app.sign_in(&world.owner.email).await?;
        let variables = json!({ "member": world.ann.member_id, "matter": matter, "resources": [{ "id": matter }] });
        let answer = world.app.graphql(Some(&owner), document, variables).await?;
        let missing = answer.data("/explainAccess/missing").as_array().context("a list")?;
        Ok((
            answer.data("/canAccess/0/allowed") == true,
            answer.data("/node/accessibleResources/nodes").as_array().context("a list")?.len(),
            missing.iter().map(|one| one["code"].clone()).filter(|code| code != "NO_ROLE").collect(),
        ))
    };
    valid(json!(day(1)), json!(day(2))).await?;
    assert_eq!(seen().await?, (false, 0, vec![json!("NOT_YET_VALID")]), "it has not begun");
    world.app.pass(jiff::SignedDuration::from_hours(24));
    assert_eq!(seen().await?, (true, 1, vec![]), "the first day");
    world.app.pass(jiff::SignedDuration::from_hours(24));
    assert_eq!(seen().await?, (true, 1, vec![]), "the last day");
    world.app.pass(jiff::SignedDuration::from_hours(24));
    assert_eq!(seen().await?, (false, 0, vec![json!("VALIDITY_OVER")]), "nobody has swept yet");
    world.app.finish().await
}

#[tokio::test]
async fn many_are_asked_for_at_once_in_order_and_by_either_name() -> Result<()> {
    let world = World::new().await?;
    let (open, closed) = (world.matter("open").await?, world.matter("closed").await?);
    world.done("resourceGrant", json!({ "resourceId": open, "everybody": true })).await?;
    let asked = json!([
        { "type": "matter", "externalId": "closed" },
        { "type": "matter", "externalId": " open " },
        { "id": closed },
        { "id": open },
        { "id": "res_x" },
        { "type": "contact", "externalId": "open" },
        { "type": "matter", "externalId": "a\u{0}" },
        { "id": open },
    ]);
    let variables = json!({ "member": world.ann.member_id, "resources": asked });
    let answer = world.app.graphql(Some(&world.ann.token), CAN_ACCESS, variables).await?;
    let allowed: Vec<bool> =
        answer.data("/canAccess").as_array().context("a list")?.iter().map(|one| one["allowed"] == true).collect();
    assert_eq!(allowed, [false, true, false, true, false, false, false, true]);
    for wrong in [json!([{ "id": open, "type": "matter" }]), json!([{ "type": "matter" }]), json!([{}])] {
        let variables = json!({ "member": world.ann.member_id, "resources": wrong });
        assert_eq!(
            world.app.graphql(Some(&world.ann.token), CAN_ACCESS, variables).await?.errors(),
            ["BAD_USER_INPUT"]
        );
    }
    let too_many = json!({ "member": world.ann.member_id, "resources": vec![json!({ "id": open }); 101] });
    assert_eq!(world.app.graphql(Some(&world.ann.token), CAN_ACCESS, too_many).await?.errors(), ["BAD_USER_INPUT"]);
    world.app.finish().await
}

#[tokio::test]
async fn members_ask_for_themselves_and_readers_for_anybody() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let auditor = world.app.join(&world.owner, "audrey@harborandfinch.example", &[SystemRole::Auditor]).await?;
    world.done("resourceGrant", json!({ "resourceId": matter, "memberIds": [world.ann.member_id] })).await?;
    assert_eq!(world.grounds(&auditor, &world.ann, &[&matter]).await?, ["MEMBER"]);
    let variables = json!({ "member": world.ann.member_id, "resources": [{ "id": matter }] });
    let refused = world.app.graphql(Some(&world.ben.token), CAN_ACCESS, variables).await?;
    assert_eq!(refused.errors(), ["FORBIDDEN"]);
    let stranger = world.app.found("sven@elsewhere.example", 3).await?;
    let foreign = world.grounds(&stranger, &stranger, &[&matter]).await?;
    assert!(foreign[0].is_null(), "another account's resource");
    world.app.finish().await
}

/// What somebody finds among what a member has access to.
async fn accessible(world: &World, by: &Person, of: &Person) -> Result<Vec<String>> {
    let document = "query ($id: ID!) { node(id: $id) { ... on Member { accessibleResources(first: 100) {
        nodes { externalId groupIds } } } } accessibleResources(memberId: $id, first: 100) { nodes { externalId } } }";
    let answer = world.app.graphql(Some(&by.token), document, json!({ "id": of.member_id })).await?;
    let of = |pointer: &str| -> Result<Vec<String>> {
        let nodes = answer.data(pointer).as_array().context("nodes")?;
        Ok(nodes.iter().map(|node| node["externalId"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let both = (of("/node/accessibleResources/nodes")?, of("/accessibleResources/nodes")?);
    assert_eq!(both.0, both.1);
    Ok(both.0)
}

#[tokio::test]
async fn a_member_finds_what_they_have_access_to_and_nothing_of_who_else_has() -> Result<()> {
    let world = World::new().await?;
    let ids = futures::future::try_join_all(["a", "b", "c", "d", "e"].map(|external| world.matter(external))).await?;
    let group = world.group("Tax", &[&world.ann]).await?;
    world.done("resourceGrant", json!({ "resourceId": ids[0], "everybody": true })).await?;
    world.done("resourceGrant", json!({ "resourceId": ids[1], "groupIds": [group] })).await?;
    world.done("resourceGrant", json!({ "resourceId": ids[2], "memberIds": [world.ann.member_id] })).await?;
    world.done("resourceAssign", json!({ "resourceId": ids[3], "memberId": world.ann.member_id })).await?;
    assert_eq!(accessible(&world, &world.ann, &world.ann).await?, ["a", "b", "c", "d"]);
    assert_eq!(accessible(&world, &world.owner, &world.ann).await?, ["a", "b", "c", "d"]);
    assert_eq!(accessible(&world, &world.ben, &world.ben).await?, ["a"]);
    let node = "query ($id: ID!) { resource(id: $id) { name groupIds memberIds rates { groupId } viewerCanRead viewerCanManage } }";
    let shown = world.app.graphql(Some(&world.ann.token), node, json!({ "id": ids[1] })).await?;
    let hidden = json!({ "name": "Matter b", "groupIds": null, "memberIds": null, "rates": null, "viewerCanRead": false,
                         "viewerCanManage": false });
    assert_eq!(shown.data("/resource"), &hidden);
    let absent = world.app.graphql(Some(&world.ann.token), node, json!({ "id": ids[4] })).await?;
    assert!(absent.data("/resource").is_null(), "what is closed to her does not exist");
    let list =
        world.app.graphql(Some(&world.ann.token), "{ account { resources { nodes { id } } } }", Value::Null).await?;
    assert_eq!(list.errors(), ["FORBIDDEN"]);
    let others = "query ($id: ID!) { accessibleResources(memberId: $id) { nodes { id } } }";
    let refused = world.app.graphql(Some(&world.ben.token), others, json!({ "id": world.ann.member_id })).await?;
    assert_eq!(refused.errors(), ["FORBIDDEN"]);
    world.done("resourceArchive", json!({ "resourceId": ids[0] })).await?;
    assert_eq!(accessible(&world, &world.ben, &world.ben).await?, Vec::<String>::new());
    world.app.finish().await
}

#[tokio::test]
async fn what_is_opened_must_be_there_and_is_opened_as_a_whole() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let (group, archived) = (world.group("Tax", &[]).await?, world.group("Old", &[]).await?);
    world.on_group("groupArchive", json!({ "groupId": archived })).await?;
    let absent = format!("mem_{}", uuid::Uuid::now_v7().simple());
    let mixed =
        json!({ "resourceId": matter, "groupIds": [group, archived], "memberIds": [world.ann.member_id, absent] });
    let refused = world.act(&world.owner, "resourceGrant", mixed.clone()).await?;
    assert_eq!(refused.codes(), ["ARCHIVED", "NOT_FOUND"]);
    assert_eq!(refused.user_errors()[1]["field"], json!(["input", "memberIds", "1"]));
    assert!(world.ground(&world.ann, &matter).await?.is_null());
    let nothing = world.act(&world.owner, "resourceGrant", json!({ "resourceId": matter })).await?;
    assert_eq!(nothing.codes(), ["REQUIRED"]);
    let many = json!({ "resourceId": matter, "memberIds": vec![world.ann.member_id.clone(); 501] });
    assert_eq!(world.act(&world.owner, "resourceGrant", many).await?.codes(), ["TOO_MANY"]);
    let granted = json!({ "resourceId": matter, "groupIds": [group, group], "memberIds": [world.ann.member_id] });
    let once = world.done("resourceGrant", granted.clone()).await?;
    assert_eq!(once.data("/resourceGrant/resource/groupIds"), &json!([group]));
    let version = once.data("/resourceGrant/resource/version").clone();
    let twice = world.done("resourceGrant", granted).await?;
    assert_eq!(twice.data("/resourceGrant/resource/version"), &version, "it was open already");
    let closed = json!({ "resourceId": matter, "groupIds": [archived] });
    assert!(world.act(&world.owner, "resourceRevoke", closed).await?.codes().is_empty(), "it was not open to it");
    world.app.finish().await
}
