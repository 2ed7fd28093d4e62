//! Imports as a frontend asks for them: over GraphQL, with a PUT in between.

use std::collections::BTreeMap;

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::MEMBERS;
use crate::support::app::{Answer, App, Options, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const FAULTY: &[u8] = include_bytes!("../fixtures/members-faulty.csv");
const SPREADSHEET: &[u8] = include_bytes!("../fixtures/members-spreadsheet.csv");

async fn upload(app: &App, by: &Person) -> Result<(String, String)> {
    let input = json!({ "fileName": "members.csv" });
    let answer = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url expiresAt }").await?;
    Ok((answer.text("/uploadCreate/upload/id"), answer.text("/uploadCreate/upload/url")))
}

async fn put(app: &App, url: &str, file: &[u8]) -> Result<u16> {
    Ok(app.http.put(url).body(file.to_vec()).send().await?.status().as_u16())
}

async fn create(app: &App, by: &Person, upload: &str, send: bool) -> Result<Answer> {
    let input = json!({ "uploadId": upload, "sendWelcomeEmail": send });
    app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id status progress { done } }").await
}

/// Uploads a file, imports it and waits for the end; answers the import's id.
async fn import(app: &App, by: &Person, file: &[u8], send: bool) -> Result<String> {
    let (id, url) = upload(app, by).await?;
    assert_eq!(put(app, &url, file).await?, 204);
    let started = create(app, by, &id, send).await?;
    assert_eq!(started.codes(), Vec::<String>::new(), "{}", started.body);
    app.settle().await?;
    Ok(started.text("/memberImportCreate/memberImport/id"))
}

async fn read(app: &App, by: &Person, id: &str, fields: &str) -> Result<Value> {
    let document = format!("query ($id: ID!) {{ memberImport(id: $id) {{ {fields} }} }}");
    Ok(app.graphql(Some(&by.token), &document, json!({ "id": id })).await?.data("/memberImport").clone())
}

/// The rows of an outcome, all pages.
async fn rows(app: &App, by: &Person, id: &str, outcome: &str) -> Result<Vec<Value>> {
    let (mut rows, mut after) = (Vec::new(), Value::Null);
    loop {
        let document = format!(
            "query ($id: ID!, $after: String) {{ memberImport(id: $id) {{ rows(filter: {{ actions: [{outcome}] }}, first: 50, after: $after) {{
                 pageInfo {{ hasNextPage endCursor }} nodes {{ row action member {{ email status }} errors {{ column value code message }} }} }} }} }}"
        );
        let page = app.graphql(Some(&by.token), &document, json!({ "id": id, "after": after })).await?;
        rows.extend(page.data("/memberImport/rows/nodes").as_array().unwrap().iter().cloned());
        let info = page.data("/memberImport/rows/pageInfo");
        if info["hasNextPage"] == false {
            return Ok(rows);
        }
        after = info["endCursor"].clone();
    }
}

const SUMMARY: &str = "status rowsInvited rowsRejected progress { done total } errorCode";

#[tokio::test]
async fn the_template_is_imported_as_it_is_and_nobody_is_mailed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let id = import(&app, &owner, MEMBERS, false).await?;
    let wanted = json!({ "status": "FINISHED", "rowsInvited": 120, "rowsRejected": 0, "progress": { "done": 120, "total": 120 }, "errorCode": null });
    assert_eq!(read(&app, &owner, &id, SUMMARY).await?, wanted);
    let rows = rows(&app, &owner, &id, "CREATE").await?;
    let numbers: Vec<i64> = rows.iter().map(|row| row["row"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (2..=121).collect::<Vec<_>>());
    assert_eq!(rows[0]["member"], json!({ "email": "mario.hernandez@harborandfinch.example", "status": "INVITED" }));
    assert_eq!(app.mailbox.all()?.len(), 2, "only the owner's own sign-up, and the summary");
    let count = "{ account { invitationsCount(filter: { state: [NOT_SENT] }) licensePools { inUse reserved } } }";
    let count = app.graphql(Some(&owner.token), count, Value::Null).await?;
    assert_eq!(
        count.data("/account"),
        &json!({ "invitationsCount": 120, "licensePools": [{ "inUse": 121, "reserved": 120 }] })
    );
    app.finish().await
}

#[tokio::test]
async fn people_of_a_spreadsheet_are_mailed_if_asked_and_can_join() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let id = import(&app, &owner, SPREADSHEET, true).await?;
    let done = read(&app, &owner, &id, SUMMARY).await?;
    assert_eq!((&done["status"], &done["rowsRejected"]), (&json!("FINISHED"), &json!(0)));
    let letters = app.mailbox.all()?.len() - 2;
    assert_eq!(json!(letters), done["rowsInvited"]);
    let letter = app.letter("carol.rivera@harborandfinch.example").await?;
    let joined = json!({ "token": letter.token(), "password": crate::support::app::PASSWORD });
    let joined = app.mutate(None, "invitationAccept", joined, "memberId").await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "the file's names will do: {}", joined.body);
    app.finish().await
}

