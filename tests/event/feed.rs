//! The feed as its readers see it: every kind as a type of its own, in pages, with cursors that say where one stands.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use domain::event::{Cursor, EventKind};
use domain::id::{AccountId, EventId};
use domain::outbox;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{OWNER, busy, done, superuser};
use crate::support::app::{Answer, App, Options, PASSWORD, Person};
use crate::support::firm;
use crate::support::introspection::{Field, Type, types};

const PAGE: &str = "query ($after: String, $first: Int, $kinds: [String!]) {
    accountEvents(after: $after, first: $first, kinds: $kinds) {
        edges { cursor node { id number cursor kind } } nodes { number } oldestCursor newestCursor
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

async fn page(app: &App, by: &Person, variables: Value) -> Result<Answer> {
    app.graphql(Some(&by.token), PAGE, variables).await
}

fn numbers(page: &Answer) -> Vec<i64> {
    let nodes = page.data("/accountEvents/nodes").as_array().unwrap();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

/// `member.roles_changed` is read as `MemberRolesChangedEvent`.
fn type_name(kind: &str) -> String {
    let words = kind.split(['.', '_']).map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]));
    format!("{}Event", words.collect::<String>())
}

fn event_types(all: &BTreeMap<String, Type>) -> Vec<&Type> {
    let is_event = |kind: &&Type| kind.interfaces.iter().flatten().any(|interface| interface.name == "AccountEvent");
    all.values().filter(is_event).collect()
}

/// A document that asks for everything of every kind.
async fn everything() -> String {
    let all = types().await;
    let select = |fields: &[&Field]| -> String {
        let field = |field: &&Field| match all.get(field.kind.name()) {
            Some(kind) if kind.kind == "OBJECT" => {
                let names: Vec<&str> = kind.fields().iter().map(|field| field.name.as_str()).collect();
                format!("{} {{ {} }}", field.name, names.join(" "))
            }
            _ => field.name.clone(),
        };
        fields.iter().map(field).collect::<Vec<_>>().join(" ")
    };
    let shared: BTreeSet<&str> = all["AccountEvent"].fields().iter().map(|field| field.name.as_str()).collect();
    let mut kinds = String::new();
    for kind in event_types(&all) {
        let own =
            select(&kind.fields().iter().filter(|field| !shared.contains(field.name.as_str())).collect::<Vec<_>>());
        if !own.is_empty() {
            kinds.extend([" ... on ", &kind.name, " { ", &own, " }"]);
        }
    }
    let common = select(&all["AccountEvent"].fields().iter().collect::<Vec<_>>());
    format!(
        "query ($after: String) {{ accountEvents(after: $after, first: 40) {{
             nodes {{ __typename {common} {kinds} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    )
}

/// All events with all their fields.
async fn all_of(app: &App, by: &Person) -> Result<Vec<Value>> {
    let document = everything().await;
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = app.graphql(Some(&by.token), &document, json!({ "after": after })).await?;
        all.extend(page.data("/accountEvents/nodes").as_array().unwrap().clone());
        if page.data("/accountEvents/pageInfo/hasNextPage") == false {
            return Ok(all);
        }
        after = page.data("/accountEvents/pageInfo/endCursor").clone();
    }
}

/// Every value in a JSON value that is no list and no object.
fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(fields) => fields.values().flat_map(leaves).collect(),
        leaf => vec![leaf.to_string()],
    }
}

async fn import(app: &App, by: &Person) -> Result<String> {
    let made = app.mutate(Some(&by.token), "uploadCreate", json!({ "fileName": "a.csv" }), "upload { id url }").await?;
    let file = "email,first_name,last_name,subscription_type\nfay@harborandfinch.example,Fay,Finch,Attorney\n";
    app.http.put(made.text("/uploadCreate/upload/url")).body(file).send().await?.error_for_status()?;
    let input = json!({ "uploadId": made.text("/uploadCreate/upload/id") });
    let made = app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id }").await?;
    Ok(made.text("/memberImportCreate/memberImport/id"))
}

