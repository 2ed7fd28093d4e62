//! A process stops exactly at a boundary between two things that belong together; another one takes over. What was acknowledged
//! exists once, what was not exists once after it was asked for again under the same key, a mail that is sent again is the same
//! mail, and `muster verify` finds nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use domain::infra::migrate;
use domain::permission::SystemRole;
use domain::verify;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::support::app::{App, Options, PASSWORD, Person};
use crate::support::mail_server::Server;
use crate::support::mailbox::Mailbox;
use crate::support::process::{Fleet, Process};

mod guard;

const OWNER: &str = "olivia@harborandfinch.example";
const SOMEBODY: &str = "ben@work.example";

/// Longer than any lease.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until a statement answers this.
async fn until(app: &App, statement: &str, wanted: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = app.look(statement).await?;
        if found.as_deref() == Some(wanted) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("{statement} stays {found:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn count(app: &App, of: &str) -> Result<String> {
    app.look(&format!("SELECT count(*) FROM {of}")).await?.context("a count")
}

/// `muster verify` finds nothing, not even to look at.
async fn assert_clean(app: &App, at: &str) -> Result<()> {
    let mut conn = migrate::connect(&app.config).await?;
    let mut findings = Vec::new();
    verify::run(&mut conn, None, |finding| findings.push(finding)).await?;
    ensure!(findings.is_empty(), "{at}: {findings:#?}");
    Ok(())
}

fn abort(point: &str) -> String {
    format!("{point}=return(abort)")
}

/// An API, and a firm that was founded with the help of a worker that has gone since.
async fn firm(seats: i32) -> Result<(Fleet, Process, Person)> {
    found(Fleet::new(true, Options::default()).await?, seats).await
}

async fn found(mut fleet: Fleet, seats: i32) -> Result<(Fleet, Process, Person)> {
    let api = fleet.start("api").await?;
    let worker = fleet.start("worker").await?;
    let owner = fleet.app.found(OWNER, seats).await?;
    worker.stop().await?;
    Ok((fleet, api, owner))
}

/// No process yet, and a mail server that keeps every mail it was handed: the outbox of the tests keeps an equal one once.
async fn posting() -> Result<(Fleet, Server)> {
    let server = Server::start(&[]);
    let mut fleet = Fleet::new(true, Options { smtp_port: Some(server.port), ..Options::default() }).await?;
    fleet.app.mailbox = Mailbox::new(server.spool());
    Ok((fleet, server))
}

/// Everything is done, once.
async fn end(mut fleet: Fleet, api: Process, at: &str) -> Result<()> {
    let worker = fleet.start("worker").await?;
    let unsealed =
        "SELECT count(*) FROM account_feed f WHERE next_seq - 1 > coalesce((SELECT max(last_seq) FROM event_seal s
                    WHERE s.account_id = f.account_id), 0)";
    until(&fleet.app, unsealed, "0").await?;
    fleet.app.settle().await?;
    assert_clean(&fleet.app, at).await?;
    fleet.finish(vec![api, worker]).await
}

fn invitation(key: &str) -> Value {
    let role = SystemRole::Standard.id().to_string();
    json!({ "invitations": [{ "email": SOMEBODY, "roleIds": [role] }], "idempotencyKey": key })
}

const INVITED: &str = "invitation WHERE email = 'ben@work.example'";

/// The boundaries of a commit, and whether what was done is there when the process stops.
const COMMITS: [(&str, &str); 3] =
    [("change.before_feed", "0"), ("change.before_commit", "0"), ("change.after_commit", "1")];

