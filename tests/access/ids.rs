//! Every id that can be sent: another account's and a malformed one are answered exactly as one of nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::firm::Firm;
use super::{mutations, none};
use crate::support::app::Answer;
use crate::support::introspection::{Type, types};

/// The kinds of ids, by the name of the argument.
fn prefixes(argument: &str) -> &'static [&'static str] {
    match argument {
        "memberId" | "memberIds" | "successorId" | "responsibleMemberId" => &["mem"],
        "memberImportId" => &["imp"],
        "roleId" | "roleIds" | "defaultRoleIds" | "copyOf" | "replacementRoleId" => &["rol"],
        "unitId" | "unitIds" => &["unt"],
        "groupId" | "groupIds" | "defaultGroupIds" => &["grp"],
        "resourceId" => &["res"],
        "invitationId" | "invitationIds" => &["inv"],
        "uploadId" => &["upl"],
        "sessionId" => &["ses"],
        "accountId" => &["acc"],
        "quoteId" => &["qut"],
        "changeId" => &["lch"],
        "statementId" => &["stm"],
        "id" | "ids" => {
            &["mem", "rol", "inv", "imp", "exp", "acc", "upl", "ses", "unt", "grp", "res", "qut", "lch", "stm"]
        }
        other => panic!("{other}: say of what kind it is"),
    }
}

/// The stranger's thing of a kind.
fn foreign(firm: &Firm, prefix: &str) -> String {
    match prefix {
        "mem" => firm.foreign.member.clone(),
        "inv" => firm.foreign.invitation.clone(),
        "imp" => firm.foreign.import.clone(),
        "exp" => firm.foreign.export.clone(),
        "upl" => firm.foreign.upload.clone(),
        "ses" => firm.foreign.session.clone(),
        "acc" => firm.foreign.account.clone(),
        "unt" => firm.foreign.unit.clone(),
        "rol" => firm.foreign.role.clone(),
        "grp" => firm.foreign.group.clone(),
        "res" => firm.foreign.resource.clone(),
        "qut" => firm.foreign.bought.quote.clone(),
        "lch" => firm.foreign.bought.change.clone(),
        "stm" => firm.foreign.bought.statement.clone(),
        _ => absent(prefix),
    }
}

