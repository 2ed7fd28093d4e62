//! Deleting: nothing that names the person is left, and what happened can still be verified.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use domain::event::seal;
use domain::id::AccountId;
use domain::permission::SystemRole;
use futures::StreamExt as _;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tracing_subscriber::EnvFilter;

use super::{OWNER, lives, seats, status};
use crate::support::app::{App, Person};
use crate::support::log::Log;
use crate::support::process::Fleet;

/// In everything that names the person, and in nothing else.
const CANARY: &str = "quetzal";
const EMAIL: &str = "quetzal.old@harborandfinch.example";
/// What they signed in with before.
const FIRST: &str = "quetzal.first@harborandfinch.example";

async fn done(app: &App, by: &Person, mutation: &str, input: Value) -> Result<()> {
    let answer = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
    assert!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
    Ok(())
}

/// Tables with rows that hold a word.
async fn tables_with(app: &App, word: &str) -> Result<Vec<String>> {
    let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'";
    let tables: Vec<String> = sqlx::query_scalar(names).fetch_all(&app.db.pool).await?;
    let mut found = Vec::new();
    for table in tables {
        let statement = format!("SELECT count(*) FROM {table} t WHERE lower(t::text) LIKE '%{word}%'");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&app.db.pool).await?;
        if count > 0 {
            found.push(table);
        }
    }
    Ok(found)
}

/// Files below the data folder that hold a word; mails that were sent are their receivers'.
fn files_with(app: &App, word: &str) -> Result<Vec<std::path::PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![app.config.data_dir.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            if path.is_dir() && path != app.config.data_dir.join("mail") {
                folders.push(path);
            } else if path.is_file() && String::from_utf8_lossy(&std::fs::read(&path)?).to_lowercase().contains(word) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

async fn import(app: &App, by: &Person, rows: &str) -> Result<()> {
    let input = json!({ "fileName": "people.csv" });
    let made = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url }").await?;
    let body = format!("email,first_name,last_name,subscription_type\n{rows}");
    let url = reqwest::Url::parse(&made.text("/uploadCreate/upload/url"))?;
    app.http.put(format!("{}{}", app.url, url.path())).body(body).send().await?.error_for_status()?;
    done(app, by, "memberImportCreate", json!({ "uploadId": made.text("/uploadCreate/upload/id") })).await?;
    app.settle().await
}

/// Somebody who leaves traces wherever one can: declined and invited again, with another address since, imported once more, with a
/// profile, sessions, keys.
async fn live(app: &App, owner: &Person) -> Result<Person> {
    let role = SystemRole::MemberManager.id().to_string();
    let item = |email: &str| json!({ "email": email, "firstName": "Quetzal", "lastName": "Quetzalcoatl", "message": "Welcome, Quetzal", "roleIds": [role] });
    for email in [EMAIL, FIRST] {
        done(app, owner, "memberInvite", json!({ "invitations": [item(email)] })).await?;
        let declined = json!({ "token": app.letter(email).await?.token() });
        assert!(app.mutate(None, "invitationDecline", declined, "declined").await?.codes().is_empty());
    }
    done(app, owner, "memberInvite", json!({ "invitations": [item(FIRST)] })).await?;
    assert!(app.accept(&app.letter(FIRST).await?.token(), "Quetzal", "Quetzalcoatl").await?.codes().is_empty());
    let person = app.person(FIRST).await?;
    let other = json!({ "newEmail": EMAIL, "password": crate::support::app::PASSWORD });
    done(app, &person, "loginEmailChangeRequest", other).await?;
    let confirm = json!({ "token": app.letter(EMAIL).await?.token() });
    assert!(app.mutate(None, "loginEmailChangeConfirm", confirm, "state").await?.codes().is_empty());
    let person = app.person(EMAIL).await?;
    let own = app.graphql(Some(&person.token), "{ viewer { member { version } } }", Value::Null).await?;
    let update = json!({ "memberId": person.member_id, "expectedVersion": own.data("/viewer/member/version"), "address": "1 Quetzal St", "jobTitle": "Quetzal keeper",
                         "idempotencyKey": "quetzal-1" });
    done(app, &person, "memberUpdate", update).await?;
    // What they do to others stands in others' events, with their network address.
    done(app, &person, "memberInvite", json!({ "invitations": [{ "email": "zoe@harborandfinch.example", "roleIds": [SystemRole::Standard.id().to_string()] }] })).await?;
    import(
        app,
        owner,
        &format!("{EMAIL},Quetzal,Quetzalcoatl,Attorney\nyan@harborandfinch.example,Yan,Young,Attorney\n"),
    )
    .await?;
    import(app, &person, "xia@harborandfinch.example,Xia,Xu,Attorney\n").await?;
    // In the wrong column, of a row that is nobody's.
    import(app, owner, &format!("nobody,Quentin,Quill, {} \n", EMAIL.to_uppercase())).await?;
    app.mutate(None, "passwordResetRequest", json!({ "email": EMAIL }), "accepted").await?;
    let again = json!({ "accountName": "Quetzal & Co", "firstName": "Quetzal", "lastName": "Q", "email": EMAIL, "password": "correct horse battery" });
    app.mutate(None, "signUp", again, "accepted").await?;
    app.settle().await?;
    Ok(person)
}

