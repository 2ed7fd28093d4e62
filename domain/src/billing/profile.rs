//! To whom statements are issued, and by which means they are paid.

use serde_json::json;
use sqlx::PgConnection;

use crate::actor::{Action, Actor, Target};
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::email_address::EmailAddress;

/// Characters of a firm's name.
const MAX_NAME: usize = 200;
/// Characters of its address.
const MAX_ADDRESS: usize = 1_000;
/// Characters of its tax id.
const MAX_TAX_ID: usize = 50;
/// Characters of a payment method's name.
const MAX_METHOD: usize = 200;

/// What an account tells about itself as a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The firm's name on statements.
    pub name: Option<String>,
    /// Its address, with line breaks.
    pub address: Option<String>,
    /// Its tax id.
    pub tax_id: Option<String>,
    /// Where statements are sent beside the owner and those who manage billing.
    pub email: Option<String>,
    /// How it pays, as the gateway names it.
    pub payment_method: Option<String>,
    /// Which gateway collects.
    pub gateway: String,
    /// Tax, in parts of a million of the net amount.
    pub tax_rate: i32,
    /// ISO 4217.
    pub currency: String,
    /// `MONTH` or `YEAR`.
    pub interval: String,
    /// Grows with each change.
    pub version: i32,
    /// When the account is to end, or did.
    pub ends_at: Option<Timestamp>,
}

/// Reads it.
pub async fn read(conn: &mut PgConnection, account: AccountId, default_rate: i32) -> sqlx::Result<Profile> {
    let row = sqlx::query!(
        "SELECT name, address, tax_id, email, payment_method, gateway, tax_rate, currency, billing_interval, version, ends_at
         FROM account_billing WHERE account_id = $1",
        account.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(Profile {
        name: row.name,
        address: row.address,
        tax_id: row.tax_id,
        email: row.email,
        payment_method: row.payment_method,
        gateway: row.gateway,
        tax_rate: row.tax_rate.unwrap_or(default_rate),
        currency: row.currency,
        interval: row.billing_interval,
        version: row.version,
        ends_at: row.ends_at,
    })
}

/// What changes; what is `None` stays, an empty text clears.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// [`Profile::name`]
    pub name: Option<String>,
    /// [`Profile::address`]
    pub address: Option<String>,
    /// [`Profile::tax_id`]
    pub tax_id: Option<String>,
    /// [`Profile::email`]
    pub email: Option<String>,
    /// [`Profile::payment_method`]
    pub payment_method: Option<String>,
    /// The version that the change is based on.
    pub expected_version: Option<i32>,
}

impl Update {
    /// The profile with what changes.
    fn on(&self, before: &Profile) -> Result<Profile, Refused> {
        let address = self.address.as_ref().map(|text| text.replace("\r\n", "\n"));
        let email = match self.email.as_deref().map(str::trim) {
            None => before.email.clone(),
            Some("") => None,
            Some(text) => {
                let parsed = EmailAddress::parse(text).map_err(|_| Refused::new(Code::InvalidEmail).at("email"))?;
                Some(parsed.as_str().to_owned())
            }
        };
        Ok(Profile {
            name: text("name", self.name.as_deref(), before.name.as_deref(), MAX_NAME)?,
            address: text("address", address.as_deref(), before.address.as_deref(), MAX_ADDRESS)?,
            tax_id: text("taxId", self.tax_id.as_deref(), before.tax_id.as_deref(), MAX_TAX_ID)?,
            email,
            payment_method: text(
                "paymentMethod",
                self.payment_method.as_deref(),
                before.payment_method.as_deref(),
                MAX_METHOD,
            )?,
            ..before.clone()
        })
    }
}

/// A text as it will be: what was given, or what is held. Only an address has lines.
fn text(field: &str, given: Option<&str>, held: Option<&str>, limit: usize) -> Result<Option<String>, Refused> {
    let Some(given) = given.map(str::trim) else { return Ok(held.map(str::to_owned)) };
    let breaks = |c: char| c == '\n' && field == "address";
    if given.chars().count() > limit {
        return Err(Refused::new(Code::TooLong).at(field));
    }
    if given.chars().any(|c| c.is_control() && !breaks(c)) {
        return Err(Refused::new(Code::InvalidCharacters).at(field));
    }
    Ok((!given.is_empty()).then(|| given.to_owned()))
}

impl Profile {
    /// Names of the fields in which another one differs, as the API calls them.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("name", self.name != other.name),
            ("address", self.address != other.address),
            ("taxId", self.tax_id != other.tax_id),
            ("email", self.email != other.email),
            ("paymentMethod", self.payment_method != other.payment_method),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// Changes it, for statements that are issued from now on.
///
/// # Errors
/// NOT_PERMITTED, VERSION_CONFLICT; TOO_LONG, INVALID_CHARACTERS and INVALID_EMAIL at the fields.
pub async fn update(change: &mut Change, actor: &Actor, update: &Update) -> Result<()> {
    actor.may(Action::ManageBilling, Target::Account)?;
    super::lock(change).await?;
    change.standing(actor).await?.may(Action::ManageBilling, Target::Account)?;
    let account = change.account();
    let before = read(change.conn(), account, 0).await?;
    if update.expected_version.is_some_and(|expected| expected != before.version) {
        return Err(Refused::new(Code::VersionConflict).at("expectedVersion").into());
    }
    let after = update.on(&before)?;
    if after == before {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE account_billing SET name = $2, address = $3, tax_id = $4, email = $5, payment_method = $6, version = version + 1
         WHERE account_id = $1",
        account.0,
        after.name,
        after.address,
        after.tax_id,
        after.email,
        after.payment_method,
    )
    .execute(change.conn())
    .await?;
    let fields = before.differences(&after);
    change.record(NewEvent::new(EventKind::BillingProfileUpdated).detail(json!({ "fields": fields })));
    Ok(())
}

/// Who is told about money: the owner, and active members who may manage billing for the whole account.
pub async fn recipients(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<MemberId>> {
    sqlx::query_scalar!(
        r#"SELECT m.member_id AS "member_id!: MemberId" FROM member m
           WHERE m.account_id = $1 AND m.status = 'ACTIVE'
             AND (EXISTS (SELECT FROM account_owner o WHERE o.account_id = m.account_id AND o.member_id = m.member_id)
                  OR EXISTS (SELECT FROM member_role r JOIN role_permission p USING (account_id, role_id)
                             WHERE r.account_id = m.account_id AND r.member_id = m.member_id AND r.unit_ref IS NULL
                               AND p.permission = 'billing.manage'))
           ORDER BY m.member_id"#,
        account.0,
    )
    .fetch_all(conn)
    .await
}
