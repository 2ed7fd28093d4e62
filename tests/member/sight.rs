//! Whom a reader of some units sees, in every way there is to see somebody; the orders and counts of the list; verdicts.

use std::collections::BTreeSet;

use anyhow::Result;
use domain::id::{MemberId, UnitId};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::OWNER;
use crate::support::app::{App, Person};

/// A unit, as whoever manages units makes it.
async fn unit(app: &App, owner: &Person, name: &str, members: &[&str]) -> Result<UnitId> {
    let unit = UnitId::new();
    let account: domain::id::AccountId = owner.account_id.parse()?;
    sqlx::query("INSERT INTO unit (account_id, unit_id, name, created_at) VALUES ($1, $2, $3, now())")
        .bind(account)
        .bind(unit)
        .bind(name)
        .execute(&app.db.pool)
        .await?;
    for member in members {
        sqlx::query("INSERT INTO member_unit (account_id, unit_id, member_id, added_at) VALUES ($1, $2, $3, now())")
            .bind(account)
            .bind(unit)
            .bind(member.parse::<MemberId>()?)
            .execute(&app.db.pool)
            .await?;
    }
    Ok(unit)
}

/// Limits all roles of a member to a unit.
async fn limit(app: &App, member: &str, role: SystemRole, unit: UnitId) -> Result<()> {
    sqlx::query("UPDATE member_role SET role_id = $3, unit_id = $2 WHERE member_id = $1")
        .bind(member.parse::<MemberId>()?)
        .bind(unit)
        .bind(role.id())
        .execute(&app.db.pool)
        .await?;
    sqlx::query("UPDATE account_feed SET access_version = access_version + 1").execute(&app.db.pool).await?;
    Ok(())
}

