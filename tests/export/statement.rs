//! Statements that are taken along.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::billing::world::Firm;

/// Has a file of a statement made; its name and its bytes.
async fn taken(app: &App, by: &Person, statement: &str, format: &str) -> Result<(String, Vec<u8>)> {
    let input = json!({ "statementId": statement, "format": format });
    let made = app.mutate(Some(&by.token), "statementExportCreate", input, "export { id }").await?;
    ensure!(made.codes().is_empty(), "{}", made.body);
    app.settle().await?;
    let export = look(app, by, &made.text("/statementExportCreate/export/id")).await?;
    let url = export["url"].as_str().with_context(|| format!("no file: {export}"))?;
    let answer = app.http.get(url).send().await?.error_for_status()?;
    let kind = if format == "PDF" { "application/pdf" } else { "text/csv; charset=utf-8" };
    assert_eq!(answer.headers()["content-type"], kind);
    let name = export["fileName"].as_str().context("a name")?.to_owned();
    Ok((name, answer.bytes().await?.to_vec()))
}

/// What another program reads in a PDF file.
fn words(pdf: &[u8]) -> Result<String> {
    let mut reader =
        Command::new("pdftotext").args(["-layout", "-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    reader.stdin.take().context("piped")?.write_all(pdf)?;
    let text = String::from_utf8(reader.wait_with_output()?.stdout)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

async fn statement(app: &App, by: &Person) -> Result<String> {
    let first = "{ account { statements(first: 2) { nodes { id number } } } }";
    let found = app.graphql(Some(&by.token), first, Value::Null).await?;
    let nodes = found.data("/account/statements/nodes").as_array().context("a list")?.clone();
    let issued = nodes.iter().find(|node| !node["number"].is_null()).or(nodes.first()).context("a statement")?;
    Ok(issued["id"].as_str().context("an id")?.to_owned())
}

#[tokio::test]
async fn a_statement_is_taken_along_as_it_was_issued() -> Result<()> {
    let firm = Firm::new().await?;
    let app = &firm.app;
    firm.add("base", 2).await?;
    let owner = app.person("olivia@work.example").await?;
    let draft = statement(app, &owner).await?;
    let (name, pdf) = taken(app, &owner, &draft, "PDF").await?;
    assert_eq!(name, "statement-draft.pdf");
    let text = words(&pdf)?;
    assert!(text.contains("Number Draft") && text.contains("Seat, added 2 12.00 24.00 19% 4.56"), "{text}");

    let address = json!({ "name": "Håkon & Ørsted", "address": "Main St 1\nΑθήνα", "taxId": "EL123" });
    done(app, &owner, "billingProfileUpdate", address).await?;
    app.pass(SignedDuration::from_hours(24 * 31));
    app.sweep("billing.periods").await?;
    app.settle().await?;
    let owner = app.person("olivia@work.example").await?;
    let issued = statement(app, &owner).await?;
    let (name, pdf) = taken(app, &owner, &issued, "PDF").await?;
    assert_eq!(name, "statement-1.pdf");
    let text = words(&pdf)?;
    for wanted in [
        "Statement 1 · Harbor & Finch",
        "Håkon & Ørsted",
        "Αθήνα",
        "Tax ID EL123",
        "Issued on 1 Apr 2027",
        "Period 1 Apr 2027 – 30 Apr 2027",
        "Seat, added 2 12.00 24.00 19% 4.56 1 Mar 2027 – 31 Mar 2027",
        "Seat 2 12.00 24.00 19% 4.56 1 Apr 2027 – 30 Apr 2027",
        "Net 48.00 Tax 19% 9.12 Total 57.12 Amount due EUR 57.12",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    let (name, csv) = taken(app, &owner, &issued, "CSV").await?;
    assert_eq!(name, "statement-1.csv");
    let csv = String::from_utf8(csv)?;
    let lines: Vec<&str> = csv.split_terminator("\r\n").skip(1).collect();
    assert_eq!(
        lines,
        [
            "1,2027-04-01,1,\"Seat, added\",2,12.00,2027-03-01,2027-03-31,31,31,24.00,19,4.56,no,EUR",
            "1,2027-04-01,2,Seat,2,12.00,2027-04-01,2027-04-30,30,30,24.00,19,4.56,no,EUR",
        ]
    );
    firm.app.finish().await
}

#[tokio::test]
async fn who_may_not_read_billing_any_more_follows_no_link_and_a_draft_may_be_gone() -> Result<()> {
    let firm = Firm::new().await?;
    let app = &firm.app;
    firm.add("base", 3).await?;
    let owner = app.person("olivia@work.example").await?;
    let bill = app.join(&owner, "bill@work.example", &[SystemRole::BillingManager]).await?;
    let draft = statement(app, &owner).await?;
    let input = json!({ "statementId": draft, "format": "CSV" });
    let made = app.mutate(Some(&bill.token), "statementExportCreate", input, "export { id }").await?;
    app.settle().await?;
    let export = look(app, &bill, &made.text("/statementExportCreate/export/id")).await?;
    let url = export["url"].as_str().context("a link")?;
    assert_eq!((get(app, url).await?.0, &export["progress"]), (200, &json!({ "done": 1, "total": 1 })));
    let manager = json!({ "memberId": bill.member_id, "roleIds": [SystemRole::MemberManager.id()] });
    done(app, &owner, "memberAssignRoles", manager).await?;
    assert_eq!(get(app, url).await?.0, 404, "they read members, not statements");

    // A draft that nothing came to: it is deleted when its period ends.
    sqlx::query(
        "UPDATE export SET subject_id = gen_random_uuid(), requested_by = $1, state = 'QUEUED', finished_at = NULL",
    )
    .bind(owner.member_id.parse::<domain::id::MemberId>()?)
    .execute(&app.db.pool)
    .await?;
    sqlx::query("UPDATE outbox SET finished_at = NULL, wake_at = now() WHERE kind = 'export.make'")
        .execute(&app.db.pool)
        .await?;
    app.settle().await?;
    let gone = look(app, &owner, export["id"].as_str().context("an id")?).await?;
    assert_eq!(
        (&gone["status"], &gone["errorCode"], &gone["url"]),
        (&json!("FAILED"), &json!("FILE_LOST"), &Value::Null)
    );
    assert!(gone["errorMessage"].as_str().context("a sentence")?.contains("nothing was owed"));
    assert_eq!(files(app).await?, 0, "what the first one left is gone");
    firm.app.finish().await
}
