//! Roles of an account's own: made, copied, changed, archived, and given to one or many.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, Person};

const OWNER: &str = "olivia@harborandfinch.example";

async fn start() -> Result<(App, Person)> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 30).await?;
    Ok((app, owner))
}

async fn mutate(app: &App, by: &Person, mutation: &str, input: Value) -> Result<Answer> {
    let fields = if mutation.starts_with("role") {
        "role { id name description permissions systemKey version archivedAt usage { membersCount invitationsCount } }"
    } else {
        "members { id roles { name } }"
    };
    app.mutate(Some(&by.token), mutation, input, fields).await
}

/// Makes a role; its id.
async fn make(app: &App, by: &Person, name: &str, permissions: &[&str]) -> Result<String> {
    let made = mutate(app, by, "roleCreate", json!({ "name": name, "permissions": permissions })).await?;
    assert_eq!(made.codes(), Vec::<String>::new(), "{}", made.body);
    Ok(made.text("/roleCreate/role/id"))
}

/// The permissions a person holds by the next request.
async fn held(app: &App, by: &Person) -> Result<Vec<String>> {
    let answer = app.graphql(Some(&by.token), "{ viewer { permissions } }", Value::Null).await?;
    Ok(serde_json::from_value(answer.data("/viewer/permissions").clone())?)
}

fn refusal(answer: &Answer) -> (String, Value) {
    let errors = answer.user_errors();
    assert_eq!(errors.len(), 1, "{}", answer.body);
    (errors[0]["code"].as_str().unwrap().to_owned(), errors[0]["field"].clone())
}

#[tokio::test]
async fn an_edit_is_live_at_once_for_whoever_has_the_role() -> Result<()> {
    let (app, owner) = start().await?;
    let role = make(&app, &owner, "Reception", &["members.read"]).await?;
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    let input = json!({ "memberId": ben.member_id, "mode": "ADD", "roleIds": [role] });
    assert!(mutate(&app, &owner, "memberAssignRoles", input).await?.codes().is_empty());
    assert_eq!(held(&app, &ben).await?, ["members.read"]);
    let update = json!({ "roleId": role, "expectedVersion": 1, "name": "Front desk", "description": "Ground floor",
                         "permissions": ["members.invite", "members.read"] });
    let changed = mutate(&app, &owner, "roleUpdate", update.clone()).await?;
    let shown = changed.data("/roleUpdate/role");
    assert_eq!((&shown["name"], &shown["version"]), (&json!("Front desk"), &json!(2)));
    assert_eq!(shown["usage"], json!({ "membersCount": 1, "invitationsCount": 0 }));
    assert_eq!(held(&app, &ben).await?, ["members.read", "members.invite"], "in the order of the catalogue");
    let late = mutate(&app, &owner, "roleUpdate", update).await?;
    assert_eq!(refusal(&late), ("VERSION_CONFLICT".into(), json!(["input", "expectedVersion"])));
    app.finish().await
}

#[tokio::test]
async fn a_copy_holds_what_its_original_holds_and_no_more_later() -> Result<()> {
    let (app, owner) = start().await?;
    let manager = SystemRole::MemberManager.id().to_string();
    let copied = mutate(&app, &owner, "roleCreate", json!({ "name": "Office manager", "copyOf": manager })).await?;
    let original = app
        .graphql(
            Some(&owner.token),
            "query ($id: ID!) { node(id: $id) { ... on Role { permissions } } }",
            json!({ "id": manager }),
        )
        .await?;
    assert_eq!(copied.data("/roleCreate/role/permissions"), original.data("/node/permissions"));
    assert!(copied.data("/roleCreate/role/systemKey").is_null());
    let administrator = SystemRole::Administrator.id().to_string();
    let copied = mutate(&app, &owner, "roleCreate", json!({ "name": "Deputy", "copyOf": administrator })).await?;
    let deputy = app.join(&owner, "dora@work.example", &[SystemRole::Standard]).await?;
    let role = copied.text("/roleCreate/role/id");
    let input = json!({ "memberId": deputy.member_id, "roleIds": [role] });
    assert!(mutate(&app, &owner, "memberAssignRoles", input).await?.codes().is_empty());
    // All of today, but not the role that holds everything: only Administrator covers Administrator.
    let wanted = json!({ "memberId": deputy.member_id, "mode": "ADD", "roleIds": [administrator] });
    assert_eq!(refusal(&mutate(&app, &deputy, "memberAssignRoles", wanted).await?).0, "NOT_PERMITTED");
    app.finish().await
}

