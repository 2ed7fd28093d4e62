//! Jobs that send mail, handed one by one to their handlers, with a real mail server behind them.

use std::time::{Duration, Instant};

use domain::actor::{Actor, Origin};
use domain::id::InvitationId;
use domain::infra::config::{Config, MailTransport};
use domain::infra::db::Db;
use domain::infra::files::{self, Files};
use domain::invitation::{self, Invitation};
use domain::job::{Claimed, JobKind, Lane, Verdict};
use domain::permission::SystemRole;
use domain::{member, outbox, password_reset, rate, sign_up};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::{Parts, Registry, Worker};

use crate::support::database::Database;
use crate::support::firm;
use crate::support::mail_server::{Folder, Server, Spooled};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A database, a mail server, and the handlers between them.
struct Stage {
    database: Database,
    server: Server,
    config: Config,
    files: Files,
    _folder: Folder,
}

impl Stage {
    async fn new() -> Self {
        let (database, server, folder) = (Database::new().await, Server::start(&[]), Folder::new());
        let mut config = Config::defaults("postgres://localhost/muster");
        "Muster <muster@muster.example>".clone_into(&mut config.mail.from);
        config.mail.smtp.port = server.port;
        "https://muster.example".clone_into(&mut config.http.public_url);
        folder.path().clone_into(&mut config.data_dir);
        let files = files::open(&config).unwrap();
        Self { database, server, config, files, _folder: folder }
    }

    fn db(&self) -> &Db {
        &self.database.db
    }

    fn registry(&self, shutdown: &CancellationToken) -> Registry {
        worker::job::registry(self.db(), &self.config, &self.files, shutdown).unwrap()
    }

    /// Claims the one job of a kind that is unfinished, whenever it is due.
    async fn claim(&self, kind: JobKind) -> Claimed {
        let mut conn = self.db().pool.acquire().await.unwrap();
        let due = sqlx::query("UPDATE outbox SET wake_at = now() WHERE kind = $1 AND wake_at IS NOT NULL");
        assert_eq!(due.bind(kind.as_str()).execute(&mut *conn).await.unwrap().rows_affected(), 1, "one job is due");
        let hinted = outbox::hint(&mut conn, Lane::Interactive, outbox::Pick::up_to(10), Uuid::nil()).await.unwrap();
        let ids: Vec<_> = hinted.iter().map(|hint| hint.job_id).collect();
        let claimed = outbox::claim(&mut conn, &ids, Uuid::new_v4()).await.unwrap();
        claimed.into_iter().find(|job| job.kind == kind.as_str()).expect("the job was hinted")
    }

    /// Runs the handler of a job, and writes its verdict as a collector would.
    async fn run(&self, job: Claimed) -> Verdict {
        let (_, handler) = self.registry(&CancellationToken::new()).find(&job.kind).unwrap();
        let key = (job.job_id, job.claim);
        let verdict = handler.run(job).await;
        let mut conn = self.db().pool.acquire().await.unwrap();
        let written = match &verdict {
            Verdict::Settled => true,
            Verdict::Done => outbox::finish(&mut conn, &[key]).await.unwrap() == [key.0],
            Verdict::Retry { code, after } => {
                outbox::retry(&mut conn, key, after.unwrap_or_default(), code).await.unwrap()
            }
            Verdict::Wait { code, after } => outbox::wait(&mut conn, key, *after, code).await.unwrap(),
            Verdict::Dead { code } => outbox::bury(&mut conn, key, code).await.unwrap(),
        };
        assert!(written, "the claim was the job's");
        verdict
    }

    async fn run_next(&self, kind: JobKind) -> Verdict {
        self.run(self.claim(kind).await).await
    }

    async fn invitation(&self, actor: &Actor, id: InvitationId) -> Invitation {
        let mut conn = self.db().pool.acquire().await.unwrap();
        invitation::read_many(&mut conn, actor, &[id], false).await.unwrap().remove(0)
    }

    /// `FINISHED`, `DEAD` or `DUE`, and the last error's code, of the newest job of a kind.
    async fn job_state(&self, kind: JobKind) -> (String, Option<String>) {
        sqlx::query_as(
            "SELECT CASE WHEN finished_at IS NOT NULL THEN 'FINISHED' WHEN dead_at IS NOT NULL THEN 'DEAD' ELSE 'DUE' END,
                    last_error_code FROM outbox WHERE kind = $1 ORDER BY created_at DESC, job_id DESC LIMIT 1",
        )
        .bind(kind.as_str())
        .fetch_one(&self.db().pool)
        .await
        .unwrap()
    }

