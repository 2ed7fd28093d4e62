//! The account: founded, renamed, its policy.

use std::sync::Arc;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId, RoleId, UserId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::email_address;
use crate::infra::personal_domain::DomainPolicy;
use crate::license;
use crate::permission::SystemRole;
use crate::profile;
use crate::rate;

/// An account as its members see it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// IANA time zone in which its dates are meant.
    pub time_zone: String,
    /// When it was founded.
    pub created_at: Timestamp,
    /// Its owner.
    pub owner_id: MemberId,
    /// Its policy.
    pub policy: Policy,
    /// When it ends, if it is cancelled, or has ended.
    pub ends_at: Option<Timestamp>,
}

/// What an account decides for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Seconds an invitation can be accepted, from when a mail server took it.
    pub invitation_lifetime_seconds: i32,
    /// Whether free-mail addresses are refused.
    pub refuse_personal_domains: bool,
    /// Free-mail domains that are accepted all the same.
    pub allowed_personal_domains: Vec<String>,
    /// The only domains that are accepted; empty for any.
    pub allowed_domains: Vec<String>,
    /// Seconds of disuse after which a session ends.
    pub session_idle_seconds: i32,
    /// Seconds after which a session ends in any case.
    pub session_absolute_seconds: i32,
}

impl Policy {
    /// The part that judges addresses, with what the operator allows.
    pub fn domains(&self, db: &Db) -> DomainPolicy {
        let allowed_personal = self.allowed_personal_domains.iter().chain(db.allowed_personal_domains.iter());
        DomainPolicy {
            refuse_personal: self.refuse_personal_domains,
            allowed_personal: allowed_personal.cloned().collect(),
            allowed: self.allowed_domains.clone(),
        }
    }
}

