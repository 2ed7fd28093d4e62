//! Groups: made, changed, archived, and who is in them.

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const FIELDS: &str =
    "group { id name description excludedFromCustomRates version archivedAt membersCount viewerCanManage }";

async fn act(app: &App, by: &Person, mutation: &str, input: Value) -> Result<Answer> {
    app.mutate(Some(&by.token), mutation, input, FIELDS).await
}

/// A group; answers its id.
async fn made(app: &App, by: &Person, name: &str) -> Result<String> {
    let answer = act(app, by, "groupCreate", json!({ "name": name })).await?;
    assert!(answer.codes().is_empty(), "{}", answer.body);
    Ok(answer.text("/groupCreate/group/id"))
}

/// The ids in a group as its readers see them, by name.
async fn members(app: &App, by: &Person, group: &str) -> Result<Vec<String>> {
    let document = "query ($id: ID!) { group(id: $id) { membersCount members { nodes { id } } } }";
    let answer = app.graphql(Some(&by.token), document, json!({ "id": group })).await?;
    let nodes = answer.data("/group/members/nodes").as_array().context("nodes")?;
    let ids: Vec<String> = nodes.iter().map(|node| node["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(answer.data("/group/membersCount"), ids.len());
    Ok(ids)
}

async fn names(app: &App, by: &Person, filter: Value) -> Result<Vec<String>> {
    let document =
        "query ($f: GroupFilter) { account { groupsCount(filter: $f) groups(filter: $f) { nodes { name } } } }";
    let answer = app.graphql(Some(&by.token), document, json!({ "f": filter })).await?;
    let nodes = answer.data("/account/groups/nodes").as_array().context("nodes")?;
    assert_eq!(answer.data("/account/groupsCount"), nodes.len());
    Ok(nodes.iter().map(|node| node["name"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn a_name_belongs_to_one_group_until_that_is_archived() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let first = made(&app, &owner, "  Litigation ").await?;
    for taken in ["Litigation", "LITIGATION"] {
        let refused = act(&app, &owner, "groupCreate", json!({ "name": taken })).await?;
        assert_eq!(refused.codes(), ["NAME_TAKEN"]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "name"]));
    }
    let other = made(&app, &owner, "Tax").await?;
    let refused = act(&app, &owner, "groupUpdate", json!({ "groupId": other, "name": "litigation" })).await?;
    assert_eq!(refused.codes(), ["NAME_TAKEN"]);
    let archived = act(&app, &owner, "groupArchive", json!({ "groupId": first })).await?;
    assert!(archived.data("/groupArchive/group/archivedAt").is_string());
    let second = made(&app, &owner, "Litigation").await?;
    let refused = act(&app, &owner, "groupUnarchive", json!({ "groupId": first })).await?;
    assert_eq!(refused.codes(), ["NAME_TAKEN"], "somebody else has it by now");
    act(&app, &owner, "groupUpdate", json!({ "groupId": second, "name": "Disputes" })).await?;
    let back = act(&app, &owner, "groupUnarchive", json!({ "groupId": first })).await?;
    assert!(back.data("/groupUnarchive/group/archivedAt").is_null(), "{}", back.body);
    assert_eq!(names(&app, &owner, Value::Null).await?, ["Disputes", "Litigation", "Tax"]);
    assert_eq!(names(&app, &owner, json!({ "text": "T" })).await?, ["Disputes", "Litigation", "Tax"]);
    assert_eq!(names(&app, &owner, json!({ "text": "tax%" })).await?, Vec::<String>::new());
    act(&app, &owner, "groupArchive", json!({ "groupId": other })).await?;
    assert_eq!(names(&app, &owner, json!({ "archived": true })).await?, ["Tax"]);
    assert_eq!(names(&app, &owner, json!({ "archived": false, "text": "LIT" })).await?, ["Litigation"]);
    app.finish().await
}

#[tokio::test]
async fn an_update_of_what_was_changed_meanwhile_is_refused() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let group = made(&app, &owner, "Tax").await?;
    let update = async |input: Value| {
        let mut input = input;
        input["groupId"] = json!(group);
        act(&app, &owner, "groupUpdate", input).await
    };
    let changed =
        update(json!({ "expectedVersion": 1, "description": "Who files", "excludedFromCustomRates": true })).await?;
    let shown = changed.data("/groupUpdate/group");
    assert_eq!(
        (&shown["version"], &shown["description"], &shown["excludedFromCustomRates"], &shown["name"]),
        (&json!(2), &json!("Who files"), &json!(true), &json!("Tax"))
    );
    let late = update(json!({ "expectedVersion": 1, "name": "Levies" })).await?;
    assert_eq!(late.codes(), ["VERSION_CONFLICT"]);
    let same = update(json!({ "expectedVersion": 2, "name": "Tax" })).await?;
    assert_eq!(same.data("/groupUpdate/group/version"), 2, "nothing differs");
    let cleared = update(json!({ "description": "" })).await?;
    assert!(cleared.data("/groupUpdate/group/description").is_null());
    for (input, code) in [
        (json!({ "name": " " }), "REQUIRED"),
        (json!({ "name": "x".repeat(101) }), "TOO_LONG"),
        (json!({ "name": "a\nb" }), "INVALID_CHARACTERS"),
        (json!({ "description": "x".repeat(501) }), "TOO_LONG"),
    ] {
        assert_eq!(update(input.clone()).await?.codes(), [code], "{input}");
    }
    act(&app, &owner, "groupArchive", json!({ "groupId": group })).await?;
    assert_eq!(update(json!({ "name": "Levies" })).await?.codes(), ["ARCHIVED"]);
    app.finish().await
}

#[tokio::test]
async fn members_come_and_go_up_to_500_at_once() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let invited = app.invite(&owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    let ivy = invited.text("/memberInvite/invitations/0/member/id");
    let stranger = app.found("sven@elsewhere.example", 3).await?;
    let group = made(&app, &owner, "Tax").await?;
    let add = async |ids: Vec<&str>, policy: &str| {
        let input = json!({ "groupId": group, "memberIds": ids, "errorPolicy": policy });
        act(&app, &owner, "groupAddMembers", input).await
    };
    let refused = add(vec![&ann.member_id, &stranger.member_id], "ALL_OR_NOTHING").await?;
    assert_eq!(refused.codes(), ["NOT_FOUND"]);
    assert_eq!(refused.user_errors()[0]["field"], json!(["input", "memberIds", "1"]));
    assert!(members(&app, &owner, &group).await?.is_empty(), "nobody, not even the one there is");
    let partly = add(vec![&stranger.member_id, &ivy, &ann.member_id, &ann.member_id], "PARTIAL").await?;
    assert_eq!(partly.codes(), ["NOT_FOUND"]);
    assert_eq!(partly.data("/groupAddMembers/group/membersCount"), 2);
    let mut in_it = members(&app, &owner, &group).await?;
    in_it.sort();
    let mut wanted = vec![ann.member_id.clone(), ivy.clone()];
    wanted.sort();
    assert_eq!(in_it, wanted, "an invited person may be in a group already");
    assert!(add(vec![&ann.member_id], "ALL_OR_NOTHING").await?.codes().is_empty(), "who is in it stays");
    assert_eq!(add(Vec::new(), "PARTIAL").await?.codes(), ["REQUIRED"]);
    assert_eq!(add(vec![&ann.member_id; 501], "PARTIAL").await?.codes(), ["TOO_MANY"]);

    act(&app, &owner, "groupArchive", json!({ "groupId": group })).await?;
    assert_eq!(add(vec![&owner.member_id], "PARTIAL").await?.codes(), ["ARCHIVED"], "an archived group takes nobody");
    let remove = json!({ "groupId": group, "memberIds": [ivy, owner.member_id] });
    let removed = act(&app, &owner, "groupRemoveMembers", remove).await?;
    assert!(removed.codes().is_empty(), "{}", removed.body);
    assert_eq!(members(&app, &owner, &group).await?, [ann.member_id.as_str()]);
    app.finish().await
}

#[tokio::test]
async fn an_account_has_so_many_groups_and_two_who_make_the_last_one_do_not_make_two() -> Result<()> {
    let app = App::with(Options { configure: |config| config.limits.groups = 2, ..Options::default() }).await?;
    let owner = app.found(OWNER, 10).await?;
    let first = made(&app, &owner, "First").await?;
    let create = async |name: String| act(&app, &owner, "groupCreate", json!({ "name": name })).await;
    let racers = futures::future::try_join_all((0..6).map(|number| create(format!("Racer {number}")))).await?;
    let refused: Vec<Vec<String>> = racers.iter().map(Answer::codes).filter(|codes| !codes.is_empty()).collect();
    assert_eq!(refused, vec![vec!["LIMIT_REACHED".to_owned()]; 5]);
    act(&app, &owner, "groupArchive", json!({ "groupId": first })).await?;
    made(&app, &owner, "In its place").await?;
    let back = act(&app, &owner, "groupUnarchive", json!({ "groupId": first })).await?;
    assert_eq!(back.codes(), ["LIMIT_REACHED"], "archived ones do not count, until they come back");
    app.finish().await
}

#[tokio::test]
async fn of_many_who_want_a_name_one_gets_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let create = async |_| act(&app, &owner, "groupCreate", json!({ "name": "Tax" })).await;
    let racers = futures::future::try_join_all((0..6).map(create)).await?;
    let refused: Vec<String> = racers.iter().flat_map(Answer::codes).collect();
    assert_eq!(refused, ["NAME_TAKEN"; 5]);
    app.finish().await
}

#[tokio::test]
async fn the_feed_tells_what_became_of_a_group() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let group = made(&app, &owner, "Tax").await?;
    let members = json!({ "groupId": group, "memberIds": [owner.member_id] });
    act(&app, &owner, "groupUpdate", json!({ "groupId": group, "name": "Levies" })).await?;
    act(&app, &owner, "groupAddMembers", members.clone()).await?;
    act(&app, &owner, "groupAddMembers", members.clone()).await?;
    act(&app, &owner, "groupRemoveMembers", members.clone()).await?;
    act(&app, &owner, "groupRemoveMembers", members).await?;
    for name in ["groupArchive", "groupArchive", "groupUnarchive", "groupUnarchive"] {
        act(&app, &owner, name, json!({ "groupId": group })).await?;
    }
    let document = "{ accountEvents(first: 100) { nodes { kind subjectId
        ... on GroupUpdatedEvent { nameBefore nameAfter } ... on GroupMembersAddedEvent { memberIds } } } }";
    let feed = app.graphql(Some(&owner.token), document, Value::Null).await?;
    let nodes = feed.data("/accountEvents/nodes").as_array().context("nodes")?;
    let about: Vec<&Value> = nodes.iter().filter(|event| event["subjectId"] == group.as_str()).collect();
    let kinds: Vec<&str> = about.iter().filter_map(|event| event["kind"].as_str()).collect();
    let wanted = [
        "group.created",
        "group.updated",
        "group.members_added",
        "group.members_removed",
        "group.archived",
        "group.unarchived",
    ];
    assert_eq!(kinds, wanted, "what changes nothing is not told");
    assert_eq!((&about[1]["nameBefore"], &about[1]["nameAfter"]), (&json!("Tax"), &json!("Levies")));
    assert_eq!(about[2]["memberIds"], json!([owner.member_id]));
    app.finish().await
}