    /// An owner, and the invitation of an address.
    async fn inviting(&self, email: &str) -> (Actor, InvitationId) {
        let owner = firm::found(self.db(), "jane@firm.example").await;
        sqlx::query("DELETE FROM outbox").execute(&self.db().pool).await.unwrap();
        let id = firm::invite(self.db(), &owner, email, SystemRole::Standard).await;
        (owner, id)
    }
}

fn state(status: &str, code: Option<&str>) -> (String, Option<String>) {
    (status.to_owned(), code.map(str::to_owned))
}

/// A mail's text without its transfer encoding, and its Message-ID.
fn read(mail: &Spooled) -> (String, String) {
    let message = mail_parser::MessageParser::default().parse(&mail.raw).unwrap();
    (message.body_text(0).unwrap().replace("\r\n", "\n"), message.message_id().unwrap().to_owned())
}

#[tokio::test]
async fn an_invitation_lives_from_when_a_server_took_its_mail() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("ann@firm.example").await;
    stage.db().clock.advance(HOUR * 5);
    assert_eq!(stage.invitation(&owner, id).await.expires_at, None);
    let before = stage.db().now().await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);

    let sent = stage.invitation(&owner, id).await;
    assert_eq!(sent.delivery, Some(invitation::Delivery::Sent));
    assert_eq!(sent.delivery_reply.as_deref(), Some("250 2.0.0 Ok: queued as 1"));
    assert!(sent.sent_at.unwrap() >= before);
    assert_eq!(sent.expires_at, Some(sent.sent_at.unwrap() + HOUR * 24));
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("FINISHED", None));

    let mails = stage.server.mails();
    let (text, message_id) = read(&mails[0]);
    let token = firm::invitation_token(stage.db(), owner.account_id, id).await;
    assert!(text.contains(&format!("https://muster.example/invitation/{token}\n")), "{text}");
    assert!(text.contains("The link works for 24 hours.") && text.contains("Jane Doe invites you to join Doe & Roe."));
    assert_eq!(message_id, format!("{id}.1@muster.example"));
}

#[tokio::test]
async fn a_refused_mail_is_recorded_with_the_reply_and_ends() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("refuse@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    let refused = stage.invitation(&owner, id).await;
    assert_eq!((refused.delivery, refused.expires_at), (Some(invitation::Delivery::Failed), None));
    let reply = refused.delivery_reply.unwrap();
    assert_eq!(reply, "550 5.1.1 <address>: Recipient address rejected: User unknown");
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("FINISHED", None));
}

#[tokio::test]
async fn a_deferred_mail_is_sent_later_under_the_same_message_id() {
    let mut stage = Stage::new().await;
    // The mail is kept, and the connection closed before the reply: it may have arrived.
    let (owner, id) = stage.inviting("drop@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("DUE", Some("SMTP_INTERRUPTED")));
    let waiting = stage.invitation(&owner, id).await;
    assert_eq!((waiting.delivery, waiting.sent_at), (Some(invitation::Delivery::Queued), None));
    let pause: f64 = sqlx::query_scalar("SELECT extract(epoch FROM wake_at - now())::float8 FROM outbox")
        .fetch_one(&stage.db().pool)
        .await
        .unwrap();
    assert!((0.0..7.0).contains(&pause), "the first pause is about five seconds: {pause}");

    // Somebody corrects the mailbox; the next attempt reads the address anew.
    let first = read(&stage.server.mails()[0]);
    sqlx::query("UPDATE invitation SET email = 'ann@firm.example'").execute(&stage.db().pool).await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.invitation(&owner, id).await.delivery, Some(invitation::Delivery::Sent));
    let mails = stage.server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(read(&mails[1]), first, "the same link, the same Message-ID");
    stage.server.stop();
}

#[tokio::test]
async fn a_temporary_refusal_keeps_the_reply_and_comes_again() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("late-defer@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("DUE", Some("SMTP_TEMPORARY")));
    let waiting = stage.invitation(&owner, id).await;
    assert_eq!(waiting.delivery_reply.as_deref(), Some("451 4.3.0 Try again later"));

    let mut last = stage.claim(JobKind::MailInvitation).await;
    last.attempts = JobKind::MailInvitation.max_attempts();
    assert_eq!(stage.run(last).await, Verdict::Settled);
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("DEAD", Some("SMTP_TEMPORARY")));
}

