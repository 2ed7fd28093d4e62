//! What is in a file of members.

use std::collections::BTreeMap;

use domain::import::column::Column;
use domain::import::file::{FileLimits, MemberFile};
use domain::import::row::{ImportRow, parse_row};
use domain::infra::personal_domain::DomainPolicy;

use super::*;
use crate::support::socket::Socket;

/// People whose profiles would be taken for something else: formulas, quotes, separators, other scripts, apostrophes before formulas.
const PEOPLE: &str = "email,first_name,last_name,initials,time_zone,address,city,state,zip,country,phone,subscription_type,job_title\n\
    ann@work.example,\"'=HYPERLINK(\"\"x\"\")\",\"O'Brien, Jr\",AO,Europe/Berlin,\"1 Main St; 2nd \"\"floor\"\"\",Köln,NRW,01234,DE,\
    +49 221 123456,Attorney,-Partner\n\
    bob@work.example,Борис,Ωμέγα,,,,,,,,,Non-attorney,@home\n\
    cid@work.example,''=1,＋Plus,,America/New_York,'tis,,,,US,,non attorney,\n";

async fn import(app: &App, by: &Person, file: impl Into<reqwest::Body>) -> Result<String> {
    let made = app.mutate(Some(&by.token), "uploadCreate", json!({ "fileName": "m.csv" }), "upload { id url }").await?;
    app.http.put(made.text("/uploadCreate/upload/url")).body(file).send().await?.error_for_status()?;
    let input = json!({ "uploadId": made.text("/uploadCreate/upload/id") });
    let made = app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id }").await?;
    app.settle().await?;
    Ok(made.text("/memberImportCreate/memberImport/id"))
}

/// What an import makes of a file, by address.
async fn read(bytes: &[u8]) -> BTreeMap<String, ImportRow> {
    let policy = DomainPolicy::new(false, &[], &[]).unwrap();
    let mut file = MemberFile::open(bytes, FileLimits { rows: 100_000, field_bytes: 4096 }).await.unwrap();
    let mut rows = BTreeMap::new();
    while let Some(record) = file.next().await.unwrap() {
        assert_eq!(record.header.unknown_names().count(), 0);
        match parse_row(&record, &policy) {
            Ok(row) => assert!(rows.insert(row.email.as_str().to_owned(), row).is_none()),
            // They never said what their subscription covers.
            Err(faults) => assert_eq!(faults[0].column, Some(Column::SubscriptionType), "{faults:?}"),
        }
    }
    rows
}

/// Everything that is stored of the account's people.
async fn stored(app: &App) -> Result<Vec<Option<String>>> {
    let mut all = Vec::new();
    for table in ["member", "member_role", "group_member", "invitation", "role", "member_group", "license_pool"] {
        let rows = format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM {table} t");
        all.push(app.look(&rows).await?);
    }
    Ok(all)
}