/// A role and a unit from their making to their archiving and back.
async fn roles_and_units(app: &App, owner: &Person) -> Result<()> {
    let copy = json!({ "name": "Desk", "copyOf": SystemRole::Auditor.id() });
    let role = app.mutate(Some(&owner.token), "roleCreate", copy, "role { id }").await?.text("/roleCreate/role/id");
    let unit = app.mutate(Some(&owner.token), "unitCreate", json!({ "name": "North" }), "unit { id }").await?;
    let unit = unit.text("/unitCreate/unit/id");
    let joined = app.join(owner, "una@harborandfinch.example", &[SystemRole::Standard]).await?;
    let (of_role, of_unit) = (json!({ "roleId": role }), json!({ "unitId": unit }));
    let members = json!({ "unitId": unit, "memberIds": [joined.member_id] });
    let assigned = json!({ "memberId": joined.member_id, "unitRoles": [{ "roleId": role, "unitId": unit }] });
    let replaced = json!({ "roleId": role, "replacementRoleId": SystemRole::Auditor.id() });
    for (mutation, input) in [
        ("unitUpdate", json!({ "unitId": unit, "name": "Nord" })),
        ("unitAddMembers", members.clone()),
        ("memberAssignRoles", assigned),
        ("unitRemoveMembers", members),
        ("roleUpdate", json!({ "roleId": role, "name": "Front desk", "permissions": ["members.read"] })),
        ("roleArchive", replaced),
        ("roleUnarchive", of_role),
        ("unitArchive", of_unit.clone()),
        ("unitUnarchive", of_unit),
    ] {
        done(app, owner, mutation, input).await?;
    }
    Ok(())
}

/// Groups and resources, and all that becomes of them.
async fn things(app: &App, by: &Person) -> Result<()> {
    let (token, member) = (Some(by.token.as_str()), &by.member_id);
    let group = app.mutate(token, "groupCreate", json!({ "name": "Tax" }), "group { id }").await?;
    let group = group.text("/groupCreate/group/id");
    let register = |name: &str| json!({ "resources": [{ "type": "matter", "externalId": "7", "name": name, "responsibleMemberId": member }] });
    let made = app.mutate(token, "resourceRegister", register("One"), "resources { id }").await?;
    let id = made.text("/resourceRegister/resources/0/id");
    done(app, by, "resourceRegister", register("Other")).await?;
    let opening = json!({ "resourceId": id, "everybody": true, "groupIds": [group], "memberIds": [member] });
    let members = json!({ "groupId": group, "memberIds": [member] });
    let rate =
        |amount: &str| json!({ "resourceId": id, "groupId": group, "rate": { "amount": amount, "currency": "EUR" } });
    for (mutation, input) in [
        ("groupUpdate", json!({ "groupId": group, "description": "Who files", "excludedFromCustomRates": false })),
        ("groupAddMembers", members.clone()),
        ("groupRemoveMembers", members),
        ("resourceAssign", json!({ "resourceId": id, "memberId": null })),
        ("resourceGrant", opening.clone()),
        ("resourceRateSet", rate("1.50")),
        ("resourceRateSet", rate("2")),
        ("resourceRateRemove", json!({ "resourceId": id, "groupId": group })),
        ("resourceRevoke", opening),
        ("resourceArchive", json!({ "resourceId": id })),
        ("resourceUnarchive", json!({ "resourceId": id })),
        ("groupArchive", json!({ "groupId": group })),
        ("groupUnarchive", json!({ "groupId": group })),
    ] {
        done(app, by, mutation, input).await?;
    }
    Ok(())
}

/// Two lives that together leave every kind of event: the events of each, and what the database holds of them.
async fn lives() -> Result<Vec<(Value, Value)>> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    busy(&app, &owner).await?;
    things(&app, &owner).await?;
    app.invite(&owner, "ed@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.settle().await?;
    app.pass(SignedDuration::from_hours(3));
    assert_eq!(app.sweep("invitations.lapse").await?, 1);
    app.invite(&owner, "ed@harborandfinch.example", &[SystemRole::Standard]).await?;
    roles_and_units(&app, &owner).await?;
    let imported = import(&app, &owner).await?;
    app.settle().await?;
    done(&app, &owner, "invitationSend", json!({ "memberImportId": imported })).await?;
    done(&app, &owner, "memberExportCreate", json!({})).await?;
    app.settle().await?;
    money(&app, &owner).await?;
    leave(&app, &owner).await?;
    change_addresses(&app, &owner).await?;
    done(&app, &owner, "passwordChange", json!({ "currentPassword": PASSWORD, "newPassword": "staple paper clip" }))
        .await?;
    let owner = months_later(&app, &owner).await?;
    let mut all = with_stored(&app, all_of(&app, &owner).await?).await?;
    app.finish().await?;

    // Nobody works here: mail stays unsent, and an import is given up.
    let app = App::with(Options { worker: false, ..Options::default() }).await?;
    firm::found(&app.db, OWNER).await;
    let owner = app.person(OWNER).await?;
    app.invite(&owner, "una@harborandfinch.example", &[SystemRole::Standard]).await?;
    let imported = import(&app, &owner).await?;
    done(&app, &owner, "memberImportCancel", json!({ "memberImportId": imported })).await?;
    let job = app.look("SELECT job_id FROM outbox WHERE kind = 'import.members'").await?.context("a job")?.parse()?;
    assert!(outbox::bury_by_operator(&app.db, job).await?);
    outbox::replay(&app.db, job).await?;
    app.pass(SignedDuration::from_hours(73));
    app.sweep("invitations.lapse").await?;
    all.extend(with_stored(&app, all_of(&app, &owner).await?).await?);
    app.close().await;
    Ok(all)
}

