//! Sign-up: nothing exists until the address is confirmed by mail, and the answer is the same whether or not it is known.

use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account::{self, Founding};
use crate::actor::Origin;
use crate::change::{self, Change};
use crate::error::{AtField as _, Code, Refused, Result, field};
use crate::id::{AccountId, SignUpId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::personal_domain::DomainPolicy;
use crate::infra::secret::{Purpose, Token};
use crate::job::{JobKind, NewJob};
use crate::password::{self, Passwords};
use crate::profile;
use crate::rate;
use crate::user;

/// How long the link can be used.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// What somebody who signs up gives.
#[derive(Debug)]
pub struct SignUp<'a> {
    /// Name of the new account.
    pub account_name: &'a str,
    /// Its time zone; UTC when unknown.
    pub time_zone: Option<&'a str>,
    /// First name.
    pub first_name: &'a str,
    /// Last name.
    pub last_name: &'a str,
    /// Address.
    pub email: &'a str,
    /// Password.
    pub password: &'a SecretString,
    /// Whether free-mail addresses are refused by setting.
    pub refuse_personal_domains: bool,
}

/// Keeps a sign-up for a day and sends its link. What the mail says, and whether there is a link, depends on whether the
/// address has a login; the answer does not.
pub async fn request(db: &Db, passwords: &Passwords, origin: Origin, sign_up: SignUp<'_>) -> Result<()> {
    let email = EmailAddress::parse(sign_up.email).map_err(|_| Refused::new(Code::InvalidEmail).at("email"))?;
    let account_name = account::check_name(sign_up.account_name).at("accountName")?;
    let first_name = field("firstName", profile::person_name(sign_up.first_name))?;
    let last_name = field("lastName", profile::person_name(sign_up.last_name))?;
    let time_zone = field("timeZone", profile::time_zone(sign_up.time_zone.unwrap_or("UTC")))?;
    let domains = DomainPolicy {
        refuse_personal: sign_up.refuse_personal_domains,
        allowed_personal: db.allowed_personal_domains.to_vec(),
        allowed: Vec::new(),
    };
    if domains.check(&email).is_err() {
        return Err(Refused::new(Code::PersonalDomain).at("email").into());
    }
    password::check_new(sign_up.password, email.as_str()).at("password")?;
    let network = rate::network(origin.network_address);
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    // Before the hash, which takes one of few places that sign-in needs, too.
    let limits = [(rate::SIGN_UP_ADDRESS, email.as_str()), (rate::SIGN_UP_NETWORK, network.as_str())];
    rate::hit_all(db, &mut conn, &limits, now).await??;
    drop(conn);
    let password_hash = passwords.hash(sign_up.password).await?;

    let mut change = Change::begin_identity(db, origin, Some(now)).await?;
    let id = SignUpId::new();
    let token = token(db, id);
    sqlx::query!(
        "INSERT INTO sign_up (sign_up_id, email, account_name, first_name, last_name, time_zone, password_hash, token_hash,
                              token_key_version, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        id.0,
        email.as_str(),
        account_name,
        first_name,
        last_name,
        time_zone,
        password_hash,
        token.hash(),
        db.key.version,
        now,
        now + LIFETIME,
    )
    .execute(change.conn())
    .await?;
    change.enqueue(NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailSignUp,
        payload: json!({ "signUpId": id }),
        dedupe_key: id.to_string(),
    });
    change.commit().await
}

/// What somebody who holds the link may see before they confirm.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The account to be.
    pub account_name: String,
    /// The address to be confirmed.
    pub email: String,
}

/// What the link shows.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED.
pub async fn by_token(db: &Db, token: &str) -> Result<Preview> {
    let token = Token::parse(Purpose::SignUp, token).ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    let now = db.now().await?;
    let row = sqlx::query!(
        "SELECT account_name, email, expires_at, confirmed_at FROM sign_up WHERE token_hash = $1",
        token.hash(),
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    check_open(row.confirmed_at, row.expires_at, now)?;
    Ok(Preview { account_name: row.account_name, email: row.email })
}

fn check_open(confirmed_at: Option<Timestamp>, expires_at: Timestamp, now: Timestamp) -> Result<()> {
    match confirmed_at {
        Some(_) => Err(Refused::new(Code::TokenUsed).at("token").into()),
        None if expires_at <= now => Err(Refused::new(Code::TokenExpired).at("token").into()),
        None => Ok(()),
    }
}

/// Makes the identity and the account of a sign-up.
///
/// # Errors
/// TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED; ADDRESS_TAKEN when the address got a login in the meantime.
pub async fn confirm(db: &Db, origin: Origin, token: &str, base_seats: i32) -> Result<AccountId> {
    let token = &Token::parse(Purpose::SignUp, token).ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    let origin = &origin;
    change::persist(|| confirm_once(db, origin, token, base_seats)).await
}

async fn confirm_once(db: &Db, origin: &Origin, token: &Token, base_seats: i32) -> Result<AccountId> {
    let mut change = Change::begin_identity(db, origin.clone(), None).await?;
    let now = change.now();
    let row = sqlx::query!(
        "SELECT sign_up_id, email, account_name, first_name, last_name, time_zone, password_hash, expires_at, confirmed_at
         FROM sign_up WHERE token_hash = $1 FOR UPDATE",
        token.hash(),
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or_else(|| Refused::new(Code::TokenInvalid).at("token"))?;
    check_open(row.confirmed_at, row.expires_at, now)?;
    let user = user::create(change.conn(), &row.email, &row.password_hash, now).await?;
    sqlx::query!("UPDATE sign_up SET confirmed_at = $2, password_hash = '' WHERE sign_up_id = $1", row.sign_up_id, now)
        .execute(change.conn())
        .await?;
    let founding = Founding {
        name: &row.account_name,
        time_zone: &row.time_zone,
        base_seats,
        user_id: user,
        email: &row.email,
        first_name: &row.first_name,
        last_name: &row.last_name,
    };
    let (account, _) = account::found(&mut change, &founding).await?;
    change.commit().await?;
    Ok(account)
}

fn token(db: &Db, id: SignUpId) -> Token {
    db.key.derive(Purpose::SignUp, None, id.0, 1)
}

/// What the mail of a sign-up needs.
pub struct SignUpMail {
    /// To whom.
    pub email: String,
    /// Their first name.
    pub first_name: String,
    /// Name of the account to be.
    pub account_name: String,
    /// Whether the address has a login: then there is nothing to confirm, and the mail says so.
    pub has_login: bool,
    /// Until when the link can be used.
    pub expires_at: Timestamp,
    /// The link's secret: the same each time the mail is sent.
    pub token: Token,
}

/// Reads what the mail of a sign-up needs now; `None` when it is confirmed, too late or gone.
pub async fn mail(db: &Db, conn: &mut PgConnection, id: SignUpId, now: Timestamp) -> sqlx::Result<Option<SignUpMail>> {
    let row = sqlx::query!(
        r#"SELECT s.email, s.first_name, s.account_name, s.expires_at,
                  EXISTS (SELECT FROM app_user u WHERE u.email = s.email) AS "has_login!"
           FROM sign_up s WHERE s.sign_up_id = $1 AND s.confirmed_at IS NULL AND s.expires_at > $2"#,
        id.0,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| SignUpMail {
        email: row.email,
        first_name: row.first_name,
        account_name: row.account_name,
        has_login: row.has_login,
        expires_at: row.expires_at,
        token: token(db, id),
    }))
}
