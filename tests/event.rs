//! Events: numbered without gaps, without anything personal in what lasts, and sealed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use domain::event::seal::{self, Broken};
use domain::id::AccountId;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};

use crate::support::app::{App, Person};

mod feed;
mod purge;

const OWNER: &str = "olivia@harborandfinch.example";

#[derive(sqlx::FromRow, Debug)]
struct Row {
    seq: i64,
    event_id: uuid::Uuid,
    kind: String,
    actor_kind: String,
    actor_id: Option<uuid::Uuid>,
    subject_id: Option<uuid::Uuid>,
    detail: Value,
    request_id: Option<String>,
    personal_digest: Option<Vec<u8>>,
}

async fn events(app: &App, account: AccountId) -> Result<Vec<Row>> {
    let events = sqlx::query_as("SELECT * FROM event WHERE account_id = $1 ORDER BY seq").bind(account);
    Ok(events.fetch_all(&app.db.pool).await?)
}

/// Does something and answers the kinds of the events it left.
async fn left<F: Future<Output = Result<()>>>(app: &App, account: AccountId, act: F) -> Result<Vec<String>> {
    let before = events(app, account).await?.len();
    act.await?;
    Ok(events(app, account).await?.split_off(before).into_iter().map(|event| event.kind).collect())
}

async fn done(app: &App, by: &Person, mutation: &str, input: Value) -> Result<()> {
    let answer = app.mutate(Some(&by.token), mutation, input, "").await?;
    assert!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
    Ok(())
}

/// A connection of whoever runs the database: the service itself may not rewrite history.
async fn superuser(app: &App) -> Result<PgConnection> {
    use secrecy::ExposeSecret as _;
    Ok(PgConnection::connect(app.config.database_url.expose_secret()).await?)
}

/// A life of many mutations; answers the events that each was seen to leave, by mutation.
async fn busy(app: &App, owner: &Person) -> Result<BTreeMap<&'static str, Vec<String>>> {
    let account: AccountId = owner.account_id.parse()?;
    let mut seen = BTreeMap::new();
    let standard = SystemRole::Standard.id().to_string();
    let item = |email: &str| json!({ "email": email, "roleIds": [standard], "firstName": "Benedikt", "lastName": "Brandtner" });
    let mut step = async |name: &'static str, by: &Person, input: Value| -> Result<()> {
        seen.insert(name, left(app, account, done(app, by, name, input)).await?);
        Ok(())
    };
    step("accountRename", owner, json!({ "name": "Finch & Daughters" })).await?;
    step("accountPolicyUpdate", owner, json!({ "invitationLifetimeSeconds": 7200 })).await?;
    step("memberInvite", owner, json!({ "invitations": [item("ben@harborandfinch.example")], "send": false })).await?;
    let id = "{ account { invitations { nodes { id member { id } } } } }";
    let listed = app.graphql(Some(&owner.token), id, Value::Null).await?;
    let invitation = listed.text("/account/invitations/nodes/0/id");
    let member = listed.text("/account/invitations/nodes/0/member/id");
    step("invitationSend", owner, json!({ "invitationIds": [invitation] })).await?;
    step("invitationUpdate", owner, json!({ "invitationId": invitation, "message": "Welcome aboard, Benedikt" }))
        .await?;
    app.settle().await?;
    app.pass(SignedDuration::from_mins(2));
    step("invitationResend", owner, json!({ "invitationIds": [invitation] })).await?;
    let token = app.letter("ben@harborandfinch.example").await?.token();
    assert!(app.accept(&token, "Benedikt", "Brandtner").await?.codes().is_empty());
    step("memberAssignRoles", owner, json!({ "memberId": member, "roleIds": [SystemRole::Auditor.id().to_string()] }))
        .await?;
    for name in ["memberSuspend", "memberActivate", "memberDeactivate", "memberReactivate"] {
        step(name, owner, json!({ "memberId": member })).await?;
    }
    done(app, owner, "memberInvite", json!({ "invitations": [item("cleo@harborandfinch.example")] })).await?;
    let listed = app.graphql(Some(&owner.token), id, Value::Null).await?;
    step("invitationRevoke", owner, json!({ "invitationId": listed.text("/account/invitations/nodes/0/id") })).await?;
    done(app, owner, "memberInvite", json!({ "invitations": [item("dan@harborandfinch.example")] })).await?;
    let decline = json!({ "token": app.letter("dan@harborandfinch.example").await?.token() });
    let declined = async || {
        assert!(app.mutate(None, "invitationDecline", decline.clone(), "").await?.codes().is_empty());
        Ok(())
    };
    let declined = left(app, account, declined()).await?;
    seen.insert("invitationDecline", declined);
    let mut signed_in = String::new();
    let sign_in = async {
        signed_in = app.sign_in(OWNER).await?;
        Ok(())
    };
    let created = left(app, account, sign_in).await?;
    seen.insert("sessionCreate", created);
    let other = Person { token: signed_in, ..owner.clone() };
    let revoked = left(app, account, done(app, &other, "sessionRevoke", json!({}))).await?;
    seen.insert("sessionRevoke", revoked);
    Ok(seen)
}

