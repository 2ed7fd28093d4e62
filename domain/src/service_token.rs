//! Credentials of the host product: made, listed and revoked by operators, and shown to the API with each request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Action, Author, Host, Origin};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result, field};
use crate::id::{AccountId, ServiceTokenId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};
use crate::profile;

/// Characters of a token that are kept readable: the purpose and six of its 43 others.
const PREFIX_CHARS: usize = "msvc.".len() + 6;

/// What a service token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read and register resources, open them, set rates.
    Resources,
    /// Ask what members have access to.
    Access,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Resources, Self::Access];

    /// As stored, and as operators write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Access => "access",
        }
    }

    /// The scope with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    /// Whether it lets the host product do something, in every unit.
    pub(crate) fn allows(self, action: Action) -> bool {
        self == Self::Resources && matches!(action, Action::ReadResources | Action::ManageResources)
    }
}

/// A credential as operators see it: never the token itself.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// Its id.
    pub service_token_id: ServiceTokenId,
    /// Its name.
    pub name: String,
    /// What the token begins with.
    pub prefix: String,
    /// What it is for; a scope of a newer version is left out.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is not valid any more.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A credential to make.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// 1 to 100 characters; no other that is not revoked may have it.
    pub name: &'a str,
    /// At least one.
    pub scopes: &'a [Scope],
    /// From when on it is not valid any more.
    pub expires_at: Option<Timestamp>,
}

/// Makes a credential. Its token is in the answer and nowhere else.
///
/// # Errors
/// REQUIRED, NAME_TAKEN, OUT_OF_RANGE for an end that is past, and what is wrong with the name.
pub async fn create(db: &Db, new: &NewToken<'_>) -> Result<(ServiceTokenId, Token)> {
    let name = field("name", profile::title(new.name))?;
    if new.scopes.is_empty() {
        return Err(Refused::new(Code::Required).at("scopes").into());
    }
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Refused::new(Code::OutOfRange).at("expiresAt").into());
    }
    let (id, token) = (ServiceTokenId::new(), Token::random(Purpose::Service, None));
    let prefix: String = token.expose().chars().take(PREFIX_CHARS).collect();
    let mut scopes: Vec<String> = new.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let made = sqlx::query!(
        "INSERT INTO service_token (service_token_id, name, prefix, token_hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        id.0,
        name,
        prefix,
        token.hash(),
        &scopes,
        now,
        new.expires_at,
    )
    .execute(&mut *conn)
    .await?;
    if made.rows_affected() == 0 {
        return Err(Refused::new(Code::NameTaken).at("name").into());
    }
    Ok((id, token))
}

/// All credentials, the newest first; revoked ones only if wanted.
pub async fn list(conn: &mut PgConnection, revoked: bool) -> sqlx::Result<Vec<ServiceToken>> {
    let rows = sqlx::query!(
        r#"SELECT service_token_id AS "service_token_id: ServiceTokenId", name, prefix, scopes, created_at,
                  expires_at , last_used_at,
                  revoked_at
           FROM service_token WHERE $1 OR revoked_at IS NULL ORDER BY created_at DESC, service_token_id"#,
        revoked,
    )
    .fetch_all(conn)
    .await?;
    let tokens = rows.into_iter().map(|row| ServiceToken {
        service_token_id: row.service_token_id,
        name: row.name,
        prefix: row.prefix,
        scopes: scopes(&row.scopes),
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    });
    Ok(tokens.collect())
}

/// Revokes a credential: its next request is refused. Answers whether there was one that was not revoked yet.
pub async fn revoke(db: &Db, id: ServiceTokenId) -> Result<bool> {
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    let revoked = sqlx::query!(
        "UPDATE service_token SET revoked_at = $2 WHERE service_token_id = $1 AND revoked_at IS NULL",
        id.0,
        now,
    );
    Ok(revoked.execute(&mut *conn).await?.rows_affected() == 1)
}

/// Whom a service token stands for.
#[derive(Clone, Debug)]
pub enum Authenticated {
    /// The host product, in the account that it named.
    Host(Host),
    /// The token is valid, but it names no account, or one that does not exist.
    NoAccount,
}

/// Finds out what a service token is for: one statement.
///
/// # Errors
/// [`Error::Unauthenticated`] for a token that is malformed, unknown, expired or revoked: all alike.
pub async fn authenticate(db: &Db, token: &str, account: Option<AccountId>, origin: Origin) -> Result<Authenticated> {
    let token = Token::parse(Purpose::Service, token).ok_or(Error::Unauthenticated)?;
    let mut conn = db.pool.acquire().await?;
    let row = sqlx::query!(
        r#"SELECT t.service_token_id AS "token_id: ServiceTokenId", t.scopes, t.expires_at ,
                  EXISTS (SELECT FROM account WHERE account_id = $2) AS "known!", now() AS "now!"
           FROM service_token t WHERE t.token_hash = $1 AND t.revoked_at IS NULL"#,
        token.hash(),
        account.map(|account| account.0),
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::Unauthenticated)?;
    let now = db.clock.business(row.now);
    if row.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::Unauthenticated);
    }
    let Some(account_id) = account.filter(|_| row.known) else { return Ok(Authenticated::NoAccount) };
    let origin = Origin { author: Author::Host(row.token_id), ..origin };
    Ok(Authenticated::Host(Host { token_id: row.token_id, account_id, scopes: scopes(&row.scopes), now, origin }))
}

/// Whether a text claims to be a service token.
pub fn is_service_token(text: &str) -> bool {
    text.starts_with("msvc.")
}

fn scopes(stored: &[String]) -> Vec<Scope> {
    stored.iter().filter_map(|scope| Scope::parse(scope)).collect()
}

/// Refuses a write of a credential that was revoked since the request began.
pub(crate) async fn check_live(change: &mut Change, id: ServiceTokenId) -> Result<()> {
    let live = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM service_token WHERE service_token_id = $1 AND revoked_at IS NULL) AS "live!""#,
        id.0,
    )
    .fetch_one(change.conn())
    .await?;
    if live { Ok(()) } else { Err(Error::Unauthenticated) }
}

/// Uses of service tokens that are not written yet: requests only read.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<Uuid, Timestamp>>);

impl Uses {
    /// Remembers that a credential was used.
    pub fn note(&self, id: ServiceTokenId, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0, at);
    }

    /// Writes what was noted since. To be called now and then, and before the process ends.
    pub async fn flush(&self, db: &Db) -> sqlx::Result<()> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(());
        }
        let (ids, at): (Vec<Uuid>, Vec<Timestamp>) = noted.into_iter().unzip();
        sqlx::query!(
            "UPDATE service_token t SET last_used_at = greatest(t.last_used_at, u.used_at)
             FROM unnest($1::uuid[], $2::timestamptz[]) u(id, used_at) WHERE t.service_token_id = u.id",
            &ids,
            &at as &[Timestamp],
        )
        .execute(&db.pool)
        .await?;
        Ok(())
    }
}