async fn listed(app: &App, by: &Person, arguments: &str) -> Result<BTreeSet<String>> {
    let document = format!("{{ account {{ members({arguments}) {{ nodes {{ id }} }} }} }}");
    let answer = app.graphql(Some(&by.token), &document, Value::Null).await?;
    let nodes = answer.data("/account/members/nodes").as_array().unwrap().clone();
    Ok(nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn who_reads_a_unit_finds_its_members_and_nobody_else() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let join =
        async |name: &str| app.join(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await;
    let (ulla, ann, bob, cid) = (join("ulla").await?, join("ann").await?, join("bob").await?, join("cid").await?);
    let invite = async |name: &str| -> Result<(String, String)> {
        let answer = app.invite(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await?;
        Ok((answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id")))
    };
    let (inside, outside) = (invite("ivy").await?, invite("joy").await?);
    let boston = unit(&app, &owner, "Boston", &[&ann.member_id, &inside.1]).await?;
    let austin = unit(&app, &owner, "Austin", &[&bob.member_id, &outside.1]).await?;
    limit(&app, &ulla.member_id, SystemRole::MemberManager, boston).await?;
    limit(&app, &cid.member_id, SystemRole::Standard, austin).await?;
    let set = |ids: &[&String]| -> BTreeSet<String> { ids.iter().map(|id| (*id).clone()).collect() };

    let mine = set(&[&ulla.member_id, &ann.member_id, &inside.1]);
    for order in ["NAME", "EMAIL", "CREATED_AT", "JOINED_AT", "LAST_ACTIVITY"] {
        assert_eq!(listed(&app, &ulla, &format!("orderBy: {{ field: {order} }}")).await?, mine, "{order}");
    }
    // Names of active people where they belong; not even a reader's word in the order by what is hidden.
    assert_eq!(listed(&app, &cid, "first: 10").await?, set(&[&cid.member_id, &bob.member_id]));
    let hidden = "{ account { members(orderBy: { field: LAST_ACTIVITY }) { nodes { id } } } }";
    assert_eq!(app.graphql(Some(&cid.token), hidden, Value::Null).await?.errors(), ["FORBIDDEN"]);

    let counts = "{ account { membersCount memberCounts { active invited suspended deactivated } invitationsCount } }";
    let counted = app.graphql(Some(&ulla.token), counts, Value::Null).await?;
    assert_eq!(
        counted.data("/account"),
        &json!({ "membersCount": 3, "memberCounts": { "active": 2, "invited": 1, "suspended": 0, "deactivated": 0 }, "invitationsCount": 2 })
    );
    for (filter, found) in [
        (format!("filter: {{ unitId: \"{boston}\" }}"), set(&[&ann.member_id, &inside.1])),
        (format!("filter: {{ unitId: \"{austin}\" }}"), set(&[])),
        ("filter: { text: \"bob@\" }".to_owned(), set(&[])),
        ("filter: { text: \"ANN@\" }".to_owned(), set(&[&ann.member_id])),
        ("filter: { status: [INVITED] }".to_owned(), set(&[&inside.1])),
        (format!("filter: {{ roleId: \"{}\" }}", SystemRole::Standard.id()), set(&[&ann.member_id, &inside.1])),
    ] {
        assert_eq!(listed(&app, &ulla, &filter).await?, found, "{filter}");
    }
    assert_eq!(
        listed(&app, &cid, &format!("filter: {{ unitId: \"{austin}\" }}")).await?,
        set(&[]),
        "units are hidden from cid"
    );

    let nodes = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Member { email } } }";
    let ids = [&ann.member_id, &bob.member_id, &inside.0, &outside.0, &owner.member_id];
    let found = app.graphql(Some(&ulla.token), nodes, json!({ "ids": ids })).await?;
    let found: Vec<Value> = found.data("/nodes").as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
    assert_eq!(found, [json!(ann.member_id), Value::Null, json!(inside.0), Value::Null, Value::Null]);
    let owner_of = app.graphql(Some(&ulla.token), "{ account { owner { id } } }", Value::Null).await?;
    assert!(owner_of.data("/account/owner").is_null(), "references hide as well");

    let member = "query ($id: ID!) { node(id: $id) { ... on Member { unitsCount units { name } roles { name unit { unitId name isArchived } } accountRole } } }";
    let read = app.graphql(Some(&owner.token), member, json!({ "id": ulla.member_id })).await?;
    assert_eq!(
        read.data("/node/roles/0/unit"),
        &json!({ "unitId": boston.to_string(), "name": "Boston", "isArchived": false })
    );
    let read = app.graphql(Some(&owner.token), member, json!({ "id": ann.member_id })).await?;
    assert_eq!((read.data("/node/unitsCount"), read.data("/node/units")), (&json!(1), &json!([{ "name": "Boston" }])));
    limit(&app, &cid.member_id, SystemRole::Administrator, austin).await?;
    let read = app.graphql(Some(&owner.token), member, json!({ "id": cid.member_id })).await?;
    assert_eq!(read.data("/node/accountRole"), "USER", "of a unit only");
    app.finish().await
}

#[tokio::test]
async fn pages_of_every_order_give_everybody_once() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    for name in ["ann", "bob"] {
        app.join(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await?;
    }
    for name in ["ivy", "joy", "kim"] {
        app.invite(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await?;
    }
    app.activity.flush(&app.db).await?;
    for (field, value) in [
        ("NAME", "lastName"),
        ("EMAIL", "email"),
        ("CREATED_AT", "createdAt"),
        ("JOINED_AT", "joinedAt"),
        ("LAST_ACTIVITY", "lastActivityAt"),
    ] {
        for direction in ["ASC", "DESC"] {
            let document = format!(
                "query ($after: String) {{ account {{ members(first: 2, after: $after, orderBy: {{ field: {field}, direction: {direction} }}) {{
                 nodes {{ id {value} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
            );
            let (mut ids, mut values, mut after) = (Vec::new(), Vec::new(), Value::Null);
            loop {
                let page = app.graphql(Some(&owner.token), &document, json!({ "after": after })).await?;
                for node in page.data("/account/members/nodes").as_array().unwrap() {
                    ids.push(node["id"].clone());
                    values.push(node[value].as_str().unwrap_or_default().to_lowercase());
                }
                after = page.data("/account/members/pageInfo/endCursor").clone();
                if page.data("/account/members/pageInfo/hasNextPage") == false {
                    break;
                }
            }
            let distinct: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
            assert_eq!((ids.len(), distinct.len()), (6, 6), "{field} {direction}");
            let mut sorted = values.clone();
            sorted.sort();
            if direction == "DESC" {
                sorted.reverse();
            }
            assert_eq!(values, sorted, "{field} {direction}");
        }
    }
    app.finish().await
}

const VERDICTS: [(&str, &str); 6] = [
    ("memberUpdate", "viewerCanUpdate"),
    ("memberSuspend", "viewerCanSuspend"),
    ("memberActivate", "viewerCanActivate"),
    ("memberDeactivate", "viewerCanDeactivate"),
    ("memberReactivate", "viewerCanReactivate"),
    ("memberDelete", "viewerCanDelete"),
];

/// Every mutation refuses what its verdict refuses, with the same code; those that would be done are not sent.
#[tokio::test]
async fn verdicts_say_what_the_mutations_would() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let admin = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    let manager = app.join(&owner, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let standard = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    let gone = app.join(&owner, "dan@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.mutate(Some(&owner.token), "memberDeactivate", json!({ "memberId": gone.member_id }), "__typename").await?;
    let fields = "viewerCanAssignRoles { allowed code missing } viewerCanChangeEmail { allowed code }";
    let verdicts: Vec<String> =
        VERDICTS.iter().map(|(_, field)| format!("{field} {{ allowed code message missing }}")).collect();
    let verdicts = verdicts.join(" ");
    let document = format!("{{ account {{ members(first: 10) {{ nodes {{ id version {verdicts} {fields} }} }} }} }}");
    let mut compared = 0;
    for by in [&owner, &admin, &manager, &standard] {
        let answer = app.graphql(Some(&by.token), &document, Value::Null).await?;
        for node in answer.data("/account/members/nodes").as_array().unwrap() {
            for (mutation, field) in VERDICTS {
                let verdict = &node[field];
                let mut input = json!({ "memberId": node["id"] });
                if mutation == "memberUpdate" {
                    input["expectedVersion"] = json!(-1);
                } else if verdict["allowed"] == true {
                    continue;
                }
                let told = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
                let expected =
                    if verdict["allowed"] == true { json!("VERSION_CONFLICT") } else { verdict["code"].clone() };
                assert_eq!(told.user_errors()[0]["code"], expected, "{mutation} by {}: {node}", by.email);
                if verdict["code"] == "NOT_PERMITTED" {
                    assert_eq!(told.user_errors()[0]["permissions"], verdict["missing"], "{mutation} by {}", by.email);
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
    app.finish().await
}
