//! Asking for a change. The answer, and the work, are the same whether or not the new address is taken, and whether or not the person
//! is in another account.

use secrecy::SecretString;
use serde_json::json;

use super::{LIFETIME, State, lock_member, mail, token};
use crate::account;
use crate::actor::{Action, Actor, Target};
use crate::change::{self, Change, Kind, Once};
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{EmailChangeId, MemberId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::Purpose;
use crate::member::Status;
use crate::password::Passwords;
use crate::profile::FieldFault;
use crate::rate;
use crate::session;
use crate::sso;
use crate::user;

/// What is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// Whose address; one's own unless given.
    pub member_id: Option<MemberId>,
    /// The address to be.
    pub new_email: &'a str,
    /// One's own password, to change one's own address.
    pub password: Option<&'a SecretString>,
}

/// Who is meant, with what they have proven.
#[derive(Clone, Copy)]
enum Whose {
    /// One's own: the password was right as of then.
    Own { proven: Timestamp },
    /// Somebody else's.
    Others(MemberId),
}

/// Asks for a change: a mail to the new address, and one to the old.
///
/// # Errors
/// INVALID_EMAIL, PERSONAL_DOMAIN, DOMAIN_NOT_ALLOWED, SAME_ADDRESS at `newEmail`; RATE_LIMITED. Of one's own: REQUIRED and
/// CREDENTIALS_INVALID at `password`, SSO_REQUIRED. Of somebody else's: NOT_PERMITTED, NOT_FOUND, OWNER_PROTECTED, MEMBER_INVITED,
/// WRONG_STATUS at `memberId`. Never that the address is taken.
pub async fn request(
    db: &Db,
    passwords: &Passwords,
    actor: &Actor,
    once: Option<&Once>,
    request: &Request<'_>,
) -> Result<MemberId> {
    let member = request.member_id.unwrap_or(actor.member_id);
    let own = member == actor.member_id;
    if !own {
        actor.may(Action::ChangeEmail, Target::Anywhere)?;
    }
    if let Some(once) = once
        && let Some(done) = change::replay::<MemberId>(db, actor, once).await?
    {
        return Ok(done);
    }
    let new = EmailAddress::parse(request.new_email).map_err(|_| Refused::new(Code::InvalidEmail).at("newEmail"))?;
    let whose = if own {
        match prove(db, passwords, actor, request.password).await {
            Ok(proven) => Whose::Own { proven },
            Err(refused) => {
                // The same request may have come twice at once: then the first one was done meanwhile.
                let replayed = match once {
                    Some(once) => change::replay::<MemberId>(db, actor, once).await?,
                    None => None,
                };
                return replayed.ok_or(refused);
            }
        }
    } else {
        Whose::Others(member)
    };
    count(db, actor, member, &new).await?;
    let kind = if own { Kind::System } else { Kind::Asked };
    let done = change::run(db, actor, kind, once, move |change, actor| {
        let new = new.clone();
        Box::pin(async move { ask(change, actor, whose, &new).await.map(|()| member) })
    });
    Ok(done.await?.outcome)
}

/// Compares the password with that of the actor's login.
async fn prove(db: &Db, passwords: &Passwords, actor: &Actor, password: Option<&SecretString>) -> Result<Timestamp> {
    let password = password.ok_or_else(|| Refused::new(Code::Required).at("password"))?;
    session::prove(db, passwords, actor, password).await
}

/// Counted by account, so that no account feels the requests of another one.
async fn count(db: &Db, actor: &Actor, member: MemberId, new: &EmailAddress) -> Result<()> {
    let address = format!("{} {}", actor.account_id, new.as_str());
    let member = format!("{} {member}", actor.account_id);
    let network = rate::network(actor.origin.network_address);
    let limits = [
        (rate::EMAIL_CHANGE_ADDRESS, address.as_str()),
        (rate::EMAIL_CHANGE_MEMBER, member.as_str()),
        (rate::EMAIL_CHANGE_NETWORK, network.as_str()),
    ];
    let mut conn = db.pool.acquire().await?;
    rate::hit_all(db, &mut conn, &limits, actor.now).await??;
    Ok(())
}

async fn ask(change: &mut Change, actor: &Actor, whose: Whose, new: &EmailAddress) -> Result<()> {
    let (member, user) = match whose {
        Whose::Own { proven } => {
            lock_own(change, actor, proven).await?;
            (actor.member_id, actor.user_id)
        }
        Whose::Others(member) => (member, lock_other(change, actor, member).await?),
    };
    let account = change.account();
    let domains = account::read(change.conn(), account).await?.policy.domains(change.db());
    domains.check(new).map_err(|refusal| Error::from(FieldFault::from(refusal))).at("newEmail")?;
    let old = user::email(change.conn(), user).await?.ok_or(Error::Stale)?;
    if old == new.as_str() {
        return Err(Refused::new(Code::SameAddress).at("newEmail").into());
    }
    insert(change, actor, (member, user), &old, new).await
}

/// The password that was compared must still be the one, and the account's rule must let people change their own address.
async fn lock_own(change: &mut Change, actor: &Actor, proven: Timestamp) -> Result<()> {
    session::still_proven(change, actor, proven).await?;
    change.standing(actor).await?;
    sso::check_own_change(change.conn(), actor.account_id, actor.member_id).await
}

/// Whose login it is; those who have none are corrected by their invitation.
async fn lock_other(change: &mut Change, actor: &Actor, member: MemberId) -> Result<UserId> {
    let (user, status) = lock_member(change, actor, member).await?;
    let code = match (user, status) {
        (None, _) => Code::MemberInvited,
        (Some(user), Status::Active | Status::Suspended) => return Ok(user),
        (Some(_), _) => Code::WrongStatus,
    };
    Err(Refused::new(code).at("memberId").into())
}

/// Writes the change, in place of one that was asked for in this account before.
async fn insert(
    change: &mut Change,
    actor: &Actor,
    (member, user): (MemberId, UserId),
    old: &str,
    new: &EmailAddress,
) -> Result<()> {
    let (account, now, id) = (change.account(), change.now(), EmailChangeId::new());
    let db = change.db().clone();
    let hash = |purpose| token(&db, purpose, id).hash();
    sqlx::query!(
        "UPDATE email_change SET state = $3 WHERE user_id = $1 AND account_id = $2 AND state = 'PENDING'",
        user.0,
        account.0,
        State::Cancelled.as_str(),
    )
    .execute(change.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO email_change (email_change_id, user_id, account_id, member_id, requested_by, old_email, new_email, state,
                                   confirm_hash, approve_hash, revert_hash, token_key_version, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING', $8, $9, $10, $11, $12, $13)",
        id.0,
        user.0,
        account.0,
        member.0,
        actor.member_id.0,
        old,
        new.as_str(),
        hash(Purpose::LoginEmailConfirm),
        hash(Purpose::LoginEmailApprove),
        hash(Purpose::LoginEmailRevert),
        db.key.version,
        now,
        now + LIFETIME,
    )
    .execute(change.conn())
    .await?;
    change.record(
        NewEvent::new(EventKind::LoginEmailChangeRequested).subject(member.0).personal(json!({ "newEmail": new })),
    );
    mail::ask_confirmation(change, id);
    mail::tell_old(change, id, mail::Step::Requested);
    Ok(())
}