#[tokio::test]
async fn a_mutation_that_is_cut_off_at_its_commit_is_done_once_when_it_is_asked_for_again() -> Result<()> {
    try_join_all(COMMITS.map(|(point, done)| async move {
        for stop in ["abort", "error"] {
            let at = format!("{point}, {stop}");
            let (mut fleet, api, owner) = firm(5).await?;
            let faulty = fleet.start_faulty("api", &format!("{point}=return({stop})")).await?;
            let app = &fleet.app;
            let ask = async |url: &str| {
                app.mutate_at(url, Some(&owner.token), "memberInvite", invitation("k"), "invitations { id }").await
            };
            match ask(&faulty.url).await {
                Ok(answer) => ensure!(stop == "error" && !answer.errors().is_empty(), "{at}: {}", answer.body),
                Err(_) => ensure!(stop == "abort", "{at}: it died"),
            }
            ensure!(count(app, INVITED).await? == done, "{at}: nothing in between");
            assert_clean_but_unsent(app, &at).await?;
            let again = ask(&api.url).await?;
            ensure!(again.codes().is_empty(), "{at}: {}", again.body);
            ensure!(count(app, INVITED).await? == "1", "{at}: once");
            ensure!(count(app, "event WHERE kind = 'invitation.created'").await? == "1", "{at}: once");
            if stop == "abort" {
                faulty.aborted().await?;
            } else {
                faulty.stop().await?;
            }
            let worker = fleet.start("worker").await?;
            ensure!(fleet.app.letter(SOMEBODY).await.is_ok(), "{at}: invited by mail");
            worker.stop().await?;
            end(fleet, api, &at).await?;
        }
        Ok(())
    }))
    .await
    .map(|_| ())
}

/// Nothing is broken; what waits for a worker may be late.
async fn assert_clean_but_unsent(app: &App, at: &str) -> Result<()> {
    let mut conn = migrate::connect(&app.config).await?;
    let mut broken = Vec::new();
    verify::run(&mut conn, None, |finding| {
        if finding.level == verify::Level::Broken {
            broken.push(finding);
        }
    })
    .await?;
    ensure!(broken.is_empty(), "{at}: {broken:#?}");
    Ok(())
}

/// Where a worker stops on the way of a mail whose outcome is its job's row alone, and how often the mail is then sent.
const MAILS: [(&str, usize); 7] = [
    ("relay.after_hint", 1),
    ("relay.after_push", 1),
    ("collector.after_claim", 1),
    ("mail.before_call", 1),
    ("mail.after_call", 2),
    ("finish.before_write", 2),
    ("finish.after_write", 1),
];

#[tokio::test]
async fn a_mail_whose_worker_stops_on_the_way_is_sent_by_the_next_as_the_same_mail() -> Result<()> {
    try_join_all(MAILS.map(|(point, sent)| async move {
        let (mut fleet, _server) = posting().await?;
        let api = fleet.start("api").await?;
        let worker = fleet.start_faulty("worker", &abort(point)).await?;
        let app = &fleet.app;
        let input = json!({
            "accountName": "Harbor & Finch", "firstName": "Olivia", "lastName": "Harbor", "email": OWNER, "password": PASSWORD,
        });
        ensure!(app.mutate(None, "signUp", input, "accepted").await?.codes().is_empty());
        worker.aborted().await.context(point)?;
        let next = fleet.start("worker").await?;
        let app = &fleet.app;
        app.settle().await.context(point)?;
        let letters = app.mailbox.to(OWNER)?;
        ensure!(letters.len() == sent, "{point}: sent {} times", letters.len());
        let same: BTreeSet<_> = letters.iter().map(|letter| (&letter.message_id, letter.link())).collect();
        ensure!(same.len() == 1, "{point}: {same:?}");
        let confirmed = app.mutate(None, "signUpConfirm", json!({ "token": letters[0].token() }), "accountId").await?;
        ensure!(confirmed.codes().is_empty(), "{point}: {}", confirmed.body);
        next.stop().await?;
        end(fleet, api, point).await
    }))
    .await
    .map(|_| ())
}

/// The mail of an invitation is recorded by a transaction of its own: where that stops, and how often the mail is then sent.
const RECORDS: [(&str, usize); 3] =
    [("change.before_feed", 2), ("change.before_commit", 2), ("change.after_commit", 1)];

