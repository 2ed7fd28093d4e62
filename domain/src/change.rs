//! The one type that owns a write transaction. Rules receive it, write through its connection, and leave events and jobs with
//! it; [`Change::commit`] writes those and commits, or nothing happened at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::actor::{Actor, Author, Origin, Rights, Standing, read_rights};
use crate::error::{Code, Error, Result};
use crate::event::NewEvent;
use crate::id::{AccountId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::db::{Db, Place};
use crate::infra::fault::fail_point;
use crate::job::{Lane, NewJob};
use crate::outbox;

use self::spill::Spilled;

mod run;
mod spill;

pub use run::{Done, Once, persist, replay, run};
pub(crate) use run::{is_conflict, is_transient, pause_after};

/// Whose request a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something an account's member asks for: refused while the account is read-only.
    Asked,
    /// Worker, sweeps, operators, sign-in and sign-out, identity acts: goes on in a read-only account.
    System,
}

/// What is written to the feed of one account at the end.
#[derive(Debug, Default)]
struct Feed {
    /// Who causes the events here, where that is not the change's own author: a person's place differs by account.
    author: Option<Author>,
    events: Vec<NewEvent>,
    rights_changed: bool,
}

/// A write transaction.
#[derive(Debug)]
pub struct Change {
    tx: Transaction<'static, Postgres>,
    db: Db,
    account: Option<AccountId>,
    kind: Kind,
    origin: Origin,
    now: Timestamp,
    seen: Option<i64>,
    feeds: BTreeMap<AccountId, Feed>,
    jobs: Vec<NewJob>,
    /// What was written down before the end.
    spilled: Spilled,
    /// Held for as long as this lives, so that others of the account wait for it.
    place: Option<Place>,
}

impl Change {
    /// Begins a transaction of one account. Business time is `now`, or the database's.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many callers wait to write in the account.
    pub async fn begin(
        db: &Db,
        account: AccountId,
        kind: Kind,
        origin: Origin,
        now: Option<Timestamp>,
    ) -> Result<Self> {
        let place = db.writer(account).await.ok_or(Error::Busy)?;
        let mut change = Self::open(db, kind, origin, now).await?;
        change.account = Some(account);
        change.place = Some(place);
        Ok(change)
    }

    /// Begins a transaction of no account yet, or of several: sign-up, identity acts.
    pub async fn begin_identity(db: &Db, origin: Origin, now: Option<Timestamp>) -> Result<Self> {
        Self::open(db, Kind::System, origin, now).await
    }

    async fn open(db: &Db, kind: Kind, origin: Origin, now: Option<Timestamp>) -> Result<Self> {
        let mut tx = db.begin().await?;
        let now = match now {
            Some(now) => now,
            None => db.now_on(&mut tx).await?,
        };
        Ok(Self {
            tx,
            db: db.clone(),
            account: None,
            kind,
            origin,
            now,
            seen: None,
            feeds: BTreeMap::new(),
            jobs: Vec::new(),
            spilled: Spilled::default(),
            place: None,
        })
    }

    /// The connection, for the SQL of the rules. Never commit through it.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Lets a statement of this transaction take a minute: for the writes of an import, which are many at once.
    pub(crate) async fn take_long(&mut self) -> Result<()> {
        sqlx::raw_sql("SET LOCAL statement_timeout = '60s'").execute(self.conn()).await?;
        Ok(())
    }

    /// Business time of this transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The database and what goes with it.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The account this change belongs to.
    pub fn account(&self) -> AccountId {
        self.account.expect("only changes of an account are asked for theirs")
    }

    /// Goes on in another account: for identity acts, which go through the accounts of a person in the order of their ids. The one
    /// entered last is that whose rights were looked at.
    pub(crate) fn enter(&mut self, account: AccountId) {
        self.account = Some(account);
    }

