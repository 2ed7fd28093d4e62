//! Who may see and do what: every field of the schema has a row here or inherits from the field it is reached by.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;

use self::firm::Firm;
use self::reads::Read;
use crate::support::introspection::{Type, types};

mod firm;
mod ids;
mod inherited;
mod limited;
mod money;
mod mutations;
mod reads;
mod subscriptions;

/// What a caller is answered. `ALLOWED`: no error and a value; `NOTHING`: no error and null, false or an empty list;
/// `error …`: a top-level error; anything else: the code in `userErrors`.
type Outcome = &'static str;

const ALLOWED: Outcome = "allowed";
const NOTHING: Outcome = "nothing";

/// Expectations of one field, in the order of [`firm::CALLERS`].
type Expected = [Outcome; 8];

#[tokio::test]
async fn every_field_has_a_row_or_inherits() {
    let mut rows: BTreeSet<String> = BTreeSet::new();
    rows.extend(reads::ROWS.iter().map(|row| row.field.to_owned()));
    rows.extend(reads::PROFILE.iter().map(|field| format!("Member.{field}")));
    rows.extend(subscriptions::ROWS.iter().map(|(field, ..)| (*field).to_owned()));
    rows.extend(mutations::ROWS.iter().map(|(name, _)| format!("Mutation.{name}")));
    let mut both = Vec::new();
    for (kind, fields) in inherited::FIELDS {
        for field in fields.split_whitespace() {
            if !rows.insert(format!("{kind}.{field}")) {
                both.push(format!("{kind}.{field}"));
            }
        }
    }
    assert!(both.is_empty(), "a row, and inherited: {both:?}");
    let types = types().await;
    // Events have guards neither on themselves nor on their fields: whoever reads the feed reads all of it.
    let event = |kind: &&Type| kind.interfaces.iter().flatten().any(|interface| interface.name == "AccountEvent");
    for kind in types.values().filter(event) {
        rows.extend(kind.fields().iter().map(|field| format!("{}.{}", kind.name, field.name)));
    }
    let objects = types.values().filter(|kind| kind.kind == "OBJECT");
    let fields: BTreeSet<String> =
        objects.flat_map(|kind| kind.fields().iter().map(|field| format!("{}.{}", kind.name, field.name))).collect();
    let open: Vec<&String> = fields.difference(&rows).collect();
    assert!(open.is_empty(), "fields without a row, say who may see them: {open:?}");
    let stale: Vec<&String> = rows.difference(&fields).collect();
    assert!(stale.is_empty(), "rows without a field: {stale:?}");
}

/// Compares all callers of a field, and keeps what differs.
fn compare(
    faults: &mut Vec<String>,
    field: &str,
    caller: &str,
    expected: Outcome,
    got: &str,
    body: &serde_json::Value,
) {
    if expected != got {
        faults.push(format!("{field} as {caller}: expected {expected}, got {got}: {body}"));
    }
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} differ:\n  {}", faults.len(), faults.join("\n  "));
}

#[tokio::test]
async fn fields_show_what_their_reader_may_see() -> Result<()> {
    let firm = Firm::found().await?;
    let mut faults = Vec::new();
    let profile = reads::PROFILE.iter().map(|field| reads::of_profile(field));
    let reads: Vec<Read> = reads::ROWS.iter().cloned().chain(profile).collect();
    for read in &reads {
        for (index, (caller, token)) in firm.callers().into_iter().enumerate() {
            let answer = firm.app.graphql(token, &read.document, (read.variables)(&firm)).await?;
            compare(
                &mut faults,
                read.field,
                caller,
                read.expected[index],
                &reads::judge(&answer, read.pointer),
                &answer.body,
            );
        }
    }
    none(&faults);
    firm.app.finish().await
}