#[tokio::test]
async fn a_mail_whose_worker_stops_at_the_record_of_it_is_the_same_mail() -> Result<()> {
    try_join_all(RECORDS.map(|(point, sent)| async move {
        let (fleet, _server) = posting().await?;
        let (mut fleet, api, owner) = found(fleet, 5).await?;
        let worker = fleet.start_faulty("worker", &abort(point)).await?;
        let invited = fleet.app.invite(&owner, SOMEBODY, &[SystemRole::Standard]).await?;
        ensure!(invited.codes().is_empty(), "{}", invited.body);
        worker.aborted().await.context(point)?;
        let next = fleet.start("worker").await?;
        let app = &fleet.app;
        until(app, "SELECT delivery FROM invitation", "SENT").await.context(point)?;
        let letters = app.mailbox.to(SOMEBODY)?;
        ensure!(letters.len() == sent, "{point}: sent {} times", letters.len());
        let same: BTreeSet<_> = letters.iter().map(|letter| (&letter.message_id, letter.link())).collect();
        ensure!(same.len() == 1, "{point}: {same:?}");
        let accepted = app.accept(&letters[0].token(), "Ben", "Doe").await?;
        ensure!(accepted.codes().is_empty(), "{point}: {}", accepted.body);
        next.stop().await?;
        end(fleet, api, point).await
    }))
    .await
    .map(|_| ())
}

const ROWS: i32 = 600;

/// Where the worker of an import stops.
const IMPORTS: [&str; 6] = [
    "import.after_survey=return(abort)",
    "import.after_seats=1*off->return(abort)",
    "import.after_batch=1*off->return(abort)",
    "import.before_end=return(abort)",
    // All rows or none.
    "import.before_apply=return(abort)",
    "import.after_apply=return(abort)",
];

/// Puts a file; answers the upload's id and the answer's status, or that there was none.
async fn put(app: &App, token: &str, url: &str, rows: i32) -> Result<(String, Option<u16>)> {
    let mut file = String::from("email,first_name,last_name,subscription_type\n");
    for row in 0..rows {
        writeln!(file, "p{row}@work.example,Pat,Number{row},Attorney")?;
    }
    let upload = app.mutate(Some(token), "uploadCreate", json!({ "fileName": "m.csv" }), "upload { id url }").await?;
    let path = reqwest::Url::parse(&upload.text("/uploadCreate/upload/url"))?.path().to_owned();
    let answered = app.http.put(format!("{url}{path}")).body(file.clone()).send().await;
    let status = answered.ok().map(|answer| answer.status().as_u16());
    if status != Some(204) {
        // The client puts it again, to the API that still answers.
        let again = app.http.put(format!("{}{path}", app.url)).body(file).send().await?;
        ensure!(again.status() == 204, "{}", again.status());
    }
    Ok((upload.text("/uploadCreate/upload/id"), status))
}

async fn import(app: &App, token: &str, upload: &str, policy: &str) -> Result<()> {
    let input = json!({ "uploadId": upload, "idempotencyKey": "import", "errorPolicy": policy });
    let started = app.mutate(Some(token), "memberImportCreate", input, "memberImport { id }").await?;
    ensure!(started.codes().is_empty(), "{}", started.body);
    Ok(())
}

async fn assert_imported(app: &App, rows: i32, at: &str) -> Result<()> {
    until(app, "SELECT state FROM member_import", "FINISHED").await.context(at.to_owned())?;
    let rows = rows.to_string();
    ensure!(app.look("SELECT rows_invited FROM member_import").await? == Some(rows.clone()), "{at}");
    for what in ["member WHERE status = 'INVITED'", "member_import_row", "event WHERE kind = 'invitation.created'"] {
        let found = count(app, what).await?;
        ensure!(found == rows, "{at}: {found} of {what}");
    }
    ensure!(count(app, "event WHERE kind = 'import.finished'").await? == "1", "{at}: ended once");
    Ok(())
}

#[tokio::test]
async fn an_import_whose_worker_stops_between_its_steps_does_each_row_once() -> Result<()> {
    try_join_all(IMPORTS.map(|fault| async move {
        let (mut fleet, api, owner) = firm(ROWS + 1).await?;
        let worker = fleet.start_faulty("worker", fault).await?;
        let (upload, _) = put(&fleet.app, &owner.token, &api.url, ROWS).await?;
        let policy = if fault.contains("apply") { "ALL_OR_NOTHING" } else { "PARTIAL" };
        import(&fleet.app, &owner.token, &upload, policy).await?;
        worker.aborted().await.context(fault)?;
        assert_clean_but_unsent(&fleet.app, fault).await?;
        let next = fleet.start("worker").await?;
        assert_imported(&fleet.app, ROWS, fault).await?;
        next.stop().await?;
        end(fleet, api, fault).await
    }))
    .await
    .map(|_| ())
}

/// Where a file's API stops. In either case the client does not know, and puts it again.
const UPLOADS: [&str; 2] = ["upload.after_file", "upload.after_row"];