/// Reads an account.
pub async fn read(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Account> {
    let row = sqlx::query!(
        "SELECT a.name, a.time_zone, a.created_at, a.invitation_lifetime_seconds, a.refuse_personal_domains,
                a.allowed_personal_domains, a.allowed_domains, a.session_idle_seconds, a.session_absolute_seconds,
                o.member_id AS owner_id, b.ends_at
         FROM account a JOIN account_owner o USING (account_id) JOIN account_billing b USING (account_id) WHERE a.account_id = $1",
        account.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(Account {
        account_id: account,
        name: row.name,
        time_zone: row.time_zone,
        created_at: row.created_at,
        owner_id: MemberId(row.owner_id),
        ends_at: row.ends_at,
        policy: Policy {
            invitation_lifetime_seconds: row.invitation_lifetime_seconds,
            refuse_personal_domains: row.refuse_personal_domains,
            allowed_personal_domains: row.allowed_personal_domains,
            allowed_domains: row.allowed_domains,
            session_idle_seconds: row.session_idle_seconds,
            session_absolute_seconds: row.session_absolute_seconds,
        },
    })
}

/// Who founds an account, and with what.
#[derive(Clone, Debug)]
pub struct Founding<'a> {
    /// The account's name.
    pub name: &'a str,
    /// Its time zone.
    pub time_zone: &'a str,
    /// Seats it is granted.
    pub base_seats: i32,
    /// Its owner.
    pub user_id: UserId,
    /// The owner's address.
    pub email: &'a str,
    /// The owner's first name.
    pub first_name: &'a str,
    /// The owner's last name.
    pub last_name: &'a str,
}

/// Founds an account: its roles, its pool, and its owner, an Administrator who holds a seat.
pub async fn found(change: &mut Change, founding: &Founding<'_>) -> Result<(AccountId, MemberId)> {
    let (account, owner, now) = (AccountId::new(), MemberId::new(), change.now());
    let billing = Arc::clone(&change.db().billing);
    let conn = change.conn();
    sqlx::query!(
        "INSERT INTO account (account_id, name, time_zone, created_at) VALUES ($1, $2, $3, $4)",
        account.0,
        founding.name,
        founding.time_zone,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("INSERT INTO account_feed (account_id) VALUES ($1)", account.0).execute(&mut *conn).await?;
    insert_system_roles(conn, account, now).await?;
    insert_owner(conn, account, owner, founding, now).await?;
    sqlx::query!(
        "WITH pool AS (INSERT INTO license_pool (account_id, product_id, granted, in_use) VALUES ($1, $2, $3, 1) RETURNING account_id),
              billing AS (INSERT INTO account_billing (account_id, currency, billing_interval, gateway) VALUES ($1, $6, $7, $8))
         INSERT INTO license_allocation (account_id, product_id, member_id, reserved, allocated_at)
         SELECT account_id, $2, $4, false, $5 FROM pool",
        account.0,
        license::BASE,
        founding.base_seats,
        owner.0,
        now,
        billing.currency,
        billing.interval.as_str(),
        billing.gateway,
    )
    .execute(conn)
    .await?;
    change.record_in(
        account,
        owner,
        NewEvent::new(EventKind::AccountCreated)
            .subject(owner.0)
            .detail(json!({ "name": founding.name, "seats": founding.base_seats }))
            .personal(
                json!({ "email": founding.email, "firstName": founding.first_name, "lastName": founding.last_name }),
            ),
    );
    Ok((account, owner))
}

async fn insert_system_roles(conn: &mut PgConnection, account: AccountId, now: Timestamp) -> Result<()> {
    let ids: Vec<Uuid> = SystemRole::ALL.iter().map(|role| role.id().0).collect();
    let names: Vec<String> = SystemRole::ALL.iter().map(|role| role.name().to_owned()).collect();
    let keys: Vec<String> = SystemRole::ALL.iter().map(|role| role.key().to_owned()).collect();
    sqlx::query!(
        "INSERT INTO role (account_id, role_id, name, system_key, created_at)
         SELECT $1, *, $5 FROM unnest($2::uuid[], $3::text[], $4::text[])",
        account.0,
        &ids,
        &names,
        &keys,
        now,
    )
    .execute(&mut *conn)
    .await?;
    let held = SystemRole::ALL
        .iter()
        .flat_map(|role| role.permissions().iter().map(|permission| (role.id().0, permission.key().to_owned())));
    let (roles, permissions): (Vec<Uuid>, Vec<String>) = held.unzip();
    sqlx::query!(
        "INSERT INTO role_permission (account_id, role_id, permission) SELECT $1, * FROM unnest($2::uuid[], $3::text[])",
        account.0,
        &roles,
        &permissions,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_owner(
    conn: &mut PgConnection,
    account: AccountId,
    owner: MemberId,
    founding: &Founding<'_>,
    now: Timestamp,
) -> Result<()> {
    let administrator: RoleId = SystemRole::Administrator.id();
    sqlx::query!(
        "WITH owner AS (
         INSERT INTO member (account_id, member_id, user_id, email, status, first_name, last_name, time_zone, created_at, joined_at)
         VALUES ($1, $2, $3, $4, 'ACTIVE', $5, $6, $7, $8, $8) RETURNING account_id, member_id)
         INSERT INTO member_activity (account_id, member_id) SELECT account_id, member_id FROM owner",
        account.0,
        owner.0,
        founding.user_id.0,
        founding.email,
        founding.first_name,
        founding.last_name,
        founding.time_zone,
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO member_role (account_id, member_id, role_id, assigned_at) VALUES ($1, $2, $3, $4)",
        account.0,
        owner.0,
        administrator.0,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("INSERT INTO account_owner (account_id, member_id) VALUES ($1, $2)", account.0, owner.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// A name an account may have: 1 to 100 characters without line breaks.
pub fn check_name(name: &str) -> Result<String> {
    Ok(profile::person_name(name)?)
}

/// A further account for somebody who is signed in. They become its owner, under the name they have here.
pub async fn create(
    change: &mut Change,
    actor: &Actor,
    name: &str,
    time_zone: Option<&str>,
    base_seats: i32,
) -> Result<AccountId> {
    let name = check_name(name).at("name")?;
    // A change of the login e-mail waits, and then moves the new place, too.
    sqlx::query!("SELECT 1 AS one FROM user_credential WHERE user_id = $1 FOR SHARE", actor.user_id.0)
        .fetch_optional(change.conn())
        .await?;
    change.standing(actor).await?;
    let (db, now) = (change.db().clone(), change.now());
    rate::hit(&db, change.conn(), rate::ACCOUNT_USER, &actor.user_id.to_string(), now).await??;
    let me = sqlx::query!(
        r#"SELECT m.email, m.first_name, m.last_name, coalesce(m.time_zone, a.time_zone) AS "time_zone!"
           FROM member m JOIN account a USING (account_id) WHERE m.account_id = $1 AND m.member_id = $2"#,
        actor.account_id.0,
        actor.member_id.0,
    )
    .fetch_one(change.conn())
    .await?;
    let time_zone = match time_zone {
        Some(zone) => field("timeZone", profile::time_zone(zone))?,
        None => me.time_zone,
    };
    let founding = Founding {
        name: &name,
        time_zone: &time_zone,
        base_seats,
        user_id: actor.user_id,
        email: &me.email,
        first_name: me.first_name.as_deref().unwrap_or_default(),
        last_name: me.last_name.as_deref().unwrap_or_default(),
    };
    let (account, _) = found(change, &founding).await?;
    Ok(account)
}

/// Renames the account at once; sessions remember the name they were opened under.
pub async fn rename(change: &mut Change, actor: &Actor, name: &str) -> Result<()> {
    let name = check_name(name).at("name")?;
    let account = change.account();
    let before = sqlx::query_scalar!("SELECT name FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    change.standing(actor).await?.may(Action::UpdateAccount, Target::Account)?;
    if before == name {
        return Ok(());
    }
    sqlx::query!("UPDATE account SET name = $2 WHERE account_id = $1", account.0, name).execute(change.conn()).await?;
    change.record(NewEvent::new(EventKind::AccountRenamed).detail(json!({ "before": before, "after": name })));
    Ok(())
}

/// What of the policy is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct PolicyUpdate {
    /// See [`Policy`]: one hour to 30 days.
    pub invitation_lifetime_seconds: Option<i32>,
    /// See [`Policy`].
    pub refuse_personal_domains: Option<bool>,
    /// See [`Policy`].
    pub allowed_personal_domains: Option<Vec<String>>,
    /// See [`Policy`].
    pub allowed_domains: Option<Vec<String>>,
    /// See [`Policy`]: five minutes to 90 days. Holds for sessions opened from now on.
    pub session_idle_seconds: Option<i32>,
    /// See [`Policy`]: five minutes to 365 days. Holds for sessions opened from now on.
    pub session_absolute_seconds: Option<i32>,
}

/// Changes the account's policy.
pub async fn update_policy(change: &mut Change, actor: &Actor, update: PolicyUpdate) -> Result<()> {
    let account = change.account();
    sqlx::query!("SELECT 1 AS one FROM account WHERE account_id = $1 FOR NO KEY UPDATE", account.0)
        .fetch_one(change.conn())
        .await?;
    change.standing(actor).await?.may(Action::UpdateAccount, Target::Account)?;
    let before = read(change.conn(), account).await?.policy;
    let after = Policy {
        invitation_lifetime_seconds: update.invitation_lifetime_seconds.unwrap_or(before.invitation_lifetime_seconds),
        refuse_personal_domains: update.refuse_personal_domains.unwrap_or(before.refuse_personal_domains),
        allowed_personal_domains: domains(update.allowed_personal_domains, &before.allowed_personal_domains)
            .at("allowedPersonalDomains")?,
        allowed_domains: domains(update.allowed_domains, &before.allowed_domains).at("allowedDomains")?,
        session_idle_seconds: update.session_idle_seconds.unwrap_or(before.session_idle_seconds),
        session_absolute_seconds: update.session_absolute_seconds.unwrap_or(before.session_absolute_seconds),
    };
    let ranges = [
        ("invitationLifetimeSeconds", after.invitation_lifetime_seconds, 3_600..=2_592_000),
        ("sessionIdleSeconds", after.session_idle_seconds, 300..=7_776_000),
        ("sessionAbsoluteSeconds", after.session_absolute_seconds, 300..=31_536_000),
    ];
    if let Some((name, ..)) = ranges.into_iter().find(|(_, value, range)| !range.contains(value)) {
        return Err(Refused::new(Code::OutOfRange).at(name).into());
    }
    if after == before {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE account SET invitation_lifetime_seconds = $2, refuse_personal_domains = $3, allowed_personal_domains = $4,
                allowed_domains = $5, session_idle_seconds = $6, session_absolute_seconds = $7 WHERE account_id = $1",
        account.0,
        after.invitation_lifetime_seconds,
        after.refuse_personal_domains,
        &after.allowed_personal_domains,
        &after.allowed_domains,
        after.session_idle_seconds,
        after.session_absolute_seconds,
    )
    .execute(change.conn())
    .await?;
    let show = |policy: &Policy| {
        json!({
            "invitationLifetimeSeconds": policy.invitation_lifetime_seconds,
            "refusePersonalDomains": policy.refuse_personal_domains,
            "allowedPersonalDomains": policy.allowed_personal_domains,
            "allowedDomains": policy.allowed_domains,
            "sessionIdleSeconds": policy.session_idle_seconds,
            "sessionAbsoluteSeconds": policy.session_absolute_seconds,
        })
    };
    change.record(
        NewEvent::new(EventKind::AccountPolicyUpdated)
            .detail(json!({ "before": show(&before), "after": show(&after) })),
    );
    Ok(())
}

/// Domains as they are compared: ASCII, lower case, each once, at most 100.
fn domains(given: Option<Vec<String>>, before: &[String]) -> Result<Vec<String>> {
    let Some(given) = given else { return Ok(before.to_vec()) };
    if given.len() > 100 {
        return Err(Code::TooMany.into());
    }
    let mut domains = Vec::with_capacity(given.len());
    for (index, domain) in given.iter().enumerate() {
        let ascii = email_address::normalise_domain(domain).map_err(|_| Refused::new(Code::InvalidDomain).at(index))?;
        domains.push(ascii.into_owned());
    }
    domains.sort_unstable();
    domains.dedup();
    Ok(domains)
}
