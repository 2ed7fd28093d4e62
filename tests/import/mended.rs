//! Download and fix: the rows with faults as a file, mended and uploaded again as it is.

use std::fmt::Write as _;

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{App, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const FAULTY: &[u8] = include_bytes!("../fixtures/members-faulty.csv");

async fn import(app: &App, by: &Person, file: &[u8], more: Value) -> Result<Value> {
    let input = json!({ "fileName": "members.csv" });
    let made = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url }").await?;
    app.http.put(made.text("/uploadCreate/upload/url")).body(file.to_vec()).send().await?.error_for_status()?;
    let mut input = json!({ "uploadId": made.text("/uploadCreate/upload/id") });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let started = app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id }").await?;
    app.settle().await?;
    let id = started.text("/memberImportCreate/memberImport/id");
    let document = "query ($id: ID!) { memberImport(id: $id) { id status rowsInvited rowsUpdated rowsUnchanged rowsRejected
        failedRowsUrl applied format { encoding delimiter lineEnd byteOrderMark } seats { required available missing } } }";
    Ok(app.graphql(Some(&by.token), document, json!({ "id": id })).await?.data("/memberImport").clone())
}

async fn fetch(app: &App, url: &str) -> Result<(u16, Vec<u8>)> {
    let response = app.http.get(url).send().await?;
    Ok((response.status().as_u16(), response.bytes().await?.to_vec()))
}

#[tokio::test]
async fn failed_rows_are_mended_and_uploaded_as_they_are() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let policy = json!({ "refusePersonalDomains": true });
    app.mutate(Some(&owner.token), "accountPolicyUpdate", policy, "__typename").await?;
    let first = import(&app, &owner, FAULTY, json!({})).await?;
    assert_eq!((&first["rowsInvited"], &first["rowsRejected"]), (&json!(27), &json!(13)), "{first}");
    let format = json!({ "encoding": "UTF_8", "delimiter": "COMMA", "lineEnd": "LF", "byteOrderMark": false });
    assert_eq!(first["format"], format);
    let (status, report) = fetch(&app, first["failedRowsUrl"].as_str().unwrap()).await?;
    assert_eq!(status, 200);
    let text = String::from_utf8(report.clone())?;
    let header = text.lines().next().unwrap();
    let original = std::str::from_utf8(FAULTY)?.lines().next().unwrap();
    assert_eq!(header, format!("\u{feff}{original},error_code,error_column,error"));
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&report[3..]);
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
    assert_eq!(records.len(), 13);
    for cell in records.iter().flat_map(csv::StringRecord::iter) {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "a spreadsheet calculates {cell}");
    }

    // Untouched it has the same faults, and nothing else.
    let again = import(&app, &owner, &report, json!({})).await?;
    let wide = json!(13);
    assert_eq!((&again["rowsInvited"], &again["rowsRejected"]), (&json!(0), &wide), "{again}");
    // Everything of it mended is imported; what was imported before is as it was.
    let mended: Vec<String> = records.iter().enumerate().map(|(n, record)| mend(record, n)).collect();
    let mended = format!("{header}\r\n{}\r\n", mended.join("\r\n"));
    let last = import(&app, &owner, mended.as_bytes(), json!({})).await?;
    assert_eq!(
        (&last["rowsInvited"], &last["rowsRejected"], &last["failedRowsUrl"]),
        (&json!(13), &json!(0), &Value::Null),
        "{last}"
    );
    let twice = import(&app, &owner, mended.as_bytes(), json!({})).await?;
    assert_eq!((&twice["rowsUnchanged"], &twice["rowsInvited"]), (&json!(13), &json!(0)), "{twice}");
    app.finish().await
}

#[tokio::test]
async fn the_report_of_all_or_nothing_has_all_rows_because_none_took_effect() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 2_000).await?;
    let whole = json!({ "errorPolicy": "ALL_OR_NOTHING" });
    let mut file = String::from("email,first_name,last_name,subscription_type\n");
    for n in 0..1_200 {
        let subscription = if n % 600 == 7 { "Lawyer" } else { "Attorney" };
        writeln!(file, "p{n}@harborandfinch.example,Pat,\"Number, {n}\",{subscription}")?;
    }
    let first = import(&app, &owner, file.as_bytes(), whole.clone()).await?;
    assert_eq!((&first["applied"], &first["rowsRejected"]), (&json!(false), &json!(2)), "{first}");
    let (_, report) = fetch(&app, first["failedRowsUrl"].as_str().unwrap()).await?;
    let text = String::from_utf8(report)?;
    assert_eq!(text.lines().count(), 1_201);
    assert_eq!(text.lines().nth(1), Some("p0@harborandfinch.example,Pat,\"Number, 0\",Attorney,,,"));
    let faulty = text.lines().filter(|line| line.contains(",Lawyer,INVALID_SUBSCRIPTION_TYPE,subscription_type,"));
    assert_eq!(faulty.count(), 2);
    let mended = import(&app, &owner, text.replace(",Lawyer,", ",Attorney,").as_bytes(), whole).await?;
    assert_eq!((&mended["applied"], &mended["rowsInvited"]), (&json!(true), &json!(1_200)), "{mended}");
    app.finish().await
}

