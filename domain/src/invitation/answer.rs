//! The invited person's side: what the link shows, and saying yes or no. Looking at a link never answers it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::{State, manage};
use crate::actor::{Actor, Author, Origin, of_members};
use crate::change::{Change, Kind, persist};
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, InvitationId, MemberId, RoleId, SessionId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::{Purpose, Token};
use crate::license::{self, wish};
use crate::member::Status;
use crate::password::{self, Passwords};
use crate::profile;
use crate::rate;
use crate::session;
use crate::user;

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
    /// Add-ons that are given at acceptance.
    wishes: Vec<String>,
}

async fn find(conn: &mut PgConnection, token: &str) -> Result<Found> {
    let invalid = || Error::from(Refused::new(Code::TokenInvalid).at("token"));
    let token = Token::parse(Purpose::Invitation, token).ok_or_else(invalid)?;
    let account = token.account().ok_or_else(invalid)?;
    let row = sqlx::query!(
        r#"SELECT i.invitation_id AS "invitation_id: InvitationId", i.email, i.first_name, i.last_name, i.message, i.state AS "state: State",
                  i.expires_at, i.invited_by AS "invited_by: MemberId", a.name AS account_name,
                  nullif(trim(concat_ws(' ', b.first_name, b.last_name)), '') AS inviter_name,
                  m.member_id AS "member_id?: MemberId", m.status AS "member_status?: Status", u.user_id AS "user_id?: UserId",
                  ARRAY(SELECT w.product_id FROM license_wish w WHERE w.account_id = i.account_id AND w.invitation_id = i.invitation_id
                        ORDER BY w.product_id) AS "wishes!"
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
        wishes: row.wishes,
    })
}