#[tokio::test]
async fn every_fault_of_the_faulty_file_is_told_by_row_column_and_value() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let policy = json!({ "refusePersonalDomains": true });
    app.mutate(Some(&owner.token), "accountPolicyUpdate", policy, "__typename").await?;
    let id = import(&app, &owner, FAULTY, false).await?;
    let expected: Vec<Value> = serde_json::from_slice(include_bytes!("../fixtures/members-faulty.expected.json"))?;
    let codes = BTreeMap::from([
        ("malformed address", "INVALID_EMAIL"),
        ("required value missing", "REQUIRED"),
        ("not one of Attorney, Non-attorney", "INVALID_SUBSCRIPTION_TYPE"),
        ("unknown time zone", "INVALID_TIME_ZONE"),
        ("unknown country", "INVALID_COUNTRY"),
        ("malformed phone number", "INVALID_PHONE"),
        ("same address twice in the file (letter case differs)", "DUPLICATE_IN_FILE"),
        ("periods or spaces in initials", "INVALID_INITIALS"),
        ("personal domain, where the policy refuses them", "PERSONAL_DOMAIN"),
        ("value too long", "TOO_LONG"),
        ("too few columns", "TOO_FEW_COLUMNS"),
        ("too many columns", "TOO_MANY_COLUMNS"),
    ]);
    let rejected = rows(&app, &owner, &id, "REJECT").await?;
    let mut rejected = rejected.iter();
    for fault in &expected {
        // What looks like a formula is accepted as the text that it is.
        let Some(code) = codes.get(fault["fault"].as_str().unwrap()) else { continue };
        let row = rejected.next().unwrap();
        assert_eq!(row["row"], fault["row"]);
        assert!(row["member"].is_null());
        let error = &row["errors"][0];
        assert_eq!((&error["code"], &error["column"]), (&json!(code), &fault["column"]), "{row}");
        let cut = |value: &Value| value.as_str().map(|text| text.chars().take(199).collect::<String>());
        assert_eq!(cut(&error["value"]), cut(&fault["value"]), "{row}");
        assert!(error["message"].as_str().unwrap().ends_with('.'), "{row}");
    }
    assert!(rejected.next().is_none());
    let done = read(&app, &owner, &id, SUMMARY).await?;
    assert_eq!((&done["status"], &done["errorCode"]), (&json!("FINISHED"), &Value::Null));
    assert_eq!(
        done["progress"]["done"].as_i64(),
        Some(done["rowsInvited"].as_i64().unwrap() + done["rowsRejected"].as_i64().unwrap())
    );
    app.finish().await
}

#[tokio::test]
async fn seats_go_to_the_first_rows_of_the_file() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 11).await?;
    let id = import(&app, &owner, MEMBERS, false).await?;
    let invited: Vec<i64> =
        rows(&app, &owner, &id, "CREATE").await?.iter().map(|row| row["row"].as_i64().unwrap()).collect();
    assert_eq!(invited, (2..=11).collect::<Vec<_>>());
    let rejected = rows(&app, &owner, &id, "REJECT").await?;
    assert_eq!(rejected.len(), 110);
    assert!(rejected.iter().all(|row| row["errors"][0]["code"] == "NO_SEAT"), "{:?}", rejected[0]);
    app.finish().await
}

#[tokio::test]
async fn a_file_that_is_no_use_as_a_whole_says_why() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let text = std::str::from_utf8(MEMBERS)?;
    let (_, headless) = text.split_once('\n').unwrap();
    assert_eq!(put(&app, &upload(&app, &owner).await?.1, b"PK\x03\x04\x14\x00\x06\x00\x08\x00").await?, 415);
    for (file, code) in [
        (&b""[..], "EMPTY_FILE"),
        (headless.as_bytes(), "MISSING_COLUMN"),
        (b"email,first_name,last_name\na@work.example,A,B\n", "MISSING_COLUMN"),
        (b"email,email,first_name,last_name,subscription_type\n", "DUPLICATE_COLUMN"),
    ] {
        let id = import(&app, &owner, file, false).await?;
        let done = read(&app, &owner, &id, "status errorCode errorMessage rowsInvited").await?;
        assert_eq!((&done["status"], &done["errorCode"]), (&json!("FAILED"), &json!(code)), "{done}");
        assert_eq!(done["rowsInvited"], 0);
        assert!(done["errorMessage"].as_str().unwrap().ends_with('.'), "{done}");
    }
    app.finish().await
}