#[tokio::test]
async fn nothing_that_names_the_person_is_left_and_the_chain_holds() -> Result<()> {
    let log = Log::default();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info,domain=trace,api=trace,worker=trace,sqlx=debug"));
    let _guard = tracing::subscriber::set_default(lines.with_ansi(false).with_writer(log.clone()).finish());
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let account: AccountId = owner.account_id.parse()?;
    let person = live(&app, &owner).await?;
    while seal::seal_due(&app.db.pool).await? > 0 {}
    for table in
        ["app_user", "member", "invitation", "event_personal", "sign_up", "member_import_row", "idempotency_key"]
    {
        assert!(tables_with(&app, CANARY).await?.contains(&table.to_owned()), "{table} holds nothing to be erased");
    }
    assert!(!files_with(&app, CANARY)?.is_empty(), "no file holds anything to be erased");

    done(&app, &owner, "memberDelete", json!({ "memberId": person.member_id })).await?;
    app.settle().await?;
    assert_eq!(tables_with(&app, CANARY).await?, Vec::<String>::new());
    assert_eq!(files_with(&app, CANARY)?, Vec::<std::path::PathBuf>::new());
    // What this test asks the tables stands there as well.
    let log = log.text().to_lowercase();
    assert_eq!(
        log.lines().find(|line| line.contains(CANARY) && !line.contains("%quetzal%")),
        None,
        "the log names them"
    );
    assert!(!lives(&app, &person.token).await?);
    assert!(status(&app, &owner, &person.member_id).await?.is_null());
    let gone = app
        .mutate(None, "sessionCreate", json!({ "email": EMAIL, "password": "correct horse battery" }), "token")
        .await?;
    assert_eq!(gone.codes(), ["CREDENTIALS_INVALID"]);

    while seal::seal_due(&app.db.pool).await? > 0 {}
    let mut conn = app.db.pool.acquire().await?;
    assert_eq!(seal::verify(&mut conn, account).await?, None, "the chain is whole");
    let mut found = Vec::new();
    domain::verify::run(&mut conn, None, |finding| found.push(finding)).await?;
    assert!(found.is_empty(), "{found:?}");
    drop(conn);
    let addresses = format!(
        "SELECT count(*) FROM event_personal WHERE actor_id = '{}' AND body ? 'networkAddress'",
        person.member_id.parse::<domain::id::MemberId>()?.0
    );
    assert_eq!(app.look(&addresses).await?.as_deref(), Some("0"), "from where they acted");
    // Others stay as they were, and the address is free.
    let zoe =
        app.look("SELECT count(*) FROM event_personal WHERE body->>'email' = 'zoe@harborandfinch.example'").await?;
    assert_eq!(zoe.as_deref(), Some("1"));
    assert_eq!(app.invite(&owner, EMAIL, &[SystemRole::Standard]).await?.codes(), Vec::<String>::new());
    app.finish().await
}