#[tokio::test]
async fn a_file_is_read_back_to_what_it_was_made_of_and_changes_nothing() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    import(&app, &owner, PEOPLE).await?;
    let members = "{ account { members(orderBy: { field: EMAIL }) { nodes { id email } } } }";
    let members = app.graphql(Some(&owner.token), members, Value::Null).await?;
    let ann = members.text("/account/members/nodes/0/id");
    let mut groups = Vec::new();
    for name in ["Tax | VAT", "a\\b", "=Sum", "Old"] {
        let group = app.mutate(Some(&owner.token), "groupCreate", json!({ "name": name }), "group { id }").await?;
        groups.push(group.text("/groupCreate/group/id"));
        done(&app, &owner, "groupAddMembers", json!({ "groupId": groups.last(), "memberIds": [ann] })).await?;
    }
    done(&app, &owner, "groupArchive", json!({ "groupId": groups[3] })).await?;
    let role = app.mutate(Some(&owner.token), "roleCreate", json!({ "name": "Front|desk" }), "role { id }").await?;
    let roles = json!([SystemRole::Auditor.id(), role.text("/roleCreate/role/id")]);
    done(&app, &owner, "memberAssignRoles", json!({ "memberId": ann, "roleIds": roles })).await?;

    let bytes = app.http.get(made(&app, &owner, json!({})).await?).send().await?.bytes().await?;
    let text = std::str::from_utf8(&bytes)?;
    let header = "\u{feff}email,first_name,last_name,initials,time_zone,address,city,state,zip,country,phone,subscription_type,job_title,\
                  roles,groups\r\n";
    assert!(text.starts_with(header), "{text}");
    assert_eq!(text.matches("\r\n").count(), 5, "four members: {text}");
    for line in csv_cells(text) {
        assert!(!line.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']), "a formula: {line:?}");
    }
    let (back, first) = (read(&bytes).await, read(PEOPLE.as_bytes()).await);
    assert_eq!(back.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>(), "all but the owner");
    for (email, row) in &first {
        assert!(back[email].profile == row.profile, "{email}: {text}");
    }
    let ann = &back["ann@work.example"];
    assert_eq!(ann.profile.first_name.as_deref(), Some("=HYPERLINK(\"x\")"));
    assert_eq!(
        (&ann.roles[..], &ann.groups[..]),
        (&["Auditor", "Front|desk"].map(str::to_owned)[..], &["=Sum", "Tax | VAT", "a\\b"].map(str::to_owned)[..])
    );
    assert_eq!(back["bob@work.example"].roles, ["Standard"]);

    let before = stored(&app).await?;
    let again = import(&app, &owner, bytes).await?;
    let rows = "query ($id: ID!) { memberImport(id: $id) { status rowsUnchanged rows(first: 100) { nodes { action errors { code } } } } }";
    let rows = app.graphql(Some(&owner.token), rows, json!({ "id": again })).await?;
    assert_eq!(rows.data("/memberImport/status"), "FINISHED");
    let unchanged = json!({ "action": "UNCHANGED", "errors": [] });
    assert_eq!(rows.data("/memberImport/rows/nodes"), &json!([unchanged, unchanged, unchanged, unchanged]));
    assert_eq!(stored(&app).await?, before);
    app.finish().await
}

/// As many as an account has of groups, and a member of roles.
#[tokio::test]
async fn whoever_is_in_every_group_comes_back_unchanged() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let group = |n: i32| format!("Litigation and arbitration, team {n:04}");
    for (table, id, count) in [("member_group", "group_id", 1_000), ("role", "role_id", 20)] {
        let made = format!(
            "INSERT INTO {table} (account_id, {id}, name, created_at)
             SELECT account_id, gen_random_uuid(), 'Litigation and arbitration, team ' || lpad(n::text, 4, '0'), now()
             FROM account, generate_series(1, $1) n"
        );
        sqlx::query(sqlx::AssertSqlSafe(made)).bind(count).execute(&app.db.pool).await?;
    }
    let names = |count: i32| (1..=count).map(group).collect::<Vec<_>>().join("|");
    let header = "email,first_name,last_name,subscription_type,roles,groups";
    let row = format!("ann@work.example,Ann,Lee,Attorney,\"{}\",\"{}\"", names(20), names(1_000));
    import(&app, &owner, format!("{header}\n{row}\n")).await?;
    let held = "SELECT concat_ws(' ', (SELECT count(*) FROM group_member), (SELECT count(*) FROM member_role r
                WHERE r.member_id IN (SELECT member_id FROM group_member)))";
    assert_eq!(app.look(held).await?.as_deref(), Some("1000 20"));

    let file = app.http.get(made(&app, &owner, json!({})).await?).send().await?.bytes().await?;
    let again = import(&app, &owner, file).await?;
    let rows = "query ($id: ID!) { memberImport(id: $id) { rows(first: 9) { nodes { action errors { code } } } } }";
    let rows = app.graphql(Some(&owner.token), rows, json!({ "id": again })).await?;
    let unchanged = json!({ "action": "UNCHANGED", "errors": [] });
    assert_eq!(rows.data("/memberImport/rows/nodes"), &json!([unchanged, unchanged]), "she and the owner");
    app.finish().await
}

