//! Rates: what an hour of a group's members on a resource costs.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::manage::{lock, lock_groups};
use crate::actor::{Action, Asker, Asks as _, inside};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{GroupId, MemberId, ResourceId};
use crate::infra::clock::Timestamp;
use crate::infra::money::{Currency, Money};

/// The rate of a group on a resource.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The group.
    pub group_id: GroupId,
    /// Per hour.
    pub money: Money,
    /// When it was set to this amount.
    pub set_at: Timestamp,
}

/// Which rule chose a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It is the only one.
    Only,
    /// It is the highest.
    Highest,
    /// Of those that are the highest it is the oldest.
    Oldest,
}

/// The rate that holds for a member on a resource.
#[derive(Clone, Debug)]
pub struct EffectiveRate {
    /// The rate.
    pub rate: Rate,
    /// Why this one.
    pub decided: Decided,
}

/// A stored amount.
///
/// # Errors
/// Only when the database holds a currency that the program does not know.
pub(super) fn money(minor: i64, currency: &str) -> sqlx::Result<Money> {
    let known =
        Currency::parse(currency).map_err(|_| sqlx::Error::Decode(format!("no currency: {currency}").into()))?;
    Ok(Money { minor, currency: known })
}

/// Sets what an hour of a group's members on a resource costs. All rates of a resource are in one currency.
///
/// # Errors
/// NOT_PERMITTED; NOT_FOUND and ARCHIVED at `resourceId` or `groupId`; GROUP_EXCLUDED; CURRENCY_MISMATCH and, for less than nothing,
/// OUT_OF_RANGE at `rate`.
pub async fn set_rate(
    change: &mut Change,
    asker: &Asker,
    resource: ResourceId,
    group: GroupId,
    rate: Money,
) -> Result<()> {
    asker.may(Action::ManageResources)?;
    if rate.minor < 0 {
        return Err(Refused::new(Code::OutOfRange).at("amount").at("rate").into());
    }
    let groups = lock_groups(change, &[group]).await?;
    let locked = lock(change, resource).await.at("resourceId")?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    inside(&reach, locked.unit_id.as_slice()).at("resourceId")?;
    if locked.archived {
        return Err(Refused::new(Code::Archived).at("resourceId").into());
    }
    let code = match groups.get(&group.0) {
        None => Some(Code::NotFound),
        Some(group) if group.archived => Some(Code::Archived),
        Some(group) if group.excluded => Some(Code::GroupExcluded),
        Some(_) => None,
    };
    if let Some(code) = code {
        return Err(Refused::new(code).at("groupId").into());
    }
    let (account, now) = (change.account(), change.now());
    let before = rates(change, resource).await?;
    if before.iter().any(|other| other.group_id != group && other.money.currency != rate.currency) {
        return Err(Refused::new(Code::CurrencyMismatch).at("currency").at("rate").into());
    }
    let before = before.into_iter().find(|other| other.group_id == group).map(|other| other.money);
    if before == Some(rate) {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO resource_rate (account_id, resource_id, group_id, amount, currency, set_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (account_id, resource_id, group_id) DO UPDATE SET amount = $4, currency = $5, set_at = $6",
        account.0,
        resource.0,
        group.0,
        rate.minor,
        rate.currency.code(),
        now,
    )
    .execute(change.conn())
    .await?;
    record(change, EventKind::ResourceRateSet, resource, group, before, Some(rate));
    Ok(())
}

/// Removes the rate of a group on a resource; nothing happens where there is none.
///
/// # Errors
/// NOT_PERMITTED; NOT_FOUND at `resourceId` or `groupId`.
pub async fn remove_rate(change: &mut Change, asker: &Asker, resource: ResourceId, group: GroupId) -> Result<()> {
    asker.may(Action::ManageResources)?;
    let groups = lock_groups(change, &[group]).await?;
    let locked = lock(change, resource).await.at("resourceId")?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    inside(&reach, locked.unit_id.as_slice()).at("resourceId")?;
    if !groups.contains_key(&group.0) {
        return Err(Refused::new(Code::NotFound).at("groupId").into());
    }
    let account = change.account();
    let removed = sqlx::query!(
        "DELETE FROM resource_rate WHERE account_id = $1 AND resource_id = $2 AND group_id = $3 RETURNING amount, currency",
        account.0,
        resource.0,
        group.0,
    )
    .fetch_optional(change.conn())
    .await?;
    if let Some(removed) = removed {
        let before = money(removed.amount, &removed.currency)?;
        record(change, EventKind::ResourceRateRemoved, resource, group, Some(before), None);
    }
    Ok(())
}

fn record(
    change: &mut Change,
    kind: EventKind,
    resource: ResourceId,
    group: GroupId,
    before: Option<Money>,
    after: Option<Money>,
) {
    let shown = |money: Option<Money>| -> Value {
        money.map(|money| json!({ "amount": money.amount(), "currency": money.currency.code() })).unwrap_or_default()
    };
    let detail = json!({ "group": group, "before": shown(before), "after": shown(after) });
    change.record(NewEvent::new(kind).subject(resource.0).detail(detail));
}

async fn rates(change: &mut Change, resource: ResourceId) -> Result<Vec<Rate>> {
    let account = change.account();
    let rows = sqlx::query!(
        r#"SELECT group_id AS "group_id: GroupId", amount, currency, set_at
           FROM resource_rate WHERE account_id = $1 AND resource_id = $2"#,
        account.0,
        resource.0,
    )
    .fetch_all(change.conn())
    .await?;
    let rate = |(group_id, amount, currency, set_at): (GroupId, i64, String, Timestamp)| {
        Ok(Rate { group_id, money: money(amount, &currency)?, set_at })
    };
    rows.into_iter().map(|row| rate((row.group_id, row.amount, row.currency, row.set_at))).collect()
}

/// The rate that holds for a member on a resource: of the groups they are in that are neither archived nor excluded from custom rates
/// the highest, then the oldest. None without any, and for a resource that is not the asker's to see.
///
/// # Errors
/// NOT_PERMITTED without `resources.read` or the scope.
pub async fn effective_rate(
    conn: &mut PgConnection,
    asker: &Asker,
    member: MemberId,
    resource: ResourceId,
) -> Result<Option<EffectiveRate>> {
    asker.may(Action::ReadResources)?;
    let (everywhere, units) = asker.reach(Action::ReadResources).parts();
    let rows = sqlx::query!(
        r#"SELECT t.group_id AS "group_id: GroupId", t.amount, t.currency, t.set_at
           FROM resource r JOIN resource_rate t USING (account_id, resource_id)
           JOIN member_group g USING (account_id, group_id) JOIN group_member y USING (account_id, group_id)
           WHERE r.account_id = $1 AND r.resource_id = $2 AND y.member_id = $3 AND g.archived_at IS NULL
             AND NOT g.excluded_from_custom_rates AND ($4 OR r.unit_id = ANY($5))
           ORDER BY t.amount DESC, t.set_at, t.group_id LIMIT 2"#,
        asker.account().0,
        resource.0,
        member.0,
        everywhere,
        &units,
    )
    .fetch_all(conn)
    .await?;
    let decided = match rows.as_slice() {
        [] => return Ok(None),
        [_] => Decided::Only,
        [first, second, ..] if first.amount > second.amount => Decided::Highest,
        _ => Decided::Oldest,
    };
    let first = &rows[0];
    let rate = Rate { group_id: first.group_id, money: money(first.amount, &first.currency)?, set_at: first.set_at };
    Ok(Some(EffectiveRate { rate, decided }))
}
