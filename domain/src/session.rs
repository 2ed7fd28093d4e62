//! Sessions: signing in and out, and finding out who asks.

use std::collections::HashMap;

use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;

use crate::across::{self, Membership, memberships};
use crate::actor::{Actor, Author, Origin};
use crate::change::{self, Change, Kind};
use crate::error::{AtField as _, ClosedAccount, Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId, SessionId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::{Purpose, Token};
use crate::member::Validity;
use crate::password::Passwords;
use crate::rate;
use crate::user;

mod activity;
mod authenticate;

use activity::UNWRITTEN;
pub use activity::{Activity, FLUSH};
pub(crate) use authenticate::RightsCache;
pub use authenticate::{Authenticated, authenticate};

/// A session that was just opened. The token is shown once.
pub struct Opened {
    /// Its account.
    pub account_id: AccountId,
    /// Its id.
    pub session_id: SessionId,
    /// Its secret.
    pub token: Token,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends at the latest.
    pub absolute_expires_at: Timestamp,
}

/// How a session is to be kept by the client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// In a cookie rather than in the client's hands.
    pub cookie: bool,
    /// What the client calls itself, cut at 200 characters.
    pub user_agent: Option<String>,
}

/// What somebody who wants to sign in gives.
#[derive(Debug)]
pub struct SignIn<'a> {
    /// The address, as typed.
    pub email: &'a str,
    /// The password.
    pub password: &'a SecretString,
    /// The account to enter; otherwise the one entered last.
    pub account_id: Option<AccountId>,
    /// The client.
    pub client: Client,
}

/// Signs somebody in.
///
/// # Errors
/// CREDENTIALS_INVALID, the same and after the same time whether or not the address exists; RATE_LIMITED; after the right
/// password NO_USABLE_MEMBERSHIP with the reason per account.
pub async fn create(db: &Db, passwords: &Passwords, origin: Origin, sign_in: SignIn<'_>) -> Result<Opened> {
    let email = EmailAddress::parse(sign_in.email).ok();
    let known = verify(db, passwords, &origin, email.as_ref(), sign_in.password).await?;
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    let memberships = memberships(&mut conn, known.user_id, now).await?;
    drop(conn);
    let membership = choose(&memberships, sign_in.account_id, known.last_account_id)?;
    let renewed = passwords.renew(sign_in.password, &known.password_hash).await;
    let origin = &Origin { author: Author::Member(membership.member_id), ..origin };
    let (known, client, renewed) = (&known, &sign_in.client, renewed.as_deref());
    change::persist(|| async move {
        let mut change = Change::begin(db, membership.account_id, Kind::System, origin.clone(), None).await?;
        // Locks the credential, and finds out whether the password that was compared, and the address, are still
        // the ones.
        let same = sqlx::query!(
            "UPDATE user_credential SET last_account_id = $3, password_hash = coalesce($4, password_hash)
             WHERE user_id = $1 AND password_changed_at = $2 AND email_changed_at IS NOT DISTINCT FROM $5",
            known.user_id.0,
            known.password_changed_at,
            membership.account_id.0,
            renewed,
            known.email_changed_at as Option<Timestamp>,
        )
        .execute(change.conn())
        .await?;
        if same.rows_affected() == 0 {
            return Err(Code::CredentialsInvalid.into());
        }
        let opened = open(&mut change, membership.member_id, client, None).await?;
        change.commit().await?;
        Ok(opened)
    })
    .await
}

/// Whose password it is.
pub(crate) struct Known {
    pub(crate) user_id: UserId,
    pub(crate) password_changed_at: Timestamp,
    password_hash: String,
    pub(crate) email_changed_at: Option<Timestamp>,
    last_account_id: Option<AccountId>,
}

/// Compares a password with that of the actor's login, and answers since when it is that one.
///
/// # Errors
/// At `password` CREDENTIALS_INVALID, RATE_LIMITED.
pub(crate) async fn prove(db: &Db, passwords: &Passwords, actor: &Actor, password: &SecretString) -> Result<Timestamp> {
    let email = user::email(&mut *db.pool.acquire().await?, actor.user_id).await?.ok_or(Error::Unauthenticated)?;
    let email = EmailAddress::parse(&email).expect("stored addresses are normalised");
    let known = verify(db, passwords, &actor.origin, Some(&email), password).await.at("password")?;
    Ok(known.password_changed_at)
}

