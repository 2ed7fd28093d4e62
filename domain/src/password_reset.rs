//! A forgotten password, and changing a known one. Both end sessions everywhere and are an event in each account.

use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::across;
use crate::actor::{Actor, Origin};
use crate::change::{self, Change, Kind, Once};
use crate::error::{AtField as _, Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{PasswordResetId, SessionId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::{Purpose, Token};
use crate::job::{JobKind, NewJob};
use crate::password::{self, Passwords};
use crate::rate;
use crate::session;

/// How long the link can be used.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Sends a link to choose a new password, if the address has a login. The answer and the work are the same if not.
pub async fn request(db: &Db, origin: Origin, email: &str) -> Result<()> {
    let email = EmailAddress::parse(email).map_err(|_| Refused::new(Code::InvalidEmail).at("email"))?;
    let network = rate::network(origin.network_address);
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    let limits = [(rate::RESET_ADDRESS, email.as_str()), (rate::RESET_NETWORK, network.as_str())];
    rate::hit_all(db, &mut conn, &limits, now).await??;
    drop(conn);
    let mut change = Change::begin_identity(db, origin, Some(now)).await?;
    send(&mut change, Whose::Address(email.as_str())).await?;
    change.commit().await
}

/// Sends a link to somebody whose password was made useless.
pub(crate) async fn send_link(change: &mut Change, user: UserId) -> Result<()> {
    send(change, Whose::User(user)).await
}

/// For whom a link is.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Address(&'a str),
    User(UserId),
}

async fn send(change: &mut Change, whose: Whose<'_>) -> Result<()> {
    let (db, now, id) = (change.db().clone(), change.now(), PasswordResetId::new());
    let token = token(&db, id);
    let (email, user) = match whose {
        Whose::Address(email) => (Some(email), None),
        Whose::User(user) => (None, Some(user.0)),
    };
    // For an unknown address the row has no user, and its job finds nothing to send.
    sqlx::query!(
        "INSERT INTO password_reset (password_reset_id, user_id, token_hash, token_key_version, created_at, expires_at)
         VALUES ($1, coalesce($2, (SELECT user_id FROM app_user WHERE email = $3)), $4, $5, $6, $7)",
        id.0,
        user,
        email,
        token.hash(),
        db.key.version,
        now,
        now + LIFETIME,
    )
    .execute(change.conn())
    .await?;
    change.enqueue(NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailPasswordReset,
        payload: json!({ "passwordResetId": id }),
        dedupe_key: id.to_string(),
    });
    Ok(())
}

/// Sets a new password by the link of a mail.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED, and what is wrong with the password.
pub async fn complete(
    db: &Db,
    passwords: &Passwords,
    origin: Origin,
    token: &str,
    password: &SecretString,
) -> Result<()> {
    let token = parse(token)?;
    let network = rate::network(origin.network_address);
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    rate::hit(db, &mut conn, rate::LINK_NETWORK, &network, now).await??;
    let email = check_link(&mut conn, &token, now).await?;
    drop(conn);
    password::check_new(password, &email).at("password")?;
    let hash = passwords.hash(password).await?;

    let (origin, token, hash) = (&origin, &token, &hash);
    change::persist(|| async move {
        let mut change = Change::begin_identity(db, origin.clone(), None).await?;
        let now = change.now();
        check_link(change.conn(), token, now).await?;
        // The credential before anything that hangs on it, as everywhere.
        sqlx::query!(
            "SELECT 1 AS one FROM user_credential
             WHERE user_id = (SELECT user_id FROM password_reset WHERE token_hash = $1) FOR NO KEY UPDATE",
            token.hash(),
        )
        .fetch_optional(change.conn())
        .await?;
        let user = sqlx::query_scalar!(
            r#"UPDATE password_reset SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL RETURNING user_id AS "user_id: UserId""#,
            token.hash(),
            now,
        )
        .fetch_optional(change.conn())
        .await?
        .flatten()
        .ok_or_else(|| Refused::new(Code::TokenUsed).at("token"))?;
        set(&mut change, user, hash, None).await?;
        change.commit().await
    })
    .await
}

/// Whose password the link is for: what may be shown to who holds it.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED.
pub async fn by_token(db: &Db, token: &str) -> Result<String> {
    let token = parse(token)?;
    let now = db.now().await?;
    check_link(&mut *db.pool.acquire().await?, &token, now).await
}

fn parse(token: &str) -> Result<Token> {
    Token::parse(Purpose::PasswordReset, token).ok_or_else(|| Refused::new(Code::TokenInvalid).at("token").into())
}

fn token(db: &Db, id: PasswordResetId) -> Token {
    db.key.derive(Purpose::PasswordReset, None, id.0, 1)
}