#[tokio::test]
async fn a_resent_invitation_makes_the_older_job_do_nothing() {
    let stage = Stage::new().await;
    let (_, id) = stage.inviting("ann@firm.example").await;
    let older = stage.claim(JobKind::MailInvitation).await;
    stage.db().clock.advance(HOUR);
    let owner = firm::signed_in(stage.db(), "jane@firm.example").await;
    let resent = firm::act(stage.db(), &owner, |change, actor| {
        Box::pin(async move {
            let handled = invitation::resend(change, actor, &[id]).await?;
            assert_eq!(handled.refused, []);
            Ok(())
        })
    });
    resent.await.unwrap();
    assert_eq!(stage.run(older).await, Verdict::Done);
    assert!(stage.server.mails().is_empty());
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    let (text, message_id) = read(&stage.server.mails()[0]);
    assert_eq!(message_id, format!("{id}.2@muster.example"));
    let token = firm::invitation_token(stage.db(), owner.account_id, id).await;
    assert!(text.contains(&token), "the link of the newest generation");
}

#[tokio::test]
async fn a_revoked_invitation_sends_nothing() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("ann@firm.example").await;
    let revoked = firm::act(stage.db(), &owner, |change, actor| Box::pin(invitation::revoke(change, actor, id)));
    revoked.await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Done);
    assert!(stage.server.mails().is_empty());
}

#[tokio::test]
async fn the_mail_of_a_suspended_invitee_waits_until_they_are_let_in_again() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("ann@firm.example").await;
    let ann = stage.invitation(&owner, id).await.member_id.unwrap();
    let suspend = || firm::act(stage.db(), &owner, |change, actor| Box::pin(member::suspend(change, actor, ann)));
    let activate = || firm::act(stage.db(), &owner, |change, actor| Box::pin(member::activate(change, actor, ann)));
    suspend().await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Done);
    assert!(stage.server.mails().is_empty());
    assert_eq!(stage.invitation(&owner, id).await.expires_at, None, "its lifetime has not started");

    activate().await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.server.mails().len(), 1);
    assert!(stage.invitation(&owner, id).await.sent_at.is_some());
    // Once it was sent, there is nothing to send again.
    suspend().await.unwrap();
    activate().await.unwrap();
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("FINISHED", None));
}

#[tokio::test]
async fn activation_asks_for_the_mail_even_while_its_job_ends() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("ann@firm.example").await;
    let ann = stage.invitation(&owner, id).await.member_id.unwrap();
    firm::act(stage.db(), &owner, |change, actor| Box::pin(member::suspend(change, actor, ann))).await.unwrap();
    // A worker has found her suspended, and finishes only after she was activated.
    let early = stage.claim(JobKind::MailInvitation).await;
    firm::act(stage.db(), &owner, |change, actor| Box::pin(member::activate(change, actor, ann))).await.unwrap();
    let mut conn = stage.db().pool.acquire().await.unwrap();
    assert_eq!(outbox::finish(&mut conn, &[(early.job_id, early.claim)]).await.unwrap().len(), 1);
    drop(conn);
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.server.mails().len(), 1);
}