fn absent(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// Texts that are no id of the wanted kind.
fn malformed(prefix: &str) -> [String; 6] {
    let id = absent(prefix);
    let other = if prefix == "evt" { "job" } else { "evt" };
    [String::new(), "x".into(), format!("{id}0"), id.to_uppercase(), id.replace('_', "-"), absent(other)]
}

/// Paths of ids below an argument: `input.invitations.0.roleIds.0`.
fn paths(types: &BTreeMap<String, Type>, name: &str, kind: &str, text: &str, found: &mut Vec<String>) {
    let path = if text.contains('[') { format!("{name}.0") } else { name.to_owned() };
    if kind == "ID" {
        found.push(path);
        return;
    }
    for input in types.get(kind).map(Type::input_fields).unwrap_or_default() {
        let below = format!("{path}.{}", input.name);
        paths(types, &below, input.kind.name(), &input.kind.text(), found);
    }
}

/// Each field with an id in its arguments, and where: found by walking the schema.
async fn places() -> BTreeSet<(String, String)> {
    let types = types().await;
    let mut places = BTreeSet::new();
    // What is followed has a row of its own for the stranger.
    for kind in types.values().filter(|kind| kind.kind == "OBJECT" && kind.name != "Subscription") {
        for field in kind.fields() {
            for argument in &field.args {
                let mut found = Vec::new();
                paths(&types, &argument.name, argument.kind.name(), &argument.kind.text(), &mut found);
                places.extend(found.into_iter().map(|path| (format!("{}.{}", kind.name, field.name), path)));
            }
        }
    }
    places
}

/// How a query with an id is asked, with `$id`.
fn query(field: &str, path: &str) -> &'static str {
    match (field, path) {
        ("Query.node", "id") => "query ($id: ID!) { it: node(id: $id) { id } }",
        ("Query.nodes", "ids.0") => "query ($id: ID!) { it: nodes(ids: [$id]) { id } }",
        ("Query.memberImport", "id") => "query ($id: ID!) { it: memberImport(id: $id) { id } }",
        ("Query.export", "id") => "query ($id: ID!) { it: export(id: $id) { id } }",
        ("Query.job", "id") => "query ($id: ID!) { it: job(id: $id) { id } }",
        ("Query.explainAccess", "memberId") => {
            "query ($id: ID!) { it: explainAccess(memberId: $id, permission: \"members.read\") { granted } }"
        }
        ("Query.explainAccess", "resourceId") => {
            "query ($id: ID!) { it: explainAccess(memberId: \"mem_x\", permission: \"members.read\", resourceId: $id) { granted } }"
        }
        ("Viewer.can", "unitId") => "query ($id: ID!) { viewer { can(permission: \"members.read\", unitId: $id) } }",
        ("Viewer.can", "resourceId") => {
            "query ($id: ID!) { viewer { can(permission: \"members.read\", resourceId: $id) } }"
        }
        ("Account.members", "filter.roleId") => {
            "query ($id: ID!) { account { members(filter: { roleId: $id }) { nodes { id } pageInfo { hasNextPage } } } }"
        }
        ("Account.members", "filter.groupId") => {
            "query ($id: ID!) { account { members(filter: { groupId: $id }) { nodes { id } pageInfo { hasNextPage } } } }"
        }
        ("Account.members", "filter.unitId") => {
            "query ($id: ID!) { account { members(filter: { unitId: $id }) { nodes { id } pageInfo { hasNextPage } } } }"
        }
        ("Account.membersCount", "filter.roleId") => {
            "query ($id: ID!) { account { membersCount(filter: { roleId: $id }) } }"
        }
        ("Account.membersCount", "filter.groupId") => {
            "query ($id: ID!) { account { membersCount(filter: { groupId: $id }) } }"
        }
        ("Account.membersCount", "filter.unitId") => {
            "query ($id: ID!) { account { membersCount(filter: { unitId: $id }) } }"
        }
        ("Query.licenseQuote", "id") => "query ($id: ID!) { it: licenseQuote(id: $id) { id } }",
        ("Query.licenseChange", "id") => "query ($id: ID!) { it: licenseChange(id: $id) { id } }",
        ("Query.statement", "id") => "query ($id: ID!) { it: statement(id: $id) { id } }",
        ("Query.group", "id") => "query ($id: ID!) { it: group(id: $id) { id } }",
        ("Query.resource", "id") => "query ($id: ID!) { it: resource(id: $id) { id } }",
        ("Query.canAccess", "memberId") => {
            "query ($id: ID!) { it: canAccess(memberId: $id, resources: [{ id: \"x\" }]) { allowed } }"
        }
        ("Query.canAccess", "resources.0.id") => {
            "query ($id: ID!) { it: canAccess(memberId: \"x\", resources: [{ id: $id }]) { allowed } }"
        }
        ("Query.effectiveRate", "memberId") => {
            "query ($id: ID!) { it: effectiveRate(memberId: $id, resourceId: \"x\") { decidedBy } }"
        }
        ("Query.effectiveRate", "resourceId") => {
            "query ($id: ID!) { it: effectiveRate(memberId: \"x\", resourceId: $id) { decidedBy } }"
        }
        ("Query.accessibleResources", "memberId") => {
            "query ($id: ID!) { it: accessibleResources(memberId: $id) { nodes { id } } }"
        }
        ("Query.accessibleResources", "filter.unitId") => {
            "query ($id: ID!) { it: accessibleResources(memberId: \"x\", filter: { unitId: $id }) { nodes { id } } }"
        }
        ("Query.accessibleResources", "filter.responsibleMemberId") => {
            "query ($id: ID!) { it: accessibleResources(memberId: \"x\", filter: { responsibleMemberId: $id }) { nodes { id } } }"
        }
        ("Member.accessibleResources", "filter.unitId") => {
            "query ($id: ID!) { viewer { member { accessibleResources(filter: { unitId: $id }) { nodes { id } } } } }"
        }
        ("Member.accessibleResources", "filter.responsibleMemberId") => {
            "query ($id: ID!) { viewer { member { accessibleResources(filter: { responsibleMemberId: $id }) { nodes { id } } } } }"
        }
        ("Account.resources", "filter.unitId") => {
            "query ($id: ID!) { account { resources(filter: { unitId: $id }) { nodes { id } } } }"
        }
        ("Account.resources", "filter.responsibleMemberId") => {
            "query ($id: ID!) { account { resources(filter: { responsibleMemberId: $id }) { nodes { id } } } }"
        }
        ("Account.resourcesCount", "filter.unitId") => {
            "query ($id: ID!) { account { resourcesCount(filter: { unitId: $id }) } }"
        }
        ("Account.resourcesCount", "filter.responsibleMemberId") => {
            "query ($id: ID!) { account { resourcesCount(filter: { responsibleMemberId: $id }) } }"
        }
        other => panic!("{other:?}: say how it is asked"),
    }
}

/// Puts an id at a path of an input, making what is missing on the way.
fn put(input: &mut Value, path: &str, id: &str) {
    let mut place = input;
    for segment in path.split('.').skip(1) {
        if let Ok(index) = segment.parse::<usize>() {
            if !place.is_array() {
                *place = json!([]);
            }
            let list = place.as_array_mut().expect("made above");
            list.resize(list.len().max(index + 1), Value::Null);
            place = &mut list[index];
        } else {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[segment];
        }
    }
    *place = json!(id);
}

/// A request with an id left open.
struct Request<'f> {
    firm: &'f Firm,
    field: &'f str,
    path: &'f str,
    token: Option<&'f str>,
    input: Value,
}