/// That the password which was compared is still the one; its row stays locked.
///
/// # Errors
/// CREDENTIALS_INVALID at `password`.
pub(crate) async fn still_proven(change: &mut Change, actor: &Actor, proven: Timestamp) -> Result<()> {
    let same = sqlx::query!(
        "SELECT 1 AS one FROM user_credential WHERE user_id = $1 AND password_changed_at = $2 FOR UPDATE",
        actor.user_id.0,
        proven,
    );
    if same.fetch_optional(change.conn()).await?.is_none() {
        return Err(Refused::new(Code::CredentialsInvalid).at("password").into());
    }
    Ok(())
}

/// Compares a password, within the limits on wrong ones.
pub(crate) async fn verify(
    db: &Db,
    passwords: &Passwords,
    origin: &Origin,
    email: Option<&EmailAddress>,
    password: &SecretString,
) -> Result<Known> {
    let network = rate::network(origin.network_address);
    let address = email.map_or("", EmailAddress::as_str);
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    rate::hit_sign_in(db, &mut conn, address, &network, now).await??;
    let credential = sqlx::query!(
        r#"SELECT c.user_id AS "user_id: UserId", c.password_hash, c.password_changed_at, c.email_changed_at,
                  c.last_account_id AS "last_account_id: AccountId"
           FROM app_user u JOIN user_credential c USING (user_id) WHERE u.email = $1"#,
        address,
    )
    .fetch_optional(&mut *conn)
    .await?;
    // No connection is held while the hash is computed.
    drop(conn);
    let right = passwords.verify(password, credential.as_ref().map(|c| c.password_hash.as_str())).await;
    let Some(credential) = credential.filter(|_| matches!(right, Ok(true))) else {
        return Err(right.err().unwrap_or_else(|| Code::CredentialsInvalid.into()));
    };
    rate::forgive_sign_in(db, &mut *db.pool.acquire().await?, address, &network, now).await?;
    Ok(Known {
        user_id: credential.user_id,
        password_changed_at: credential.password_changed_at,
        password_hash: credential.password_hash,
        email_changed_at: credential.email_changed_at,
        last_account_id: credential.last_account_id,
    })
}

fn choose(memberships: &[Membership], wanted: Option<AccountId>, last: Option<AccountId>) -> Result<&Membership> {
    let usable = |account: AccountId| memberships.iter().find(|m| m.account_id == account && m.is_open());
    let chosen = match wanted {
        Some(account) => usable(account),
        None => last.and_then(usable).or_else(|| memberships.iter().find(|m| m.is_open())),
    };
    chosen.ok_or_else(|| {
        let closed = memberships
            .iter()
            .filter(|m| !m.is_open() && wanted.is_none_or(|account| account == m.account_id))
            .map(|m| ClosedAccount {
                account_name: m.account_name.clone(),
                status: m.status.clone(),
                valid_from: m.valid_from,
                valid_until: m.valid_until,
            })
            .collect();
        Refused { detail: Detail::Accounts(closed), ..Refused::new(Code::NoUsableMembership) }.into()
    })
}

/// A session that was left for another account: what it had proven, and no more, goes along.
struct Left {
    absolute_expires_at: Timestamp,
    password_proven_at: Timestamp,
}

