//! Jobs that send one mail each: read what it says, hand it over, record what became of it. No transaction is open while a mail
//! server is talked to; a mail that is sent again has the same link and the same Message-ID.

mod billing;
mod import;
mod kind;
mod login_email;
mod member;
mod sent;
mod wording;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::error::Error;
use domain::infra::clock::Timestamp;
use domain::infra::config::{Config, Links};
use domain::infra::db::Db;
use domain::infra::fault::fail_point;
use domain::infra::{metrics, telemetry};
use domain::job::{Claimed, JobKind, Verdict};
use domain::{outbox, rate};
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use tracing::Instrument as _;

use self::sent::Sent;
use crate::handler::Registry;
use crate::mail::{
    ComposeError, Composer, Delivery, Mail, Recipient, TemplateError, Transport, TransportError, transport,
};

/// For the whole of one mail. It starts only while the lease lasts longer.
const TIME_OUT: SignedDuration = SignedDuration::from_secs(10);

/// The code of an attempt that the limit on mails to an address put off.
const MAIL_LIMIT: &str = "MAIL_LIMIT";

/// Why no mail can be sent by this process.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// A template or the sender is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The settings describe no transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What jobs that send mail work with.
pub(super) struct Mailer {
    db: Db,
    links: Links,
    public_url: String,
    outgoing: Outgoing,
    sent: Sent,
}

/// The part that talks to the outside. It has no database, so it cannot keep a transaction open.
struct Outgoing {
    composer: Composer,
    transport: Arc<dyn Transport>,
}

/// A mail before it is composed.
struct Letter {
    mail: Mail,
    /// Name and address of whom it goes to.
    name: Option<String>,
    address: String,
    /// The part of the Message-ID before the `@`: the same whenever the same mail is sent again.
    id: String,
    /// Its `Date`.
    date: Timestamp,
}

/// A kind of mail: its job's payload.
trait MailKind: DeserializeOwned + Send + Sync + 'static {
    /// The kind of its jobs.
    const KIND: JobKind;

    /// Whether the limit on mails to an address holds it back. What can be asked for so often only, and expires soon, is not.
    const LIMITED: bool = true;

    /// Reads what the mail says now; `None` when it is no longer wanted.
    fn prepare(
        &self,
        mailer: &Mailer,
        conn: &mut PgConnection,
        job: &Claimed,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<Option<Letter>>> + Send;

    /// Records what became of it. Without a state of its own, the job's row says it all.
    fn record(
        &self,
        _mailer: &Mailer,
        _job: &Claimed,
        delivery: Delivery,
    ) -> impl Future<Output = Result<Verdict, Error>> + Send {
        let verdict = match delivery {
            Delivery::Accepted { .. } => Verdict::Done,
            Delivery::Deferred { code, .. } => Verdict::Retry { code, after: None },
            Delivery::Refused { .. } => Verdict::Dead { code: "SMTP_REFUSED" },
        };
        std::future::ready(Ok(verdict))
    }
}

/// Whether there is something to send now.
enum Prepared {
    Letter(Letter),
    Not(Verdict),
}

impl Mailer {
    /// With the transport and the templates that the settings name.
    pub(super) fn new(db: Db, config: &Config) -> Result<Self, MailerError> {
        let outgoing =
            Outgoing { composer: Composer::new(&config.mail)?, transport: transport(&config.mail, &config.data_dir)? };
        let (links, public_url) = (config.links.clone(), config.http.public_url.clone());
        let sent = Sent::new(db.clone());
        Ok(Self { db, links, public_url, outgoing, sent })
    }

