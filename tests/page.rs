//! Lists: every order in every direction, cursors that survive changes, filters and counts.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::error::Code;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const MEMBERS: &str =
    "query ($filter: MemberFilter, $orderBy: MemberOrder, $first: Int, $after: String, $last: Int, $before: String) {
    account { membersCount(filter: $filter)
      members(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id email } } nodes { id firstName lastName email status createdAt }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";
const INVITATIONS: &str = "query ($filter: InvitationFilter, $orderBy: InvitationOrder, $first: Int, $after: String, $last: Int, $before: String) {
    account { invitationsCount(filter: $filter)
      invitations(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id email } } nodes { id email state createdAt }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";

/// People in three batches, each made at one moment, so that an order by time has equals.
const PEOPLE: [[(&str, &str, &str); 3]; 3] = [
    [("mona", "Mona", "Zimmer"), ("abel", "Abel", "Young"), ("carl", "Carl", "Adams")],
    [("zoe", "Zoe", "Adams"), ("beth", "Beth", "Miller"), ("dora", "Dora", "miller")],
    [("emil", "Emil", "Nolan"), ("faye", "Faye", "Baker"), ("gene", "Gene", "Olson")],
];

fn invitation((local, first, last): (&str, &str, &str)) -> Value {
    let roles = [SystemRole::Standard.id().to_string()];
    json!({ "email": format!("{local}@harborandfinch.example"), "firstName": first, "lastName": last, "roleIds": roles })
}

async fn invite(app: &App, by: &Person, people: &[(&str, &str, &str)]) -> Result<Vec<String>> {
    let items: Vec<Value> = people.iter().map(|person| invitation(*person)).collect();
    let input = json!({ "invitations": items, "send": false });
    let done = app.mutate(Some(&by.token), "memberInvite", input, "invitations { id }").await?;
    assert!(done.codes().is_empty(), "{}", done.body);
    let ids = done.data("/memberInvite/invitations").as_array().unwrap();
    Ok(ids.iter().map(|invitation| invitation["id"].as_str().unwrap().to_owned()).collect())
}

async fn firm() -> Result<(App, Person)> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 40).await?;
    for batch in PEOPLE {
        app.pass(SignedDuration::from_secs(5));
        invite(&app, &owner, &batch).await?;
    }
    Ok((app, owner))
}

/// A list of the account, by the query that reads it.
#[derive(Clone, Copy)]
struct List {
    name: &'static str,
    query: &'static str,
}

const LISTS: [List; 2] = [List { name: "members", query: MEMBERS }, List { name: "invitations", query: INVITATIONS }];

impl List {
    async fn read(self, app: &App, by: &Person, variables: Value) -> Result<Answer> {
        app.graphql(Some(&by.token), self.query, variables).await
    }

    fn part<'a>(self, answer: &'a Answer, part: &str) -> &'a Value {
        answer.data(&format!("/account/{}/{part}", self.name))
    }

    fn nodes(self, answer: &Answer) -> Vec<Value> {
        self.part(answer, "nodes").as_array().unwrap().clone()
    }

    /// Reads the whole list page by page, and checks what each page says of its neighbours.
    async fn walk(self, app: &App, by: &Person, order: &Value, forwards: bool, size: usize) -> Result<Vec<Value>> {
        let (count, from, more, less) = if forwards {
            ("first", "after", "hasNextPage", "hasPreviousPage")
        } else {
            ("last", "before", "hasPreviousPage", "hasNextPage")
        };
        let mut all: Vec<Value> = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let answer = self.read(app, by, json!({ "orderBy": order, count: size, from: cursor })).await?;
            let nodes = self.nodes(&answer);
            let info = self.part(&answer, "pageInfo");
            assert_eq!(info[less], json!(!cursor.is_null()), "{order} {forwards}");
            let edges = self.part(&answer, "edges").as_array().unwrap();
            assert_eq!(edges.len(), nodes.len());
            assert!(edges.iter().zip(&nodes).all(|(edge, node)| edge["node"]["id"] == node["id"]));
            assert_eq!(info["startCursor"], edges[0]["cursor"]);
            assert_eq!(info["endCursor"], edges[edges.len() - 1]["cursor"]);
            all = if forwards { [all, nodes].concat() } else { [nodes, all].concat() };
            if info[more] == json!(false) {
                return Ok(all);
            }
            assert_eq!(edges.len(), size, "only the last page is short");
            cursor = info[if forwards { "endCursor" } else { "startCursor" }].clone();
        }
    }
}