    /// Where the change comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The actor's rights as they are now that this transaction holds its locks. From here on the commit fails, and the
    /// request runs again, if anybody's rights in the account change first.
    pub async fn standing(&mut self, actor: &Actor) -> Result<Standing> {
        let current = sqlx::query!(
            r#"SELECT f.access_version, EXISTS (SELECT FROM session s WHERE s.account_id = $1 AND s.session_id = $2) AS "signed_in!"
               FROM account_feed f WHERE f.account_id = $1"#,
            actor.account_id.0,
            actor.session_id.0,
        )
        .fetch_one(self.conn())
        .await?;
        if !current.signed_in {
            return Err(Error::Unauthenticated);
        }
        let rights = if current.access_version == actor.rights.version {
            Arc::clone(&actor.rights)
        } else {
            let rights = read_rights(self.conn(), actor.account_id, actor.member_id).await?;
            Arc::new(rights.ok_or(Error::Unauthenticated)?)
        };
        // Not the version that came with the rights: the session was looked at before, and may have been revoked between.
        self.seen = Some(current.access_version);
        Ok(Standing { member_id: actor.member_id, rights })
    }

    /// The rights of somebody who acts through a job, or is answerable for an invitation; `None` unless they are active. Either
    /// way the commit fails if anybody's rights in the account change first.
    pub async fn standing_of(&mut self, member: MemberId) -> Result<Option<Standing>> {
        let account = self.account();
        let rights: Option<Rights> = read_rights(self.conn(), account, member).await?;
        let seen = match &rights {
            Some(rights) => rights.version,
            None => {
                sqlx::query_scalar!("SELECT access_version FROM account_feed WHERE account_id = $1", account.0)
                    .fetch_one(self.conn())
                    .await?
            }
        };
        self.seen = Some(seen);
        Ok(rights.map(|rights| Standing { member_id: member, rights: Arc::new(rights) }))
    }

    /// Leaves an event of this change's account.
    pub fn record(&mut self, event: NewEvent) {
        let event = self.addressed(event);
        self.feeds.entry(self.account()).or_default().events.push(event);
    }

    /// Leaves an event of any account, for identity acts. It names the person by their place there, `member`: no account learns
    /// of another one.
    pub fn record_in(&mut self, account: AccountId, member: MemberId, event: NewEvent) {
        let event = self.addressed(event);
        let feed = self.feeds.entry(account).or_default();
        feed.author = Some(Author::Member(member));
        feed.events.push(event);
    }

    /// Where the request came from is kept with the erasable part.
    fn addressed(&self, mut event: NewEvent) -> NewEvent {
        if let Some(address) = self.origin.network_address {
            event.personal.get_or_insert_with(|| json!({}))["networkAddress"] = Value::String(address.to_string());
        }
        event
    }

    /// Says that what an existing principal of the account may do has changed.
    pub fn rights_changed(&mut self) {
        self.rights_changed_in(self.account());
    }

    /// [`Change::rights_changed`] for any account.
    pub fn rights_changed_in(&mut self, account: AccountId) {
        self.feeds.entry(account).or_default().rights_changed = true;
    }

    /// Leaves work for the worker.
    pub fn enqueue(&mut self, job: NewJob) {
        self.jobs.push(job);
    }