/// Licences that are bought, given, taken, tried and given up; a charge that fails; statements that are owed, paid and past due.
async fn money(app: &App, owner: &Person) -> Result<()> {
    use crate::billing::world::{CATALOGUE, sell};
    sell(app, CATALOGUE).await?;
    let operate = async |gateway: &'static str| -> Result<()> {
        let account = owner.account_id.parse()?;
        let origin = domain::actor::Origin::operator();
        let mut change =
            domain::change::Change::begin(&app.db, account, domain::change::Kind::System, origin, None).await?;
        domain::billing::operate::set_gateway(&mut change, gateway).await?;
        Ok(change.commit().await?)
    };
    let buy = async |mutation: &str, input: Value| -> Result<Value> {
        let quoted = app.mutate(Some(&owner.token), "licenseQuoteCreate", input, "quote { id }").await?;
        let quote = quoted.text("/licenseQuoteCreate/quote/id");
        let confirm = json!({ "quoteId": quote, "idempotencyKey": quote });
        let changed = app.mutate(Some(&owner.token), mutation, confirm, "change { id }").await?;
        app.settle().await?;
        Ok(changed.data(&format!("/{mutation}/change/id")).clone())
    };
    let of = |change: &str, product: &str| json!({ "change": change, "productId": product, "quantity": 1 });
    buy("licensesAdd", of("ADD", "base")).await?;
    credit(app, owner).await?;
    let scheduled = buy("licensesRemove", of("REMOVE", "base")).await?;
    done(app, owner, "licenseChangeCancel", json!({ "changeId": scheduled })).await?;
    operate("sandbox").await?;
    done(app, owner, "billingProfileUpdate", json!({ "paymentMethod": "sandbox_declined" })).await?;
    buy("licensesAdd", of("ADD", "base")).await?;
    done(app, owner, "billingProfileUpdate", json!({ "paymentMethod": "sandbox_ok" })).await?;
    done(app, owner, "trialStart", json!({ "productId": "time", "quantity": 2 })).await?;
    let time = json!({ "productId": "time", "memberIds": [owner.member_id] });
    done(app, owner, "licenseAllocate", time.clone()).await?;
    done(app, owner, "licenseDeallocate", time).await?;
    done(app, owner, "trialOptOut", json!({ "productId": "time" })).await?;
    done(app, owner, "trialOptIn", json!({ "productId": "time" })).await?;
    let role = SystemRole::Standard.id().to_string();
    let wish = json!({ "invitations": [{ "email": "wim@harborandfinch.example", "roleIds": [role], "productIds": ["time"] }] });
    done(app, owner, "memberInvite", wish).await?;
    let all = "{ account { members(first: 2, filter: { status: [ACTIVE] }) { nodes { id } } } }";
    let members = app.graphql(Some(&owner.token), all, Value::Null).await?;
    let ids: Vec<Value> =
        members.data("/account/members/nodes").as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
    assert_eq!(ids.len(), 2);
    done(app, owner, "licenseAllocate", json!({ "productId": "time", "memberIds": ids })).await?;
    let accepted = app.accept(&app.letter("wim@harborandfinch.example").await?.token(), "Wim", "Doe").await?;
    assert!(accepted.codes().is_empty(), "{}", accepted.body);
    done(app, owner, "licenseDeallocate", json!({ "productId": "time", "memberIds": ids })).await?;
    done(app, owner, "accountCancel", json!({ "password": PASSWORD })).await?;
    done(app, owner, "accountResume", json!({})).await
}

