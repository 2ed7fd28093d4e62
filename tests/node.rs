//! Objects by id.

use anyhow::Result;
use domain::id::{AccountId, ImportId, InvitationId, MemberId, RoleId};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const NODES: &str = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }";

async fn nodes(app: &App, by: &Person, ids: &[String]) -> Result<Answer> {
    app.graphql(Some(&by.token), NODES, json!({ "ids": ids })).await
}

/// An account with one of everything; the ids, each with its kind.
async fn everything(app: &App, email: &str) -> Result<(Person, Vec<(&'static str, String)>)> {
    let owner = app.found(email, 10).await?;
    let guest = format!("guest.{email}");
    let invited = app.invite(&owner, &guest, &[SystemRole::Standard]).await?;
    let upload =
        app.mutate(Some(&owner.token), "uploadCreate", json!({ "fileName": "m.csv" }), "upload { id url }").await?;
    let file = format!("email,first_name,last_name,subscription_type\nrow.{email},Ro,Wland,Attorney\n");
    let put = app.http.put(upload.text("/uploadCreate/upload/url")).body(file).send().await?;
    assert!(put.status().is_success(), "{}", put.status());
    let input = json!({
        "uploadId": upload.text("/uploadCreate/upload/id"), "sendWelcomeEmail": false, "idempotencyKey": "k-1",
    });
    let import = app.mutate(Some(&owner.token), "memberImportCreate", input, "memberImport { id }").await?;
    app.settle().await?;
    let ids = vec![
        ("Account", owner.account_id.clone()),
        ("Member", owner.member_id.clone()),
        ("Member", invited.text("/memberInvite/invitations/0/member/id")),
        ("Invitation", invited.text("/memberInvite/invitations/0/id")),
        ("MemberImport", import.text("/memberImportCreate/memberImport/id")),
        ("Role", SystemRole::Auditor.id().to_string()),
    ];
    Ok((owner, ids))
}

#[tokio::test]
async fn every_kind_is_found_by_its_id_in_the_order_asked_for() -> Result<()> {
    let app = App::start().await?;
    let (owner, ids) = everything(&app, OWNER).await?;
    for (kind, id) in &ids {
        let document =
            "query ($id: ID!) { node(id: $id) { __typename id ... on Account { name } ... on Member { email }
                        ... on Invitation { email } ... on MemberImport { rowsInvited } ... on Role { systemKey } } }";
        let one = app.graphql(Some(&owner.token), document, json!({ "id": id })).await?;
        assert_eq!((one.text("/node/__typename"), one.text("/node/id")), ((*kind).to_owned(), id.clone()));
    }
    let mut order: Vec<(&str, String)> = ids.clone();
    order.reverse();
    order.push(ids[1].clone());
    let asked: Vec<String> = order.iter().map(|(_, id)| id.clone()).collect();
    let many = nodes(&app, &owner, &asked).await?;
    let found: Vec<Value> = order.iter().map(|(kind, id)| json!({ "__typename": kind, "id": id })).collect();
    assert_eq!(many.data("/nodes"), &json!(found), "also one that is asked for twice");
    app.finish().await
}

#[tokio::test]
async fn what_belongs_to_others_is_null_like_what_does_not_exist() -> Result<()> {
    let app = App::start().await?;
    let (owner, own) = everything(&app, OWNER).await?;
    let (_, foreign) = everything(&app, "sofia@secondfirm.example").await?;
    // System roles have the same ids everywhere.
    let mut ids: Vec<String> = foreign.into_iter().filter(|(kind, _)| *kind != "Role").map(|(_, id)| id).collect();
    ids.extend([
        AccountId::new().to_string(),
        MemberId::new().to_string(),
        InvitationId::new().to_string(),
        ImportId::new().to_string(),
        RoleId::new().to_string(),
        String::new(),
        "mem_1".to_owned(),
        own[1].1.to_uppercase(),
        own[1].1.replace("mem_", "inv_"),
        "x".repeat(1_000),
    ]);
    for id in &ids {
        let one =
            app.graphql(Some(&owner.token), "query ($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await?;
        assert_eq!(one.data("/node"), &Value::Null, "{id:.50}");
    }
    ids.insert(2, owner.member_id.clone());
    let many = nodes(&app, &owner, &ids).await?;
    let many = many.data("/nodes").as_array().unwrap().clone();
    let found: Vec<usize> = (0..many.len()).filter(|index| !many[*index].is_null()).collect();
    assert_eq!((many.len(), found), (ids.len(), vec![2]), "null keeps its place");
    app.finish().await
}

#[tokio::test]
async fn a_hundred_are_asked_for_at_once_and_no_more() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 3).await?;
    let ids: Vec<String> = vec![owner.member_id.clone(); 101];
    let refused = nodes(&app, &owner, &ids).await?;
    assert_eq!(refused.errors(), ["BAD_USER_INPUT"]);
    assert_eq!(nodes(&app, &owner, &ids[1..]).await?.data("/nodes").as_array().unwrap().len(), 100);
    assert_eq!(nodes(&app, &owner, &[]).await?.data("/nodes"), &json!([]));
    let nobody = app.graphql(None, NODES, json!({ "ids": [owner.member_id] })).await?;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED"]);
    app.finish().await
}

#[tokio::test]
async fn ids_show_no_more_than_lists_do() -> Result<()> {
    let app = App::start().await?;
    let (owner, ids) = everything(&app, OWNER).await?;
    let sam = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    let ids: Vec<String> = ids.into_iter().map(|(_, id)| id).collect();
    let seen = nodes(&app, &sam, &ids).await?;
    let kinds: Vec<Option<&str>> =
        seen.data("/nodes").as_array().unwrap().iter().map(|node| node["__typename"].as_str()).collect();
    assert_eq!(kinds, [Some("Account"), Some("Member"), None, None, None, Some("Role")]);
    let document =
        "query ($id: ID!) { node(id: $id) { ... on Member { firstName lastName email phone joinedAt lastSignInAt
                    roles { name } licenses { reserved } accountRole subscriptionType viewerCanReadProfile } } }";
    let member = app.graphql(Some(&sam.token), document, json!({ "id": owner.member_id })).await?;
    let basic = json!({
        "firstName": "Olivia", "lastName": "Harbor", "email": null, "phone": null, "joinedAt": null, "lastSignInAt": null,
        "roles": null, "licenses": null, "accountRole": "PRIMARY_SUBSCRIBER", "subscriptionType": null,
        "viewerCanReadProfile": false,
    });
    assert_eq!(member.data("/node"), &basic);
    app.finish().await
}