/// Writes a session of an active member. The member's status is looked at under a lock that a suspension waits for.
async fn open(change: &mut Change, member: MemberId, client: &Client, left: Option<Left>) -> Result<Opened> {
    let (account, now) = (change.account(), change.now());
    let origin = change.origin().clone();
    let token = Token::random(Purpose::Session, Some(account));
    let session = SessionId::new();
    let agent = client
        .user_agent
        .as_deref()
        .map(|agent| agent.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
    let written = sqlx::query_scalar!(
        "INSERT INTO session (account_id, session_id, member_id, user_id, token_hash, cookie, account_name, user_agent, network_address,
                              created_at, idle_seconds, absolute_expires_at, password_proven_at)
         SELECT m.account_id, $3, m.member_id, m.user_id, $4, $5, a.name, $6, $7::text::inet, $8::timestamptz, a.session_idle_seconds,
                least($8::timestamptz + a.session_absolute_seconds * interval '1 second', $9), coalesce($10, $8::timestamptz)
         FROM (SELECT * FROM member WHERE account_id = $1 AND member_id = $2 AND status = 'ACTIVE' FOR KEY SHARE) m
         JOIN account a USING (account_id)
         WHERE (m.valid_from > ($8::timestamptz AT TIME ZONE a.time_zone)::date) IS NOT TRUE
           AND (m.valid_until < ($8::timestamptz AT TIME ZONE a.time_zone)::date) IS NOT TRUE
         RETURNING absolute_expires_at",
        account.0,
        member.0,
        session.0,
        token.hash(),
        client.cookie,
        agent,
        origin.network_address.map(|address| address.to_string()),
        now,
        left.as_ref().map(|left| left.absolute_expires_at) as Option<Timestamp>,
        left.as_ref().map(|left| left.password_proven_at) as Option<Timestamp>,
    )
    .fetch_optional(change.conn())
    .await?;
    let absolute_expires_at = written.ok_or(Error::Refused(vec![Refused::new(Code::NoUsableMembership)]))?;
    sqlx::query!(
        "INSERT INTO member_activity (account_id, member_id, last_sign_in_at) VALUES ($1, $2, $3)
         ON CONFLICT (account_id, member_id) DO UPDATE SET last_sign_in_at = excluded.last_sign_in_at",
        account.0,
        member.0,
        now,
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::SessionCreated).subject(member.0).detail(json!({ "session": session })));
    Ok(Opened { account_id: account, session_id: session, token, created_at: now, absolute_expires_at })
}

/// Ends one of the actor's own sessions: the current one when none is named.
pub async fn revoke(change: &mut Change, actor: &Actor, session: SessionId) -> Result<()> {
    let ended = sqlx::query!(
        "DELETE FROM session WHERE account_id = $1 AND member_id = $2 AND session_id = $3",
        actor.account_id.0,
        actor.member_id.0,
        session.0,
    )
    .execute(change.conn())
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Refused::new(Code::NotFound).at("sessionId").into());
    }
    change.rights_changed();
    change.record(
        NewEvent::new(EventKind::SessionRevoked).subject(actor.member_id.0).detail(json!({ "session": session })),
    );
    Ok(())
}

/// Ends all sessions of members whose status lets them in no more.
pub(crate) async fn end_of_members(change: &mut Change, members: &[MemberId]) -> Result<()> {
    let account = change.account();
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    sqlx::query!("DELETE FROM session WHERE account_id = $1 AND member_id = ANY($2)", account.0, &ids)
        .execute(change.conn())
        .await?;
    Ok(())
}

/// Moves to another account of the same person: a session there, and the end of the current one. Both accounts are told.
///
/// # Errors
/// NOT_FOUND for an account the person does not belong to; NO_USABLE_MEMBERSHIP where they may not enter.
pub async fn switch_account(db: &Db, actor: &Actor, account: AccountId, client: &Client) -> Result<Opened> {
    let mut conn = db.pool.acquire().await?;
    let places = memberships(&mut conn, actor.user_id, actor.now).await?;
    drop(conn);
    if places.iter().all(|place| place.account_id != account) {
        return Err(Refused::new(Code::NotFound).at("accountId").into());
    }
    let member = choose(&places, Some(account), None)?.member_id;
    let origin = &Origin { author: Author::Member(member), ..actor.origin.clone() };
    change::persist(|| async move {
        let mut change = Change::begin(db, account, Kind::System, origin.clone(), Some(actor.now)).await?;
        // The credential before sessions, as everywhere.
        sqlx::query!("UPDATE user_credential SET last_account_id = $2 WHERE user_id = $1", actor.user_id.0, account.0)
            .execute(change.conn())
            .await?;
        let left = sqlx::query_as!(
            Left,
            "DELETE FROM session WHERE account_id = $1 AND session_id = $2 RETURNING absolute_expires_at, password_proven_at",
            actor.account_id.0,
            actor.session_id.0
        )
        .fetch_optional(change.conn())
        .await?
        .ok_or(Error::Unauthenticated)?;
        let opened = open(&mut change, member, client, Some(left)).await?;
        change.rights_changed_in(actor.account_id);
        change.record_in(
            actor.account_id,
            actor.member_id,
            NewEvent::new(EventKind::SessionRevoked)
                .subject(actor.member_id.0)
                .detail(json!({ "session": actor.session_id })),
        );
        change.commit().await?;
        Ok(opened)
    })
    .await
}

