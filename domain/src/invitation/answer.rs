//! The invited person's side: what the link shows, and saying yes or no. Looking at a link never answers it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::{State, manage};
use crate::actor::{Actor, Author, Origin, granted_by, read_rights};
use crate::change::{Change, Kind};
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, InvitationId, MemberId, RoleId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::{Purpose, Token};
use crate::license;
use crate::member::Status;
use crate::password::{self, Passwords};
use crate::permission::PermissionSet;
use crate::profile;
use crate::rate;
use crate::session;
use crate::sign_up;

/// What somebody who holds the link may see before they answer.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The account they are asked into.
    pub account_name: String,
    /// The address the invitation went to.
    pub email: String,
    /// First name, as the inviter wrote it.
    pub first_name: Option<String>,
    /// Last name, as the inviter wrote it.
    pub last_name: Option<String>,
    /// The personal message.
    pub message: Option<String>,
    /// Who invites.
    pub inviter_name: Option<String>,
    /// When it lapses, once a mail server took the mail.
    pub expires_at: Option<Timestamp>,
    /// Whether the address has a login, so that accepting takes its password and no new one.
    pub has_login: bool,
}

/// How somebody accepts.
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    /// First name; the inviter's spelling when left out.
    pub first_name: Option<String>,
    /// Last name; the inviter's spelling when left out.
    pub last_name: Option<String>,
    /// A new password, or that of the login the address has. Not needed when signed in as that address.
    pub password: Option<SecretString>,
}

/// Somebody joined.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The account.
    pub account_id: AccountId,
    /// Their place in it.
    pub member_id: MemberId,
}

/// A link's invitation as it is before anything is decided.
struct Found {
    account_id: AccountId,
    invitation_id: InvitationId,
    email: EmailAddress,
    first_name: Option<String>,
    last_name: Option<String>,
    message: Option<String>,
    state: State,
    expires_at: Option<Timestamp>,
    invited_by: Option<MemberId>,
    inviter_name: Option<String>,
    account_name: String,
    member_id: Option<MemberId>,
    member_status: Option<Status>,
    user_id: Option<UserId>,
}

