//! How far an import is, what its importer is told at the end, and the mails that follow.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::rows::people;
use crate::billing::world::{CATALOGUE, sell};
use crate::support::app::{App, Person};
use crate::support::socket::Socket;

const OWNER: &str = "olivia@harborandfinch.example";

async fn start(app: &App, by: &Person, file: &[u8], more: Value) -> Result<String> {
    let input = json!({ "fileName": "members.csv" });
    let made = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url }").await?;
    app.http.put(made.text("/uploadCreate/upload/url")).body(file.to_vec()).send().await?.error_for_status()?;
    let mut input = json!({ "uploadId": made.text("/uploadCreate/upload/id") });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let started = app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id }").await?;
    Ok(started.text("/memberImportCreate/memberImport/id"))
}

#[tokio::test]
async fn an_import_is_followed_to_its_end() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5_000).await?;
    let mut socket = Socket::enter(&app, &owner.token).await?;
    let id = start(&app, &owner, &people(3_000), json!({ "dryRun": true })).await?;
    let document =
        "subscription ($id: ID!) { memberImportProgress(id: $id) { status progress { done total } applied } }";
    socket.subscribe("1", document, json!({ "id": id })).await?;
    let (mut done, mut last) = (-1, Value::Null);
    loop {
        let message = socket.next().await?;
        if message["type"] == "complete" {
            break;
        }
        assert_eq!(message["type"], "next", "{message}");
        last = message["payload"]["data"]["memberImportProgress"].clone();
        let now = last["progress"]["done"].as_i64().unwrap();
        assert!(now >= done, "it goes forward only");
        done = now;
    }
    assert_eq!(last, json!({ "status": "FINISHED", "progress": { "done": 3_000, "total": 3_000 }, "applied": false }));
    socket.subscribe("2", document, json!({ "id": "imp_nothing" })).await?;
    assert_eq!(socket.next().await?["type"], "complete");
    socket.leave().await?;
    app.settle().await?;
    app.finish().await
}

#[tokio::test]
async fn a_lack_of_licences_says_what_adding_them_would_cost_now() -> Result<()> {
    let app = App::start().await?;
    sell(&app, CATALOGUE).await?;
    let owner = app.found(OWNER, 3).await?;
    let id = start(&app, &owner, &people(5), json!({ "dryRun": true })).await?;
    app.settle().await?;
    let wish = json!({ "change": "ADD", "productId": "base", "quantity": 3 });
    let quote =
        app.mutate(Some(&owner.token), "licenseQuoteCreate", wish, "quote { total { amount currency } }").await?;
    let total = quote.data("/licenseQuoteCreate/quote/total");
    let document = "query ($id: ID!) { memberImport(id: $id) { failedRowsUrl seats { required available missing cost { amount currency } }
        rows(first: 5, filter: { codes: [NO_SEAT] }) { nodes { errors { message } } } } }";
    let told = app.graphql(Some(&owner.token), document, json!({ "id": id })).await?;
    let expected = json!({ "required": 5, "available": 2, "missing": 3, "cost": total });
    assert_eq!(told.data("/memberImport/seats"), &expected);
    let (amount, currency) = (total["amount"].as_str().unwrap(), total["currency"].as_str().unwrap());
    let sentence = format!(
        "No licence is free for this person. 3 licences are missing; adding them costs {amount} {currency} now, with tax. \
         Free or add them, then import again."
    );
    let rows = told.data("/memberImport/rows/nodes").as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["errors"] == json!([{ "message": sentence }])), "{rows:?}");
    let url = reqwest::Url::parse(&told.text("/memberImport/failedRowsUrl"))?;
    let file = app.http.get(format!("{}{}", app.url, url.path())).send().await?.text().await?;
    assert_eq!(file.matches(&sentence).count(), 3, "{file}");
    let letter = app.letter(OWNER).await?;
    let lacking = format!("3 licences are missing; adding them costs {amount} {currency} now");
    assert!(letter.text.contains(&lacking), "{}", letter.text);
    app.finish().await
}

#[tokio::test]
async fn the_importer_is_told_by_mail_with_a_link_to_the_failed_rows() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 50).await?;
    let mia = app.join(&owner, "mia@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let file = b"email,first_name,last_name,subscription_type\na@firm.example,A,B,Attorney\nb,A,B,Attorney\n";
    start(&app, &mia, file, json!({})).await?;
    app.settle().await?;
    let letter = app.letter("mia@harborandfinch.example").await?;
    assert!(letter.subject.contains("is done"), "{}", letter.subject);
    for said in ["Rows of the file: 2", "New members: 1", "With faults: 1"] {
        assert!(letter.text.contains(said), "{said} in {}", letter.text);
    }
    let url = letter.text.split_whitespace().find(|word| word.contains("/member-imports/")).unwrap();
    let fetched = app.http.get(url).send().await?;
    assert_eq!(fetched.status().as_u16(), 200);
    assert!(fetched.text().await?.contains("INVALID_EMAIL"));
    app.finish().await
}

#[tokio::test]
async fn the_invitations_of_an_import_are_sent_together_later() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 600).await?;
    let id = start(&app, &owner, &people(450), json!({})).await?;
    app.settle().await?;
    let auditor = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let before = app.mailbox.all()?.len();
    let send = |by: String, id: Value| {
        let app = &app;
        async move { app.mutate(Some(&by), "invitationSend", json!({ "memberImportId": id }), "memberImport { id }").await }
    };
    assert_eq!(send(auditor.token.clone(), json!(id)).await?.codes(), ["NOT_PERMITTED"]);
    assert_eq!(send(owner.token.clone(), json!("imp_nothing")).await?.codes(), ["NOT_FOUND"]);
    let asked = send(owner.token.clone(), json!(id)).await?;
    assert_eq!(asked.text("/invitationSend/memberImport/id"), id);
    app.settle().await?;
    assert_eq!(app.mailbox.all()?.len(), before + 450);
    send(owner.token.clone(), json!(id)).await?;
    app.settle().await?;
    assert_eq!(app.mailbox.all()?.len(), before + 450, "each once");
    let delivered =
        "SELECT count(*)::text FROM invitation WHERE state = 'PENDING' AND sent_at IS NOT NULL AND email LIKE 'p0%'";
    assert_eq!(app.look(delivered).await?.as_deref(), Some("450"));
    let running = start(&app, &owner, &people(450), json!({})).await?;
    // Who asks before the end is told so, unless it came first.
    let early = send(owner.token.clone(), json!(running)).await?.codes();
    assert!(early == ["IMPORT_RUNNING"] || early.is_empty(), "{early:?}");
    app.settle().await?;
    app.finish().await
}
