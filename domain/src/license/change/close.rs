//! Closing products.

use super::{NewChange, facts, insert, name, told};
use crate::actor::{Action, Actor, Target};
use crate::billing::period::Period;
use crate::billing::{self, Billing};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::event::EventKind;
use crate::id::{ChangeId, MemberId};
use crate::infra::clock::Date;
use crate::license::terms::{Named, Reduction, Terms};
use crate::license::{BASE, lock, take_back};
use crate::member::Status;

/// Closes a linked product at the period's end; until then its holders keep theirs, and nobody is given one.
///
/// # Errors
/// NOT_PERMITTED; at `productId` NOT_FOUND, PRODUCT_CLOSING, NOT_LINKED; BILLING_CATCHING_UP.
pub async fn disable(change: &mut Change, actor: &Actor, product: &str) -> Result<ChangeId> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let now = change.now();
    let billing = billing::lock(change).await?;
    lock(change).await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::ManageLicenses, Target::Account)?;
    if billing.period.as_ref().is_some_and(|period| period.ends_at <= now) {
        return Err(Code::BillingCatchingUp.into());
    }
    let account = change.account();
    let pools = billing::pool_states(change.conn(), account).await?;
    let refused = |code| Error::from(Refused::new(code).at("productId"));
    let pool = pools.get(product).ok_or_else(|| refused(Code::NotFound))?;
    if pool.kind != ProductKind::Linked {
        return Err(refused(Code::NotLinked));
    }
    if pool.closing {
        return Err(refused(Code::ProductClosing));
    }
    close(change, &billing, product, pool.paid - pool.scheduled, Some(actor.member_id)).await
}

/// Closes a product that was not paid for, at the period's end.
pub(crate) async fn close_product(change: &mut Change, billing: &Billing, product: &str) -> Result<()> {
    lock(change).await?;
    let account = change.account();
    let pools = billing::pool_states(change.conn(), account).await?;
    if let Some(pool) = pools.get(product).filter(|pool| !pool.closing && product != BASE) {
        close(change, billing, product, pool.paid - pool.scheduled, None).await?;
    }
    Ok(())
}

/// All paid licences that are not yet about to be removed go; those that are held are named by the closing itself.
async fn close(
    change: &mut Change,
    billing: &Billing,
    product: &str,
    quantity: i32,
    by: Option<MemberId>,
) -> Result<ChangeId> {
    let (account, today) = (change.account(), Date::at(change.now(), &billing.time_zone));
    let mut terms = closing_terms(billing, product, quantity, today);
    terms.named = holders(change, product, quantity).await?;
    let new = NewChange {
        kind: "DISABLE",
        status: "SCHEDULED",
        quote_id: None,
        product_id: Some(product),
        quantity,
        net: 0,
        tax: 0,
        currency: &terms.currency,
        terms: serde_json::to_value(&terms).expect("plain data"),
        requested_by: by,
        effective_on: terms.effective_on,
    };
    let id = insert(change, new).await?;
    name(change, id, &terms).await?;
    sqlx::query!(
        "UPDATE license_pool SET closing = true WHERE account_id = $1 AND product_id = $2",
        account.0,
        product
    )
    .execute(change.conn())
    .await?;
    told(change, EventKind::LicenseChangeScheduled, id, facts("DISABLE", &terms));
    if terms.opens_period {
        // Nothing is paid for, so there is no period to wait for.
        super::take_effect(change, today).await?;
    }
    Ok(id)
}

fn closing_terms(billing: &Billing, product: &str, quantity: i32, today: Date) -> Terms {
    let period = billing.period.clone().unwrap_or_else(|| Period::first(billing, today));
    Terms {
        currency: period.currency.clone(),
        interval: billing.interval,
        opens_period: billing.period.is_none(),
        effective_on: if billing.period.is_some() { period.ends_on } else { today },
        tax_rate: billing.tax_rate,
        lines: Vec::new(),
        reductions: vec![Reduction { product_id: product.to_owned(), quantity }],
        named: Vec::new(),
        pools: Vec::new(),
        next: None,
        plan_currency: billing.currency.clone(),
        period,
    }
}

/// So many holders of a product who are not named by another change.
async fn holders(change: &mut Change, product: &str, count: i32) -> Result<Vec<Named>> {
    let account = change.account();
    let rows = sqlx::query!(
        r#"SELECT a.member_id AS "member_id: MemberId", m.status AS "status: Status" FROM license_allocation a
           JOIN member m USING (account_id, member_id)
           WHERE a.account_id = $1 AND a.product_id = $2
             AND NOT EXISTS (SELECT FROM license_named n WHERE n.account_id = $1 AND n.product_id = $2 AND n.member_id = a.member_id)
           ORDER BY a.member_id LIMIT $3"#,
        account.0,
        product,
        i64::from(count),
    )
    .fetch_all(change.conn())
    .await?;
    let named = rows.into_iter().map(|row| Named {
        product_id: product.to_owned(),
        member_id: row.member_id,
        successor_id: None,
        status: row.status,
    });
    Ok(named.collect())
}

/// Takes all licences of a product that is closed from whoever still holds one.
pub(super) async fn close_pool(change: &mut Change, product: &str) -> Result<()> {
    let account = change.account();
    let holders = sqlx::query_scalar!(
        r#"SELECT member_id AS "member_id: MemberId" FROM license_allocation WHERE account_id = $1 AND product_id = $2"#,
        account.0,
        product,
    )
    .fetch_all(change.conn())
    .await?;
    take_back(change, product, &holders).await?;
    sqlx::query!("DELETE FROM license_pool WHERE account_id = $1 AND product_id = $2", account.0, product)
        .execute(change.conn())
        .await?;
    Ok(())
}
