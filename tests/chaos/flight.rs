//! Mails that are on their way when something goes wrong: those may be sent again, and no others.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::Instant;
use uuid::Uuid;

use super::cluster::Cluster;
use super::mail::MailServer;

/// A database that is not disturbed answers sooner; what it knew is asked for just before the fault.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks while something goes wrong.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Something that went wrong, and what was on its way then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disturbance {
    pub(super) from: Instant,
    pub(super) to: Instant,
    /// Mails that workers had claimed when it began, and until it ended.
    pub(super) claimed: usize,
    /// Mails that were being handed to the mail server when it began.
    pub(super) under_way: usize,
}

/// Looks at what is on its way.
pub(super) struct Flights<'a> {
    mail: &'a MailServer,
    pool: PgPool,
    /// The answer of the database while it still gave one: without it nothing new is claimed.
    last: Mutex<HashSet<Uuid>>,
}

impl<'a> Flights<'a> {
    pub(super) fn of(cluster: &'a Cluster) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(PATIENCE);
        Ok(Self { mail: &cluster.mail, pool: pool.connect_lazy(&cluster.database_url)?, last: Mutex::default() })
    }

    /// Lets something go wrong, and looks before, again and again meanwhile, and afterwards: what a worker that is gone had claimed
    /// stays claimed for a while.
    pub(super) async fn during(&self, fault: impl Future<Output = Result<()>>) -> Result<Disturbance> {
        let mut claimed = self.claimed().await;
        let (from, mut under_way) = (Instant::now(), self.mail.under_way());
        let looking = async {
            loop {
                under_way = under_way.max(self.mail.under_way());
                claimed.extend(self.claimed().await);
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        tokio::select! {
            done = fault => done?,
            () = looking => {}
        }
        claimed.extend(self.claimed().await);
        Ok(Disturbance { from, to: Instant::now(), claimed: claimed.len(), under_way })
    }

    /// The claimed jobs that send a mail, as far as the database says so.
    async fn claimed(&self) -> HashSet<Uuid> {
        let ask = sqlx::query_scalar("SELECT job_id FROM outbox WHERE claim IS NOT NULL AND kind LIKE 'mail.%'");
        match tokio::time::timeout(PATIENCE, ask.fetch_all(&self.pool)).await {
            Ok(Ok(ids)) => {
                let ids: HashSet<Uuid> = ids.into_iter().collect();
                self.last.lock().unwrap().clone_from(&ids);
                ids
            }
            _ => self.last.lock().unwrap().clone(),
        }
    }
}
