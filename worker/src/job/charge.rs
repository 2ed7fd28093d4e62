//! Charges: the intent is committed, the gateway is asked with no transaction open, its answer is recorded. What was asked before and not
//! answered is looked up first.

use std::sync::Arc;
use std::time::Duration;

use domain::actor::Origin;
use domain::billing::charge::{self, Ask, Outcome, Subject};
use domain::change::{Change, Kind, persist};
use domain::error::{Error, Result};
use domain::id::{AccountId, AttemptId};
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::fault::fail_point;
use domain::job::{Claimed, JobKind, Verdict};
use domain::outbox;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::gateway::{Answer, Found, Gateway, Gateways};
use crate::handler::{Handler, Registry};
use crate::sweeps::code;

/// How much before its end a gateway's memory of a key is no longer trusted.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// The pause before a gateway that works on something is asked again.
const PENDING: SignedDuration = SignedDuration::from_secs(15);

/// Charges one thing.
#[derive(Clone, Debug)]
struct Charge {
    db: Db,
    gateways: Arc<Gateways>,
    /// For one call. It starts only while the lease lasts longer.
    time_out: Duration,
}

/// Adds the handlers that talk to gateways.
#[must_use]
pub(super) fn register(registry: Registry, db: &Db, config: &Config) -> Registry {
    let gateways = Arc::new(Gateways::new(&config.data_dir));
    let time_out = Duration::from_secs(config.billing.gateway_seconds);
    let charge = Charge { db: db.clone(), gateways, time_out };
    let refund = charge.clone();
    registry
        .with(JobKind::ChargeChange, charge.clone())
        .with(JobKind::ChargeStatement, charge)
        .with(JobKind::Refund, move |job| refund.clone().refund(job))
}

impl Handler for Charge {
    fn run(&self, job: Claimed) -> BoxFuture<'static, Verdict> {
        let charge = self.clone();
        async move {
            match charge.work(&job).await {
                Ok(verdict) => verdict,
                Err(error) => failed(&error),
            }
        }
        .boxed()
    }

    fn bury(&self, job: Claimed, code: &'static str) -> Option<BoxFuture<'static, Result<bool>>> {
        let db = self.db.clone();
        Some(async move { outbox::bury_claimed(&db, job, code).await }.boxed())
    }
}

fn failed(error: &Error) -> Verdict {
    let code = code(error);
    tracing::error!(error = error as &dyn std::error::Error, code, "a charge stopped; it goes on later");
    Verdict::Retry { code, after: None }
}

fn origin(job: &Claimed) -> Origin {
    Origin { request_id: job.request_id.clone(), ..Origin::system() }
}

impl Charge {
    async fn work(&self, job: &Claimed) -> Result<Verdict> {
        let subject: Subject = match job.read() {
            Ok(subject) => subject,
            Err(verdict) => return Ok(verdict),
        };
        let Some(ask) = self.prepare(job, subject).await? else { return Ok(Verdict::Done) };
        fail_point!("charge.after_sent");
        let Some(gateway) = self.gateways.find(&ask.gateway) else {
            return Ok(Verdict::Retry { code: "UNKNOWN_GATEWAY", after: None });
        };
        if ask.asked_before {
            match self.in_time(gateway.look_up(&ask)).await.unwrap_or(Found::Unknown) {
                Found::Outcome(outcome) => return self.record(job, ask.attempt_id, vec![outcome]).await,
                Found::Pending => return Ok(Verdict::Retry { code: "CHARGE_PENDING", after: Some(PENDING) }),
                Found::Unknown => return Ok(Verdict::Retry { code: "GATEWAY_AWAY", after: None }),
                Found::Nothing if ask.age > gateway.key_life().saturating_sub(MARGIN) => {
                    return self.give_up(job, &ask).await;
                }
                Found::Nothing => {}
            }
        }
        if !self.lease_lasts(job).await? {
            return Ok(Verdict::Retry { code: "LEASE_TOO_SHORT", after: Some(SignedDuration::ZERO) });
        }
        self.call(job, gateway, &ask).await
    }

