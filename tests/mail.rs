//! Mail from the mutation to a real mail server that also delays, refuses and drops.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use domain::permission::SystemRole;
use jiff::{SignedDuration, Timestamp};
use mail_parser::MessageParser;
use serde_json::{Value, json};

use crate::support::app::{App, Options, Person};
use crate::support::mail_server::Server;
use crate::support::mailbox::Mailbox;
use crate::support::process::Fleet;

const OWNER: &str = "olivia@harborandfinch.example";

async fn start(server: &Server) -> Result<App> {
    let mut app = App::with(Options { smtp_port: Some(server.port), ..Options::default() }).await?;
    app.mailbox = Mailbox::new(server.spool());
    Ok(app)
}

async fn invitations(app: &App, by: &Person, filter: &str) -> Result<BTreeMap<String, Value>> {
    let document = format!(
        "{{ account {{ invitations(first: 100, filter: {filter}) {{ nodes {{
             id email state delivery deliveryReply deliveryAt createdAt sentAt expiresAt undeliverable }} }} }} }}"
    );
    let answer = app.graphql(Some(&by.token), &document, Value::Null).await?;
    let nodes = answer.data("/account/invitations/nodes").as_array().unwrap().clone();
    let local_part = |node: &Value| node["email"].as_str().unwrap().split('@').next().unwrap().to_owned();
    Ok(nodes.into_iter().map(|node| (local_part(&node), node)).collect())
}

/// Waits until all invitations of an account meet a condition.
async fn until(
    app: &App,
    by: &Person,
    met: impl Fn(&BTreeMap<String, Value>) -> bool,
) -> Result<BTreeMap<String, Value>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let all = invitations(app, by, "{}").await?;
        if met(&all) {
            return Ok(all);
        }
        if Instant::now() > deadline {
            bail!("it does not happen: {all:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no time but {value}")).parse().unwrap()
}

/// What each kind of answer of a mail server looks like to administrators.
fn assert_said(all: &BTreeMap<String, Value>) {
    for (local_part, delivery, reply) in [
        ("ann", "SENT", Some("queued")),
        ("refuse", "FAILED", Some("User unknown")),
        ("late-refuse", "FAILED", Some("by policy")),
        ("defer", "QUEUED", Some("Greylisted")),
        ("late-defer", "QUEUED", Some("Try again later")),
        ("reset", "QUEUED", None),
        ("drop", "QUEUED", None),
    ] {
        let one = &all[local_part];
        assert_eq!((&one["state"], &one["delivery"]), (&json!("PENDING"), &json!(delivery)), "{local_part}: {one}");
        match reply {
            Some(text) => assert!(one["deliveryReply"].as_str().is_some_and(|said| said.contains(text)), "{one}"),
            None => assert!(one["deliveryReply"].is_null(), "{one}"),
        }
        assert!(!one["deliveryReply"].as_str().unwrap_or_default().contains("work.example"), "no address: {one}");
        assert_eq!(one["expiresAt"].is_null(), delivery != "SENT", "no lifetime before a server took the mail: {one}");
    }
}