#[tokio::test]
async fn a_file_whose_api_stops_beside_its_row_is_put_again_and_imported_once() -> Result<()> {
    for point in UPLOADS {
        let (mut fleet, api, owner) = firm(10).await?;
        let faulty = fleet.start_faulty("api", &abort(point)).await?;
        let (upload, status) = put(&fleet.app, &owner.token, &faulty.url, 3).await?;
        ensure!(status.is_none(), "{point}: {status:?}");
        faulty.aborted().await.context(point)?;
        import(&fleet.app, &owner.token, &upload, "PARTIAL").await?;
        let worker = fleet.start("worker").await?;
        assert_imported(&fleet.app, 3, point).await?;
        worker.stop().await?;
        end(fleet, api, point).await?;
    }
    Ok(())
}

/// Where a sweep stops, and how many invitations have lapsed by then.
const SWEEPS: [(&str, &str); 2] = [("sweep.after_claim", "0"), ("sweep.before_record", "6")];

#[tokio::test]
async fn a_sweep_that_stops_is_run_again_and_acts_once() -> Result<()> {
    let lapsed = "event WHERE kind IN ('invitation.lapsed', 'invitation.undeliverable')";
    for (point, done) in SWEEPS {
        let mut fleet = Fleet::new(false, Options::default()).await?;
        fleet.run(&["seed"]).await?;
        let before: i32 = count(&fleet.app, lapsed).await?.parse()?;
        let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(100)).to_string();
        let sweep = ["sweeps", "run", "invitations.lapse", "--at", &at];
        fleet.extra.push(("FAILPOINTS", abort(point)));
        ensure!(fleet.run(&sweep).await.is_err(), "{point}: it goes on");
        fleet.extra.pop();
        let found: i32 = count(&fleet.app, lapsed).await?.parse()?;
        ensure!((found - before).to_string() == done, "{point}: {found} - {before}");
        assert_clean_but_unsent(&fleet.app, point).await?;
        fleet.run(&sweep).await?;
        let found: i32 = count(&fleet.app, lapsed).await?.parse()?;
        ensure!(found - before == 6, "{point}: {found} - {before}");
        assert_clean_but_unsent(&fleet.app, point).await?;
        fleet.app.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_purge_that_stops_after_the_file_goes_on_with_its_row() -> Result<()> {
    let (mut fleet, api, owner) = firm(5).await?;
    put(&fleet.app, &owner.token, &api.url, 3).await?;
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9 * 24)).to_string();
    let sweep = ["sweeps", "run", "uploads.purge", "--at", &at];
    fleet.extra.push(("FAILPOINTS", abort("purge.after_file")));
    ensure!(fleet.run(&sweep).await.is_err(), "it goes on");
    fleet.extra.pop();
    ensure!(count(&fleet.app, "upload").await? == "1", "its row waits for the next");
    ensure!(fleet.run(&sweep).await?.contains("acted on 1"));
    ensure!(count(&fleet.app, "upload").await? == "0");
    end(fleet, api, "purge.after_file").await
}

/// Where the worker of an export stops.
const EXPORTS: [&str; 2] = ["export.after_page=return(abort)", "export.after_file=return(abort)"];

async fn export(app: &App, owner: &Person) -> Result<()> {
    let input = json!({ "idempotencyKey": "export" });
    let made = app.mutate(Some(&owner.token), "memberExportCreate", input, "export { id }").await?;
    ensure!(made.codes().is_empty(), "{}", made.body);
    Ok(())
}

/// The file that the only export leads to, and how many files there are.
async fn exported(app: &App) -> Result<(String, usize)> {
    let key = app.look("SELECT file_key FROM export WHERE state = 'DONE'").await?.context("a file")?;
    let files = app.files.older_than("exports", jiff::SignedDuration::from_hours(-1)).await?;
    Ok((std::fs::read_to_string(app.config.data_dir.join("files").join(key))?, files.len()))
}

