//! Transactions of very many events: what they leave is written down as they go, so that they need no more memory than small ones.
//!
//! Jobs and the erasable parts of events go where they belong. The events themselves are numbered under the account's feed row, which
//! nobody may hold for long; until the end they wait in a table that only this transaction sees.

use sqlx::types::Json;
use sqlx::{Executor as _, raw_sql};
use uuid::Uuid;

use super::{Change, Feed, Kind};
use crate::error::Result;
use crate::event::NewEvent;
use crate::id::AccountId;
use crate::job::Lane;

/// What was written down so far.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    /// How many events.
    pub(super) events: i64,
    /// Lanes of the jobs.
    pub(super) lanes: Vec<Lane>,
}

const MAKE: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS spilled_event
    (ord bigint GENERATED ALWAYS AS IDENTITY, event_id uuid, kind text, subject_id uuid, detail jsonb, digest bytea) ON COMMIT DROP";

const KEEP: &str = "INSERT INTO spilled_event (event_id, kind, subject_id, detail, digest)
    SELECT u.event_id, u.kind, u.subject_id, u.detail, u.digest
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[], $5::bytea[])
         WITH ORDINALITY u(event_id, kind, subject_id, detail, digest, ord) ORDER BY u.ord";

/// As the one statement of [`Change`] that writes events.
const NUMBER: &str = "WITH f AS (
        UPDATE account_feed SET next_seq = next_seq + $2, access_version = access_version + $3::boolean::int
        WHERE account_id = $1 AND (writable OR $4) AND ($5::bigint IS NULL OR access_version = $5)
        RETURNING next_seq - $2 AS first),
    e AS (
        INSERT INTO event (account_id, seq, event_id, kind, actor_kind, actor_id, subject_id, detail, request_id, occurred_at,
                           personal_digest)
        SELECT $1, f.first + s.ord - 1, s.event_id, s.kind, $6, $7, s.subject_id, s.detail, $8, $9, s.digest
        FROM f, spilled_event s)
    SELECT first FROM f";

impl Change {
    /// Writes down the jobs and events that were left so far. The account is that of the change.
    pub(crate) async fn spill(&mut self) -> Result<()> {
        let lanes = self.write_jobs().await?;
        self.spilled.lanes = lanes;
        let account = self.account();
        let Some(feed) = self.feeds.get_mut(&account) else { return Ok(()) };
        let feed = Feed { author: feed.author, events: std::mem::take(&mut feed.events), rights_changed: false };
        if feed.events.is_empty() {
            return Ok(());
        }
        self.write_personal(account, &feed).await?;
        self.tx.execute(raw_sql(MAKE)).await?;
        let digests: Vec<Option<Vec<u8>>> = feed.events.iter().map(NewEvent::personal_digest).collect();
        sqlx::query(KEEP)
            .persistent(false)
            .bind(feed.events.iter().map(|e| e.id.0).collect::<Vec<Uuid>>())
            .bind(feed.events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
            .bind(feed.events.iter().map(|e| e.subject).collect::<Vec<_>>())
            .bind(feed.events.iter().map(|e| Json(&e.detail)).collect::<Vec<_>>())
            .bind(digests)
            .execute(&mut *self.tx)
            .await?;
        self.spilled.events += i64::try_from(feed.events.len()).expect("far fewer events than that");
        Ok(())
    }

    /// Numbers what was written down. False: the account may not be written, or rights have changed.
    pub(super) async fn write_spilled(&mut self, account: AccountId, feed: &Feed) -> Result<bool> {
        let (actor_kind, actor_id) = self.author(feed);
        let first: Option<i64> = sqlx::query_scalar(NUMBER)
            .persistent(false)
            .bind(account.0)
            .bind(self.spilled.events)
            .bind(feed.rights_changed)
            .bind(self.kind == Kind::System)
            .bind(self.seen)
            .bind(actor_kind)
            .bind(actor_id)
            .bind(&self.origin.request_id)
            .bind(self.now)
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(first.is_some())
    }
}