#[tokio::test]
async fn administrators_see_what_the_mail_server_said() -> Result<()> {
    let server = Server::start(&[]);
    let app = start(&server).await?;
    let owner = app.found(OWNER, 20).await?;
    let asked = ["ann", "refuse", "late-refuse", "defer", "late-defer", "reset", "drop"];
    for local_part in asked {
        let email = format!("{local_part}@work.example");
        assert_eq!(app.invite(&owner, &email, &[SystemRole::Standard]).await?.codes(), Vec::<String>::new());
    }
    let all =
        until(&app, &owner, |all| all.len() == asked.len() && all.values().all(|one| !one["deliveryAt"].is_null()))
            .await?;
    assert_said(&all);
    let failed = invitations(&app, &owner, "{ undeliverable: true }").await?;
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["late-refuse", "refuse"]);

    // Three days later they have lapsed, all but the one that was delivered: that one lapsed after a day.
    app.pass(SignedDuration::from_hours(73));
    assert_eq!(app.sweep("invitations.lapse").await?, 7);
    let owner = app.person(OWNER).await?;
    let undelivered = invitations(&app, &owner, "{ undeliverable: true, state: [EXPIRED] }").await?;
    assert_eq!(undelivered.len(), 6);
    assert!(undelivered.values().all(|one| one["undeliverable"] == true && one["expiresAt"].is_null()));
    let others = invitations(&app, &owner, "{ undeliverable: false }").await?;
    assert_eq!(others.keys().collect::<Vec<_>>(), ["ann"]);
    let kinds: Vec<(String, i64)> =
        sqlx::query_as("SELECT kind, count(*) FROM event WHERE kind IN ('invitation.lapsed', 'invitation.undeliverable') GROUP BY 1 ORDER BY 1")
            .fetch_all(&app.db.pool)
            .await?;
    assert_eq!(kinds, [("invitation.lapsed".to_owned(), 1), ("invitation.undeliverable".to_owned(), 6)]);

    // All of them at once, again.
    let ids: Vec<&Value> = undelivered.values().map(|one| &one["id"]).collect();
    let resent = app.mutate(
        Some(&owner.token),
        "invitationResend",
        json!({ "invitationIds": ids }),
        "invitations { state undeliverable }",
    );
    let resent = resent.await?;
    assert_eq!(resent.codes(), Vec::<String>::new());
    let again = resent.data("/invitationResend/invitations").as_array().unwrap();
    assert!(
        again.len() == 6 && again.iter().all(|one| one == &json!({ "state": "PENDING", "undeliverable": false })),
        "{again:?}"
    );
    for id in ids {
        app.mutate(Some(&owner.token), "invitationRevoke", json!({ "invitationId": id }), "__typename").await?;
    }
    app.finish().await
}