impl Request<'_> {
    async fn send(&self, id: &str) -> Result<Answer> {
        match self.field.strip_prefix("Mutation.") {
            Some(mutation) => {
                let mut input = self.input.clone();
                if self.path == "input.memberIds.0" {
                    input.as_object_mut().expect("an input").remove("memberId");
                }
                if let Some((list, _)) = self.path.split_once(".unitRoles.0.") {
                    put(&mut input, &format!("{list}.unitRoles.0.roleId"), &SystemRole::Standard.id().to_string());
                    put(&mut input, &format!("{list}.unitRoles.0.unitId"), &self.firm.unit);
                }
                put(&mut input, self.path, id);
                self.firm.app.mutate(self.token, mutation, input, "__typename").await
            }
            None => self.firm.app.graphql(self.token, query(self.field, self.path), json!({ "id": id })).await,
        }
    }
}

/// The answer as the client reads it, but for the request's own id and the time that runs.
fn text(answer: &Answer) -> String {
    let mut body = answer.body.clone();
    for error in body["errors"].as_array_mut().into_iter().flatten() {
        error["extensions"]["requestId"] = Value::Null;
    }
    format!("{} {body}", answer.status)
}

/// What the owner is told of an id of nothing.
fn said_to_the_owner(field: &str, path: &str) -> Value {
    let nothing = |value: Value| json!({ "data": value });
    match field {
        "Viewer.can" => nothing(json!({ "viewer": { "can": path == "unitId" } })),
        "Query.canAccess" => nothing(json!({ "it": [{ "allowed": false }] })),
        "Query.accessibleResources" => nothing(json!({ "it": { "nodes": [] } })),
        "Member.accessibleResources" => {
            nothing(json!({ "viewer": { "member": { "accessibleResources": { "nodes": [] } } } }))
        }
        "Account.resources" => nothing(json!({ "account": { "resources": { "nodes": [] } } })),
        "Account.resourcesCount" => nothing(json!({ "account": { "resourcesCount": 0 } })),
        "Query.node"
        | "Query.memberImport"
        | "Query.explainAccess"
        | "Query.job"
        | "Query.export"
        | "Query.group"
        | "Query.resource"
        | "Query.effectiveRate"
        | "Query.licenseQuote"
        | "Query.licenseChange"
        | "Query.statement" => nothing(json!({ "it": null })),
        "Query.nodes" => nothing(json!({ "it": [null] })),
        "Account.members" => {
            nothing(json!({ "account": { "members": { "nodes": [], "pageInfo": { "hasNextPage": false } } } }))
        }
        "Account.membersCount" => nothing(json!({ "account": { "membersCount": 0 } })),
        _ => json!({ "code": "NOT_FOUND", "field": path.split('.').collect::<Vec<_>>() }),
    }
}

fn check_owner(faults: &mut Vec<String>, field: &str, path: &str, answer: &Answer) {
    let expected = said_to_the_owner(field, path);
    if field == "Mutation.sessionCreate" {
        // They have proven who they are; which accounts they belong to they may know.
        if answer.codes() != ["NO_USABLE_MEMBERSHIP"] {
            faults.push(format!("{field} {path}: {}", answer.body));
        }
    } else if field.starts_with("Mutation.") {
        let errors = answer.user_errors();
        let right =
            errors.len() == 1 && errors[0]["code"] == expected["code"] && errors[0]["field"] == expected["field"];
        if !right {
            faults.push(format!("{field} {path}: expected {expected}, got {}", answer.body));
        }
    } else if answer.body != expected {
        faults.push(format!("{field} {path}: expected {expected}, got {}", answer.body));
    }
}

#[tokio::test]
async fn a_foreign_and_a_malformed_id_are_answered_as_an_absent_one() -> Result<()> {
    let firm = Firm::found().await?;
    let mut faults = Vec::new();
    let mut tried = 0;
    for (field, path) in places().await {
        let argument = path.split('.').rfind(|segment| segment.parse::<usize>().is_err()).expect("a name");
        // The owner, the member manager, the standard member and nobody.
        for caller in [7, 3, 6, 0] {
            let (token, input) = match field.strip_prefix("Mutation.") {
                Some(mutation) => mutations::prepare(&firm, mutation, caller).await?,
                None => (firm.caller(caller).map(|person| person.token.clone()), Value::Null),
            };
            let request = Request { firm: &firm, field: &field, path: &path, token: token.as_deref(), input };
            for prefix in prefixes(argument) {
                let expected = request.send(&absent(prefix)).await?;
                if caller == 7 {
                    check_owner(&mut faults, &field, &path, &expected);
                }
                for id in malformed(prefix).into_iter().chain([foreign(&firm, prefix)]) {
                    let got = request.send(&id).await?;
                    tried += 1;
                    if text(&got) != text(&expected) {
                        faults.push(format!("{field} {path} = {id:?}: {} instead of {}", text(&got), text(&expected)));
                    }
                }
            }
        }
    }
    none(&faults);
    assert!(tried > 500, "the walk through the schema has lost its way: {tried}");
    firm.app.finish().await
}
