//! From a token to an actor: one statement, and one more when what the member may do is not known yet.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use sqlx::PgConnection;

use super::ends;
use crate::actor::{Actor, Author, Origin, Rights, read_rights};
use crate::error::{Error, Result};
use crate::id::{AccountId, MemberId, SessionId, UserId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};
use crate::member::Validity;

/// Rights by member; an entry counts only while the account's access version and the catalogue's are those it was read at.
#[derive(Debug)]
pub(crate) struct RightsCache(Mutex<LruCache<(AccountId, MemberId), Arc<Rights>>>);

impl Default for RightsCache {
    fn default() -> Self {
        const ENTRIES: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
        Self(Mutex::new(LruCache::new(ENTRIES)))
    }
}

impl RightsCache {
    fn get(&self, account: AccountId, member: MemberId, (version, catalogue): (i64, i64)) -> Option<Arc<Rights>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(&(account, member))
            .filter(|rights| (rights.version, rights.catalogue) == (version, catalogue))
            .cloned()
    }

    fn put(&self, account: AccountId, member: MemberId, rights: Arc<Rights>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put((account, member), rights);
    }
}

/// A valid session.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who acts.
    pub actor: Actor,
    /// The account's name when the session was opened.
    pub account_name: String,
    /// Whether the token came in a cookie's session.
    pub cookie: bool,
    /// When the session ends by itself, unless it is used until then.
    pub until: Timestamp,
    /// The account's access version at which the session was there; the actor's rights may be of a later one.
    pub looked_at: i64,
}

/// Finds out who a token belongs to.
///
/// # Errors
/// [`Error::Unauthenticated`] for a token that is malformed, unknown, expired, revoked, or of a member who may not enter: all
/// alike.
pub async fn authenticate(db: &Db, token: &str, origin: Origin) -> Result<Authenticated> {
    let token = Token::parse(Purpose::Session, token).ok_or(Error::Unauthenticated)?;
    let account = token.account().ok_or(Error::Unauthenticated)?;
    let mut conn = db.pool.acquire().await?;
    let row = sqlx::query!(
        r#"SELECT s.session_id AS "session_id: SessionId", s.member_id AS "member_id: MemberId", s.user_id AS "user_id: UserId",
                  s.account_name, s.cookie, s.created_at, s.absolute_expires_at, s.idle_seconds,
                  a.last_used_at AS "last_used_at?", m.valid_from, m.valid_until, o.time_zone, f.access_version, (SELECT version FROM catalogue) AS "catalogue!", now() AS "now!"
           FROM session s
           JOIN member m USING (account_id, member_id)
           JOIN account o USING (account_id)
           JOIN account_feed f USING (account_id)
           LEFT JOIN session_activity a USING (account_id, session_id)
           WHERE s.account_id = $1 AND s.token_hash = $2 AND m.status = 'ACTIVE'"#,
        account.0,
        token.hash(),
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::Unauthenticated)?;
    let now = db.clock.business(row.now);
    let ends = ends(row.absolute_expires_at, row.last_used_at.unwrap_or(row.created_at), row.idle_seconds);
    // The sweep takes out whose last day is over, but some time after it; and a first day can move ahead with the time zone.
    let validity = Validity { from: row.valid_from, until: row.valid_until };
    let until = validity.end(&row.time_zone).map_or(ends, |end| end.min(ends));
    if now >= until || validity.is_ahead(Date::at(now, &row.time_zone)) {
        return Err(Error::Unauthenticated);
    }
    let rights = rights(db, &mut conn, account, row.member_id, (row.access_version, row.catalogue)).await?;
    let actor = Actor {
        account_id: account,
        member_id: row.member_id,
        user_id: row.user_id,
        session_id: row.session_id,
        rights,
        now,
        origin: Origin { author: Author::Member(row.member_id), ..origin },
    };
    Ok(Authenticated {
        actor,
        account_name: row.account_name,
        cookie: row.cookie,
        until,
        looked_at: row.access_version,
    })
}

async fn rights(
    db: &Db,
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    versions: (i64, i64),
) -> Result<Arc<Rights>> {
    if let Some(rights) = db.rights.get(account, member, versions) {
        return Ok(rights);
    }
    let rights = Arc::new(read_rights(conn, account, member).await?.ok_or(Error::Unauthenticated)?);
    db.rights.put(account, member, Arc::clone(&rights));
    Ok(rights)
}
