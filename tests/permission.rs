//! The catalogue of permissions, the host product's own, and why somebody may do something.

use anyhow::Result;
use domain::catalogue::{self, Catalogue, Difference};
use domain::infra::migrate;
use domain::permission::{Permission, SystemRole};
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const FILE: &str = "
    [[permission]]
    key = 'app.matters.read'
    description = 'See matters.'
    [[permission]]
    key = 'app.matters.edit'
    description = 'Edit matters.'
    requires = ['app.matters.read']
    [[permission]]
    key = 'app.reports.read'
    description = 'See reports of the whole firm.'
    account_wide = true
    [[permission]]
    key = 'app.calendar.control'
    description = \"Control the firm's calendar.\"
    owner_only = true
";

/// What `muster catalogue apply` does.
async fn apply(app: &App, file: &str, dry_run: bool) -> Result<Vec<Difference>> {
    let mut conn = migrate::connect(&app.config).await?;
    Ok(catalogue::apply(&mut conn, &Catalogue::parse(file)?, dry_run).await?)
}

async fn held(app: &App, by: &Person) -> Result<Vec<String>> {
    let answer = app.graphql(Some(&by.token), "{ viewer { permissions } }", Value::Null).await?;
    let all: Vec<String> = serde_json::from_value(answer.data("/viewer/permissions").clone())?;
    Ok(all.into_iter().filter(|key| key.starts_with("app.")).collect())
}

async fn role(app: &App, by: &Person, name: &str, permissions: &[&str]) -> Result<Answer> {
    app.mutate(Some(&by.token), "roleCreate", json!({ "name": name, "permissions": permissions }), "role { id }").await
}

async fn assign(app: &App, by: &Person, to: &Person, roles: Value, limited: Value) -> Result<()> {
    let input = json!({ "memberId": to.member_id, "roleIds": roles, "unitRoles": limited });
    let answer = app.mutate(Some(&by.token), "memberAssignRoles", input, "__typename").await?;
    assert_eq!(answer.codes(), Vec::<String>::new(), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn everybody_reads_what_can_be_allowed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    apply(&app, FILE, false).await?;
    let query = "{ permissions { key description isHost accountWide ownerOnly prerequisites } }";
    let all = app.graphql(Some(&owner.token), query, Value::Null).await?;
    let all = all.data("/permissions").as_array().unwrap();
    assert_eq!(all.len(), Permission::ALL.len() + 4);
    assert_eq!(all[0]["key"], Permission::ALL[0].key());
    let edit = all.iter().find(|one| one["key"] == "app.matters.edit").unwrap();
    assert_eq!((&edit["isHost"], &edit["prerequisites"]), (&json!(true), &json!(["app.matters.read"])));
    app.finish().await
}

#[tokio::test]
async fn a_catalogue_is_applied_as_a_whole_and_says_what_it_changes() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    assert_eq!(apply(&app, FILE, true).await?.len(), 4);
    assert_eq!(held(&app, &owner).await?, Vec::<String>::new(), "a dry run changes nothing");
    apply(&app, FILE, false).await?;
    assert!(apply(&app, FILE, false).await?.is_empty(), "the same again is nothing");
    assert_eq!(
        held(&app, &owner).await?,
        ["app.calendar.control", "app.matters.edit", "app.matters.read", "app.reports.read"],
        "from the next request on"
    );
    assert!(role(&app, &owner, "Reader", &["app.matters.read"]).await?.codes().is_empty());
    let less = "[[permission]]\nkey = 'app.reports.read'\ndescription = 'See reports.'\naccount_wide = true";
    let told: Vec<String> = apply(&app, less, false).await?.iter().map(ToString::to_string).collect();
    assert_eq!(told[0], "~ app.reports.read (description)");
    assert!(
        told.contains(&"- app.matters.read (held by 1 roles, for which it grants nothing from now on)".to_owned()),
        "{told:?}"
    );
    assert_eq!(held(&app, &owner).await?, ["app.reports.read"]);
    assert_eq!(role(&app, &owner, "Late", &["app.matters.read"]).await?.codes(), ["UNKNOWN_PERMISSION"]);
    app.finish().await
}