/// The address of whose password it is, if the link can be used.
async fn check_link(conn: &mut PgConnection, token: &Token, now: Timestamp) -> Result<String> {
    let row = sqlx::query!(
        "SELECT u.email, r.expires_at, r.used_at FROM password_reset r JOIN app_user u USING (user_id) WHERE r.token_hash = $1",
        token.hash(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    let code = match row.used_at {
        Some(_) => Code::TokenUsed,
        None if row.expires_at <= now => Code::TokenExpired,
        None => return Ok(row.email),
    };
    Err(Refused::new(code).at("token").into())
}

/// Changes the password of somebody who knows it. The session it is done in stays; all others end.
///
/// # Errors
/// CREDENTIALS_INVALID at `currentPassword`, and what is wrong with the new one.
pub async fn change_known(
    db: &Db,
    passwords: &Passwords,
    actor: &Actor,
    once: Option<&Once>,
    current: &SecretString,
    new: &SecretString,
) -> Result<()> {
    if let Some(once) = once
        && change::replay::<()>(db, actor, once).await?.is_some()
    {
        return Ok(());
    }
    let email = sqlx::query_scalar!("SELECT email FROM app_user WHERE user_id = $1", actor.user_id.0)
        .fetch_one(&db.pool)
        .await?;
    let email = EmailAddress::parse(&email).expect("stored addresses are normalised");
    password::check_new(new, email.as_str()).at("newPassword")?;
    let known = match session::verify(db, passwords, &actor.origin, Some(&email), current).await.at("currentPassword") {
        Ok(known) => known,
        Err(refused) => {
            // The same request may have come twice at once: then the first one has changed the password meanwhile.
            let replayed = match once {
                Some(once) => change::replay::<()>(db, actor, once).await?,
                None => None,
            };
            return replayed.ok_or(refused);
        }
    };
    let hash = passwords.hash(new).await?;
    let proven = known.password_changed_at;
    let done = change::run(db, actor, Kind::System, once, move |change, actor| {
        let hash = hash.clone();
        Box::pin(async move {
            // The password that was compared must still be the one.
            let same = sqlx::query!(
                "SELECT 1 AS one FROM user_credential WHERE user_id = $1 AND password_changed_at = $2 FOR NO KEY UPDATE",
                actor.user_id.0,
                proven,
            );
            if same.fetch_optional(change.conn()).await?.is_none() {
                return Err(Refused::new(Code::CredentialsInvalid).at("currentPassword").into());
            }
            set(change, actor.user_id, &hash, Some(actor.session_id)).await
        })
    });
    done.await?;
    Ok(())
}

/// The identity act: the new hash, the end of the sessions, an event in each account, a notice.
async fn set(change: &mut Change, user: UserId, hash: &str, keep: Option<SessionId>) -> Result<()> {
    let now = change.now();
    sqlx::query!(
        "UPDATE user_credential SET password_hash = $2, password_changed_at = $3 WHERE user_id = $1",
        user.0,
        hash,
        now
    )
    .execute(change.conn())
    .await?;
    sqlx::query!("UPDATE password_reset SET used_at = $2 WHERE user_id = $1 AND used_at IS NULL", user.0, now)
        .execute(change.conn())
        .await?;
    let ended_in = across::end_sessions(change.conn(), user, keep).await?;
    for place in across::memberships(change.conn(), user, now).await? {
        change.record_in(
            place.account_id,
            place.member_id,
            NewEvent::new(EventKind::PasswordChanged).subject(place.member_id.0),
        );
    }
    for account in ended_in {
        change.rights_changed_in(account);
    }
    change.enqueue(NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailPasswordChanged,
        payload: json!({ "userId": user, "changedAt": now }),
        dedupe_key: format!("{user}:{}", now.0.as_microsecond()),
    });
    Ok(())
}

/// What the mail of a reset needs.
pub struct ResetMail {
    /// To whom.
    pub email: String,
    /// Until when the link can be used.
    pub expires_at: Timestamp,
    /// The link's secret: the same each time the mail is sent.
    pub token: Token,
}

/// Reads what the mail of a reset needs now; `None` when it was used, when it is too late, or when there is nobody to send it to.
pub async fn mail(
    db: &Db,
    conn: &mut PgConnection,
    id: PasswordResetId,
    now: Timestamp,
) -> sqlx::Result<Option<ResetMail>> {
    let row = sqlx::query!(
        "SELECT u.email, r.expires_at FROM password_reset r JOIN app_user u USING (user_id)
         WHERE r.password_reset_id = $1 AND r.used_at IS NULL AND r.expires_at > $2",
        id.0,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| ResetMail { email: row.email, expires_at: row.expires_at, token: token(db, id) }))
}