    async fn call(&self, job: &Claimed, gateway: &dyn Gateway, ask: &Ask) -> Result<Verdict> {
        fail_point!("charge.before_call");
        let answer = self.in_time(gateway.charge(ask)).await.unwrap_or(Answer::Unknown);
        fail_point!("charge.after_call");
        match answer {
            Answer::Outcomes(outcomes) => self.record(job, ask.attempt_id, outcomes).await,
            Answer::Unknown => Ok(Verdict::Retry { code: "GATEWAY_AWAY", after: None }),
        }
    }

    async fn in_time<T>(&self, call: BoxFuture<'_, T>) -> Option<T> {
        tokio::time::timeout(self.time_out, call).await.ok()
    }

    async fn begin(&self, job: &Claimed) -> Result<Change> {
        Change::begin(&self.db, AccountId(job.account_id), Kind::System, origin(job), None).await
    }

    async fn prepare(&self, job: &Claimed, subject: Subject) -> Result<Option<Ask>> {
        persist(|| async {
            let mut change = self.begin(job).await?;
            let ask = charge::prepare(&mut change, subject).await?;
            change.commit().await?;
            Ok(ask)
        })
        .await
    }

    async fn lease_lasts(&self, job: &Claimed) -> Result<bool> {
        let mut conn = self.db.pool.acquire().await?;
        let left = outbox::lease_left(&mut conn, (job.job_id, job.claim)).await?;
        Ok(left.is_some_and(|left| left.as_secs() > i64::try_from(self.time_out.as_secs()).unwrap_or(i64::MAX)))
    }

    /// What a gateway did is recorded whoever has the job by now.
    async fn record(&self, job: &Claimed, attempt: AttemptId, outcomes: Vec<Outcome>) -> Result<Verdict> {
        for outcome in &outcomes {
            persist(|| async {
                let mut change = self.begin(job).await?;
                charge::record(&mut change, attempt, outcome).await?;
                change.commit().await
            })
            .await?;
        }
        fail_point!("charge.after_recorded");
        Ok(Verdict::Done)
    }

    async fn give_up(&self, job: &Claimed, ask: &Ask) -> Result<Verdict> {
        persist(|| async {
            let mut change = self.begin(job).await?;
            charge::give_up(&mut change, ask.attempt_id).await?;
            change.commit().await
        })
        .await?;
        tracing::error!(account.id = %job.account_id, attempt.id = %ask.attempt_id, "nobody knows what became of a charge; an operator must decide");
        Ok(Verdict::Dead { code: "CHARGE_UNRESOLVED" })
    }

    async fn refund(self, job: Claimed) -> Verdict {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload {
            attempt_id: AttemptId,
        }
        let payload: Payload = match job.read() {
            Ok(payload) => payload,
            Err(verdict) => return verdict,
        };
        match self.give_back(&job, payload.attempt_id).await {
            Ok(verdict) => verdict,
            Err(error) => failed(&error),
        }
    }

    async fn give_back(&self, job: &Claimed, attempt: AttemptId) -> Result<Verdict> {
        let account = AccountId(job.account_id);
        let gateway = charge::to_refund(&mut *self.db.pool.acquire().await?, account, attempt).await?;
        let Some(gateway) = gateway else { return Ok(Verdict::Done) };
        let Some(gateway) = self.gateways.find(&gateway) else {
            return Ok(Verdict::Retry { code: "UNKNOWN_GATEWAY", after: None });
        };
        if !self.in_time(gateway.refund(attempt)).await.unwrap_or(false) {
            return Ok(Verdict::Retry { code: "GATEWAY_AWAY", after: None });
        }
        persist(|| async {
            let mut change = self.begin(job).await?;
            charge::refunded(&mut change, attempt).await?;
            change.commit().await
        })
        .await?;
        Ok(Verdict::Done)
    }
}
