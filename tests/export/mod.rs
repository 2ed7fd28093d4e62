//! Files that are made for people: what is in them, who may read them for how long, and that they go.

use anyhow::{Context as _, Result, ensure};
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{App, Options, Person};

mod end;
mod link;
mod members;
mod statement;

const OWNER: &str = "olivia@harborandfinch.example";

/// Asks for a file of members; its id.
async fn ask(app: &App, by: &Person, input: Value) -> Result<String> {
    let made = app.mutate(Some(&by.token), "memberExportCreate", input, "export { id status url }").await?;
    ensure!(made.codes().is_empty(), "{}", made.body);
    Ok(made.text("/memberExportCreate/export/id"))
}

/// What somebody sees of an export.
async fn look(app: &App, by: &Person, id: &str) -> Result<Value> {
    let document = "query ($id: ID!) { export(id: $id) { id kind status progress { done total } fileName sizeBytes startedAt finishedAt
                    expiresAt errorCode errorMessage url } }";
    Ok(app.graphql(Some(&by.token), document, json!({ "id": id })).await?.data("/export").clone())
}

/// Has a file of members made; its link.
async fn made(app: &App, by: &Person, input: Value) -> Result<String> {
    let id = ask(app, by, input).await?;
    app.settle().await?;
    let export = look(app, by, &id).await?;
    export["url"].as_str().map(str::to_owned).with_context(|| format!("no file: {export}"))
}

/// Follows a link.
async fn get(app: &App, url: &str) -> Result<(u16, String)> {
    let answer = app.http.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The addresses in a file, in its order.
async fn addresses(app: &App, url: &str) -> Result<Vec<String>> {
    let (status, text) = get(app, url).await?;
    ensure!(status == 200, "{status}: {text}");
    Ok(text.lines().skip(1).filter_map(|line| line.split(',').next()).map(str::to_owned).collect())
}

/// The files in the store.
async fn files(app: &App) -> Result<usize> {
    Ok(app.files.older_than("exports", SignedDuration::from_hours(-1)).await?.len())
}

/// Does something that succeeds.
async fn done(app: &App, by: &Person, mutation: &str, input: Value) -> Result<()> {
    let answer = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
    ensure!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
    Ok(())
}

/// A unit with a member, and somebody who reads members within it only.
async fn reader_of_a_unit(app: &App, owner: &Person, member: &Person) -> Result<(String, Person)> {
    let unit = app.mutate(Some(&owner.token), "unitCreate", json!({ "name": "North" }), "unit { id }").await?;
    let unit = unit.text("/unitCreate/unit/id");
    done(app, owner, "unitAddMembers", json!({ "unitId": unit, "memberIds": [member.member_id] })).await?;
    let reader = app.join(owner, "max@harborandfinch.example", &[SystemRole::Standard]).await?;
    let limited = json!([{ "roleId": SystemRole::MemberManager.id(), "unitId": unit }]);
    done(app, owner, "memberAssignRoles", json!({ "memberId": reader.member_id, "unitRoles": limited })).await?;
    Ok((unit, reader))
}