#[tokio::test]
async fn what_happens_is_told_to_whoever_may_know_it() -> Result<()> {
    let firm = Firm::found().await?;
    let mut faults = Vec::new();
    for (field, document, expected) in subscriptions::ROWS {
        for (index, (caller, token)) in firm.callers().into_iter().enumerate() {
            let (outcome, answer) = subscriptions::outcome(&firm, token, document).await?;
            compare(&mut faults, field, caller, expected[index], &outcome, &answer);
        }
    }
    none(&faults);
    firm.app.finish().await
}

#[tokio::test]
async fn mutations_do_what_their_caller_may_do() -> Result<()> {
    let firm = Firm::found().await?;
    let mut faults = Vec::new();
    for (name, expected) in mutations::ROWS {
        for (index, (caller, _)) in firm.callers().into_iter().enumerate() {
            let (token, input) = mutations::prepare(&firm, name, index).await?;
            let answer = firm.app.mutate(token.as_deref(), name, input, "__typename").await?;
            compare(&mut faults, name, caller, expected[index], &mutations::judge(&answer), &answer.body);
        }
    }
    none(&faults);
    firm.app.finish().await
}

#[tokio::test]
async fn a_standard_member_finds_active_colleagues_only_and_reads_names_and_job_titles() -> Result<()> {
    let firm = Firm::found().await?;
    firm.set_status("memberSuspend", &firm.victim).await?;
    let list = "{ account { membersCount members(first: 100) { nodes { id status } } } }";
    let seen = firm.app.graphql(Some(&firm.standard.token), list, json!(null)).await?;
    let nodes = seen.data("/account/members/nodes").as_array().unwrap().clone();
    assert!(nodes.iter().all(|node| node["status"] == "ACTIVE"), "{nodes:?}");
    assert_eq!(seen.data("/account/membersCount"), nodes.len());
    let all = firm.app.graphql(Some(&firm.auditor.token), list, json!(null)).await?;
    let statuses: BTreeSet<&str> = all
        .data("/account/members/nodes")
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, BTreeSet::from(["ACTIVE", "INVITED", "SUSPENDED"]));

    let node = "query ($id: ID!) { node(id: $id) { id } }";
    for hidden in [&firm.victim, &firm.invited] {
        let seen = firm.app.graphql(Some(&firm.standard.token), node, json!({ "id": hidden })).await?;
        assert!(seen.data("/node").is_null(), "{}", seen.body);
    }
    // Nor are they found by what is hidden.
    let search = "query ($filter: MemberFilter!) { account { membersCount(filter: $filter) } }";
    let standard = domain::permission::SystemRole::Auditor.id().to_string();
    for filter in
        [json!({ "text": "cora@" }), json!({ "roleId": standard }), json!({ "status": ["SUSPENDED", "INVITED"] })]
    {
        let seen = firm.app.graphql(Some(&firm.standard.token), search, json!({ "filter": filter })).await?;
        assert_eq!(seen.data("/account/membersCount"), 0, "{filter}");
        let seen = firm.app.graphql(Some(&firm.auditor.token), search, json!({ "filter": filter })).await?;
        assert_ne!(seen.data("/account/membersCount"), 0, "{filter}");
    }
    for field in ["EMAIL", "CREATED_AT"] {
        let order = format!("{{ account {{ members(orderBy: {{ field: {field} }}) {{ nodes {{ id }} }} }} }}");
        let seen = firm.app.graphql(Some(&firm.standard.token), &order, json!(null)).await?;
        assert_eq!(seen.errors(), ["FORBIDDEN"], "the order tells what is hidden");
    }
    firm.app.finish().await
}

#[tokio::test]
async fn everybody_reads_their_own_profile() -> Result<()> {
    let firm = Firm::found().await?;
    let mut hidden = Vec::new();
    for field in reads::PROFILE {
        let read = reads::of_profile(field);
        let own = firm.app.graphql(Some(&firm.colleague.token), &read.document, (read.variables)(&firm)).await?;
        if reads::judge(&own, read.pointer) != ALLOWED {
            hidden.push(field);
        }
    }
    assert!(hidden.is_empty(), "{hidden:?}");
    firm.app.finish().await
}