/// What a Redis is told, from now on: one line for each command.
async fn overhear(url: &str) -> Result<(Arc<Mutex<Vec<String>>>, tokio::task::JoinHandle<()>)> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let monitor = redis::Client::open(url)?.get_async_monitor().await?;
    let heard = Arc::clone(&lines);
    let listening = tokio::spawn(async move {
        let mut said = std::pin::pin!(monitor.into_on_message::<String>());
        while let Some(line) = said.next().await {
            heard.lock().unwrap().push(line.to_lowercase());
        }
    });
    Ok((lines, listening))
}

/// Names and values of the keys with a prefix.
async fn keys_of(url: &str, prefix: &str) -> Result<String> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut redis).await?;
    let mut all = keys.join("\n");
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await?;
        let mut read = match kind.as_str() {
            "none" => continue,
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "set" => redis::cmd("SMEMBERS"),
            "list" => redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).clone(),
            "zset" => redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).clone(),
            other => anyhow::bail!("nobody knows how to read a {other}"),
        };
        if matches!(kind.as_str(), "string" | "hash" | "set") {
            read.arg(&key);
        }
        let value: redis::Value = read.query_async(&mut redis).await?;
        all.push_str(&format!("{value:?}").to_lowercase());
    }
    Ok(all)
}

#[tokio::test]
async fn redis_never_learns_a_name_or_an_address() -> Result<()> {
    let mut fleet = Fleet::new(true, crate::support::app::Options::default()).await?;
    let (url, prefix) = fleet.redis().map(|(url, prefix)| (url.to_owned(), prefix.to_owned())).context("a Redis")?;
    let (heard, listening) = overhear(&url).await?;
    let processes = vec![fleet.start("api").await?, fleet.start("worker").await?];
    let app = &fleet.app;
    let owner = app.found(OWNER, 20).await?;
    let person = live(app, &owner).await?;
    assert!(!keys_of(&url, &prefix).await?.contains(CANARY), "while they are a member");
    done(app, &owner, "memberDelete", json!({ "memberId": person.member_id })).await?;
    app.settle().await?;
    assert!(!keys_of(&url, &prefix).await?.contains(CANARY), "after they were erased");
    listening.abort();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.iter().any(|line| line.contains(&prefix)), "Redis is not used at all");
    assert_eq!(heard.iter().find(|line| line.contains(CANARY)), None);
    fleet.finish(processes).await
}

#[tokio::test]
async fn an_address_that_was_given_up_is_somebody_elses_since_then() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 20).await?;
    let person = live(&app, &owner).await?;
    app.pass(SignedDuration::from_hours(1));
    let next = json!({ "email": FIRST, "firstName": "Nina", "roleIds": [SystemRole::Standard.id().to_string()] });
    let owner = app.person(OWNER).await?;
    done(&app, &owner, "memberInvite", json!({ "invitations": [next] })).await?;
    let declined = json!({ "token": app.letter(FIRST).await?.token() });
    assert!(app.mutate(None, "invitationDecline", declined, "declined").await?.codes().is_empty());
    done(&app, &owner, "memberDelete", json!({ "memberId": person.member_id })).await?;
    app.settle().await?;
    let left = format!("SELECT string_agg(first_name, ',') FROM invitation WHERE email = '{FIRST}'");
    assert_eq!(app.look(&left).await?.as_deref(), Some("Nina"), "what is whose of an address");
    app.finish().await
}

#[tokio::test]
async fn the_identity_stays_as_long_as_there_is_another_account() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let other = app.found("sofia@secondfirm.example", 5).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let invited = app.invite(&other, &ann.email, &[SystemRole::Standard]).await?;
    assert!(invited.codes().is_empty(), "{}", invited.body);
    let token = app.letter(&ann.email).await?.token();
    let accept =
        json!({ "token": token, "firstName": "Ann", "lastName": "Lee", "password": crate::support::app::PASSWORD });
    assert!(app.mutate(None, "invitationAccept", accept, "accountId").await?.codes().is_empty());
    let there = json!({ "email": ann.email, "password": crate::support::app::PASSWORD, "accountId": other.account_id });
    let there = app.mutate(None, "sessionCreate", there, "token").await?.text("/sessionCreate/token");
    let events = async || {
        app.look(&format!(
            "SELECT count(*) FROM event WHERE account_id = '{}'",
            other.account_id.parse::<AccountId>()?.0
        ))
        .await
    };
    let before = events().await?;

    done(&app, &owner, "memberDelete", json!({ "memberId": ann.member_id })).await?;
    assert!(!lives(&app, &ann.token).await? && lives(&app, &there).await?);
    assert_eq!(events().await?, before, "the other account has nothing to tell");
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    let own = app.graphql(Some(&there), "{ viewer { accounts { accountId } } }", Value::Null).await?;
    assert_eq!(own.data("/viewer/accounts"), &json!([{ "accountId": other.account_id }]));
    app.finish().await
}