#[tokio::test]
async fn the_lifetime_starts_when_the_server_has_taken_the_mail() -> Result<()> {
    let server = Server::start(&[]);
    let app = start(&server).await?;
    let owner = app.found(OWNER, 5).await?;
    let before = server.mails().len();
    app.invite(&owner, "slow+1@work.example", &[SystemRole::Standard]).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.mails().len() == before {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // While the server thinks about it, two hours pass.
    app.pass(SignedDuration::from_hours(2));
    let all = until(&app, &owner, |all| all.values().all(|one| one["delivery"] == "SENT")).await?;
    let one = &all["slow+1"];
    assert!(time(&one["sentAt"]).duration_since(time(&one["createdAt"])) >= SignedDuration::from_hours(2), "{one}");
    assert_eq!(time(&one["expiresAt"]).duration_since(time(&one["sentAt"])), SignedDuration::from_hours(24), "{one}");
    app.finish().await
}

#[tokio::test]
async fn a_mail_that_comes_again_is_the_same_mail() -> Result<()> {
    let server = Server::start(&[]);
    let app = start(&server).await?;
    let owner = app.found(OWNER, 5).await?;
    let answer = app.invite(&owner, "drop@work.example", &[SystemRole::Standard]).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while app.mailbox.to("drop@work.example")?.len() < 2 {
        assert!(Instant::now() < deadline, "it is tried again after some seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letters = app.mailbox.to("drop@work.example")?;
    assert_eq!((&letters[0].message_id, letters[0].link()), (&letters[1].message_id, letters[1].link()));
    // Not known to be delivered, and yet it works: the server had taken it.
    let joined = app.accept(&letters[0].token(), "Jo", "Doe").await?;
    assert_eq!(joined.codes(), Vec::<String>::new(), "{}", joined.body);
    assert_eq!(answer.codes(), Vec::<String>::new());
    // One more try is due in some seconds; it finds nothing to send, and is not waited for.
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn nothing_that_is_typed_becomes_more_than_text() -> Result<()> {
    let server = Server::start(&[]);
    let app = start(&server).await?;
    let owner = app.found(OWNER, 5).await?;
    let named = json!({ "name": "Evil \"<script>alert(1)</script>\", Inc. {{ 31337*31337 }} <mj-raw>" });
    assert_eq!(
        app.mutate(Some(&owner.token), "accountRename", named, "__typename").await?.codes(),
        Vec::<String>::new()
    );
    let message =
        "Hi\n.\nMAIL FROM:<x@evil.example>\nBcc: y@evil.example\n\n<img src=x onerror=alert(1)> {{ url }} {% raw %}";
    let item = |first: &str| {
        json!({ "email": "ann@work.example", "firstName": first, "lastName": "<b>&amp;\"';--", "message": message,
            "roleIds": [SystemRole::Standard.id().to_string()] })
    };
    for first in ["Ann\r\nBcc: y@evil.example", "Ann\nX: y", "Ann\u{2028}B", "Ann\u{0}B", "Ann\u{202e}B"] {
        let refused = app
            .mutate(Some(&owner.token), "memberInvite", json!({ "invitations": [item(first)] }), "__typename")
            .await?;
        assert_eq!(refused.codes(), ["INVALID_CHARACTERS"], "{first:?}");
    }
    let first = "<script>alert(1)</script>, =?utf-8?q?x?= <y@evil.example>";
    let invited =
        app.mutate(Some(&owner.token), "memberInvite", json!({ "invitations": [item(first)] }), "__typename").await?;
    assert_eq!(invited.codes(), Vec::<String>::new(), "{}", invited.body);
    let letter = app.letter("ann@work.example").await?;
    assert!(
        !letter.html.contains("<script") && !letter.html.contains("<img src=x") && !letter.html.contains("<mj-raw"),
        "{}",
        letter.html
    );
    assert!(!letter.html.contains("982007569"), "templates are not filled in twice");
    assert!(letter.text.contains("Bcc: y@evil.example") && letter.text.contains("{{ url }}"), "{}", letter.text);
    let mails = server.mails();
    let mail = mails.last().unwrap();
    assert_eq!(mail.facts["to"], json!(["ann@work.example"]));
    let parsed = MessageParser::default().parse(&mail.raw).unwrap();
    assert!(parsed.bcc().is_none() && parsed.cc().is_none());
    let to: Vec<_> = parsed.to().unwrap().iter().map(|to| to.address().unwrap().to_owned()).collect();
    assert_eq!(to, ["ann@work.example"]);
    assert_eq!(app.accept(&letter.token(), "Ann", "Low").await?.codes(), Vec::<String>::new(), "the link is ours");
    app.finish().await
}

/// Milliseconds at a share of sorted samples.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a hundred samples"
    )]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}

#[tokio::test]
#[ignore = "prints figures: cargo nextest run -p tests --run-ignored only --no-capture latency"]
async fn latency_from_the_answer_of_a_mutation_to_the_mail_server() -> Result<()> {
    const SAMPLES: usize = 100;
    let server = Server::start(&[]);
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let options = Options { configure, smtp_port: Some(server.port), ..Options::default() };
    let mut fleet = Fleet::new(true, options).await?;
    fleet.app.mailbox = Mailbox::new(server.spool());
    let processes = vec![fleet.start("api").await?, fleet.start("worker").await?];
    let app = &fleet.app;
    let owner = app.found(OWNER, 200).await?;
    let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
    for sample in 0..SAMPLES {
        let wanted = server.spool().join(format!("{}.json", sample + 2));
        let asked = SystemTime::now();
        let answer = app.invite(&owner, &format!("p{sample}@work.example"), &[SystemRole::Standard]).await?;
        let answered = SystemTime::now();
        assert_eq!(answer.codes(), Vec::<String>::new());
        while !wanted.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let received = std::fs::metadata(&wanted)?.modified()?;
        let since = |start| received.duration_since(start).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        from_request.push(since(asked));
        from_answer.push(since(answered));
        app.settle().await?;
    }
    for (name, samples) in [("request", &mut from_request), ("answer", &mut from_answer)] {
        samples.sort_by(f64::total_cmp);
        let (p50, p99) = (percentile(samples, 0.5), percentile(samples, 0.99));
        println!(
            "from the {name} to the mail server's receipt, idle, {SAMPLES} samples: p50 {p50:.1} ms, p99 {p99:.1} ms"
        );
    }
    fleet.finish(processes).await
}