#[tokio::test]
async fn the_host_products_permissions_are_given_without_being_held() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 9).await?;
    apply(&app, FILE, false).await?;
    let keeper = role(&app, &owner, "Keeper", &["roles.manage", "roles.assign"]).await?.text("/roleCreate/role/id");
    let kim = app.join(&owner, "kim@work.example", &[SystemRole::Standard]).await?;
    assign(&app, &owner, &kim, json!([keeper]), json!([])).await?;
    let editor =
        role(&app, &kim, "Editor", &["app.matters.read", "app.matters.edit"]).await?.text("/roleCreate/role/id");
    let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    assign(&app, &kim, &ben, json!([editor]), json!([])).await?;
    assert_eq!(held(&app, &ben).await?, ["app.matters.edit", "app.matters.read"]);
    assert_eq!(role(&app, &kim, "Half", &["app.matters.edit"]).await?.codes(), ["PREREQUISITE_MISSING"]);
    assert_eq!(role(&app, &kim, "Owners", &["app.calendar.control"]).await?.codes(), ["OWNER_ONLY_PERMISSION"]);
    let administrator = app.join(&owner, "ada@work.example", &[SystemRole::Administrator]).await?;
    assert!(!held(&app, &administrator).await?.contains(&"app.calendar.control".to_owned()), "only the owner holds it");
    app.finish().await
}

/// An account with a unit, somebody whose role is limited to it, a matter in it and one outside.
struct Matters {
    app: App,
    owner: Person,
    ben: Person,
    unit: String,
    inside: String,
    outside: String,
}

impl Matters {
    async fn open() -> Result<Self> {
        let app = App::start().await?;
        let owner = app.found(OWNER, 9).await?;
        apply(&app, FILE, false).await?;
        let made = app.mutate(Some(&owner.token), "unitCreate", json!({ "name": "North" }), "unit { id }").await?;
        let unit = made.text("/unitCreate/unit/id");
        let keys = ["app.matters.read", "app.reports.read", "members.read"];
        let reader = role(&app, &owner, "Reader", &keys).await?.text("/roleCreate/role/id");
        let ben = app.join(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
        assign(&app, &owner, &ben, json!([]), json!([{ "roleId": reader, "unitId": unit }])).await?;
        let mut ids = Vec::new();
        for (name, unit) in [("inside", Some(&unit)), ("outside", None)] {
            let item = json!({ "type": "matter", "externalId": name, "name": name, "unitId": unit, "openToAll": true });
            let made = app
                .mutate(Some(&owner.token), "resourceRegister", json!({ "resources": [item] }), "resources { id }")
                .await?;
            ids.push(made.text("/resourceRegister/resources/0/id"));
        }
        let (outside, inside) = (ids.remove(1), ids.remove(0));
        Ok(Self { app, owner, ben, unit, inside, outside })
    }

    async fn can(&self, by: &Person, variables: Value) -> Result<bool> {
        let query =
            "query ($p: String!, $u: ID, $r: ID) { viewer { can(permission: $p, unitId: $u, resourceId: $r) } }";
        let answer = self.app.graphql(Some(&by.token), query, variables).await?;
        Ok(answer.data("/viewer/can").as_bool().unwrap())
    }

    async fn explain(&self, by: &Person, member: &str, permission: &str, resource: Option<&str>) -> Result<Answer> {
        let query = "query ($m: ID!, $p: String!, $r: ID) { explainAccess(memberId: $m, permission: $p, resourceId: $r) {
            granted permissionSources { kind name unitName } resourceSources { kind name } missing { code message } } }";
        self.app.graphql(Some(&by.token), query, json!({ "m": member, "p": permission, "r": resource })).await
    }
}