impl Found {
    /// Why it cannot be answered, if it cannot; otherwise who would join.
    fn answerable(&self, now: Timestamp) -> Result<MemberId> {
        let lapsed = self.expires_at.is_some_and(|expires_at| expires_at <= now);
        let code = match (self.state, self.member_status, self.member_id) {
            (State::Accepted, ..) => Code::InvitationUsed,
            (State::Declined, ..) => Code::InvitationDeclined,
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

/// Looks at a link for somebody who answers it: what it is about, who would join, and when it was looked at. Counts the try.
async fn open(db: &Db, origin: &Origin, token: &str) -> Result<(Found, MemberId, Timestamp)> {
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    rate::hit(db, &mut conn, rate::LINK_NETWORK, &rate::network(origin.network_address), now).await??;
    let found = find(&mut conn, token).await?;
    let member = found.answerable(now)?;
    Ok((found, member, now))
}

/// What the link shows.
///
/// # Errors
/// TOKEN_INVALID, INVITATION_USED, INVITATION_DECLINED, INVITATION_REVOKED, INVITATION_EXPIRED, INVITATION_SUSPENDED.
pub async fn by_token(db: &Db, token: &str) -> Result<Preview> {
    let mut conn = db.pool.acquire().await?;
    let found = find(&mut conn, token).await?;
    let now = db.now_on(&mut conn).await?;
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
    Known { user_id: UserId, proof: Proof },
}

/// By what somebody with a login has proven it; it must still hold when they join.
enum Proof {
    /// The password as of this time, by which the login e-mail was changed last at that one.
    Password(Timestamp, Option<Timestamp>),
    /// A session, of whichever account.
    Session(AccountId, SessionId),
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
    let (found, member, now) = open(db, &origin, token).await?;
    let (first_name, last_name) = names(acceptance, &found)?;
    let person = prove(db, passwords, &origin, signed_in, &found, acceptance.password.as_ref()).await?;
    let wishes = &found.wishes;
    let joining = Joining { token, wishes, member, email: &found.email, person, first_name, last_name };
    let origin = Origin { author: Author::Member(member), ..origin };
    persist(|| async {
        let mut change = Change::begin(db, found.account_id, Kind::Asked, origin.clone(), Some(now)).await?;
        join(&mut change, &joining).await?;
        change.commit().await
    })
    .await?;
    Ok(Accepted { account_id: found.account_id, member_id: member })
}

/// First and last name: both are required by now, whether typed or known from the inviter.
fn names(acceptance: &Acceptance, found: &Found) -> Result<(String, String)> {
    let name = |field_name, given: &Option<String>, invited: &Option<String>| {
        let text = given.as_deref().or(invited.as_deref()).unwrap_or_default();
        field(field_name, profile::person_name(text))
    };
    match (
        name("firstName", &acceptance.first_name, &found.first_name),
        name("lastName", &acceptance.last_name, &found.last_name),
    ) {
        (Ok(first), Ok(last)) => Ok((first, last)),
        (Err(Error::Refused(mut first)), Err(Error::Refused(last))) => {
            first.extend(last);
            Err(Error::Refused(first))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
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
        (Some(user), Some(actor), _) if actor.user_id == user => {
            let proof = Proof::Session(actor.account_id, actor.session_id);
            Ok(Person::Known { user_id: user, proof })
        }
        (_, Some(_), _) => Err(Code::OtherPerson.into()),
        (_, None, None) => Err(Refused::new(Code::PasswordRequired).at("password").into()),
        (Some(user), None, Some(password)) => {
            let known = session::verify(db, passwords, origin, Some(&found.email), password).await.at("password")?;
            if known.user_id != user {
                // The person was erased meanwhile, and somebody signed up under the address.
                return Err(Refused::new(Code::CredentialsInvalid).at("password").into());
            }
            let proof = Proof::Password(known.password_changed_at, known.email_changed_at);
            Ok(Person::Known { user_id: known.user_id, proof })
        }
        (None, None, Some(password)) => {
            password::check_new(password, found.email.as_str()).at("password")?;
            Ok(Person::New { password_hash: passwords.hash(password).await? })
        }
    }
}

/// Somebody who has proven what they must, on the way in.
struct Joining<'a> {
    token: &'a str,
    wishes: &'a [String],
    member: MemberId,
    email: &'a EmailAddress,
    person: Person,
    first_name: String,
    last_name: String,
}

/// The state change: everything was looked at before without locks, and is looked at again under them.
async fn join(change: &mut Change, joining: &Joining<'_>) -> Result<()> {
    let (account, now, member) = (change.account(), change.now(), joining.member);
    let user = identity(change, joining).await?;
    wish::lock(change, joining.wishes).await?;
    let locked = sqlx::query!(
        "SELECT 1 AS one FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE",
        account.0,
        member.0
    );
    locked.fetch_optional(change.conn()).await?;
    let found = find(change.conn(), joining.token).await?;
    if found.answerable(now)? != member {
        return Err(Error::Stale);
    }
    let roles = check_inviter(change, found.invited_by, member).await?;
    // Whoever has the link has the mail, also where nobody could write down yet that it was sent.
    let taken = sqlx::query!(
        "UPDATE invitation SET state = 'ACCEPTED', finished_at = $3, delivery = 'SENT', sent_at = coalesce(sent_at, $3),
                delivery_at = CASE WHEN sent_at IS NULL THEN $3 ELSE delivery_at END,
                delivery_reply = CASE WHEN sent_at IS NULL THEN NULL ELSE delivery_reply END
         WHERE account_id = $1 AND invitation_id = $2 AND state = 'PENDING' AND (expires_at IS NULL OR expires_at > $3)",
        account.0,
        found.invitation_id.0,
        now,
    )
    .execute(change.conn())
    .await?;
    if taken.rows_affected() == 0 {
        // It lapsed between the two statements.
        return Err(Error::Stale);
    }
    sqlx::query!(
        "UPDATE member SET status = 'ACTIVE', user_id = $3, first_name = $4, last_name = $5, joined_at = $6, version = version + 1
         WHERE account_id = $1 AND member_id = $2",
        account.0,
        member.0,
        user.0,
        joining.first_name,
        joining.last_name,
        now,
    )
    .execute(change.conn())
    .await?;
    license::confirm(change, member).await?;
    wish::grant(change, member, joining.wishes).await?;
    change.record(
        NewEvent::new(EventKind::InvitationAccepted)
            .subject(member.0)
            .detail(json!({ "invitation": found.invitation_id, "roles": roles }))
            .personal(json!({ "email": found.email, "firstName": joining.first_name, "lastName": joining.last_name })),
    );
    Ok(())
}

/// The identity of whoever joins; a new one for somebody new.
async fn identity(change: &mut Change, joining: &Joining<'_>) -> Result<UserId> {
    let now = change.now();
    let password_hash = match &joining.person {
        Person::Known { user_id, proof } => return still_proven(change, *user_id, proof).await,
        Person::New { password_hash } => password_hash,
    };
    match user::create(change.conn(), joining.email.as_str(), password_hash, now).await {
        Err(Error::Refused(_)) => {
            // The address got a login while this was typed: by this very invitation, or its password is wanted now.
            find(change.conn(), joining.token).await?.answerable(now)?;
            Err(Refused::new(Code::PasswordRequired).at("password").into())
        }
        created => created,
    }
}

/// Looks at the proof again, under a lock that a change of the password, or of the address, waits for.
async fn still_proven(change: &mut Change, user: UserId, proof: &Proof) -> Result<UserId> {
    let changed_at = sqlx::query!(
        "SELECT password_changed_at, email_changed_at FROM user_credential WHERE user_id = $1 FOR SHARE",
        user.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let holds = match proof {
        Proof::Password(password, email) => {
            changed_at.is_some_and(|at| at.password_changed_at == *password && at.email_changed_at == *email)
        }
        Proof::Session(account, session) => {
            sqlx::query!("SELECT 1 AS one FROM session WHERE account_id = $1 AND session_id = $2", account.0, session.0)
                .fetch_optional(change.conn())
                .await?
                .is_some()
        }
    };
    if holds { Ok(user) } else { Err(Refused::new(Code::CredentialsInvalid).at("password").into()) }
}

/// What the invitation grants must still be the inviter's to grant. Roles without administrative permissions always are:
/// an invitation outlives whoever sent it.
async fn check_inviter(change: &mut Change, invited_by: Option<MemberId>, member: MemberId) -> Result<Vec<RoleId>> {
    let account = change.account();
    // First, so that a later change of anybody's rights or of a role is caught at the commit.
    let standing = match invited_by {
        Some(inviter) => change.standing_of(inviter).await?,
        None => None,
    };
    let roles = sqlx::query_scalar!(
        r#"SELECT role_id AS "role_id: RoleId" FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id"#,
        account.0,
        member.0,
    )
    .fetch_all(change.conn())
    .await?;
    let given = of_members(change.conn(), account, &[member]).await?.remove(&member).unwrap_or_default();
    let held = standing.map(|standing| standing.rights.grants.clone()).unwrap_or_default();
    if invited_by.is_none() || held.covers(&given) {
        Ok(roles)
    } else {
        Err(Refused::new(Code::InviterLostRights).at("token").into())
    }
}

/// Declines an invitation: the seat is free, the invitation stays listed.
///
/// # Errors
/// As [`by_token`].
pub async fn decline(db: &Db, origin: Origin, token: &str) -> Result<()> {
    let (found, member, now) = open(db, &origin, token).await?;
    let origin = Origin { author: Author::Member(member), ..origin };
    persist(|| async {
        let mut change = Change::begin(db, found.account_id, Kind::Asked, origin.clone(), Some(now)).await?;
        turn_down(&mut change, token, member).await?;
        change.commit().await
    })
    .await
}

async fn turn_down(change: &mut Change, token: &str, member: MemberId) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    license::lock(change).await?;
    let locked = sqlx::query!(
        "SELECT 1 AS one FROM member WHERE account_id = $1 AND member_id = $2 FOR UPDATE",
        account.0,
        member.0
    );
    locked.fetch_optional(change.conn()).await?;
    let found = find(change.conn(), token).await?;
    if found.answerable(now)? != member {
        return Err(Error::Stale);
    }
    manage::end(change, found.invitation_id, member, State::Declined).await?;
    change.record(
        NewEvent::new(EventKind::InvitationDeclined)
            .subject(member.0)
            .detail(json!({ "invitation": found.invitation_id })),
    );
    Ok(())
}