/// Something is given back.
async fn credit(app: &App, owner: &Person) -> Result<()> {
    let (account, origin) = (owner.account_id.parse()?, domain::actor::Origin::operator());
    let mut change =
        domain::change::Change::begin(&app.db, account, domain::change::Kind::System, origin, None).await?;
    let amount = domain::infra::money::Money::parse("1.50", domain::infra::money::Currency::parse("EUR")?)?;
    domain::billing::credit::give(&mut change, "base", amount, "an outage").await?;
    Ok(change.commit().await?)
}

/// Months later: periods and a trial end, statements are paid and past due, and the account ends.
async fn months_later(app: &App, owner: &Person) -> Result<Person> {
    let sweep = async || -> Result<()> {
        app.sweep("billing.periods").await?;
        app.sweep("billing.collect").await?;
        app.settle().await
    };
    app.pass(SignedDuration::from_hours(24 * 32));
    sweep().await?;
    let declined = "UPDATE account_billing SET payment_method = 'sandbox_declined'";
    sqlx::query(declined).execute(&app.db.pool).await?;
    for days in [32, 4, 5, 8] {
        app.pass(SignedDuration::from_hours(24 * days));
        sweep().await?;
    }
    let sign_in = json!({ "email": owner.email, "password": "staple paper clip" });
    let token = app.mutate(None, "sessionCreate", sign_in.clone(), "token").await?.text("/sessionCreate/token");
    let owner = Person { token, ..owner.clone() };
    done(app, &owner, "accountCancel", json!({ "password": "staple paper clip" })).await?;
    app.pass(SignedDuration::from_hours(24 * 32));
    sweep().await?;
    let token = app.mutate(None, "sessionCreate", sign_in, "token").await?.text("/sessionCreate/token");
    Ok(Person { token, ..owner })
}

/// A login e-mail that is changed, given up, changed again and taken back; and who may change theirs.
async fn change_addresses(app: &App, owner: &Person) -> Result<()> {
    let (old, new) = ("ben@harborandfinch.example", "benedikt@harborandfinch.example");
    let found = "{ account { members(filter: { text: \"ben@\" }) { nodes { id } } } }";
    let ben = app.graphql(Some(&owner.token), found, Value::Null).await?.text("/account/members/nodes/0/id");
    for exceptions in [json!([old]), json!([])] {
        done(app, owner, "accountSsoPolicyUpdate", json!({ "required": true, "exceptions": exceptions })).await?;
    }
    let request = json!({ "memberId": ben, "newEmail": new });
    done(app, owner, "loginEmailChangeRequest", request.clone()).await?;
    done(app, owner, "loginEmailChangeCancel", json!({ "memberId": ben })).await?;
    app.settle().await?;
    done(app, owner, "loginEmailChangeRequest", request).await?;
    let confirm = json!({ "token": app.letter(new).await?.token() });
    done(app, owner, "loginEmailChangeConfirm", confirm).await?;
    done(app, owner, "loginEmailChangeRevert", json!({ "token": app.letter(old).await?.token() })).await
}

/// Somebody changes their profile, hands over to the owner, leaves, and is deleted; what names them is read before that.
async fn leave(app: &App, owner: &Person) -> Result<()> {
    let leo = app.join(owner, "leo@harborandfinch.example", &[SystemRole::Standard]).await?;
    let update = json!({ "memberId": leo.member_id, "expectedVersion": 2, "city": "Boston", "subscriptionType": "ATTORNEY",
                         "validFrom": "2020-01-01", "validUntil": "2199-12-31" });
    done(app, owner, "memberUpdate", update).await?;
    let member: domain::id::MemberId = leo.member_id.parse()?;
    sqlx::query(
        "INSERT INTO resource (account_id, resource_id, resource_type, external_id, name, responsible_member_id, created_at)
         SELECT account_id, gen_random_uuid(), 'matter', '1', 'Doe v. Roe', member_id, now() FROM member WHERE member_id = $1",
    )
    .bind(member)
    .execute(&app.db.pool)
    .await?;
    done(app, &leo, "memberLeave", json!({ "successorId": owner.member_id })).await?;
    let gone = app.invite(owner, "gus@harborandfinch.example", &[SystemRole::Standard]).await?;
    done(app, owner, "memberDelete", json!({ "memberId": gone.text("/memberInvite/invitations/0/member/id") })).await
}