/// The row with values that nobody could find fault with, and the columns of the report as they are.
fn mend(record: &csv::StringRecord, n: usize) -> String {
    let good = [
        "Ann",
        "Lee",
        "AL",
        "Europe/London",
        "1 High Street",
        "Leeds",
        "",
        "LS1 1AA",
        "GB",
        "+44 20 7946 0018",
        "Attorney",
    ];
    let report: Vec<String> =
        record.iter().skip(12).take(3).map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
    format!("mended{n}@harborandfinch.example,{},{}", good.join(","), report.join(","))
}

/// A note belongs to its owner, who gets it back; a value that is too long must be there to be shortened.
#[tokio::test]
async fn long_cells_are_in_the_report_as_they_were() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let (note, city) = ("n".repeat(9_000), "ö".repeat(3_000));
    let header = "Note,email,first_name,last_name,subscription_type,city";
    let file = format!("{header}\n{note},nobody,A,B,Attorney,{city}\n");
    let failed = import(&app, &owner, file.as_bytes(), json!({})).await?;
    let (_, report) = fetch(&app, failed["failedRowsUrl"].as_str().unwrap()).await?;
    let row = format!("{note},nobody,A,B,Attorney,{city},INVALID_EMAIL|TOO_LONG,email|city,");
    assert!(std::str::from_utf8(&report)?.lines().nth(1).unwrap().starts_with(&row));
    app.finish().await
}

#[tokio::test]
async fn links_end_with_time_and_with_the_right_and_lead_nobody_elsewhere() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let manager = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let failed = import(&app, &manager, b"email,first_name,last_name,subscription_type\nx,A,B,C\n", json!({})).await?;
    let url = failed["failedRowsUrl"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&app, &url).await?.0, 200);
    assert_eq!(fetch(&app, &url.replace("failed-rows", "template")).await?.0, 404);
    let (place, _) = url.rsplit_once('/').unwrap();
    let mac = place.rsplit_once('.').unwrap().1;
    let other = mac.chars().rev().collect::<String>();
    assert_eq!(fetch(&app, &url.replace(mac, &other)).await?.0, 404);
    let roles =
        json!({ "memberIds": [manager.member_id], "roleIds": [SystemRole::Standard.id().to_string()], "mode": "SET" });
    let done = app.mutate(Some(&owner.token), "memberAssignRoles", roles, "members { id }").await?;
    assert_eq!(done.codes(), Vec::<String>::new(), "{}", done.body);
    assert_eq!(fetch(&app, &url).await?.0, 404, "who may not see imports any more fetches none");

    for name in ["Tax", "Partners"] {
        let made = app.mutate(Some(&owner.token), "groupCreate", json!({ "name": name }), "group { id }").await?;
        assert_eq!(made.codes(), Vec::<String>::new(), "{}", made.body);
    }
    let document = "{ memberImportTemplate { url columns { name required values maxLength example description } } }";
    let template = app.graphql(Some(&owner.token), document, Value::Null).await?;
    let columns = template.data("/memberImportTemplate/columns").as_array().unwrap();
    let roles = columns.iter().find(|column| column["name"] == "roles").unwrap();
    assert!(roles["values"].as_array().unwrap().contains(&json!("Member manager")), "{roles}");
    let url = template.text("/memberImportTemplate/url");
    let (status, file) = fetch(&app, &url).await?;
    assert_eq!(status, 200);
    let text = String::from_utf8(file.clone())?;
    let (header, example) = text.trim_end().split_once("\r\n").unwrap();
    assert!(header.ends_with("groups,permitted_roles,permitted_groups"), "{header}");
    assert!(example.contains(" | Member manager | ") && example.ends_with("Partners | Tax"), "{example}");
    let imported = import(&app, &owner, &file, json!({})).await?;
    assert_eq!(
        (&imported["rowsInvited"], &imported["rowsRejected"]),
        (&json!(1), &json!(0)),
        "the example can be imported: {imported}"
    );
    app.db.clock.advance(jiff::SignedDuration::from_mins(10));
    assert_eq!(fetch(&app, &url).await?.0, 404);
    app.finish().await
}