#[tokio::test]
async fn a_file_whose_worker_stops_is_written_anew_and_seen_whole_or_not_at_all() -> Result<()> {
    for fault in EXPORTS {
        let (mut fleet, api, owner) = firm(5).await?;
        let worker = fleet.start_faulty("worker", fault).await?;
        export(&fleet.app, &owner).await?;
        worker.aborted().await.context(fault)?;
        let found = count(&fleet.app, "export WHERE state = 'RUNNING' AND file_name IS NULL").await?;
        ensure!(found == "1", "{fault}: nothing leads to what there is of it");
        let next = fleet.start("worker").await?;
        until(&fleet.app, "SELECT state FROM export", "DONE").await.context(fault)?;
        let (text, files) = exported(&fleet.app).await?;
        ensure!(text.matches(OWNER).count() == 1 && text.lines().count() == 2, "{fault}: {text}");
        ensure!(files == 1, "{fault}: what the first one left is gone");
        for once in ["event WHERE kind = 'export.finished'", "export_member"] {
            ensure!(count(&fleet.app, once).await? == "1", "{fault}: {once}");
        }
        next.stop().await?;
        end(fleet, api, fault).await?;
    }
    Ok(())
}

#[tokio::test]
async fn somebody_who_is_deleted_while_a_file_is_written_is_not_in_it() -> Result<()> {
    for point in ["export.after_page", "export.after_file"] {
        let (mut fleet, api, owner) = firm(5).await?;
        let worker = fleet.start("worker").await?;
        let invited = fleet.app.invite(&owner, SOMEBODY, &[SystemRole::Standard]).await?;
        fleet.app.settle().await?;
        worker.stop().await?;
        let slow = fleet.start_faulty("worker", &format!("{point}=1*return(delay 4000)->off")).await?;
        export(&fleet.app, &owner).await?;
        until(&fleet.app, "SELECT count(*) FROM export_member", "2").await?;
        let gone = json!({ "memberId": invited.text("/memberInvite/invitations/0/member/id") });
        let deleted = fleet.app.mutate(Some(&owner.token), "memberDelete", gone, "__typename").await?;
        ensure!(deleted.codes().is_empty(), "{}", deleted.body);
        ensure!(count(&fleet.app, "export WHERE state = 'RUNNING' AND run IS NULL").await? == "1", "{point}: in time");
        until(&fleet.app, "SELECT state FROM export", "DONE").await.context(point)?;
        let (text, files) = exported(&fleet.app).await?;
        ensure!(text.contains(OWNER) && !text.contains(SOMEBODY), "{point}: {text}");
        ensure!(files == 1, "{point}: the first one is gone");
        slow.stop().await?;
        end(fleet, api, point).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_export_whose_purge_stops_after_the_file_goes_with_the_next() -> Result<()> {
    let (mut fleet, api, owner) = firm(5).await?;
    let worker = fleet.start("worker").await?;
    export(&fleet.app, &owner).await?;
    until(&fleet.app, "SELECT state FROM export", "DONE").await?;
    worker.stop().await?;
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9 * 24)).to_string();
    let sweep = ["sweeps", "run", "exports.purge", "--at", &at];
    fleet.extra.push(("FAILPOINTS", abort("export.after_deletion")));
    ensure!(fleet.run(&sweep).await.is_err(), "it goes on");
    fleet.extra.pop();
    ensure!(count(&fleet.app, "export").await? == "1", "its row waits for the next");
    ensure!(fleet.run(&sweep).await?.contains("acted on 1"));
    ensure!(count(&fleet.app, "export").await? == "0");
    end(fleet, api, "export.after_deletion").await
}

/// Where the purge of old events stops, and whether they are gone by then.
const PURGES: [(&str, bool); 2] = [("events_purge.before_commit", false), ("events_purge.after_commit", true)];

#[tokio::test]
async fn a_purge_of_events_that_stops_is_done_by_the_next() -> Result<()> {
    for (point, gone) in PURGES {
        let (mut fleet, api, _owner) = firm(5).await?;
        let sealed = "SELECT count(*) FROM account_feed f WHERE next_seq - 1 = (SELECT max(last_seq) FROM event_seal s
                      WHERE s.account_id = f.account_id)";
        let worker = fleet.start("worker").await?;
        until(&fleet.app, sealed, "1").await?;
        worker.stop().await?;
        let events = count(&fleet.app, "event").await?;
        let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(401 * 24)).to_string();
        let sweep = ["sweeps", "run", "events.purge", "--at", &at];
        fleet.extra.push(("FAILPOINTS", abort(point)));
        ensure!(fleet.run(&sweep).await.is_err(), "{point}: it goes on");
        fleet.extra.pop();
        assert_clean_but_unsent(&fleet.app, point).await?;
        let left = count(&fleet.app, "event").await?;
        ensure!(left == if gone { "0" } else { events.as_str() }, "{point}: {left} of {events}");
        fleet.run(&sweep).await?;
        ensure!(count(&fleet.app, "event").await? == "0", "{point}: purged by the next");
        ensure!(
            fleet.app.look("SELECT oldest_seq - next_seq FROM account_feed").await?.as_deref() == Some("0"),
            "{point}"
        );
        end(fleet, api, point).await?;
    }
    Ok(())
}