#[tokio::test]
async fn pages_of_groups_and_of_their_members_go_on_where_they_ended() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    for name in ["b", "A", "C", "d"] {
        made(&app, &owner, name).await?;
    }
    let document = "query ($after: String) { account { groups(first: 3, after: $after) {
        nodes { name } pageInfo { hasNextPage endCursor } } } }";
    let first = app.graphql(Some(&owner.token), document, Value::Null).await?;
    assert_eq!(first.data("/account/groups/nodes"), &json!([{ "name": "A" }, { "name": "b" }, { "name": "C" }]));
    let after = first.data("/account/groups/pageInfo/endCursor");
    let second = app.graphql(Some(&owner.token), document, json!({ "after": after })).await?;
    assert_eq!(second.data("/account/groups/nodes"), &json!([{ "name": "d" }]));
    assert_eq!(second.data("/account/groups/pageInfo/hasNextPage"), false);

    let group = made(&app, &owner, "Everybody").await?;
    let mut ids = vec![owner.member_id.clone()];
    for name in ["ann", "ben"] {
        let email = format!("{name}@harborandfinch.example");
        let invited = app.invite(&owner, &email, &[SystemRole::Standard]).await?;
        ids.push(invited.text("/memberInvite/invitations/0/member/id"));
    }
    act(&app, &owner, "groupAddMembers", json!({ "groupId": group, "memberIds": ids })).await?;
    let document = "query ($id: ID!, $after: String) { group(id: $id) { members(first: 2, after: $after) {
        nodes { id } pageInfo { hasNextPage endCursor } } } }";
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    for more in [true, false] {
        let page = app.graphql(Some(&owner.token), document, json!({ "id": group, "after": after })).await?;
        let nodes = page.data("/group/members/nodes").as_array().context("nodes")?;
        seen.extend(nodes.iter().filter_map(|node| node["id"].as_str()).map(str::to_owned));
        assert_eq!(page.data("/group/members/pageInfo/hasNextPage"), more);
        after = page.data("/group/members/pageInfo/endCursor").clone();
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    app.settle().await?;
    app.finish().await
}