async fn with_stored(app: &App, events: Vec<Value>) -> Result<Vec<(Value, Value)>> {
    let stored: BTreeMap<String, Value> = sqlx::query_as::<_, (EventId, Value)>(
        "SELECT e.event_id, jsonb_build_array(e.detail, p.body) FROM event e LEFT JOIN event_personal p USING (account_id, event_id)",
    )
    .fetch_all(&app.db.pool)
    .await?
    .into_iter()
    .map(|(id, parts)| (id.to_string(), parts))
    .collect();
    Ok(events.into_iter().map(|event| (event.clone(), stored[event["id"].as_str().unwrap()].clone())).collect())
}

#[tokio::test]
async fn every_kind_is_read_as_its_own_type_and_tells_all_that_is_stored() -> Result<()> {
    let mut seen = BTreeSet::new();
    let lives = lives().await?;
    let deleted = |subject: &Value| {
        lives.iter().any(|(event, _)| event["kind"] == "member.deleted" && event["subjectId"] == *subject)
    };
    for (event, stored) in &lives {
        let kind = event["kind"].as_str().unwrap();
        assert_eq!(event["__typename"], type_name(kind), "{event}");
        assert!(event["erased"] == false || deleted(&event["subjectId"]), "{event}");
        let told = leaves(event);
        let kept: Vec<String> = leaves(stored).into_iter().filter(|value| !told.contains(value)).collect();
        assert!(kept.is_empty(), "{kind} does not tell {kept:?}: {event}");
        seen.insert(kind.to_owned());
    }
    let all: BTreeSet<String> = EventKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(seen, all, "a kind that no test reads");
    Ok(())
}

#[tokio::test]
async fn each_kind_has_a_type_and_fields_of_one_name_are_of_one_type() {
    let all = types().await;
    let mut names: BTreeSet<&str> = event_types(&all).iter().map(|kind| kind.name.as_str()).collect();
    assert!(names.remove("OtherEvent"));
    let wanted: BTreeSet<String> = EventKind::ALL.iter().map(|kind| type_name(kind.as_str())).collect();
    assert_eq!(names, wanted.iter().map(String::as_str).collect());
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    for kind in event_types(&all) {
        for field in kind.fields() {
            let text = field.kind.text();
            let first = fields.entry(&field.name).or_insert_with(|| text.clone());
            assert_eq!(*first, text, "{}.{}: one document could not ask for it everywhere", kind.name, field.name);
        }
    }
}

#[tokio::test]
async fn the_life_of_a_member_is_told_in_order() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let (standard, auditor) = (SystemRole::Standard.id().to_string(), SystemRole::Auditor.id().to_string());
    let member = json!({ "memberId": ben.member_id });
    done(&app, &owner, "memberAssignRoles", json!({ "memberId": ben.member_id, "roleIds": [auditor] })).await?;
    for act in ["memberSuspend", "memberActivate", "memberDeactivate", "memberReactivate"] {
        done(&app, &owner, act, member.clone()).await?;
    }
    let all = all_of(&app, &owner).await?;
    let about_ben: Vec<Value> =
        all.iter().filter(|event| event["subjectId"] == ben.member_id.as_str()).cloned().collect();
    let told: Vec<Value> = about_ben
        .iter()
        .map(|event| {
            assert_eq!(event["memberId"], event["subjectId"]);
            let shown = ["kind", "email", "firstName", "lastName", "sent", "roleIds", "roleIdsBefore", "roleIdsAfter"];
            let shown = shown.into_iter().chain(["statusBefore", "statusAfter"]);
            shown.filter_map(|name| Some((name, event.get(name).filter(|value| !value.is_null())?.clone()))).collect()
        })
        .collect();
    let status =
        |kind: &str, before: &str, after: &str| json!({ "kind": kind, "statusBefore": before, "statusAfter": after });
    assert_eq!(
        told,
        [
            json!({ "kind": "invitation.created", "email": "ben@harborandfinch.example", "sent": true, "roleIds": [standard] }),
            json!({ "kind": "invitation.accepted", "email": "ben@harborandfinch.example", "firstName": "Jo", "lastName": "Doe",
                    "roleIds": [standard] }),
            json!({ "kind": "session.created" }),
            json!({ "kind": "member.roles_changed", "roleIdsBefore": [standard], "roleIdsAfter": [auditor] }),
            status("member.suspended", "ACTIVE", "SUSPENDED"),
            status("member.activated", "SUSPENDED", "ACTIVE"),
            status("member.deactivated", "ACTIVE", "DEACTIVATED"),
            status("member.reactivated", "DEACTIVATED", "ACTIVE"),
        ]
    );
    let actors: Vec<&Value> = about_ben.iter().map(|event| &event["actor"]["memberId"]).collect();
    let (o, b) = (&json!(owner.member_id), &json!(ben.member_id));
    assert_eq!(actors, [o, b, b, o, o, o, o, o]);
    for event in &about_ben {
        assert_eq!((&event["actor"]["kind"], &event["networkAddress"]), (&json!("MEMBER"), &json!("127.0.0.1")));
        assert!(event["requestId"].is_string() && event["occurredAt"].is_string(), "{event}");
    }
    let seats = all.iter().find(|event| event["kind"] == "seats.set").context("seats")?;
    assert_eq!(seats["actor"], json!({ "kind": "OPERATOR", "memberId": null, "serviceTokenId": null }));
    assert_eq!(
        (&seats["product"], &seats["seatsAfter"], &seats["subjectId"]),
        (&json!("base"), &json!(10), &Value::Null)
    );
    app.finish().await
}