#[tokio::test]
async fn every_mutation_leaves_its_event_and_nothing_personal_in_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let account: AccountId = owner.account_id.parse()?;
    let seen = busy(&app, &owner).await?;
    let wanted: BTreeMap<&str, Vec<String>> = [
        ("accountRename", "account.renamed"),
        ("accountPolicyUpdate", "account.policy_updated"),
        ("memberInvite", "invitation.created"),
        ("invitationSend", "invitation.sent"),
        ("invitationUpdate", "invitation.updated"),
        ("invitationResend", "invitation.resent"),
        ("invitationRevoke", "invitation.revoked"),
        ("invitationDecline", "invitation.declined"),
        ("memberAssignRoles", "member.roles_changed"),
        ("memberSuspend", "member.suspended"),
        ("memberActivate", "member.activated"),
        ("memberDeactivate", "member.deactivated"),
        ("memberReactivate", "member.reactivated"),
        ("sessionCreate", "session.created"),
        ("sessionRevoke", "session.revoked"),
    ]
    .into_iter()
    .map(|(mutation, kind)| (mutation, vec![kind.to_owned()]))
    .collect();
    assert_eq!(seen, wanted);

    let all = events(&app, account).await?;
    assert_eq!(all[0].kind, "account.created");
    let personal: Vec<(uuid::Uuid, Option<uuid::Uuid>, Vec<u8>, Value)> =
        sqlx::query_as("SELECT event_id, subject_id, salt, body FROM event_personal WHERE account_id = $1")
            .bind(account)
            .fetch_all(&app.db.pool)
            .await?;
    for (number, event) in (1..).zip(&all) {
        assert_eq!(event.seq, number);
        let lasting = format!("{} {:?}", event.detail, event.request_id).to_lowercase();
        for word in ["@", "harbor@", "olivia", "benedikt", "brandtner", "127.0.0.1", "cleo", "welcome", "jane"] {
            assert!(!lasting.contains(word), "{}: {lasting}", event.kind);
        }
        let part = personal.iter().find(|(id, ..)| *id == event.event_id);
        let digest = part.map(|(_, subject, salt, body)| {
            assert_eq!(*subject, event.subject_id, "erasing a person finds it");
            Sha256::digest([salt.as_slice(), body.to_string().as_bytes()].concat()).to_vec()
        });
        assert_eq!(event.personal_digest, digest, "{}", event.kind);
        if event.actor_kind == "MEMBER" {
            assert!(event.actor_id.is_some() && event.request_id.is_some(), "{event:?}");
            let body = &part.with_context(|| format!("{} came from somewhere", event.kind))?.3;
            assert_eq!(body["networkAddress"], "127.0.0.1");
        }
    }
    let invited = all.iter().find(|event| event.kind == "invitation.created").context("an invitation")?;
    let body = &personal.iter().find(|(id, ..)| *id == invited.event_id).context("its personal part")?.3;
    assert_eq!(body["email"], "ben@harborandfinch.example");
    assert_eq!(body["lastName"], "Brandtner");
    app.finish().await
}

#[tokio::test]
async fn a_refusal_leaves_no_event() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 1).await?;
    let account: AccountId = owner.account_id.parse()?;
    let before = events(&app, account).await?.len();
    let member = json!({ "memberId": owner.member_id });
    let standard = SystemRole::Standard.id().to_string();
    let refused = [
        ("accountRename", json!({ "name": "" }), "REQUIRED"),
        ("accountPolicyUpdate", json!({ "invitationLifetimeSeconds": 1 }), "OUT_OF_RANGE"),
        ("memberSuspend", member.clone(), "OWN_STATUS"),
        ("memberDeactivate", member, "OWN_STATUS"),
        ("memberAssignRoles", json!({ "memberId": owner.member_id, "roleIds": [standard] }), "OWNER_PROTECTED"),
        (
            "memberInvite",
            json!({ "invitations": [{ "email": "a@b.example", "roleIds": [standard] }] }),
            "SEAT_SHORTAGE",
        ),
        ("memberInvite", json!({ "invitations": [] }), "REQUIRED"),
        ("invitationRevoke", json!({ "invitationId": "inv_1" }), "NOT_FOUND"),
        ("sessionRevoke", json!({ "sessionId": "ses_1" }), "NOT_FOUND"),
    ];
    for (mutation, input, code) in refused {
        let answer = app.mutate(Some(&owner.token), mutation, input, "").await?;
        assert_eq!(answer.codes(), [code], "{mutation}");
    }
    let wrong = json!({ "email": OWNER, "password": "not the password" });
    assert_eq!(app.mutate(None, "sessionCreate", wrong, "").await?.codes(), ["CREDENTIALS_INVALID"]);
    assert_eq!(events(&app, account).await?.len(), before);
    assert_eq!(
        app.look(
            "SELECT count(*) FROM event_personal p WHERE NOT EXISTS (SELECT FROM event e WHERE e.event_id = p.event_id)"
        )
        .await?
        .as_deref(),
        Some("0")
    );
    app.finish().await
}

