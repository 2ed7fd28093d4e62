//! Who may see imports: whoever reads everything, and whoever imports.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::world::MEMBERS;
use crate::support::app::{App, Person};

const OWNER: &str = "olivia@harborandfinch.example";

/// Asks for an import in each way there is; answers what was found, or the codes of what was refused.
async fn look(app: &App, by: &Person, id: &str) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for (query, pointer) in [
        ("query ($id: ID!) { memberImport(id: $id) { id rows(first: 1) { nodes { row } } } }", "/memberImport/id"),
        ("query ($id: ID!) { job(id: $id) { id } }", "/job/id"),
        ("query ($id: ID!) { node(id: $id) { id } }", "/node/id"),
    ] {
        let answer = app.graphql(Some(&by.token), query, json!({ "id": id })).await?;
        let found = answer.body["data"].pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        seen.push(found.unwrap_or_else(|| answer.errors().pop().unwrap_or_else(|| "null".to_owned())));
    }
    let listed = app
        .graphql(
            Some(&by.token),
            "{ account { viewerCanImport memberImports(first: 1) { nodes { id } } } }",
            Value::Null,
        )
        .await?;
    let first = listed.body["data"].pointer("/account/memberImports/nodes/0/id").and_then(Value::as_str);
    seen.push(first.map_or_else(|| listed.errors().pop().unwrap_or_default(), str::to_owned));
    let can = listed.body["data"].pointer("/account/viewerCanImport").and_then(Value::as_bool);
    seen.push(format!("{can:?}"));
    Ok(seen)
}

#[tokio::test]
async fn auditors_and_importers_see_imports_and_nobody_else_does() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let input = json!({ "fileName": "members.csv" });
    let upload = app.mutate(Some(&owner.token), "uploadCreate", input, "upload { id url }").await?;
    app.http.put(upload.text("/uploadCreate/upload/url")).body(MEMBERS).send().await?.error_for_status()?;
    let input = json!({ "uploadId": upload.text("/uploadCreate/upload/id") });
    let import = app.mutate(Some(&owner.token), "memberImportCreate", input, "memberImport { id }").await?;
    let id = import.text("/memberImportCreate/memberImport/id");
    app.settle().await?;

    for (role, sees, runs) in [
        (SystemRole::Administrator, true, true),
        (SystemRole::MemberManager, true, true),
        (SystemRole::Auditor, true, false),
        (SystemRole::BillingManager, false, false),
        (SystemRole::Standard, false, false),
    ] {
        let email = format!("{}@harborandfinch.example", role.key().to_lowercase().replace('_', "-"));
        let person = app.join(&owner, &email, &[role]).await?;
        let mut wanted = if sees { vec![id.as_str(); 4] } else { vec!["FORBIDDEN", "FORBIDDEN", "null", "FORBIDDEN"] };
        let can = format!("{:?}", Some(runs));
        wanted.push(&can);
        assert_eq!(look(&app, &person, &id).await?, wanted, "{role:?}");
        let input = json!({ "fileName": "more.csv" });
        let upload = app.mutate(Some(&person.token), "uploadCreate", input, "upload { id }").await?;
        let refused = if runs { vec![] } else { vec!["NOT_PERMITTED"] };
        assert_eq!(upload.codes(), refused, "{role:?}");
    }
    app.finish().await
}