#[tokio::test]
async fn what_is_wrong_with_a_role_is_told_at_its_field() -> Result<()> {
    let (app, owner) = start().await?;
    make(&app, &owner, "Reception", &[]).await?;
    let cases = [
        (json!({ "name": " reception " }), "NAME_TAKEN", json!(["input", "name"])),
        (json!({ "name": "STANDARD" }), "NAME_TAKEN", json!(["input", "name"])),
        (json!({ "name": "" }), "REQUIRED", json!(["input", "name"])),
        (json!({ "name": "a\nb" }), "INVALID_CHARACTERS", json!(["input", "name"])),
        (
            json!({ "name": "x", "permissions": ["members.read", "members.eat"] }),
            "UNKNOWN_PERMISSION",
            json!(["input", "permissions", "1"]),
        ),
        (json!({ "name": "x", "copyOf": "rol_x" }), "NOT_FOUND", json!(["input", "copyOf"])),
    ];
    for (input, code, field) in cases {
        let refused = mutate(&app, &owner, "roleCreate", input.clone()).await?;
        assert_eq!(refusal(&refused), (code.to_owned(), field), "{input}");
    }
    for mutation in ["roleUpdate", "roleArchive"] {
        let input = json!({ "roleId": SystemRole::Auditor.id() });
        let refused = mutate(&app, &owner, mutation, input).await?;
        assert_eq!(refusal(&refused), ("SYSTEM_ROLE".into(), json!(["input", "roleId"])));
    }
    app.finish().await
}

#[tokio::test]
async fn an_account_has_so_many_roles_of_its_own_and_no_more() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.custom_roles = 2;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found(OWNER, 5).await?;
    let first = make(&app, &owner, "One", &[]).await?;
    make(&app, &owner, "Two", &[]).await?;
    assert_eq!(refusal(&mutate(&app, &owner, "roleCreate", json!({ "name": "Three" })).await?).0, "LIMIT_REACHED");
    assert!(mutate(&app, &owner, "roleArchive", json!({ "roleId": first })).await?.codes().is_empty());
    make(&app, &owner, "one", &[]).await?;
    let again = mutate(&app, &owner, "roleUnarchive", json!({ "roleId": first })).await?;
    assert_eq!(refusal(&again).0, "NAME_TAKEN", "its name is another's by now");
    app.finish().await
}