#[tokio::test]
async fn who_lost_the_claim_has_nothing_to_say() {
    let stage = Stage::new().await;
    let (owner, id) = stage.inviting("slow+1@firm.example").await;
    let job = stage.claim(JobKind::MailInvitation).await;
    // The server has the mail and thinks about its answer.
    let theft = async {
        let patience = Instant::now() + Duration::from_secs(30);
        while stage.server.mails().is_empty() {
            assert!(Instant::now() < patience, "the mail was not sent");
            tokio::task::yield_now().await;
        }
        let stolen = sqlx::query("UPDATE outbox SET claim = $1").bind(Uuid::new_v4()).execute(&stage.db().pool).await;
        assert_eq!(stolen.unwrap().rows_affected(), 1);
    };
    let (verdict, ()) = tokio::join!(stage.run(job.clone()), theft);
    assert_eq!(verdict, Verdict::Settled);
    assert_eq!(stage.invitation(&owner, id).await.delivery, Some(invitation::Delivery::Queued));
    assert_eq!(stage.job_state(JobKind::MailInvitation).await, state("DUE", None));

    assert_eq!(stage.run(job).await, Verdict::Settled, "known before the call: nothing is sent");
    assert_eq!(stage.server.mails().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_on_a_lease_that_ends_too_soon() {
    let stage = Stage::new().await;
    stage.inviting("ann@firm.example").await;
    let job = stage.claim(JobKind::MailInvitation).await;
    let shorter = sqlx::query("UPDATE outbox SET wake_at = now() + interval '9 s'");
    shorter.execute(&stage.db().pool).await.unwrap();
    let again = Verdict::Retry { code: "LEASE_TOO_SHORT", after: Some(SignedDuration::ZERO) };
    assert_eq!(stage.run(job).await, again);
    assert!(stage.server.mails().is_empty());
}

#[tokio::test]
async fn more_mails_to_an_address_than_it_should_get_are_delayed() {
    let stage = Stage::new().await;
    stage.inviting("ann@firm.example").await;
    let now = stage.db().now().await.unwrap();
    let mut conn = stage.db().pool.acquire().await.unwrap();
    while rate::hit(stage.db(), &mut conn, rate::MAIL_ADDRESS, "ann@firm.example", now).await.unwrap().is_ok() {}
    drop(conn);
    let Verdict::Retry { code: "MAIL_LIMIT", after: Some(after) } = stage.run_next(JobKind::MailInvitation).await
    else {
        panic!("not delayed")
    };
    assert!(after > HOUR - SignedDuration::from_mins(1) && after <= HOUR, "{after}");
    stage.db().clock.advance(HOUR);
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.server.mails().len(), 1);
}

#[tokio::test]
async fn a_deferred_mail_counts_once() {
    let stage = Stage::new().await;
    stage.inviting("late-defer@firm.example").await;
    for _ in 0..5 {
        assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    }
    let hits: Vec<i32> = sqlx::query_scalar("SELECT hits FROM rate_counter WHERE rate_key = $1")
        .bind(stage.db().key.digest("mail.address", "late-defer@firm.example").as_slice())
        .fetch_all(&stage.db().pool)
        .await
        .unwrap();
    assert_eq!(hits, [1]);
}

/// Otherwise all that were put off would go out together once the first hour is over.
#[tokio::test]
async fn a_mail_that_the_limit_put_off_is_counted_when_its_time_comes() {
    let stage = Stage::new().await;
    stage.inviting("ann@firm.example").await;
    for _ in 0..2 {
        let now = stage.db().now().await.unwrap();
        let mut conn = stage.db().pool.acquire().await.unwrap();
        while rate::hit(stage.db(), &mut conn, rate::MAIL_ADDRESS, "ann@firm.example", now).await.unwrap().is_ok() {}
        drop(conn);
        let delayed = stage.run_next(JobKind::MailInvitation).await;
        assert!(matches!(delayed, Verdict::Retry { code: "MAIL_LIMIT", .. }), "{delayed:?}");
        stage.db().clock.advance(HOUR);
    }
    assert_eq!(stage.run_next(JobKind::MailInvitation).await, Verdict::Settled);
    assert_eq!(stage.server.mails().len(), 1);
}

#[tokio::test]
async fn links_that_were_just_asked_for_are_not_delayed() {
    let stage = Stage::new().await;
    firm::found(stage.db(), "jane@firm.example").await;
    sqlx::query("DELETE FROM outbox").execute(&stage.db().pool).await.unwrap();
    let now = stage.db().now().await.unwrap();
    let mut conn = stage.db().pool.acquire().await.unwrap();
    while rate::hit(stage.db(), &mut conn, rate::MAIL_ADDRESS, "jane@firm.example", now).await.unwrap().is_ok() {}
    drop(conn);
    password_reset::request(stage.db(), Origin::system(), "jane@firm.example").await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailPasswordReset).await, Verdict::Done);
    firm::sign_up(stage.db(), "jane@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Done);
    assert_eq!(stage.server.mails().len(), 2);
}