async fn find(conn: &mut PgConnection, token: &str) -> Result<Found> {
    let invalid = || Error::from(Refused::new(Code::TokenInvalid).at("token"));
    let token = Token::parse(Purpose::Invitation, token).ok_or_else(invalid)?;
    let account = token.account().ok_or_else(invalid)?;
    let row = sqlx::query!(
        r#"SELECT i.invitation_id AS "invitation_id: InvitationId", i.email, i.first_name, i.last_name, i.message, i.state AS "state: State",
                  i.expires_at, i.invited_by AS "invited_by: MemberId", a.name AS account_name,
                  nullif(trim(concat_ws(' ', b.first_name, b.last_name)), '') AS inviter_name,
                  m.member_id AS "member_id?: MemberId", m.status AS "member_status?: Status", u.user_id AS "user_id?: UserId"
           FROM invitation i
           JOIN account a USING (account_id)
           LEFT JOIN member m ON m.account_id = i.account_id AND m.member_id = i.member_id
           LEFT JOIN member b ON b.account_id = i.account_id AND b.member_id = i.invited_by
           LEFT JOIN app_user u ON u.email = i.email
           WHERE i.account_id = $1 AND i.token_hash = $2"#,
        account.0,
        token.hash(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(invalid)?;
    Ok(Found {
        account_id: account,
        invitation_id: row.invitation_id,
        email: EmailAddress::parse(&row.email).expect("stored addresses are normalised"),
        first_name: row.first_name,
        last_name: row.last_name,
        message: row.message,
        state: row.state,
        expires_at: row.expires_at,
        invited_by: row.invited_by,
        inviter_name: row.inviter_name,
        account_name: row.account_name,
        member_id: row.member_id,
        member_status: row.member_status,
        user_id: row.user_id,
    })
}

impl Found {
    /// Why it cannot be answered, if it cannot; otherwise who would join.
    fn answerable(&self, now: Timestamp) -> Result<MemberId> {
        let lapsed = self.expires_at.is_some_and(|expires_at| expires_at <= now);
        let code = match (self.state, self.member_status, self.member_id) {
            (State::Accepted, ..) => Code::InvitationUsed,
            (State::Declined, ..) => Code::InvitationUsed,
            (State::Revoked, ..) => Code::InvitationRevoked,
            (State::Expired, ..) => Code::InvitationExpired,
            (State::Pending, Some(Status::Suspended), _) => Code::InvitationSuspended,
            (State::Pending, _, _) if lapsed => Code::InvitationExpired,
            (State::Pending, Some(Status::Invited), Some(member)) => return Ok(member),
            _ => Code::TokenInvalid,
        };
        Err(Refused::new(code).at("token").into())
    }
}

async fn limit(db: &Db, conn: &mut PgConnection, origin: &Origin, now: Timestamp) -> Result<()> {
    let network = rate::network(origin.network_address);
    match rate::hit(db, conn, rate::LINK_NETWORK, &network, now).await? {
        Ok(()) => Ok(()),
        Err(reached) => Err(Refused::new(Code::RateLimited).retry_at(reached.retry_at).into()),
    }
}

/// What the link shows.
///
/// # Errors
/// TOKEN_INVALID, INVITATION_USED, INVITATION_REVOKED, INVITATION_EXPIRED, INVITATION_SUSPENDED.
pub async fn by_token(db: &Db, token: &str) -> Result<Preview> {
    let mut conn = db.pool.acquire().await?;
    let found = find(&mut conn, token).await?;
    let now = db.clock.business(sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *conn).await?);
    found.answerable(now)?;
    Ok(Preview {
        account_name: found.account_name,
        email: found.email.as_str().to_owned(),
        first_name: found.first_name,
        last_name: found.last_name,
        message: found.message,
        inviter_name: found.inviter_name,
        expires_at: found.expires_at,
        has_login: found.user_id.is_some(),
    })
}

/// Who accepts: somebody new with the hash of their password, or somebody with a login.
enum Person {
    New { password_hash: String },
    Known(UserId),
}

/// Accepts an invitation. The link proves the address; a login that the address has must be proven besides.
///
/// # Errors
/// As [`by_token`]; OTHER_PERSON when signed in as somebody else; PASSWORD_REQUIRED, CREDENTIALS_INVALID, RATE_LIMITED; REQUIRED
/// at a missing name; INVITER_LOST_RIGHTS; what is wrong with a new password.
pub async fn accept(
    db: &Db,
    passwords: &Passwords,
    origin: Origin,
    signed_in: Option<&Actor>,
    token: &str,
    acceptance: &Acceptance,
) -> Result<Accepted> {
    let mut conn = db.pool.acquire().await?;
    let now = db.clock.business(sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *conn).await?);
    limit(db, &mut conn, &origin, now).await?;
    let found = find(&mut conn, token).await?;
    let member = found.answerable(now)?;
    drop(conn);
    let name = |field_name, given: &Option<String>, invited: &Option<String>| {
        let text = given.as_deref().or(invited.as_deref()).unwrap_or_default();
        field(field_name, profile::person_name(text))
    };
    let first_name = name("firstName", &acceptance.first_name, &found.first_name)?;
    let last_name = name("lastName", &acceptance.last_name, &found.last_name)?;
    let person = prove(db, passwords, &origin, signed_in, &found, acceptance.password.as_ref()).await?;

    let origin = Origin { author: Author::Member(member), ..origin };
    let mut change = Change::begin(db, found.account_id, Kind::Asked, origin, Some(now)).await?;
    let user = match person {
        Person::Known(user) => user,
        Person::New { password_hash } => {
            match sign_up::create_user(change.conn(), found.email.as_str(), &password_hash, now).await {
                // The address got a login while this was typed: its password is wanted now.
                Err(Error::Refused(_)) => return Err(Refused::new(Code::PasswordRequired).at("password").into()),
                created => created?,
            }
        }
    };
    join(&mut change, &found, member, user, &first_name, &last_name).await?;
    change.commit().await?;
    Ok(Accepted { account_id: found.account_id, member_id: member })
}

async fn prove(
    db: &Db,
    passwords: &Passwords,
    origin: &Origin,
    signed_in: Option<&Actor>,
    found: &Found,
    password: Option<&SecretString>,
) -> Result<Person> {
    match (found.user_id, signed_in, password) {
        (Some(user), Some(actor), _) if actor.user_id == user => Ok(Person::Known(user)),
        (_, Some(_), _) => Err(Code::OtherPerson.into()),
        (_, None, None) => Err(Refused::new(Code::PasswordRequired).at("password").into()),
        (Some(user), None, Some(password)) => {
            let known = session::verify(db, passwords, origin, Some(&found.email), password).await.at("password")?;
            debug_assert!(known.user_id == user, "an address has one login");
            Ok(Person::Known(known.user_id))
        }
        (None, None, Some(password)) => {
            password::check_new(password, found.email.as_str()).at("password")?;
            Ok(Person::New { password_hash: passwords.hash(password).await? })
        }
    }
}

