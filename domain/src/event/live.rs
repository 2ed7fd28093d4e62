//! What a process reads for those who follow an account live: new events and the rights of the followers in one statement, so
//! that nobody is handed an event of a time at which they may not see it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::EventKind;
use super::read::{Event, Row};
use crate::actor::{Grants, permission_set};
use crate::id::{AccountId, EventId, SessionId, UnitId};
use crate::infra::clock::Timestamp;
use crate::permission::SystemRole;

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Of which account.
    pub account: AccountId,
    /// Events after this number; none at all for [`NO_EVENTS`].
    pub after: i64,
    /// Events up to this number, however few of them are of the kinds wanted.
    pub up_to: i64,
    /// Of these kinds only; of all if empty.
    pub kinds: &'a [EventKind],
    /// Events at most.
    pub limit: i64,
    /// The access version at which the rights of `sessions` are known.
    pub seen: i64,
    /// The followers' sessions.
    pub sessions: &'a [SessionId],
}

/// An [`Ask::after`] that no event comes after.
pub const NO_EVENTS: i64 = i64::MAX;
/// An [`Ask::seen`] that no account ever has: rights are read in any case.
pub const NEVER_SEEN: i64 = -1;

/// An account's feed, its newest events and the rights of the followers, as of one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// The number that the next event will have.
    pub next_seq: i64,
    /// The number of the oldest event that is kept.
    pub oldest_seq: i64,
    /// Grows whenever somebody's rights change.
    pub access_version: i64,
    /// The event whose number was asked to read after, if it is kept: another one than before when the database has gone back in
    /// time.
    pub after_id: Option<EventId>,
    /// The newest event, if it is kept.
    pub newest_id: Option<EventId>,
    /// The events asked for, in order.
    pub events: Vec<Event>,
    /// What the members of valid sessions may do; who is not in it may not do anything. `None` while the access version is the
    /// one that was seen.
    pub standings: Option<HashMap<SessionId, Grants>>,
}

#[derive(Deserialize)]
struct Standing {
    session: Uuid,
    grants: Vec<Scope>,
}

#[derive(Deserialize)]
struct Scope {
    unit: Uuid,
    everything: bool,
    keys: Vec<String>,
}

/// The feed's own row, or one of its events.
struct Raw {
    next_seq: Option<i64>,
    oldest_seq: Option<i64>,
    access_version: Option<i64>,
    after_id: Option<EventId>,
    newest_id: Option<EventId>,
    standings: Option<Value>,
    seq: Option<i64>,
    event_id: Option<EventId>,
    kind: Option<String>,
    actor_kind: Option<String>,
    actor_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    detail: Option<Value>,
    request_id: Option<String>,
    occurred_at: Option<Timestamp>,
    has_personal: Option<bool>,
    body: Option<Value>,
}

/// Reads it. One statement.
pub async fn look(conn: &mut PgConnection, ask: &Ask<'_>) -> sqlx::Result<Look> {
    let kinds: Vec<String> = ask.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    let sessions: Vec<Uuid> = ask.sessions.iter().map(|session| session.0).collect();
    let rows = sqlx::query_as!(
        Raw,
        r#"WITH e AS (
               SELECT e.seq, e.event_id, e.kind, e.actor_kind, e.actor_id, e.subject_id, e.detail, e.request_id, e.occurred_at,
                      e.personal_digest IS NOT NULL AS has_personal, p.body
               FROM event e LEFT JOIN event_personal p USING (account_id, event_id)
               WHERE e.account_id = $1 AND e.seq > $2 AND e.seq <= $8 AND (cardinality($3::text[]) = 0 OR e.kind = ANY($3))
               ORDER BY e.seq LIMIT $4)
           SELECT f.next_seq AS "next_seq?", f.oldest_seq AS "oldest_seq?", f.access_version AS "access_version?",
                  (SELECT i.event_id FROM event i WHERE i.account_id = f.account_id AND i.seq = $2) AS "after_id?: EventId",
                  (SELECT i.event_id FROM event i WHERE i.account_id = f.account_id AND i.seq = f.next_seq - 1) AS "newest_id?: EventId",
                  CASE WHEN f.access_version <> $5 THEN (
                      SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'session', s.session_id,
                          'grants', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                         'unit', a.unit_id, 'everything', a.role_id = $7,
                                         'keys', ARRAY(SELECT p.permission FROM role_permission p
                                                       WHERE p.account_id = a.account_id AND p.role_id = a.role_id))), '[]')
                                     FROM member_role a LEFT JOIN unit u ON u.account_id = a.account_id AND u.unit_id = a.unit_ref
                                     WHERE a.account_id = m.account_id AND a.member_id = m.member_id
                                       AND u.archived_at IS NULL))), '[]')
                      FROM session s JOIN member m USING (account_id, member_id)
                      WHERE s.account_id = $1 AND s.session_id = ANY($6) AND m.status = 'ACTIVE') END AS "standings?",
                  NULL::bigint AS "seq?", NULL::uuid AS "event_id?: EventId", NULL AS "kind?", NULL AS "actor_kind?",
                  NULL::uuid AS "actor_id?", NULL::uuid AS "subject_id?", NULL::jsonb AS "detail?", NULL AS "request_id?",
                  NULL::timestamptz AS "occurred_at?: Timestamp", NULL::boolean AS "has_personal?", NULL::jsonb AS "body?"
           FROM account_feed f WHERE f.account_id = $1
           UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, e.* FROM e"#,
        ask.account.0,
        ask.after,
        &kinds,
        ask.limit,
        ask.seen,
        &sessions,
        SystemRole::Administrator.id().0,
        ask.up_to,
    )
    .fetch_all(conn)
    .await?;
    read(rows).ok_or(sqlx::Error::RowNotFound)
}

fn read(rows: Vec<Raw>) -> Option<Look> {
    let mut feed = None;
    let mut events = Vec::with_capacity(rows.len());
    for raw in rows {
        match (raw.next_seq, raw.oldest_seq, raw.access_version) {
            (Some(next_seq), Some(oldest_seq), Some(access_version)) => {
                let standings = raw.standings.map(standings);
                let (after_id, newest_id) = (raw.after_id, raw.newest_id);
                feed = Some(Look {
                    next_seq,
                    oldest_seq,
                    access_version,
                    after_id,
                    newest_id,
                    events: Vec::new(),
                    standings,
                });
            }
            _ => events.push(event(raw)?),
        }
    }
    events.sort_unstable_by_key(|event| event.seq);
    feed.map(|feed| Look { events, ..feed })
}

fn standings(value: Value) -> HashMap<SessionId, Grants> {
    let list: Vec<Standing> = serde_json::from_value(value).expect("the statement builds these objects");
    let grants = |scopes: Vec<Scope>| {
        let mut grants = Grants::default();
        for scope in scopes {
            grants.add(UnitId(scope.unit), permission_set(scope.everything, &scope.keys));
        }
        grants
    };
    list.into_iter().map(|s| (SessionId(s.session), grants(s.grants))).collect()
}

fn event(raw: Raw) -> Option<Event> {
    let row = Row {
        seq: raw.seq?,
        event_id: raw.event_id?,
        kind: raw.kind?,
        actor_kind: raw.actor_kind?,
        actor_id: raw.actor_id,
        subject_id: raw.subject_id,
        detail: raw.detail?,
        request_id: raw.request_id,
        occurred_at: raw.occurred_at?,
        has_personal: raw.has_personal?,
        body: raw.body,
    };
    Some(row.into())
}
