//! A worker is killed where it stands, and the next one goes on.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use crate::support::app::{App, Options, Person};
use crate::support::dice::Dice;
use crate::support::mail_server::Server;
use crate::support::mailbox::Mailbox;
use crate::support::process::{Fleet, Process};

/// A lease of a killed worker's job ends before this.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `what` answers yes.
async fn until<F, Fut>(mut what: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !what().await? {
        if tokio::time::Instant::now() > deadline {
            bail!("it does not happen");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// How often an import's worker is killed.
fn kills() -> u32 {
    if std::env::var_os("MUSTER_TEST_FULL").is_some() { 20 } else { 3 }
}

/// Uploads a file of so many people through an API and starts its import; answers the import's id.
async fn start_import(app: &App, api: &str, owner: &Person, rows: u32, policy: &str) -> Result<String> {
    let mut file = String::from("email,first_name,last_name,subscription_type\n");
    for row in 0..rows {
        writeln!(file, "p{row}@work.example,Pat,Number{row},Attorney")?;
    }
    let input = json!({ "fileName": "members.csv" });
    let upload = app.mutate(Some(&owner.token), "uploadCreate", input, "upload { id url }").await?;
    let url = reqwest::Url::parse(&upload.text("/uploadCreate/upload/url"))?;
    app.http.put(format!("{api}{}", url.path())).body(file).send().await?.error_for_status()?;
    let input = json!({ "uploadId": upload.text("/uploadCreate/upload/id"), "errorPolicy": policy });
    let started = app.mutate(Some(&owner.token), "memberImportCreate", input, "memberImport { id }").await?;
    Ok(started.text("/memberImportCreate/memberImport/id"))
}

/// Each worker is killed at a moment of its own, wherever it is then, and the next one begins at once.
#[tokio::test]
async fn an_import_killed_again_and_again_does_each_row_once() -> Result<()> {
    let seed = u64::from_ne_bytes(uuid::Uuid::new_v4().into_bytes()[..8].try_into()?);
    println!("seed {seed}");
    for policy in ["PARTIAL", "ALL_OR_NOTHING"] {
        let (mut dice, rows) = (Dice(seed), 2_000 * (1 + kills() / 4));
        let mut fleet = Fleet::new(true, Options::default()).await?;
        let api = fleet.start("api").await?;
        let before = fleet.start("worker").await?;
        let owner = fleet.app.found("olivia@harborandfinch.example", i32::try_from(rows)? + 1).await?;
        before.kill().await?;
        let id = start_import(&fleet.app, &api.url, &owner, rows, policy).await?;
        for _ in 0..kills() {
            let worker = fleet.start("worker").await?;
            tokio::time::sleep(dice.millis(20, 700)).await;
            worker.kill().await?;
            // As if the lease had ended: the server rolls back what the dead one had begun.
            let lapse = "UPDATE outbox SET wake_at = now() WHERE kind = 'import.members' AND wake_at IS NOT NULL";
            until(|| async { Ok(sqlx::query(lapse).execute(&fleet.app.db.pool).await.is_ok()) }).await?;
        }
        let last = fleet.start("worker").await?;
        let app = &fleet.app;
        let document = "query ($id: ID!) { memberImport(id: $id) { status rowsInvited rowsRejected applied } }";
        let read = || async { app.graphql(Some(&owner.token), document, json!({ "id": id })).await };
        until(|| async { Ok(read().await?.text("/memberImport/status") == "FINISHED") }).await?;
        let wanted = json!({ "status": "FINISHED", "rowsInvited": rows, "rowsRejected": 0, "applied": true });
        assert_eq!(read().await?.data("/memberImport"), &wanted, "{policy}");
        let counts: (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM member), (SELECT count(*) FROM member_import_row WHERE member_id IS NOT NULL),
                    (SELECT count(*) FROM event WHERE kind = 'invitation.created'), (SELECT sum(in_use)::bigint FROM license_pool)",
        )
        .fetch_one(&app.db.pool)
        .await?;
        let rows = i64::from(rows);
        assert_eq!(counts, (rows + 1, rows, rows, rows + 1), "{policy}");
        fleet.finish(vec![api, last]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_import_whose_worker_is_killed_goes_on_and_does_each_row_once() -> Result<()> {
    const ROWS: i32 = 4_000;
    let mut fleet = Fleet::new(true, Options::default()).await?;
    let api = fleet.start("api").await?;
    let worker = fleet.start("worker").await?;
    let app = &fleet.app;
    let owner = app.found("olivia@harborandfinch.example", ROWS + 1).await?;
    let mut file = String::from("email,first_name,last_name,subscription_type\n");
    for row in 0..ROWS {
        writeln!(file, "p{row}@work.example,Pat,Number{row},Attorney")?;
    }
    let upload = app
        .mutate(Some(&owner.token), "uploadCreate", json!({ "fileName": "members.csv" }), "upload { id url }")
        .await?;
    let url = reqwest::Url::parse(&upload.text("/uploadCreate/upload/url"))?;
    let put = app.http.put(format!("{}{}", api.url, url.path())).body(file).send().await?;
    assert_eq!(put.status(), 204);
    let input = json!({ "uploadId": upload.text("/uploadCreate/upload/id") });
    let started = app.mutate(Some(&owner.token), "memberImportCreate", input, "memberImport { id }").await?;
    let id = started.text("/memberImportCreate/memberImport/id");

    let document =
        "query ($id: ID!) { memberImport(id: $id) { status rowsInvited rowsRejected progress { done total } } }";
    let read = || async { app.graphql(Some(&owner.token), document, json!({ "id": id })).await };
    until(|| async { Ok(read().await?.data("/memberImport/progress/done").as_i64() > Some(0)) }).await?;
    worker.kill().await?;
    let halfway = read().await?.data("/memberImport/progress/done").as_i64().unwrap();
    assert!(halfway < i64::from(ROWS), "it was killed too late to show anything");
    println!("killed at row {halfway} of {ROWS}");

    let next = fleet.start("worker").await?;
    let app = &fleet.app;
    let read = || async { app.graphql(Some(&owner.token), document, json!({ "id": id })).await };
    until(|| async { Ok(read().await?.text("/memberImport/status") == "FINISHED") }).await?;
    let done = read().await?;
    let wanted = json!({ "status": "FINISHED", "rowsInvited": ROWS, "rowsRejected": 0, "progress": { "done": ROWS, "total": ROWS } });
    assert_eq!(done.data("/memberImport"), &wanted);
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM member), (SELECT count(*) FROM member_import_row),
                (SELECT count(*) FROM event WHERE kind = 'invitation.created')",
    )
    .fetch_one(&app.db.pool)
    .await?;
    let rows = i64::from(ROWS);
    assert_eq!(counts, (rows + 1, rows, rows));
    fleet.finish(vec![api, next]).await
}

/// An API, a worker, a mail server and an account.
struct Post {
    server: Server,
    fleet: Fleet,
    api: Process,
    worker: Process,
    owner: Person,
    /// Mails that founding the account took.
    before: usize,
}

impl Post {
    async fn open() -> Result<Self> {
        let server = Server::start(&[]);
        let mut fleet = Fleet::new(true, Options { smtp_port: Some(server.port), ..Options::default() }).await?;
        fleet.app.mailbox = Mailbox::new(server.spool());
        let (api, worker) = (fleet.start("api").await?, fleet.start("worker").await?);
        let owner = fleet.app.found("olivia@harborandfinch.example", 5).await?;
        let before = server.mails().len();
        Ok(Self { server, fleet, api, worker, owner, before })
    }
}

#[tokio::test]
async fn a_mail_whose_worker_is_killed_is_sent_again_as_the_same_mail() -> Result<()> {
    let Post { server, mut fleet, api, worker, owner, before } = Post::open().await?;
    let app = &fleet.app;
    let email = "slow+4@work.example";
    let invited = app.invite(&owner, email, &[SystemRole::Standard]).await?;
    assert_eq!(invited.codes(), Vec::<String>::new());
    // The server has the mail, and has not said so yet.
    until(|| async { Ok(server.mails().len() > before) }).await?;
    worker.kill().await?;
    let delivery = "{ account { invitations { nodes { delivery sentAt } } } }";
    let unknown = app.graphql(Some(&owner.token), delivery, Value::Null).await?;
    assert_eq!(unknown.data("/account/invitations/nodes/0"), &json!({ "delivery": "QUEUED", "sentAt": null }));

    let next = fleet.start("worker").await?;
    let app = &fleet.app;
    until(|| async {
        let now = app.graphql(Some(&owner.token), delivery, Value::Null).await?;
        Ok(now.text("/account/invitations/nodes/0/delivery") == "SENT")
    })
    .await?;
    assert_eq!(server.mails().len(), before + 2, "at least once, and not more often than workers tried");
    let letters = app.mailbox.to(email)?;
    let (first, second) = (&letters[0], &letters[1]);
    assert_eq!((&first.message_id, first.link()), (&second.message_id, second.link()), "it is the same mail");
    fleet.finish(vec![api, next]).await
}

#[tokio::test]
async fn a_mail_that_was_answered_before_it_was_recorded_counts_as_sent() -> Result<()> {
    let Post { server, fleet, api, worker, owner, before } = Post::open().await?;
    let app = &fleet.app;
    let (quick, revoked) = ("slow+3@work.example", "slow+4@work.example");
    app.invite(&owner, quick, &[SystemRole::Standard]).await?;
    app.invite(&owner, revoked, &[SystemRole::Standard]).await?;
    // The server has the mails, and has not said so yet.
    until(|| async { Ok(server.mails().len() == before + 2) }).await?;
    let accepted = app.accept(&app.mailbox.to(quick)?[0].token(), "Quentin", "Quick").await?;
    assert_eq!((accepted.errors(), accepted.codes()), (vec![], vec![]));
    let document = "{ account { invitations { nodes { id email state delivery deliveryReply sentAt } } } }";
    let state = async |email: &str| -> Result<Value> {
        let all = app.graphql(Some(&owner.token), document, Value::Null).await?;
        let found = all.data("/account/invitations/nodes").as_array().unwrap().iter().find(|one| one["email"] == email);
        Ok(found.unwrap().clone())
    };
    let known = state(quick).await?;
    assert_eq!((&known["state"], &known["delivery"]), (&json!("ACCEPTED"), &json!("SENT")), "{known}");
    assert!(known["sentAt"].is_string() && known["deliveryReply"].is_null(), "{known}");
    let input = json!({ "invitationId": state(revoked).await?["id"] });
    let ended = app.mutate(Some(&owner.token), "invitationRevoke", input, "invitation { delivery }").await?;
    assert_eq!(ended.text("/invitationRevoke/invitation/delivery"), "QUEUED");

    until(|| async {
        Ok(state(quick).await?["deliveryReply"].is_string() && state(revoked).await?["delivery"] == "SENT")
    })
    .await?;
    assert_eq!(state(quick).await?["sentAt"], known["sentAt"], "it was there when it was answered");
    assert_eq!(state(revoked).await?["state"], "REVOKED");
    fleet.finish(vec![api, worker]).await
}