/// The state change: everything was looked at before without locks, and is looked at again under them.
async fn join(
    change: &mut Change,
    found: &Found,
    member: MemberId,
    user: UserId,
    first_name: &str,
    last_name: &str,
) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let roles = sqlx::query!(
        r#"SELECT m.status AS "status: Status",
                  ARRAY(SELECT role_id FROM member_role r WHERE r.account_id = m.account_id AND r.member_id = m.member_id) AS "roles!"
           FROM member m WHERE m.account_id = $1 AND m.member_id = $2 FOR UPDATE"#,
        account.0,
        member.0,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or_else(|| Refused::new(Code::InvitationRevoked).at("token"))?;
    if roles.status == Status::Suspended {
        return Err(Refused::new(Code::InvitationSuspended).at("token").into());
    }
    let roles: Vec<RoleId> = roles.roles.into_iter().map(RoleId).collect();
    check_inviter(change, found.invited_by, &roles).await?;
    let taken = sqlx::query!(
        "UPDATE invitation SET state = 'ACCEPTED', finished_at = $3
         WHERE account_id = $1 AND invitation_id = $2 AND state = 'PENDING' AND email = $4 AND (expires_at IS NULL OR expires_at > $3)",
        account.0,
        found.invitation_id.0,
        now,
        found.email.as_str(),
    )
    .execute(change.conn())
    .await?;
    if taken.rows_affected() == 0 {
        return Err(Refused::new(Code::InvitationUsed).at("token").into());
    }
    sqlx::query!(
        "UPDATE member SET status = 'ACTIVE', user_id = $3, first_name = $4, last_name = $5, joined_at = $6, version = version + 1
         WHERE account_id = $1 AND member_id = $2",
        account.0,
        member.0,
        user.0,
        first_name,
        last_name,
        now,
    )
    .execute(change.conn())
    .await?;
    license::confirm(change, member).await?;
    change.record(
        NewEvent::new(EventKind::InvitationAccepted)
            .subject(member.0)
            .detail(json!({ "invitation": found.invitation_id, "roles": roles }))
            .personal(json!({ "email": found.email, "firstName": first_name, "lastName": last_name })),
    );
    Ok(())
}

/// What the invitation grants must still be the inviter's to grant. Roles without administrative permissions always are:
/// an invitation outlives whoever sent it.
async fn check_inviter(change: &mut Change, invited_by: Option<MemberId>, roles: &[RoleId]) -> Result<()> {
    let account = change.account();
    let granted = granted_by(change.conn(), account, roles).await?;
    let Some(inviter) = invited_by else { return Ok(()) };
    let held = match read_rights(change.conn(), account, inviter).await? {
        Some(rights) => rights.permissions,
        None => PermissionSet::default(),
    };
    if held.covers(granted) { Ok(()) } else { Err(Refused::new(Code::InviterLostRights).at("token").into()) }
}

/// Declines an invitation: the seat is free, the invitation stays listed.
///
/// # Errors
/// As [`by_token`].
pub async fn decline(db: &Db, origin: Origin, token: &str) -> Result<()> {
    let mut conn = db.pool.acquire().await?;
    let now = db.clock.business(sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *conn).await?);
    limit(db, &mut conn, &origin, now).await?;
    let found = find(&mut conn, token).await?;
    let member = found.answerable(now)?;
    drop(conn);
    let origin = Origin { author: Author::Member(member), ..origin };
    let mut change = Change::begin(db, found.account_id, Kind::Asked, origin, Some(now)).await?;
    let account = change.account();
    license::lock(&mut change).await?;
    let status = sqlx::query_scalar!(
        r#"SELECT status AS "status: Status" FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE"#,
        account.0,
        member.0,
    )
    .fetch_optional(change.conn())
    .await?;
    match status {
        Some(Status::Invited) => {}
        Some(Status::Suspended) => return Err(Refused::new(Code::InvitationSuspended).at("token").into()),
        _ => return Err(Refused::new(Code::InvitationUsed).at("token").into()),
    }
    manage::end(&mut change, found.invitation_id, member, State::Declined).await?;
    change.record(
        NewEvent::new(EventKind::InvitationDeclined)
            .subject(member.0)
            .detail(json!({ "invitation": found.invitation_id })),
    );
    change.commit().await
}