    async fn handle<K: MailKind>(&self, job: Claimed) -> Verdict {
        let subject: K = match job.read() {
            Ok(subject) => subject,
            Err(verdict) => return verdict,
        };
        match self.deliver(&subject, &job).await {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a mail's job failed; it runs again");
                Verdict::Retry { code: "DATABASE", after: None }
            }
        }
    }

    async fn deliver<K: MailKind>(&self, subject: &K, job: &Claimed) -> Result<Verdict, Error> {
        let letter = match self.prepare(subject, job).await? {
            Prepared::Letter(letter) => letter,
            Prepared::Not(verdict) => return Ok(verdict),
        };
        let span = tracing::info_span!("mail", mail.kind = K::KIND.as_str());
        let started = Instant::now();
        fail_point!("mail.before_call");
        let delivery = match self.outgoing.call(&letter).instrument(span.clone()).await {
            Ok(delivery) => delivery,
            Err(error) => {
                tracing::error!(%error, "a mail cannot be composed");
                return Ok(Verdict::Dead { code: "MAIL_NOT_COMPOSED" });
            }
        };
        fail_point!("mail.after_call");
        let (outcome, code) = said(&delivery);
        metrics::mail_ended(K::KIND.as_str(), outcome, code, started.elapsed());
        telemetry::attribute(&span, "mail.outcome", outcome);
        drop(span);
        subject.record(self, job, delivery).await
    }

    /// Reads the mail, counts it, and sees to it that the claim outlasts the call.
    async fn prepare<K: MailKind>(&self, subject: &K, job: &Claimed) -> Result<Prepared, Error> {
        let mut conn = self.db.pool.acquire().await?;
        let now = self.db.now_on(&mut conn).await?;
        let Some(letter) = subject.prepare(self, &mut conn, job, now).await? else {
            return Ok(Prepared::Not(Verdict::Done));
        };
        if K::LIMITED
            && self.is_uncounted(&mut conn, job).await?
            && let Err(reached) = rate::hit(&self.db, &mut conn, rate::MAIL_ADDRESS, &letter.address, now).await?
        {
            let after = Some(reached.retry_at.duration_since(now.0));
            return Ok(Prepared::Not(Verdict::Retry { code: MAIL_LIMIT, after }));
        }
        match outbox::lease_left(&mut conn, (job.job_id, job.claim)).await? {
            Some(left) if left > TIME_OUT => Ok(Prepared::Letter(letter)),
            Some(_) => Ok(Prepared::Not(Verdict::Retry { code: "LEASE_TOO_SHORT", after: Some(SignedDuration::ZERO) })),
            None => {
                tracing::warn!("the job is somebody else's by now; nothing was sent");
                Ok(Prepared::Not(Verdict::Settled))
            }
        }
    }

    /// A mail counts once, however often a server defers it: at its first attempt, or at the one to which the limit put it off.
    async fn is_uncounted(&self, conn: &mut PgConnection, job: &Claimed) -> sqlx::Result<bool> {
        Ok(job.attempts == 1 || outbox::last_error(conn, job.job_id).await?.as_deref() == Some(MAIL_LIMIT))
    }
}

impl Outgoing {
    /// Composes and hands over.
    async fn call(&self, letter: &Letter) -> Result<Delivery, ComposeError> {
        let to = Recipient { name: letter.name.as_deref(), address: &letter.address };
        let message_id = format!("{}@{}", letter.id, self.composer.domain());
        let composed = match self.composer.compose(&letter.mail, to, &message_id, letter.date) {
            // As a mail server would say it, had it been asked.
            Err(error @ ComposeError::Address) => return Ok(Delivery::Refused { reply: error.to_string() }),
            composed => composed?,
        };
        let limit = Duration::try_from(TIME_OUT).expect("the time-out is positive");
        Ok(match tokio::time::timeout(limit, self.transport.send(&composed)).await {
            Ok(delivery) => delivery,
            Err(_elapsed) => Delivery::Deferred { code: "SMTP_TIMEOUT", reply: None },
        })
    }
}

/// What became of a mail, and why, as the metrics have it.
fn said(delivery: &Delivery) -> (&'static str, &'static str) {
    match delivery {
        Delivery::Accepted { .. } => ("sent", "OK"),
        Delivery::Deferred { code, .. } => ("deferred", code),
        Delivery::Refused { reply } if reply.starts_with('5') => ("undeliverable", "SMTP_5XX"),
        Delivery::Refused { .. } => ("undeliverable", "REFUSED"),
    }
}

/// Gives the kinds of mail their handlers.
pub(super) fn register(registry: Registry, mailer: &Arc<Mailer>) -> Registry {
    let registry = with::<kind::Invitation>(registry, mailer);
    let registry = with::<kind::SignUp>(registry, mailer);
    let registry = with::<kind::PasswordReset>(registry, mailer);
    let registry = with::<kind::PasswordChanged>(registry, mailer);
    let registry = with::<member::Succession>(registry, mailer);
    let registry = with::<member::ValidityEnd>(registry, mailer);
    let registry = with::<billing::Billing>(registry, mailer);
    let registry = with::<login_email::Confirm>(registry, mailer);
    let registry = with::<login_email::Notice>(registry, mailer);
    with::<import::Summary>(registry, mailer)
}

fn with<K: MailKind>(registry: Registry, mailer: &Arc<Mailer>) -> Registry {
    let mailer = Arc::clone(mailer);
    registry.with(K::KIND, move |job| {
        let mailer = Arc::clone(&mailer);
        async move { mailer.handle::<K>(job).await }
    })
}