#[tokio::test]
async fn a_role_in_use_is_archived_only_with_another_in_its_place() -> Result<()> {
    let (app, owner) = start().await?;
    let (old, new) =
        (make(&app, &owner, "Old", &["members.read"]).await?, make(&app, &owner, "New", &["imports.read"]).await?);
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    let input = json!({ "memberId": ben.member_id, "roleIds": [old] });
    assert!(mutate(&app, &owner, "memberAssignRoles", input).await?.codes().is_empty());
    let invite = json!({ "invitations": [{ "email": "ivy@work.example", "roleIds": [old] }] });
    assert!(app.mutate(Some(&owner.token), "memberInvite", invite, "__typename").await?.codes().is_empty());
    let refused = mutate(&app, &owner, "roleArchive", json!({ "roleId": old })).await?;
    assert_eq!(refusal(&refused), ("REPLACEMENT_REQUIRED".into(), json!(["input", "replacementRoleId"])));
    let done = mutate(&app, &owner, "roleArchive", json!({ "roleId": old, "replacementRoleId": new })).await?;
    assert!(done.data("/roleArchive/role/archivedAt").is_string(), "{}", done.body);
    assert_eq!(held(&app, &ben).await?, ["imports.read"]);
    let letter = app.letter("ivy@work.example").await?;
    assert!(app.accept(&letter.token(), "Ivy", "Lane").await?.codes().is_empty());
    let ivy = app.person("ivy@work.example").await?;
    assert_eq!(held(&app, &ivy).await?, ["imports.read"], "open invitations give the other role");
    for input in [
        json!({ "memberId": ben.member_id, "roleIds": [old] }),
        json!({ "memberId": ben.member_id, "mode": "ADD", "roleIds": [new, old] }),
    ] {
        assert_eq!(refusal(&mutate(&app, &owner, "memberAssignRoles", input).await?).0, "ARCHIVED");
    }
    let listed = app
        .graphql(
            Some(&owner.token),
            "{ account { roles { name } archived: roles(archived: true) { name } } }",
            Value::Null,
        )
        .await?;
    assert_eq!(listed.data("/account/archived"), &json!([{ "name": "Old" }]));
    assert!(!listed.data("/account/roles").to_string().contains("Old"));
    assert!(mutate(&app, &owner, "roleUnarchive", json!({ "roleId": old })).await?.codes().is_empty());
    app.finish().await
}

/// Somebody with these permissions and nothing else.
async fn with(app: &App, owner: &Person, name: &str, permissions: &[&str]) -> Result<Person> {
    let role = make(app, owner, name, permissions).await?;
    let person = app.join(owner, &format!("{name}@work.example"), &[SystemRole::Standard]).await?;
    let input = json!({ "memberId": person.member_id, "roleIds": [role] });
    assert!(mutate(app, owner, "memberAssignRoles", input).await?.codes().is_empty());
    Ok(person)
}

#[tokio::test]
async fn nobody_gives_by_a_role_what_they_do_not_hold() -> Result<()> {
    let (app, owner) = start().await?;
    let keeper = with(&app, &owner, "keeper", &["roles.manage", "roles.assign", "members.read"]).await?;
    let greater = make(&app, &owner, "Greater", &["members.read", "members.delete"]).await?;
    let lesser = make(&app, &keeper, "Lesser", &["members.read"]).await?;
    let missing = |answer: &Answer| answer.user_errors()[0]["permissions"].clone();
    for (mutation, input) in [
        ("roleCreate", json!({ "name": "Mine", "permissions": ["members.read", "members.delete"] })),
        ("roleCreate", json!({ "name": "Mine", "copyOf": greater })),
        ("roleUpdate", json!({ "roleId": lesser, "permissions": ["members.delete"] })),
        // What somebody greater holds is not theirs to take away either.
        ("roleUpdate", json!({ "roleId": greater, "permissions": ["members.read"] })),
        ("roleArchive", json!({ "roleId": greater, "replacementRoleId": lesser })),
        ("memberAssignRoles", json!({ "memberId": keeper.member_id, "mode": "ADD", "roleIds": [greater] })),
    ] {
        let refused = mutate(&app, &keeper, mutation, input.clone()).await?;
        assert_eq!(refused.codes(), ["NOT_PERMITTED"], "{mutation} {input}");
        assert_eq!(missing(&refused), json!(["members.delete"]), "{mutation} {input}");
    }
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    for (mode, roles) in [("SET", json!([greater])), ("ADD", json!([greater]))] {
        let input = json!({ "memberId": ben.member_id, "mode": mode, "roleIds": roles });
        assert_eq!(missing(&mutate(&app, &keeper, "memberAssignRoles", input).await?), json!(["members.delete"]));
    }
    // A role that is in use may be replaced only by one that the actor could give.
    let input = json!({ "memberId": ben.member_id, "roleIds": [lesser] });
    assert!(mutate(&app, &keeper, "memberAssignRoles", input).await?.codes().is_empty());
    let refused =
        mutate(&app, &keeper, "roleArchive", json!({ "roleId": lesser, "replacementRoleId": greater })).await?;
    assert_eq!(refusal(&refused), ("NOT_PERMITTED".into(), json!(["input", "replacementRoleId"])));
    // Somebody greater is not theirs to touch at all.
    let input = json!({ "memberId": ben.member_id, "roleIds": [greater] });
    assert!(mutate(&app, &owner, "memberAssignRoles", input).await?.codes().is_empty());
    let input = json!({ "memberId": ben.member_id, "roleIds": [lesser] });
    assert_eq!(missing(&mutate(&app, &keeper, "memberAssignRoles", input).await?), json!(["members.delete"]));
    app.finish().await
}