#[tokio::test]
async fn an_upload_is_put_as_often_as_wanted_and_used_once() -> Result<()> {
    let options = Options { configure: |config| config.limits.upload_bytes = 20_000, ..Options::default() };
    let app = App::with(options).await?;
    let owner = app.found(OWNER, 200).await?;
    let (id, url) = upload(&app, &owner).await?;
    assert_eq!(create(&app, &owner, &id, false).await?.codes(), ["UPLOAD_NOT_READY"]);
    assert_eq!(put(&app, &url, &vec![b'x'; 20_001]).await?, 413);
    assert_eq!(create(&app, &owner, &id, false).await?.codes(), ["UPLOAD_NOT_READY"]);
    assert_eq!(put(&app, &url, b"rubbish").await?, 204);
    assert_eq!(put(&app, &url, MEMBERS).await?, 204);
    assert_eq!(create(&app, &owner, &id, false).await?.codes(), Vec::<String>::new());
    assert_eq!(create(&app, &owner, &id, false).await?.codes(), ["UPLOAD_USED"]);
    assert_eq!(put(&app, &url, MEMBERS).await?, 404);

    let (late, url) = upload(&app, &owner).await?;
    app.pass(SignedDuration::from_mins(61));
    assert_eq!(put(&app, &url, MEMBERS).await?, 404);
    assert_eq!(create(&app, &owner, &late, false).await?.codes(), ["UPLOAD_EXPIRED"]);
    app.finish().await
}

#[tokio::test]
async fn a_repeated_request_makes_one_upload_and_one_import() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let input = json!({ "fileName": "members.csv", "idempotencyKey": "upload" });
    let mut places = Vec::new();
    for _ in 0..2 {
        let answer = app.mutate(Some(&owner.token), "uploadCreate", input.clone(), "upload { id url }").await?;
        places.push(answer.data("/uploadCreate/upload").clone());
    }
    assert_eq!(places[0], places[1]);
    assert_eq!(put(&app, places[0]["url"].as_str().unwrap(), MEMBERS).await?, 204);
    let input = json!({ "uploadId": places[0]["id"], "idempotencyKey": "import" });
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = app.mutate(Some(&owner.token), "memberImportCreate", input.clone(), "memberImport { id }").await?;
        ids.push(answer.text("/memberImportCreate/memberImport/id"));
    }
    assert_eq!(ids[0], ids[1]);
    app.settle().await?;
    let imports = "{ account { memberImports { nodes { id rowsInvited } } } }";
    let imports = app.graphql(Some(&owner.token), imports, Value::Null).await?;
    assert_eq!(imports.data("/account/memberImports/nodes"), &json!([{ "id": ids[0], "rowsInvited": 120 }]));
    app.finish().await
}

#[tokio::test]
async fn only_who_may_import_does_and_only_their_own_uploads() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 200).await?;
    let stranger = app.found("mary@elsewhere.example", 5).await?;
    let auditor = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let (id, url) = upload(&app, &owner).await?;
    assert_eq!(put(&app, &url, MEMBERS).await?, 204);
    let foreign = create(&app, &stranger, &id, false).await?;
    assert_eq!(foreign.codes(), ["NOT_FOUND"]);
    assert_eq!(foreign.user_errors()[0]["field"], json!(["input", "uploadId"]));
    assert_eq!(create(&app, &stranger, "nonsense", false).await?.body, foreign.body);
    assert_eq!(create(&app, &auditor, &id, false).await?.codes(), ["NOT_PERMITTED"]);
    let refused =
        app.mutate(Some(&auditor.token), "uploadCreate", json!({ "fileName": "m.csv" }), "__typename").await?;
    assert_eq!(refused.codes(), ["NOT_PERMITTED"]);
    assert_eq!(refused.user_errors()[0]["permissions"], json!(["imports.run"]));

    let started = create(&app, &owner, &id, false).await?.text("/memberImportCreate/memberImport/id");
    app.settle().await?;
    let document = "query ($id: ID!) { memberImport(id: $id) { id } }";
    let seen = app.graphql(Some(&stranger.token), document, json!({ "id": started })).await?;
    assert!(seen.data("/memberImport").is_null());
    let seen = app.graphql(Some(&auditor.token), document, json!({ "id": started })).await?;
    assert_eq!(seen.text("/memberImport/id"), started, "an auditor reads everything");
    let standard = app.join(&owner, "sam@harborandfinch.example", &[SystemRole::Standard]).await?;
    let seen = app.graphql(Some(&standard.token), document, json!({ "id": started })).await?;
    assert_eq!(seen.errors(), ["FORBIDDEN"]);
    app.finish().await
}