    /// Writes jobs and events and commits. [`Error::Stale`] when rights changed since [`Change::standing`]. Once begun it runs to
    /// its end, whether or not anybody still waits for it.
    pub async fn commit(self) -> Result<()> {
        let task = tokio::spawn(self.finish().in_current_span());
        task.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    async fn finish(mut self) -> Result<()> {
        if self.spilled.events > 0 {
            self.spill().await?;
        }
        let lanes = self.write_jobs().await?;
        let mut feeds = std::mem::take(&mut self.feeds);
        if self.kind == Kind::Asked || self.seen.is_some() {
            feeds.entry(self.account()).or_default();
        }
        for (account, feed) in &feeds {
            self.write_personal(*account, feed).await?;
        }
        fail_point!("change.before_feed");
        for (account, feed) in &feeds {
            self.write_feed(*account, feed).await?;
        }
        fail_point!("change.before_commit");
        self.tx.commit().await?;
        fail_point!("change.after_commit");
        for lane in lanes {
            self.db.waker.work_due(lane);
        }
        for account in feeds.keys() {
            self.db.waker.account_moved(account.0);
        }
        Ok(())
    }

    /// Answers the lanes in which there is work now.
    async fn write_jobs(&mut self) -> Result<Vec<Lane>> {
        let jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() {
            outbox::insert(&mut self.tx, &jobs, self.origin.request_id.as_deref()).await?;
        }
        let busy = |lane: &Lane| self.spilled.lanes.contains(lane) || jobs.iter().any(|job| job.kind.lane() == *lane);
        Ok(Lane::ALL.into_iter().filter(busy).collect())
    }

    /// The erasable parts go in before their events; their digests go into the events.
    async fn write_personal(&mut self, account: AccountId, feed: &Feed) -> Result<()> {
        let mut ids = Vec::new();
        let mut subjects = Vec::new();
        let mut salts = Vec::new();
        let mut bodies = Vec::new();
        for event in &feed.events {
            if let Some(body) = &event.personal {
                ids.push(event.id.0);
                subjects.push(event.subject);
                salts.push(&event.salt[..]);
                bodies.push(Json(body));
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO event_personal (account_id, actor_id, event_id, subject_id, salt, body)
             SELECT $1, $2, * FROM unnest($3::uuid[], $4::uuid[], $5::bytea[], $6::jsonb[])",
            account.0,
            self.author(feed).1,
            &ids,
            &subjects as &[Option<Uuid>],
            &salts as &[&[u8]],
            &bodies as &[Json<&Value>],
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    fn author(&self, feed: &Feed) -> (&'static str, Option<Uuid>) {
        match feed.author.unwrap_or(self.origin.author) {
            Author::Member(member) => ("MEMBER", Some(member.0)),
            Author::Host(token) => ("HOST", Some(token.0)),
            Author::Operator => ("OPERATOR", None),
            Author::System => ("SYSTEM", None),
        }
    }

    /// One statement numbers and writes the events, checks that the account may be written and that the writer's rights are
    /// still those the rules looked at. It is the last one before the commit, so the account's hot row is held shortest.
    async fn write_feed(&mut self, account: AccountId, feed: &Feed) -> Result<()> {
        if self.spilled.events > 0 && Some(account) == self.account {
            let written = self.write_spilled(account, feed).await?;
            return self.written_or_why(account, written).await;
        }
        let (actor_kind, actor_id) = self.author(feed);
        let events = &feed.events;
        let ids: Vec<Uuid> = events.iter().map(|e| e.id.0).collect();
        let kinds: Vec<String> = events.iter().map(|e| e.kind.as_str().to_owned()).collect();
        let subjects: Vec<Option<Uuid>> = events.iter().map(|e| e.subject).collect();
        let details: Vec<Json<&Value>> = events.iter().map(|e| Json(&e.detail)).collect();
        let digests: Vec<Option<Vec<u8>>> = events.iter().map(NewEvent::personal_digest).collect();
        let seen = if Some(account) == self.account { self.seen } else { None };
        let first = sqlx::query_scalar!(
            r#"WITH f AS (
                   UPDATE account_feed SET next_seq = next_seq + $2, access_version = access_version + $3::boolean::int
                   WHERE account_id = $1 AND (writable OR $4) AND ($5::bigint IS NULL OR access_version = $5)
                   RETURNING next_seq - $2 AS first),
               e AS (
                   INSERT INTO event (account_id, seq, event_id, kind, actor_kind, actor_id, subject_id, detail, request_id,
                                      occurred_at, personal_digest)
                   SELECT $1, f.first + u.ord - 1, u.event_id, u.kind, $6, $7, u.subject_id, u.detail, $8, $9, u.digest
                   FROM f, unnest($10::uuid[], $11::text[], $12::uuid[], $13::jsonb[], $14::bytea[])
                        WITH ORDINALITY u(event_id, kind, subject_id, detail, digest, ord))
               SELECT first AS "first!" FROM f"#,
            account.0,
            i64::try_from(events.len()).expect("far fewer events than that"),
            feed.rights_changed,
            self.kind == Kind::System,
            seen,
            actor_kind,
            actor_id,
            self.origin.request_id,
            self.now,
            &ids,
            &kinds,
            &subjects as &[Option<Uuid>],
            &details as &[Json<&Value>],
            &digests as &[Option<Vec<u8>>],
        )
        .fetch_optional(&mut *self.tx)
        .await?;
        self.written_or_why(account, first.is_some()).await
    }

    async fn written_or_why(&mut self, account: AccountId, written: bool) -> Result<()> {
        if written {
            return Ok(());
        }
        let writable = sqlx::query_scalar!("SELECT writable FROM account_feed WHERE account_id = $1", account.0)
            .fetch_one(&mut *self.tx)
            .await?;
        Err(if writable || self.kind == Kind::System { Error::Stale } else { Code::AccountReadOnly.into() })
    }
}
