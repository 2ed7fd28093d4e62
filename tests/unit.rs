//! Units, and what assignments limited to them reach.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, Person};

const OWNER: &str = "olivia@harborandfinch.example";

/// An account with two units, a manager of the first, and somebody in each.
struct Office {
    app: App,
    owner: Person,
    north: String,
    south: String,
    manager: Person,
    nora: Person,
    sam: Person,
}

async fn done(app: &App, by: &Person, mutation: &str, input: Value) -> Result<()> {
    let answer = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
    assert_eq!(answer.codes(), Vec::<String>::new(), "{mutation}: {}", answer.body);
    Ok(())
}

async fn unit(app: &App, by: &Person, name: &str) -> Result<String> {
    let made = app.mutate(Some(&by.token), "unitCreate", json!({ "name": name }), "unit { id }").await?;
    Ok(made.text("/unitCreate/unit/id"))
}

impl Office {
    async fn open() -> Result<Self> {
        let app = App::start().await?;
        let owner = app.found(OWNER, 30).await?;
        let (north, south) = (unit(&app, &owner, "North").await?, unit(&app, &owner, "South").await?);
        let nora = app.join(&owner, "nora@work.example", &[SystemRole::Standard]).await?;
        let sam = app.join(&owner, "sam@work.example", &[SystemRole::Standard]).await?;
        let manager = app.join(&owner, "max@work.example", &[SystemRole::Standard]).await?;
        for (unit, person) in [(&north, &nora), (&south, &sam)] {
            done(&app, &owner, "unitAddMembers", json!({ "unitId": unit, "memberIds": [person.member_id] })).await?;
        }
        let limited = json!([{ "roleId": SystemRole::MemberManager.id(), "unitId": north }]);
        done(&app, &owner, "memberAssignRoles", json!({ "memberId": manager.member_id, "unitRoles": limited })).await?;
        Ok(Self { app, owner, north, south, manager, nora, sam })
    }

    async fn as_manager(&self, mutation: &str, input: Value) -> Result<Answer> {
        self.app.mutate(Some(&self.manager.token), mutation, input, "__typename").await
    }
}

#[tokio::test]
async fn who_manages_a_unit_acts_on_its_members_and_finds_nobody_else() -> Result<()> {
    let office = Office::open().await?;
    for mutation in ["memberSuspend", "memberActivate", "memberDeactivate", "memberReactivate"] {
        let inside = office.as_manager(mutation, json!({ "memberId": office.nora.member_id })).await?;
        assert_eq!(inside.codes(), Vec::<String>::new(), "{mutation}");
        for outside in [&office.sam, &office.owner] {
            let refused = office.as_manager(mutation, json!({ "memberId": outside.member_id })).await?;
            assert_eq!(refused.codes(), ["NOT_FOUND"], "{mutation}");
        }
    }
    let viewer = "{ viewer { permissions unitPermissions { unitId permissions } } }";
    let own = office.app.graphql(Some(&office.manager.token), viewer, Value::Null).await?;
    assert_eq!(own.data("/viewer/permissions"), &json!([]));
    let within = own.data("/viewer/unitPermissions/0");
    assert_eq!(within["unitId"], office.north.as_str());
    let held = within["permissions"].to_string();
    assert!(held.contains("members.invite") && !held.contains("licenses") && !held.contains("imports"), "{held}");
    office.app.finish().await
}