/// Whoever joins an account in the moment in which their last membership goes is in it, or has to join as somebody new.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_while_their_last_membership_goes_is_in_or_comes_anew() -> Result<()> {
    const ROUNDS: usize = 8;
    let app = App::start().await?;
    let owner = app.found(OWNER, 2 + i32::try_from(ROUNDS)?).await?;
    let other = app.found("sofia@secondfirm.example", 2 + i32::try_from(ROUNDS)?).await?;
    let mut joined = 0;
    for round in 0..ROUNDS {
        let email = format!("p{round}@harborandfinch.example");
        let person = app.join(&owner, &email, &[SystemRole::Standard]).await?;
        app.invite(&other, &email, &[SystemRole::Standard]).await?;
        let token = app.letter(&email).await?.token();
        let delete =
            app.mutate(Some(&owner.token), "memberDelete", json!({ "memberId": person.member_id }), "deletedIds");
        let (accepted, deleted) = tokio::join!(app.accept(&token, "Jo", "Doe"), delete);
        let (accepted, deleted) = (accepted?, deleted?);
        assert_eq!((deleted.errors(), deleted.codes()), (vec![], vec![]), "{}", deleted.body);
        assert_eq!(accepted.errors(), Vec::<String>::new(), "{}", accepted.body);
        if accepted.codes().is_empty() {
            joined += 1;
        } else {
            assert_eq!(accepted.codes(), ["CREDENTIALS_INVALID"], "{}", accepted.body);
            assert!(app.accept(&token, "Jo", "Doe").await?.codes().is_empty());
        }
        assert!(lives(&app, &app.sign_in(&email).await?).await?);
    }
    println!("{joined} of {ROUNDS} joined first");
    assert_eq!((seats(&app, &owner).await?.0, seats(&app, &other).await?.0), (1, 1 + i64::try_from(ROUNDS)?));
    app.finish().await
}

#[tokio::test]
async fn every_status_can_be_deleted_and_seats_come_free() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let invited = app.invite(&owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    let token = app.letter("ivy@harborandfinch.example").await?.token();
    let mut ids = vec![invited.text("/memberInvite/invitations/0/member/id")];
    for (name, step) in [("ann", None), ("bob", Some("memberSuspend")), ("cid", Some("memberDeactivate"))] {
        let person = app.join(&owner, &format!("{name}@harborandfinch.example"), &[SystemRole::Standard]).await?;
        if let Some(step) = step {
            done(&app, &owner, step, json!({ "memberId": person.member_id })).await?;
        }
        ids.push(person.member_id);
    }
    assert_eq!(seats(&app, &owner).await?, (4, 1));
    app.pass(SignedDuration::from_mins(1));
    done(&app, &owner, "memberDelete", json!({ "memberIds": ids })).await?;
    assert_eq!(seats(&app, &owner).await?, (1, 0));
    assert_eq!(app.look("SELECT count(*) FROM member").await?.as_deref(), Some("1"));
    assert_eq!(app.accept(&token, "Ivy", "Ink").await?.codes(), ["TOKEN_INVALID"]);
    let listed = app
        .graphql(Some(&owner.token), "{ account { invitations { nodes { state email firstName } } } }", Value::Null)
        .await?;
    let states: Vec<&str> = listed
        .data("/account/invitations/nodes")
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["state"].as_str().unwrap())
        .collect();
    assert_eq!(states.len(), 4, "they stay listed");
    assert!(states.contains(&"REVOKED") && states.contains(&"ACCEPTED"), "{states:?}");
    app.finish().await
}
