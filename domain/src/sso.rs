//! Single sign-on: whether the account's people sign in through an identity provider. Until one can be configured, the setting only
//! keeps people from changing their own login e-mail.

use std::collections::HashMap;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId};
use crate::infra::email_address::EmailAddress;

/// Exceptions an account may have.
const MAX_EXCEPTIONS: usize = 500;

/// An account's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether people do not change their own login e-mail.
    pub required: bool,
    /// Addresses of members who may all the same, as of now: a member's exception follows their address.
    pub exceptions: Vec<String>,
}

/// What is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct PolicyUpdate {
    /// See [`Policy`].
    pub required: Option<bool>,
    /// See [`Policy`]: the whole list.
    pub exceptions: Option<Vec<String>>,
}

/// Reads the setting.
pub async fn read(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Policy> {
    let row = sqlx::query!(
        r#"SELECT sso_required AS required,
                  ARRAY(SELECT m.email FROM sso_exception e JOIN member m USING (account_id, member_id)
                        WHERE e.account_id = a.account_id ORDER BY m.email) AS "exceptions!"
           FROM account a WHERE account_id = $1"#,
        account.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(Policy { required: row.required, exceptions: row.exceptions })
}

/// SSO_REQUIRED where a member may not change their own login e-mail.
pub(crate) async fn check_own_change(conn: &mut PgConnection, account: AccountId, member: MemberId) -> Result<()> {
    let refused = sqlx::query_scalar!(
        r#"SELECT sso_required AND NOT EXISTS (
               SELECT FROM sso_exception e WHERE e.account_id = a.account_id AND e.member_id = $2) AS "refused!"
           FROM account a WHERE account_id = $1"#,
        account.0,
        member.0,
    )
    .fetch_one(conn)
    .await?;
    if refused { Err(Code::SsoRequired.into()) } else { Ok(()) }
}

/// Changes the setting.
///
/// # Errors
/// NOT_PERMITTED; TOO_MANY, INVALID_EMAIL and NOT_FOUND (nobody in the account has the address) at `exceptions`.
pub async fn update(change: &mut Change, actor: &Actor, update: PolicyUpdate) -> Result<()> {
    actor.may(Action::UpdateAccount, Target::Account)?;
    let account = change.account();
    let before =
        sqlx::query_scalar!("SELECT sso_required FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
            .fetch_one(change.conn())
            .await?;
    let wanted = match &update.exceptions {
        Some(addresses) => Some(members_of(change, addresses).await.at("exceptions")?),
        None => None,
    };
    change.standing(actor).await?.may(Action::UpdateAccount, Target::Account)?;
    let after = update.required.unwrap_or(before);
    let (added, removed) = match wanted {
        Some(wanted) => set_exceptions(change, &wanted).await?,
        None => (Vec::new(), Vec::new()),
    };
    if after == before && added.is_empty() && removed.is_empty() {
        return Ok(());
    }
    sqlx::query!("UPDATE account SET sso_required = $2 WHERE account_id = $1", account.0, after)
        .execute(change.conn())
        .await?;
    let detail = json!({ "before": before, "after": after, "added": added, "removed": removed });
    change.record(NewEvent::new(EventKind::AccountSsoPolicyUpdated).detail(detail));
    Ok(())
}

/// The members who have some addresses, locked against going.
async fn members_of(change: &mut Change, addresses: &[String]) -> Result<Vec<MemberId>> {
    if addresses.len() > MAX_EXCEPTIONS {
        return Err(Code::TooMany.into());
    }
    let mut emails = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.iter().enumerate() {
        let email = EmailAddress::parse(address).map_err(|_| Refused::new(Code::InvalidEmail).at(index))?;
        emails.push(email.as_str().to_owned());
    }
    let account = change.account();
    let rows = sqlx::query!(
        r#"SELECT member_id AS "member_id: MemberId", email FROM member
           WHERE account_id = $1 AND email = ANY($2) ORDER BY member_id FOR KEY SHARE"#,
        account.0,
        &emails,
    )
    .fetch_all(change.conn())
    .await?;
    let found: HashMap<String, MemberId> = rows.into_iter().map(|row| (row.email, row.member_id)).collect();
    let member = |(index, email): (usize, &String)| {
        found.get(email).copied().ok_or_else(|| Error::from(Refused::new(Code::NotFound).at(index)))
    };
    emails.iter().enumerate().map(member).collect()
}

/// Makes the list this one; who is new on it, and who is no longer.
async fn set_exceptions(change: &mut Change, wanted: &[MemberId]) -> Result<(Vec<MemberId>, Vec<MemberId>)> {
    let account = change.account();
    let ids: Vec<Uuid> = wanted.iter().map(|member| member.0).collect();
    let removed = sqlx::query_scalar!(
        r#"DELETE FROM sso_exception WHERE account_id = $1 AND member_id <> ALL($2) RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    let added = sqlx::query_scalar!(
        r#"INSERT INTO sso_exception (account_id, member_id) SELECT DISTINCT $1::uuid, u.id FROM unnest($2::uuid[]) u(id)
           ON CONFLICT DO NOTHING RETURNING member_id AS "member_id: MemberId""#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok((added, removed))
}