/// One of a member's sessions, as they see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub session_id: SessionId,
    /// The account's name when it was opened.
    pub account_name: String,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// Where it was opened from.
    pub network_address: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last used, to within half a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it ends at the latest.
    pub absolute_expires_at: Timestamp,
}

/// The live sessions of a member, newest first.
pub async fn of_member(db: &Db, actor: &Actor) -> Result<Vec<Session>> {
    let rows = sqlx::query!(
        r#"SELECT s.session_id AS "session_id: SessionId", s.account_name, s.user_agent, host(s.network_address) AS network_address,
                  s.created_at, a.last_used_at AS "last_used_at?", s.absolute_expires_at, s.idle_seconds
           FROM session s LEFT JOIN session_activity a USING (account_id, session_id)
           WHERE s.account_id = $1 AND s.member_id = $2 ORDER BY s.created_at DESC, s.session_id DESC"#,
        actor.account_id.0,
        actor.member_id.0,
    )
    .fetch_all(&db.pool)
    .await?;
    let live = rows.into_iter().filter(|row| {
        actor.now < ends(row.absolute_expires_at, row.last_used_at.unwrap_or(row.created_at), row.idle_seconds)
    });
    Ok(live
        .map(|row| Session {
            session_id: row.session_id,
            account_name: row.account_name,
            user_agent: row.user_agent,
            network_address: row.network_address,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            absolute_expires_at: row.absolute_expires_at,
        })
        .collect())
}

/// When a session ends by itself, unless it is used again. `last_used` is the last use that was written.
fn ends(absolute: Timestamp, last_used: Timestamp, idle_seconds: i32) -> Timestamp {
    absolute.min(last_used + SignedDuration::from_secs(i64::from(idle_seconds)) + UNWRITTEN)
}

/// Deletes sessions that have ended by themselves, at most `limit`; returns how many. That changes nobody's rights: they were
/// refused from that moment on.
pub(crate) async fn delete_ended(conn: &mut PgConnection, now: Timestamp, limit: i64) -> sqlx::Result<u64> {
    across::delete_ended_sessions(conn, now, now - UNWRITTEN, limit).await
}

/// When some sessions end by themselves, for those that were not ended yet.
pub async fn ends_of(
    conn: &mut PgConnection,
    account: AccountId,
    sessions: &[SessionId],
) -> sqlx::Result<HashMap<SessionId, Timestamp>> {
    let ids: Vec<uuid::Uuid> = sessions.iter().map(|session| session.0).collect();
    let rows = sqlx::query!(
        r#"SELECT s.session_id AS "session_id: SessionId", s.created_at, s.absolute_expires_at, s.idle_seconds, a.last_used_at AS "last_used_at?",
                  m.valid_until, o.time_zone
           FROM session s
           JOIN member m USING (account_id, member_id)
           JOIN account o USING (account_id)
           LEFT JOIN session_activity a USING (account_id, session_id)
           WHERE s.account_id = $1 AND s.session_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let until = rows.into_iter().map(|row| {
        let used = row.last_used_at.unwrap_or(row.created_at);
        let ends = ends(row.absolute_expires_at, used, row.idle_seconds);
        let validity = Validity { from: None, until: row.valid_until };
        (row.session_id, validity.end(&row.time_zone).map_or(ends, |end| end.min(ends)))
    });
    Ok(until.collect())
}