#[tokio::test]
async fn who_manages_a_unit_invites_into_it_and_gives_roles_within_it_only() -> Result<()> {
    let office = Office::open().await?;
    let standard = SystemRole::Standard.id().to_string();
    let within = |unit: &str| json!([{ "roleId": standard, "unitId": unit }]);
    let invite = |item: Value| {
        let mut item = item;
        item["email"] = json!(format!("{}@work.example", uuid::Uuid::new_v4().simple()));
        json!({ "invitations": [item] })
    };
    for (item, code, field) in [
        (json!({ "roleIds": [standard], "unitIds": [office.north] }), "NOT_PERMITTED", "roleIds"),
        (json!({ "unitRoles": within(&office.south), "unitIds": [office.north] }), "NOT_PERMITTED", "unitRoles"),
        (json!({ "unitRoles": within(&office.north), "unitIds": [office.south] }), "NOT_PERMITTED", "unitIds"),
        (json!({ "unitRoles": within(&office.north) }), "UNIT_REQUIRED", "unitIds"),
        (
            json!({ "unitRoles": [{ "roleId": SystemRole::Administrator.id(), "unitId": office.north }], "unitIds": [office.north] }),
            "NOT_PERMITTED",
            "unitRoles",
        ),
    ] {
        let refused = office.as_manager("memberInvite", invite(item.clone())).await?;
        let error = &refused.user_errors()[0];
        assert_eq!((&error["code"], &error["field"][3]), (&json!(code), &json!(field)), "{item}");
    }
    let email = "ivy@work.example";
    let item = json!({ "email": email, "unitRoles": within(&office.north), "unitIds": [office.north] });
    let made = office
        .app
        .mutate(Some(&office.manager.token), "memberInvite", json!({ "invitations": [item] }), "__typename")
        .await?;
    assert_eq!(made.codes(), Vec::<String>::new(), "{}", made.body);
    let letter = office.app.letter(email).await?;
    assert!(office.app.accept(&letter.token(), "Ivy", "Lane").await?.codes().is_empty());
    let ivy = office.app.person(email).await?;
    let count = "query ($id: ID!) { account { unitsCount } node(id: $id) { ... on Unit { name membersCount } } }";
    let seen = office.app.graphql(Some(&office.manager.token), count, json!({ "id": office.north })).await?;
    assert_eq!(seen.data("/account/unitsCount"), 1, "the others are not theirs to see");
    assert_eq!(seen.data("/node"), &json!({ "name": "North", "membersCount": 2 }));
    let hidden = office
        .app
        .graphql(
            Some(&office.manager.token),
            "query ($id: ID!) { node(id: $id) { id } }",
            json!({ "id": office.south }),
        )
        .await?;
    assert!(hidden.data("/node").is_null());
    // A role for the whole account is not theirs to give, nor to take.
    let assign = |input: Value| office.as_manager("memberAssignRoles", input);
    let wide = assign(json!({ "memberId": ivy.member_id, "mode": "ADD", "roleIds": [standard] })).await?;
    assert_eq!(wide.codes(), ["NOT_PERMITTED"]);
    let taken = assign(json!({ "memberId": office.nora.member_id, "unitRoles": within(&office.north) })).await?;
    assert_eq!(taken.codes(), ["NOT_PERMITTED"], "Nora would lose a role of the whole account");
    let added =
        assign(json!({ "memberId": office.nora.member_id, "mode": "ADD", "unitRoles": within(&office.north) })).await?;
    assert_eq!(added.codes(), Vec::<String>::new(), "{}", added.body);
    office.app.finish().await
}

#[tokio::test]
async fn an_archived_unit_grants_nothing_and_takes_nobody() -> Result<()> {
    let office = Office::open().await?;
    done(&office.app, &office.owner, "unitArchive", json!({ "unitId": office.north })).await?;
    let refused = office.as_manager("memberSuspend", json!({ "memberId": office.nora.member_id })).await?;
    assert_eq!(refused.codes(), ["NOT_PERMITTED"]);
    let standard = SystemRole::Standard.id().to_string();
    let add = json!({ "unitId": office.north, "memberIds": [office.sam.member_id] });
    let item = json!({ "email": "new@work.example", "roleIds": [standard], "unitIds": [office.north] });
    for (mutation, input, field) in [
        ("unitAddMembers", add, json!(["input", "unitId"])),
        ("unitUpdate", json!({ "unitId": office.north, "name": "Nord" }), json!(["input", "unitId"])),
        ("memberInvite", json!({ "invitations": [item] }), json!(["input", "invitations", "0", "unitIds", "0"])),
        (
            "memberAssignRoles",
            json!({ "memberId": office.sam.member_id, "mode": "ADD", "unitRoles": [{ "roleId": standard, "unitId": office.north }] }),
            json!(["input", "unitRoles", "0", "unitId"]),
        ),
    ] {
        let refused = office.app.mutate(Some(&office.owner.token), mutation, input, "__typename").await?;
        assert_eq!(
            (refused.codes(), &refused.user_errors()[0]["field"]),
            (vec!["ARCHIVED".to_owned()], &field),
            "{mutation}"
        );
    }
    let used = "{ account { unitsInUse units(filter: { archived: true }) { nodes { name archivedAt } } } }";
    let seen = office.app.graphql(Some(&office.owner.token), used, Value::Null).await?;
    assert_eq!(seen.data("/account/unitsInUse"), true);
    assert_eq!(seen.data("/account/units/nodes/0/name"), "North");
    done(&office.app, &office.owner, "unitUnarchive", json!({ "unitId": office.north })).await?;
    let again = office.as_manager("memberSuspend", json!({ "memberId": office.nora.member_id })).await?;
    assert_eq!(again.codes(), Vec::<String>::new());
    office.app.finish().await
}