#[tokio::test]
async fn a_frontend_asks_what_its_user_may_do_where() -> Result<()> {
    let matters = Matters::open().await?;
    let (unit, inside, outside) = (&matters.unit, &matters.inside, &matters.outside);
    let read = "app.matters.read";
    for (variables, expected) in [
        (json!({ "p": read }), false),
        (json!({ "p": read, "u": unit }), true),
        (json!({ "p": read, "r": inside }), true),
        (json!({ "p": read, "r": outside }), false),
        (json!({ "p": read, "u": unit, "r": outside }), false),
        (json!({ "p": "app.reports.read", "u": unit }), false),
        (json!({ "p": "members.read", "u": unit }), true),
        (json!({ "p": "members.read" }), false),
        (json!({ "p": "no.such", "u": unit }), false),
        (json!({ "p": read, "u": "unt_00000000000000000000000000000000" }), false),
    ] {
        assert_eq!(matters.can(&matters.ben, variables.clone()).await?, expected, "{variables}");
    }
    assert!(matters.can(&matters.owner, json!({ "p": "app.calendar.control" })).await?);
    assert!(matters.can(&matters.owner, json!({ "p": read, "r": outside })).await?);
    matters.app.finish().await
}

#[tokio::test]
async fn an_explanation_names_every_reason_or_what_is_missing() -> Result<()> {
    let matters = Matters::open().await?;
    let (owner, ben) = (&matters.owner, &matters.ben);
    let explain = |permission, resource: Option<&str>| {
        let resource = resource.map(str::to_owned);
        let matters = &matters;
        async move { matters.explain(owner, &ben.member_id, permission, resource.as_deref()).await }
    };
    let codes = |answer: &Answer| -> Vec<String> {
        let missing = answer.data("/explainAccess/missing").as_array().unwrap();
        missing.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
    };
    let granted = explain("app.matters.read", Some(&matters.inside)).await?;
    assert_eq!(granted.data("/explainAccess/granted"), true);
    assert_eq!(
        granted.data("/explainAccess/permissionSources"),
        &json!([{ "kind": "ROLE", "name": "Reader", "unitName": "North" }])
    );
    assert_eq!(granted.data("/explainAccess/resourceSources"), &json!([{ "kind": "OPEN_TO_ALL", "name": null }]));
    assert_eq!(codes(&explain("app.matters.read", Some(&matters.outside)).await?), ["OTHER_UNIT"]);
    assert_eq!(codes(&explain("app.reports.read", None).await?), ["ACCOUNT_WIDE"]);
    assert_eq!(codes(&explain("app.calendar.control", None).await?), ["OWNER_ONLY"]);
    let none = explain("app.matters.edit", None).await?;
    assert_eq!(codes(&none), ["NO_ROLE"]);
    assert!(none.text("/explainAccess/missing/0/message").contains("Administrator"), "{}", none.body);
    // A matter that is open to a group only.
    let closed = json!({ "type": "matter", "externalId": "inside", "name": "inside", "unitId": matters.unit, "openToAll": false });
    matters.app.mutate(Some(&owner.token), "resourceRegister", json!({ "resources": [closed] }), "__typename").await?;
    assert_eq!(codes(&explain("app.matters.read", Some(&matters.inside)).await?), ["RESOURCE_NOT_OPEN"]);
    assert!(explain("members.read", Some(&matters.inside)).await?.data("/explainAccess/granted").as_bool().unwrap());
    matters.app.mutate(Some(&owner.token), "unitArchive", json!({ "unitId": matters.unit }), "__typename").await?;
    assert!(codes(&explain("app.matters.read", None).await?).contains(&"UNIT_ARCHIVED".to_owned()));
    matters.app.mutate(Some(&owner.token), "memberSuspend", json!({ "memberId": ben.member_id }), "__typename").await?;
    assert!(codes(&explain("app.matters.read", None).await?).contains(&"MEMBER_NOT_ACTIVE".to_owned()));
    // Of others only with a right to see them; of an unknown permission never.
    let carl = matters.app.join(owner, "carl@work.example", &[SystemRole::Standard]).await?;
    assert_eq!(matters.explain(&carl, &owner.member_id, "members.read", None).await?.errors(), ["FORBIDDEN"]);
    assert_eq!(
        matters.explain(&carl, &carl.member_id, "members.read", None).await?.data("/explainAccess/granted"),
        false
    );
    assert_eq!(matters.explain(owner, &carl.member_id, "members.eat", None).await?.errors(), ["BAD_USER_INPUT"]);
    assert!(matters.explain(owner, "mem_x", "members.read", None).await?.data("/explainAccess").is_null());
    matters.app.finish().await
}