#[tokio::test]
async fn a_sign_up_gets_its_link_or_hears_that_there_is_a_login() {
    let mut stage = Stage::new().await;
    stage.config.links.sign_in = Some("https://app.example.com/sign-in".to_owned());
    let first = firm::sign_up(stage.db(), "jane@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Done);
    let (text, message_id) = read(&stage.server.mails()[0]);
    let token = firm::sign_up_token(stage.db(), first);
    assert!(text.contains(&format!("https://muster.example/sign-up/{token}\n")), "{text}");
    assert!(text.contains("24 hours"), "{text}");
    assert_eq!(message_id, format!("{first}@muster.example"));

    sign_up::confirm(stage.db(), Origin::system(), &token, 3).await.unwrap();
    let second = firm::sign_up(stage.db(), "jane@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Done);
    let (text, _) = read(&stage.server.mails()[1]);
    assert!(!text.contains(&firm::sign_up_token(stage.db(), second)) && !text.contains("/sign-up/"), "{text}");
    assert!(text.contains("https://app.example.com/sign-in\n"), "where to sign in: {text}");

    firm::sign_up(stage.db(), "late@firm.example").await;
    stage.db().clock.advance(sign_up::LIFETIME);
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Done);
    assert_eq!(stage.server.mails().len(), 2, "a link that is over is not sent");
}

#[tokio::test]
async fn a_password_reset_and_its_notice_are_sent() {
    let stage = Stage::new().await;
    let owner = firm::found(stage.db(), "jane@firm.example").await;
    password_reset::request(stage.db(), Origin::system(), "jane@firm.example").await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailPasswordReset).await, Verdict::Done);
    let (text, _) = read(&stage.server.mails()[0]);
    let token = text.split("/password-reset/").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(text.contains("1 hour"), "{text}");

    let (passwords, new) = (domain::password::Passwords::new(firm::CHEAP), "another horse battery".into());
    password_reset::complete(stage.db(), &passwords, Origin::system(), &token, &new).await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailPasswordChanged).await, Verdict::Done);
    let mails = stage.server.mails();
    assert_eq!(mails[1].facts["to"], serde_json::json!(["jane@firm.example"]));
    assert!(read(&mails[1]).1.starts_with(&format!("{}.", owner.user_id)));

    password_reset::request(stage.db(), Origin::system(), "nobody@firm.example").await.unwrap();
    assert_eq!(stage.run_next(JobKind::MailPasswordReset).await, Verdict::Done);
    assert_eq!(stage.server.mails().len(), 2, "there is nobody to send it to");
}

#[tokio::test]
async fn other_mails_end_dead_when_refused_and_come_again_when_deferred() {
    let stage = Stage::new().await;
    firm::sign_up(stage.db(), "late-refuse@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Dead { code: "SMTP_REFUSED" });
    firm::sign_up(stage.db(), "defer@firm.example").await;
    assert_eq!(stage.run_next(JobKind::MailSignUp).await, Verdict::Retry { code: "SMTP_TEMPORARY", after: None });
    assert_eq!(stage.job_state(JobKind::MailSignUp).await, state("DUE", Some("SMTP_TEMPORARY")));
}

#[tokio::test]
async fn a_payload_of_another_shape_is_dead() {
    let stage = Stage::new().await;
    stage.inviting("ann@firm.example").await;
    let mut job = stage.claim(JobKind::MailInvitation).await;
    job.payload = serde_json::json!({ "invitationId": "rol_1" });
    assert_eq!(stage.run(job).await, Verdict::Dead { code: "MALFORMED_PAYLOAD" });
}

#[tokio::test]
async fn the_whole_way_from_commit_to_the_outbox_folder() {
    let mut stage = Stage::new().await;
    stage.config.mail.transport = MailTransport::Outbox;
    stage.config.links.invitation = Some("https://app.example.com/join?token={token}".to_owned());
    let (owner, id) = stage.inviting("ann@firm.example").await;

    let (db, shutdown) = (stage.db().clone(), CancellationToken::new());
    let parts = Parts {
        pool: db.pool.clone(),
        clock: db.clock.clone(),
        registry: stage.registry(&shutdown),
        sweeps: Vec::new(),
        waker: db.waker.clone(),
    };
    let worker = Worker::start(parts, &stage.config, &shutdown).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while stage.invitation(&owner, id).await.sent_at.is_none() {
        assert!(Instant::now() < patience, "the mail was not sent");
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    worker.stopped().await.unwrap();

    let mails = std::fs::read_dir(stage.config.data_dir.join("mail")).unwrap();
    let mails: Vec<_> = mails.map(|file| file.unwrap()).collect();
    assert_eq!(mails.len(), 1);
    let name = format!("-{}.1@muster.example.eml", id.to_string().replace('_', "_5f"));
    assert!(mails[0].file_name().to_str().unwrap().ends_with(&name));
    let mail = Spooled { raw: std::fs::read(mails[0].path()).unwrap(), facts: serde_json::Value::Null };
    let token = firm::invitation_token(&db, owner.account_id, id).await;
    assert!(read(&mail).0.contains(&format!("https://app.example.com/join?token={token}\n")));
}