#[tokio::test]
async fn pages_give_every_event_once_and_in_order() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    busy(&app, &owner).await?;
    let total = i64::try_from(super::events(&app, owner.account_id.parse()?).await?.len())?;
    let (mut read, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = page(&app, &owner, json!({ "first": 3, "after": after })).await?;
        let info = page.data("/accountEvents/pageInfo");
        assert_eq!(info["hasPreviousPage"], !read.is_empty());
        for edge in page.data("/accountEvents/edges").as_array().unwrap() {
            assert_eq!(edge["cursor"], edge["node"]["cursor"]);
        }
        read.extend(numbers(&page));
        assert_eq!(info["hasNextPage"], i64::try_from(read.len())? < total);
        after = info["endCursor"].clone();
        if info["hasNextPage"] == false {
            assert_eq!(page.data("/accountEvents/newestCursor"), &after);
            break;
        }
    }
    assert_eq!(read, (1..=total).collect::<Vec<_>>());
    assert_eq!(numbers(&page(&app, &owner, json!({})).await?), (1..=20).collect::<Vec<_>>(), "20 unless told");
    assert!(total > 20);
    let oldest = page(&app, &owner, json!({ "first": 1 })).await?.text("/accountEvents/oldestCursor");
    assert_eq!(numbers(&page(&app, &owner, json!({ "after": oldest, "first": 100 })).await?), read);

    let none = page(&app, &owner, json!({ "after": after })).await?;
    assert!(numbers(&none).is_empty() && none.data("/accountEvents/pageInfo/endCursor").is_null());
    done(&app, &owner, "accountRename", json!({ "name": "From now on" })).await?;
    assert_eq!(numbers(&page(&app, &owner, json!({ "after": after })).await?), [total + 1]);
    app.finish().await
}

#[tokio::test]
async fn kinds_can_be_chosen_from_the_catalogue() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    busy(&app, &owner).await?;
    let wanted = ["member.suspended", "invitation.created"];
    let chosen = page(&app, &owner, json!({ "kinds": wanted, "first": 2 })).await?;
    let kinds = |page: &Answer| -> Vec<String> {
        let edges = page.data("/accountEvents/edges").as_array().unwrap();
        edges.iter().map(|edge| edge["node"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&chosen), ["invitation.created", "member.suspended"]);
    assert_eq!(chosen.data("/accountEvents/pageInfo/hasNextPage"), true);
    let after = chosen.data("/accountEvents/pageInfo/endCursor");
    let rest = page(&app, &owner, json!({ "kinds": wanted, "after": after })).await?;
    assert_eq!(kinds(&rest), ["invitation.created", "invitation.created"]);
    for (kinds, word) in [(json!(["member.suspended", "member.eaten"]), "member.eaten"), (json!([]), "at least one")] {
        let refused = page(&app, &owner, json!({ "kinds": kinds })).await?;
        assert_eq!(refused.errors(), ["BAD_USER_INPUT"]);
        assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains(word), "{}", refused.body);
    }
    for first in [0, -1, 101] {
        assert_eq!(page(&app, &owner, json!({ "first": first })).await?.errors(), ["BAD_USER_INPUT"]);
    }
    app.finish().await
}