fn ids(nodes: &[Value]) -> Vec<String> {
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// What a row is sorted by.
type Key = fn(&Value) -> String;

#[tokio::test]
async fn every_order_reads_the_same_in_pages_of_any_size_and_direction() -> Result<()> {
    let (app, owner) = firm().await?;
    let name: Key =
        |node| format!("{} {}", node["lastName"].as_str().unwrap(), node["firstName"].as_str().unwrap()).to_lowercase();
    let email: Key = |node| node["email"].as_str().unwrap().to_owned();
    let created: Key = |node| node["createdAt"].as_str().unwrap().to_owned();
    let orders: [(List, &str, Key); 5] = [
        (LISTS[0], "NAME", name),
        (LISTS[0], "EMAIL", email),
        (LISTS[0], "CREATED_AT", created),
        (LISTS[1], "EMAIL", email),
        (LISTS[1], "CREATED_AT", created),
    ];
    for (list, field, key) in orders {
        let ascending = list.walk(&app, &owner, &json!({ "field": field }), true, 100).await?;
        assert_eq!(ascending.len(), if list.name == "members" { 10 } else { 9 });
        let mut sorted = ascending.clone();
        sorted.sort_by_key(|node| (key(node), node["id"].to_string()));
        assert_eq!(ids(&ascending), ids(&sorted), "{} by {field}", list.name);
        for (direction, forwards, size) in [
            ("ASC", true, 3),
            ("ASC", false, 3),
            ("DESC", true, 4),
            ("DESC", false, 4),
            ("ASC", true, 1),
            ("DESC", false, 1),
            ("ASC", true, 10),
            ("DESC", true, 9),
        ] {
            let order = json!({ "field": field, "direction": direction });
            let mut read = list.walk(&app, &owner, &order, forwards, size).await?;
            if direction == "DESC" {
                read.reverse();
            }
            assert_eq!(ids(&read), ids(&sorted), "{} by {field} {direction}, {size} a page", list.name);
        }
    }
    let names = LISTS[0].nodes(&LISTS[0].read(&app, &owner, json!({})).await?);
    let last: Vec<&str> = names.iter().map(|node| node["lastName"].as_str().unwrap()).collect();
    assert_eq!(last[..2], ["Adams", "Adams"], "by name unless asked otherwise, whatever its letter case");
    app.finish().await
}

#[tokio::test]
async fn cursors_stand_while_rows_come_and_go() -> Result<()> {
    let (app, owner) = firm().await?;
    let order = json!({ "field": "EMAIL", "direction": "ASC" });
    let emails = |answer: &Answer| -> Vec<String> {
        let local = |node: &Value| node["email"].as_str().unwrap().split('@').next().unwrap().to_owned();
        LISTS[0].nodes(answer).iter().map(local).collect()
    };
    let first = LISTS[0].read(&app, &owner, json!({ "orderBy": order, "first": 3 })).await?;
    assert_eq!(emails(&first), ["abel", "beth", "carl"]);
    let cursor = LISTS[0].part(&first, "pageInfo")["endCursor"].clone();

    // Somebody new before the cursor, somebody new after it, and the row of the cursor itself is gone.
    invite(&app, &owner, &[("aaron", "Aaron", "New"), ("cora", "Cora", "New")]).await?;
    let open = LISTS[1].read(&app, &owner, json!({ "first": 100 })).await?;
    for gone in ["carl@", "dora@"] {
        let nodes = LISTS[1].nodes(&open);
        let gone = nodes.iter().find(|node| node["email"].as_str().unwrap().starts_with(gone)).unwrap();
        let input = json!({ "invitationId": gone["id"] });
        assert!(app.mutate(Some(&owner.token), "invitationRevoke", input, "").await?.codes().is_empty());
    }
    let next = LISTS[0].read(&app, &owner, json!({ "orderBy": order, "first": 3, "after": cursor })).await?;
    assert_eq!(emails(&next), ["cora", "emil", "faye"]);
    let back = LISTS[0].read(&app, &owner, json!({ "orderBy": order, "last": 2, "before": cursor })).await?;
    assert_eq!(emails(&back), ["abel", "beth"]);
    let narrowed = json!({ "orderBy": order, "after": cursor, "filter": { "status": ["ACTIVE"] } });
    assert_eq!(emails(&LISTS[0].read(&app, &owner, narrowed).await?), ["olivia"]);
    let end = LISTS[0].read(&app, &owner, json!({ "orderBy": order, "first": 100, "after": cursor })).await?;
    let end = LISTS[0].part(&end, "pageInfo")["endCursor"].clone();
    let beyond = LISTS[0].read(&app, &owner, json!({ "orderBy": order, "first": 5, "after": end })).await?;
    assert_eq!(emails(&beyond), Vec::<String>::new());
    assert_eq!(LISTS[0].part(&beyond, "pageInfo")["hasNextPage"], json!(false));
    app.finish().await
}

#[tokio::test]
async fn a_page_has_one_to_a_hundred_rows_and_one_direction() -> Result<()> {
    let (app, owner) = firm().await?;
    for list in LISTS {
        let page = list.read(&app, &owner, json!({ "first": 1 })).await?;
        let cursor = list.part(&page, "pageInfo")["endCursor"].clone();
        let refused = async |variables: Value| -> Result<String> {
            let answer = list.read(&app, &owner, variables.clone()).await?;
            assert_eq!(answer.errors(), ["BAD_USER_INPUT"], "{variables}: {}", answer.body);
            Ok(answer.body["errors"][0]["message"].as_str().unwrap().to_owned())
        };
        let range = Code::OutOfRange.sentence();
        for size in [0, -1, 101, i32::MAX, i32::MIN] {
            assert_eq!(refused(json!({ "first": size })).await?, format!("{range} (first)"));
            assert_eq!(refused(json!({ "last": size })).await?, format!("{range} (last)"));
        }
        for both in [
            json!({ "first": 1, "last": 1 }),
            json!({ "first": 1, "before": cursor }),
            json!({ "last": 1, "after": cursor }),
            json!({ "after": cursor, "before": cursor }),
        ] {
            assert_eq!(refused(both).await?, format!("{range} (last)"));
        }
        assert_eq!(Code::InvalidCursor.as_str(), "INVALID_CURSOR");
        let invalid = Code::InvalidCursor.sentence();
        let other = json!({ "field": "EMAIL", "direction": "DESC" });
        assert_eq!(refused(json!({ "orderBy": other, "after": cursor })).await?, format!("{invalid} (after)"));
        for cursor in ["", "x", "bm90IGEgY3Vyc29y", &cursor.as_str().unwrap()[1..], &"A".repeat(3_000)] {
            assert_eq!(refused(json!({ "after": cursor })).await?, format!("{invalid} (after)"));
            assert_eq!(refused(json!({ "before": cursor })).await?, format!("{invalid} (before)"));
        }
        let foreign = LISTS.iter().find(|other| other.name != list.name).unwrap();
        let foreign = foreign.read(&app, &owner, json!({ "first": 1, "orderBy": { "field": "EMAIL" } })).await?;
        let other_list = if list.name == "members" { "invitations" } else { "members" };
        let foreign = foreign.text(&format!("/account/{other_list}/pageInfo/endCursor"));
        let foreign = json!({ "orderBy": { "field": "EMAIL" }, "after": foreign });
        assert_eq!(refused(foreign).await?, format!("{invalid} (after)"), "a cursor of another list");
        assert_eq!(
            list.nodes(&list.read(&app, &owner, json!({ "first": 100 })).await?).len(),
            if list.name == "members" { 10 } else { 9 }
        );
    }
    app.finish().await
}

#[tokio::test]
async fn twenty_rows_come_unless_asked_otherwise() -> Result<()> {
    let app =
        App::with(Options { configure: |config| config.limits.rate_limits = false, ..Options::default() }).await?;
    let owner = app.found(OWNER, 40).await?;
    let people: Vec<String> = (0..25).map(|n| format!("p{n:02}")).collect();
    let people: Vec<(&str, &str, &str)> = people.iter().map(|local| (local.as_str(), "Per", "Son")).collect();
    invite(&app, &owner, &people).await?;
    for list in LISTS {
        let page = list.read(&app, &owner, json!({})).await?;
        assert_eq!(list.nodes(&page).len(), 20);
        assert_eq!(list.part(&page, "pageInfo")["hasNextPage"], json!(true));
    }
    app.finish().await
}

#[tokio::test]
async fn filters_and_counts_agree() -> Result<()> {
    let (app, owner) = firm().await?;
    let ada = app.join(&owner, "ada_100%@harborandfinch.example", &[SystemRole::Auditor, SystemRole::Standard]).await?;
    let sam = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    let suspend = json!({ "memberId": sam.member_id });
    assert!(app.mutate(Some(&owner.token), "memberSuspend", suspend, "").await?.codes().is_empty());
    let found = async |filter: Value| -> Result<usize> {
        let answer = LISTS[0].read(&app, &owner, json!({ "filter": filter, "first": 100 })).await?;
        let found = LISTS[0].nodes(&answer).len();
        assert_eq!(answer.data("/account/membersCount"), &json!(found), "{filter}");
        Ok(found)
    };
    assert_eq!(found(Value::Null).await?, 12);
    assert_eq!(found(json!({})).await?, 12);
    assert_eq!(found(json!({ "status": [] })).await?, 12);
    assert_eq!(found(json!({ "status": ["INVITED"] })).await?, 9);
    assert_eq!(found(json!({ "status": ["ACTIVE", "SUSPENDED"] })).await?, 3);
    assert_eq!(found(json!({ "status": ["DEACTIVATED"] })).await?, 0);
    assert_eq!(found(json!({ "roleId": SystemRole::Auditor.id().to_string() })).await?, 1);
    assert_eq!(found(json!({ "roleId": SystemRole::Standard.id().to_string() })).await?, 11);
    assert_eq!(found(json!({ "roleId": domain::id::RoleId::new().to_string() })).await?, 0);
    assert_eq!(found(json!({ "text": "MILLER" })).await?, 2);
    assert_eq!(found(json!({ "text": "zoe ada" })).await?, 1, "first name and last name");
    assert_eq!(found(json!({ "text": "  " })).await?, 12);
    assert_eq!(found(json!({ "text": "100%" })).await?, 1, "no wildcard");
    assert_eq!(found(json!({ "text": "a_1" })).await?, 1, "no wildcard");
    assert_eq!(found(json!({ "text": "\\" })).await?, 0);
    assert_eq!(found(json!({ "text": "harborandfinch" })).await?, 12, "addresses, too");
    assert_eq!(
        found(json!({ "text": "o", "status": ["ACTIVE"], "roleId": SystemRole::Standard.id().to_string() })).await?,
        1
    );
    assert_eq!(found(json!({ "roleId": "x" })).await?, 0, "no id is an id of nothing");

    let found = async |filter: Value| -> Result<usize> {
        let answer = LISTS[1].read(&app, &owner, json!({ "filter": filter, "first": 100 })).await?;
        let found = LISTS[1].nodes(&answer).len();
        assert_eq!(answer.data("/account/invitationsCount"), &json!(found), "{filter}");
        Ok(found)
    };
    assert_eq!(found(json!({})).await?, 11);
    assert_eq!(found(json!({ "state": ["NOT_SENT"] })).await?, 9);
    assert_eq!(found(json!({ "state": ["ACCEPTED", "PENDING"] })).await?, 2);
    assert_eq!(found(json!({ "undeliverable": true })).await?, 0);
    assert_eq!(found(json!({ "undeliverable": false })).await?, 11);
    let ada_sees = LISTS[1].read(&app, &ada, json!({})).await?;
    assert_eq!(ada_sees.data("/account/invitationsCount"), &json!(11), "an auditor reads them");
    app.finish().await
}

#[tokio::test]
async fn who_sees_names_only_finds_nothing_else_by_order_filter_or_cursor() -> Result<()> {
    let (app, owner) = firm().await?;
    let sam = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.join(&owner, "secret.address@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let page = LISTS[0].read(&app, &sam, json!({ "first": 100 })).await?;
    assert_eq!(LISTS[0].nodes(&page).len(), 3, "only active ones");
    assert_eq!(page.data("/account/membersCount"), 3);
    for node in LISTS[0].nodes(&page) {
        assert_eq!(node["email"].is_null(), node["id"] != json!(sam.member_id), "{node}");
    }
    for edge in LISTS[0].part(&page, "edges").as_array().unwrap() {
        let inside = String::from_utf8(URL_SAFE_NO_PAD.decode(edge["cursor"].as_str().unwrap())?)?;
        assert!(!inside.contains('@'), "{inside}");
    }
    for direction in ["ASC", "DESC"] {
        let order = json!({ "orderBy": { "field": "EMAIL", "direction": direction } });
        let refused = LISTS[0].read(&app, &sam, order).await?;
        assert_eq!(refused.errors(), ["FORBIDDEN"], "the order and its cursors tell addresses: {}", refused.body);
    }
    let found = async |filter: Value| -> Result<Value> {
        let answer = LISTS[0].read(&app, &sam, json!({ "filter": filter })).await?;
        Ok(answer.data("/account/membersCount").clone())
    };
    assert_eq!(found(json!({ "text": "secret.address" })).await?, 0);
    assert_eq!(found(json!({ "status": ["INVITED"] })).await?, 0);
    assert_eq!(found(json!({ "roleId": SystemRole::Auditor.id().to_string() })).await?, 0);
    assert_eq!(found(json!({ "roleId": SystemRole::Standard.id().to_string() })).await?, 1, "their own");
    let refused = LISTS[1].read(&app, &sam, json!({})).await?;
    assert_eq!(refused.errors(), ["FORBIDDEN", "FORBIDDEN"]);
    app.finish().await
}