#[tokio::test]
async fn fifty_parallel_writers_are_numbered_without_a_gap() -> Result<()> {
    let app = App::roomy().await?;
    let owner = app.found(OWNER, 60).await?;
    let account: AccountId = owner.account_id.parse()?;
    let before = events(&app, account).await?.len();
    let write = async |number: usize| -> Result<bool> {
        let answer = if number.is_multiple_of(2) {
            let input = json!({ "name": format!("Name {number}") });
            app.mutate(Some(&owner.token), "accountRename", input, "").await?
        } else {
            app.invite(&owner, &format!("p{number}@harborandfinch.example"), &[SystemRole::Standard]).await?
        };
        Ok(answer.errors().is_empty() && answer.codes().is_empty())
    };
    let all = futures::future::try_join_all((0..50).map(write)).await?;
    let written = all.iter().filter(|written| **written).count();
    assert_eq!(written, 50);
    let all = events(&app, account).await?;
    assert_eq!(all.len(), before + written);
    let numbers: Vec<i64> = all.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=i64::try_from(all.len())?).collect::<Vec<_>>());
    let next = app.look("SELECT next_seq FROM account_feed").await?;
    assert_eq!(next, Some((all.len() + 1).to_string()));
    app.finish().await
}

async fn verify(app: &App, account: AccountId) -> Result<Option<Broken>> {
    Ok(seal::verify(&mut *app.db.pool.acquire().await?, account).await?)
}

#[tokio::test]
async fn seals_hold_after_an_erasure_and_name_what_was_tampered_with() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 10).await?;
    let other = app.found("sofia@secondfirm.example", 3).await?;
    let (account, second): (AccountId, AccountId) = (owner.account_id.parse()?, other.account_id.parse()?);
    seal::seal_due(&app.db.pool).await?;
    let first_end = i64::try_from(events(&app, account).await?.len())?;
    busy(&app, &owner).await?;
    // The worker seals, too.
    seal::seal_due(&app.db.pool).await?;
    assert_eq!(seal::seal_due(&app.db.pool).await?, 0, "everything is sealed");
    assert_eq!(verify(&app, account).await?, None);

    let mut root = superuser(&app).await?;
    sqlx::query("DELETE FROM event_personal").execute(&mut root).await?;
    assert_eq!(verify(&app, account).await?, None, "an erasure breaks no seal");

    let last = i64::try_from(events(&app, account).await?.len())?;
    let (first_seq, last_seq): (i64, i64) = sqlx::query_as(
        "SELECT first_seq, last_seq FROM event_seal WHERE account_id = $1 AND $2 BETWEEN first_seq AND last_seq",
    )
    .bind(account)
    .bind(last - 1)
    .fetch_one(&app.db.pool)
    .await?;
    assert!(first_seq > first_end);
    let later_seal = Some(Broken { first_seq, last_seq });
    let tamper = [
        "UPDATE event SET detail = detail || '{\"x\": 1}' WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET kind = 'account.renamed' WHERE account_id = $1 AND seq = $2 AND kind <> 'account.renamed'",
        "UPDATE event SET occurred_at = occurred_at - interval '1 microsecond' WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET actor_id = NULL WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET subject_id = gen_random_uuid() WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET personal_digest = NULL WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET request_id = 'x' WHERE account_id = $1 AND seq = $2",
        "UPDATE event SET event_id = gen_random_uuid() WHERE account_id = $1 AND seq = $2",
        "DELETE FROM event WHERE account_id = $1 AND seq = $2",
    ];
    for statement in tamper {
        let mut conn = root.begin().await?;
        let done = sqlx::query(statement).bind(account).bind(last - 1).execute(&mut *conn).await?;
        assert_eq!(done.rows_affected(), 1, "{statement}");
        assert_eq!(seal::verify(&mut conn, account).await?, later_seal, "{statement}");
        assert_eq!(seal::verify(&mut conn, second).await?, None, "no other account is suspected");
        conn.rollback().await?;
    }
    let mut conn = root.begin().await?;
    sqlx::query("DELETE FROM event WHERE account_id = $1 AND seq = 1").bind(account).execute(&mut *conn).await?;
    let broken = seal::verify(&mut conn, account).await?.context("a seal that does not match")?;
    assert_eq!(broken.first_seq, 1, "the first that does not match");
    conn.rollback().await?;
    assert_eq!(verify(&app, account).await?, None);
    app.finish().await
}

#[tokio::test]
async fn the_service_itself_cannot_rewrite_history() -> Result<()> {
    let app = App::start().await?;
    app.found(OWNER, 3).await?;
    seal::seal_due(&app.db.pool).await?;
    for statement in [
        "UPDATE event SET detail = '{}'",
        "DELETE FROM event",
        "DELETE FROM event_seal",
        "UPDATE event_seal SET last_seq = 9",
    ] {
        let refused = sqlx::query(statement).execute(&app.db.pool).await.unwrap_err();
        let code = refused.as_database_error().and_then(sqlx::error::DatabaseError::code).context("a refusal")?;
        assert_eq!(code, "42501", "{statement}");
    }
    app.finish().await
}