#[tokio::test]
async fn a_cursor_of_another_feed_or_of_an_undone_past_is_refused() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let other = app.found("sofia@secondfirm.example", 3).await?;
    let theirs = page(&app, &other, json!({ "first": 2 })).await?.text("/accountEvents/pageInfo/endCursor");
    let own = page(&app, &owner, json!({})).await?;
    let newest = numbers(&own).len();
    let written_after_the_backup = Cursor::at(i64::try_from(newest)? + 5, Some(EventId::new())).encode();
    let written_again = Cursor::at(2, Some(EventId::new())).encode();
    for cursor in [theirs, written_after_the_backup, written_again] {
        let refused = page(&app, &owner, json!({ "after": cursor })).await?;
        assert_eq!(refused.errors(), ["BAD_USER_INPUT"], "{}", refused.body);
        let error = &refused.body["errors"][0];
        assert!(error["message"].as_str().unwrap().contains("restored from a backup"), "{error}");
        let again = page(&app, &owner, json!({ "after": error["extensions"]["oldestCursor"] })).await?;
        assert_eq!(numbers(&again), numbers(&own));
    }
    let cursor = own.text("/accountEvents/pageInfo/endCursor");
    for garbled in ["", "x", "17", &cursor[1..], &cursor[..cursor.len() - 2], &"A".repeat(3_000)] {
        let refused = page(&app, &owner, json!({ "after": garbled })).await?;
        assert_eq!(refused.errors(), ["BAD_USER_INPUT"], "{garbled}");
        let sentence = domain::error::Code::InvalidCursor.sentence();
        assert_eq!(refused.body["errors"][0]["message"], format!("{sentence} (after)"));
    }
    app.finish().await
}

#[tokio::test]
async fn what_is_erased_reads_null_and_what_is_newer_is_not_lost() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let account: AccountId = owner.account_id.parse()?;
    let mut root = superuser(&app).await?;
    let subject: domain::id::MemberId = ben.member_id.parse()?;
    sqlx::query("DELETE FROM event_personal WHERE subject_id = $1").bind(subject).execute(&mut root).await?;
    // As a newer version writes them: a kind that is new, and one that tells more than it did.
    for (number, change) in [(1, "kind = 'app.matter_filed'"), (2, "detail = '{\"from\": 3}'")] {
        let change = sqlx::AssertSqlSafe(format!("UPDATE event SET {change} WHERE account_id = $1 AND seq = $2"));
        sqlx::query(change).bind(account).bind(number).execute(&mut root).await?;
    }
    let all = all_of(&app, &owner).await?;
    for event in &all {
        let erased = event["subjectId"] == ben.member_id.as_str();
        assert_eq!(event["erased"], erased, "{event}");
        assert_eq!(event["networkAddress"].is_null(), erased || event["actor"]["kind"] == "OPERATOR", "{event}");
    }
    let accepted = all.iter().find(|event| event["kind"] == "invitation.accepted").context("an acceptance")?;
    assert_eq!(accepted["__typename"], "InvitationAcceptedEvent");
    for field in ["email", "firstName", "lastName"] {
        assert!(accepted[field].is_null(), "{accepted}");
    }
    assert_eq!(accepted["roleIds"], json!([SystemRole::Standard.id()]), "the rest stays");
    for (event, kind) in [(&all[0], "app.matter_filed"), (&all[1], "seats.set")] {
        assert_eq!((&event["__typename"], &event["kind"]), (&json!("OtherEvent"), &json!(kind)));
    }
    app.finish().await
}

#[tokio::test]
async fn auditors_of_accounts_that_exist_are_given_the_right_to_read_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let auditor = app.join(&owner, "audrey@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let mut root = superuser(&app).await?;
    for table in ["role_permission", "permission"] {
        let before = sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE permission = 'activity.read'"));
        sqlx::query(before).execute(&mut root).await?;
    }
    let migration = include_str!("../../migrations/20261121001200_grant_activity_read.sql");
    sqlx::raw_sql(migration).execute(&mut root).await?;
    let held =
        app.look("SELECT array_agg(DISTINCT role_id) FROM role_permission WHERE permission = 'activity.read'").await?;
    assert_eq!(held, Some(format!("{{{}}}", SystemRole::Auditor.id().0)));
    assert!(page(&app, &auditor, json!({})).await?.errors().is_empty());
    app.finish().await
}