#[tokio::test]
async fn a_name_is_of_one_unit_and_free_again_after_archiving() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.units = 2;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found(OWNER, 5).await?;
    let seen = app.graphql(Some(&owner.token), "{ account { unitsInUse } }", Value::Null).await?;
    assert_eq!(seen.data("/account/unitsInUse"), false);
    let north = unit(&app, &owner, "North").await?;
    let create = |name: &'static str| {
        app.mutate(Some(&owner.token), "unitCreate", json!({ "name": name }), "unit { id version }")
    };
    assert_eq!(create("north").await?.codes(), ["NAME_TAKEN"]);
    let south = unit(&app, &owner, "South").await?;
    assert_eq!(create("West").await?.codes(), ["LIMIT_REACHED"]);
    let rename = json!({ "unitId": south, "expectedVersion": 1, "name": "NORTH" });
    assert_eq!(app.mutate(Some(&owner.token), "unitUpdate", rename, "__typename").await?.codes(), ["NAME_TAKEN"]);
    done(&app, &owner, "unitArchive", json!({ "unitId": north })).await?;
    let rename = json!({ "unitId": south, "expectedVersion": 1, "name": "North", "description": "Upstairs" });
    done(&app, &owner, "unitUpdate", rename.clone()).await?;
    assert_eq!(app.mutate(Some(&owner.token), "unitUpdate", rename, "__typename").await?.codes(), ["VERSION_CONFLICT"]);
    let back = app.mutate(Some(&owner.token), "unitUnarchive", json!({ "unitId": north }), "__typename").await?;
    assert_eq!(back.codes(), ["NAME_TAKEN"]);
    for page in [1, 2] {
        let listed = app
            .graphql(
                Some(&owner.token),
                "query ($n: Int) { account { units(first: $n) { nodes { name } pageInfo { hasNextPage } } } }",
                json!({ "n": page }),
            )
            .await?;
        assert_eq!(listed.data("/account/units/nodes").as_array().unwrap().len(), page);
    }
    app.finish().await
}

#[tokio::test]
async fn members_come_into_a_unit_and_leave_it_together_or_not_at_all() -> Result<()> {
    let office = Office::open().await?;
    let absent = format!("mem_{}", uuid::Uuid::now_v7().simple());
    let both = json!({ "unitId": office.south, "memberIds": [office.nora.member_id, absent] });
    for mutation in ["unitAddMembers", "unitRemoveMembers"] {
        let refused = office.app.mutate(Some(&office.owner.token), mutation, both.clone(), "__typename").await?;
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "memberIds", "1"]));
        assert_eq!(refused.codes(), ["NOT_FOUND"]);
    }
    let add = json!({ "unitId": office.south, "memberIds": [office.nora.member_id, office.sam.member_id] });
    let added = office.app.mutate(Some(&office.owner.token), "unitAddMembers", add, "unit { membersCount }").await?;
    assert_eq!(added.data("/unitAddMembers/unit/membersCount"), 2);
    // Who leaves a unit is out of the reach of its manager at once.
    done(
        &office.app,
        &office.owner,
        "unitRemoveMembers",
        json!({ "unitId": office.north, "memberIds": [office.nora.member_id] }),
    )
    .await?;
    let refused = office.as_manager("memberSuspend", json!({ "memberId": office.nora.member_id })).await?;
    assert_eq!(refused.codes(), ["NOT_FOUND"]);
    office.app.finish().await
}

#[tokio::test]
async fn an_open_invitation_is_corrected_in_its_roles_and_units_too() -> Result<()> {
    let office = Office::open().await?;
    let standard = SystemRole::Standard.id().to_string();
    let item = json!({ "email": "ivy@work.example", "roleIds": [standard] });
    let made = office
        .app
        .mutate(Some(&office.owner.token), "memberInvite", json!({ "invitations": [item] }), "invitations { id }")
        .await?;
    let id = made.text("/memberInvite/invitations/0/id");
    let refused = office.as_manager("invitationUpdate", json!({ "invitationId": id, "firstName": "Ivy" })).await?;
    assert_eq!(refused.codes(), ["NOT_FOUND"], "it is not to their unit");
    let within = json!([{ "roleId": standard, "unitId": office.north }]);
    let update = json!({ "invitationId": id, "roleIds": [], "unitRoles": within, "unitIds": [office.north] });
    done(&office.app, &office.owner, "invitationUpdate", update).await?;
    let inside = office.as_manager("invitationUpdate", json!({ "invitationId": id, "firstName": "Ivy" })).await?;
    assert_eq!(inside.codes(), Vec::<String>::new());
    for (update, code) in [
        (json!({ "unitIds": [] }), "UNIT_REQUIRED"),
        (json!({ "unitIds": [office.south] }), "NOT_PERMITTED"),
        (json!({ "roleIds": [standard] }), "NOT_PERMITTED"),
        (json!({ "unitRoles": [] }), "ROLE_REQUIRED"),
    ] {
        let mut update = update;
        update["invitationId"] = json!(id);
        assert_eq!(office.as_manager("invitationUpdate", update.clone()).await?.codes(), [code], "{update}");
    }
    let letter = office.app.letter("ivy@work.example").await?;
    assert!(office.app.accept(&letter.token(), "Ivy", "Lane").await?.codes().is_empty());
    let ivy = office.app.person("ivy@work.example").await?;
    let suspended = office.as_manager("memberSuspend", json!({ "memberId": ivy.member_id })).await?;
    assert_eq!(suspended.codes(), Vec::<String>::new(), "{}", suspended.body);
    office.app.finish().await
}