/// Addresses whose mails are tried again, or not, how often each was sent when a worker stopped before it wrote that, and what is
/// written in the end.
const OUTCOMES: [(&str, &str, usize, &str); 2] = [
    (
        "attempt.before_outcome",
        "drop@work.example",
        2,
        "wake_at > now() AND claim IS NULL AND NOT hinted AND attempts = 2",
    ),
    ("attempt.before_outcome", "refuse@work.example", 0, "dead_at IS NOT NULL AND attempts = 2"),
];

#[tokio::test]
async fn an_outcome_that_was_not_written_is_found_out_by_the_next_attempt() -> Result<()> {
    try_join_all(OUTCOMES.map(|(point, email, sent, written)| async move {
        let (mut fleet, _server) = posting().await?;
        let api = fleet.start("api").await?;
        let worker = fleet.start_faulty("worker", &abort(point)).await?;
        let app = &fleet.app;
        let input = json!({
            "accountName": "Harbor & Finch", "firstName": "Olivia", "lastName": "Harbor", "email": email, "password": PASSWORD,
        });
        ensure!(app.mutate(None, "signUp", input, "accepted").await?.codes().is_empty());
        worker.aborted().await.with_context(|| format!("{point}, {email}"))?;
        ensure!(count(app, "outbox WHERE claim IS NOT NULL AND last_error_code IS NULL").await? == "1", "{email}: nothing written");
        let next = fleet.start("worker").await?;
        let app = &fleet.app;
        until(app, &format!("SELECT count(*) FROM outbox WHERE {written} AND last_error_code IS NOT NULL"), "1").await.context(email)?;
        let letters = app.mailbox.to(email)?;
        ensure!(letters.len() == sent, "{email}: sent {} times", letters.len());
        let same: BTreeSet<_> = letters.iter().map(|letter| (&letter.message_id, letter.link())).collect();
        ensure!(same.len() <= 1, "{email}: {same:?}");
        assert_clean_but_unsent(app, email).await?;
        next.stop().await?;
        api.stop().await?;
        fleet.app.close().await;
        Ok(())
    }))
    .await
    .map(|_: Vec<()>| ())
}

#[tokio::test]
async fn a_catalogue_that_was_not_committed_is_applied_by_the_next() -> Result<()> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    std::fs::create_dir_all(&fleet.app.config.data_dir)?;
    let file = fleet.app.config.data_dir.join("catalogue.toml");
    std::fs::write(&file, "[[permission]]\nkey = \"app.matters.open\"\ndescription = \"Open matters.\"\n")?;
    let apply = ["catalogue", "apply", file.to_str().context("a path")?];
    fleet.extra.push(("FAILPOINTS", abort("catalogue.before_commit")));
    ensure!(fleet.run(&apply).await.is_err(), "it goes on");
    fleet.extra.pop();
    let declared = "permission WHERE permission LIKE 'app.%'";
    ensure!(count(&fleet.app, declared).await? == "0", "nothing of it");
    fleet.run(&apply).await?;
    ensure!(count(&fleet.app, declared).await? == "1");
    fleet.app.close().await;
    Ok(())
}

#[tokio::test]
async fn events_whose_sealer_stops_are_sealed_by_the_next() -> Result<()> {
    let (mut fleet, api, _owner) = firm(5).await?;
    let worker = fleet.start_faulty("worker", &abort("seal.before_write")).await?;
    fleet.app.sign_in(OWNER).await?;
    worker.aborted().await?;
    assert_clean_but_unsent(&fleet.app, "seal.before_write").await?;
    end(fleet, api, "seal.before_write").await
}