/// The cells of a file, without their quotes.
fn csv_cells(text: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in text.trim_start_matches('\u{feff}').chars() {
        match c {
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => cells.push(String::new()),
            '\r' if !quoted => {}
            _ => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[tokio::test]
async fn a_filter_and_units_say_who_is_in_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.join(&owner, "bob@harborandfinch.example", &[SystemRole::Auditor]).await?;
    app.invite(&owner, "cid@harborandfinch.example", &[SystemRole::Standard]).await?;
    let (unit, max) = reader_of_a_unit(&app, &owner, &ann).await?;

    let filter = json!({ "filter": { "status": ["ACTIVE"], "roleId": SystemRole::Auditor.id() } });
    assert_eq!(addresses(&app, &made(&app, &owner, filter).await?).await?, ["bob@harborandfinch.example"]);
    let text = json!({ "filter": { "text": "CID@" } });
    assert_eq!(addresses(&app, &made(&app, &owner, text).await?).await?, ["cid@harborandfinch.example"]);
    assert_eq!(addresses(&app, &made(&app, &owner, json!({})).await?).await?.len(), 5);
    let nobody = made(&app, &owner, json!({ "filter": { "text": "nobody" } })).await?;
    assert!(addresses(&app, &nobody).await?.is_empty());

    let link = made(&app, &max, json!({})).await?;
    assert_eq!(addresses(&app, &link).await?, ["ann@harborandfinch.example"]);
    let other = app.mutate(Some(&owner.token), "unitCreate", json!({ "name": "South" }), "unit { id }").await?;
    let other = json!({ "filter": { "unitId": other.text("/unitCreate/unit/id") } });
    let refused = app.mutate(Some(&max.token), "memberExportCreate", other, "export { id }").await?;
    assert_eq!(refused.codes(), ["NOT_FOUND"]);
    assert_eq!(refused.user_errors()[0]["field"], json!(["input", "filter", "unitId"]));

    // They read within another unit by now.
    let roles = json!([{ "roleId": SystemRole::Standard.id(), "unitId": unit }]);
    done(&app, &owner, "memberAssignRoles", json!({ "memberId": max.member_id, "unitRoles": roles })).await?;
    assert_eq!(get(&app, &link).await?.0, 404);
    app.finish().await
}

#[tokio::test]
async fn many_members_are_one_file_and_their_number_is_followed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let account: domain::id::AccountId = owner.account_id.parse()?;
    sqlx::query(
        "INSERT INTO member (account_id, member_id, email, status, first_name, last_name, created_at)
         SELECT $1, gen_random_uuid(), 'p' || n || '@work.example', 'INVITED', 'Pat', 'Same', now() FROM generate_series(1, 3500) n",
    )
    .bind(account)
    .execute(&app.db.pool)
    .await?;
    let id = ask(&app, &owner, json!({})).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    let follow = "subscription ($id: ID!) { exportProgress(id: $id) { status progress { done total } url } }";
    socket.subscribe("1", follow, json!({ "id": id })).await?;
    let mut seen = Vec::new();
    loop {
        let message = socket.next().await?;
        if message["type"] == "complete" {
            break;
        }
        seen.push(message["payload"]["data"]["exportProgress"].clone());
    }
    socket.leave().await?;
    let last = seen.last().context("something")?;
    assert_eq!((&last["status"], &last["progress"]), (&json!("FINISHED"), &json!({ "done": 3501, "total": 3501 })));
    assert!(last["url"].is_string() && seen.iter().rev().skip(1).all(|one| one["url"].is_null()), "{seen:?}");
    let counts: Vec<i64> = seen.iter().map(|one| one["progress"]["done"].as_i64().unwrap()).collect();
    assert!(counts.is_sorted(), "{counts:?}");

    let export = look(&app, &owner, &id).await?;
    let mut all = addresses(&app, export["url"].as_str().unwrap()).await?;
    assert_eq!(all.len(), 3501);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3501, "each once");
    assert_eq!(app.look("SELECT count(*) FROM export_member").await?.as_deref(), Some("3501"));
    app.finish().await
}