#[tokio::test]
async fn many_get_roles_at_once_and_each_refusal_names_its_member() -> Result<()> {
    let (app, owner) = start().await?;
    let role = make(&app, &owner, "Reception", &["members.read"]).await?;
    let mut members = Vec::new();
    for name in ["ann", "ben", "cem"] {
        members.push(app.join(&owner, &format!("{name}@work.example"), &[SystemRole::Standard]).await?.member_id);
    }
    let absent = format!("mem_{}", uuid::Uuid::now_v7().simple());
    let named = json!([members[0], absent, members[1], members[2]]);
    let all = json!({ "memberIds": named, "mode": "ADD", "roleIds": [role] });
    let refused = mutate(&app, &owner, "memberAssignRoles", all.clone()).await?;
    assert_eq!(refusal(&refused), ("NOT_FOUND".into(), json!(["input", "memberIds", "1"])));
    let roles = |answer: &Answer| -> Vec<usize> {
        let members = answer.data("/memberAssignRoles/members").as_array().unwrap();
        members.iter().map(|member| member["roles"].as_array().unwrap().len()).collect()
    };
    let mut partial = all;
    partial["errorPolicy"] = json!("PARTIAL");
    let done = mutate(&app, &owner, "memberAssignRoles", partial).await?;
    assert_eq!((done.codes(), roles(&done)), (vec!["NOT_FOUND".to_owned()], vec![2, 2, 2]));
    let remove = json!({ "memberIds": [members[0], members[0], members[1]], "mode": "REMOVE", "roleIds": [role] });
    assert_eq!(roles(&mutate(&app, &owner, "memberAssignRoles", remove).await?), [1, 1], "each once");
    let last = json!({ "memberIds": members, "mode": "REMOVE", "roleIds": [SystemRole::Standard.id()] });
    let refused = mutate(&app, &owner, "memberAssignRoles", last).await?;
    assert_eq!(refused.codes(), ["ROLE_REQUIRED", "ROLE_REQUIRED"], "the third has another one");
    let own = json!({ "memberId": owner.member_id, "roleIds": [role] });
    assert_eq!(
        refusal(&mutate(&app, &owner, "memberAssignRoles", own).await?),
        ("OWNER_PROTECTED".into(), json!(["input", "memberId"]))
    );
    for (input, code) in [
        (json!({ "roleIds": [role] }), "REQUIRED"),
        (json!({ "memberId": members[0], "memberIds": members, "roleIds": [role] }), "OUT_OF_RANGE"),
        (json!({ "memberIds": vec![members[0].clone(); 501], "roleIds": [role] }), "TOO_MANY"),
        (json!({ "memberId": members[0], "roleIds": [] }), "ROLE_REQUIRED"),
        (
            json!({ "memberId": members[0], "roleIds": (0..21).map(|_| format!("rol_{}", uuid::Uuid::now_v7().simple())).collect::<Vec<_>>() }),
            "TOO_MANY",
        ),
    ] {
        assert_eq!(refusal(&mutate(&app, &owner, "memberAssignRoles", input).await?).0, code);
    }
    app.finish().await
}
