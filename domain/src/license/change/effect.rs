//! What takes effect at a period's end.

use super::{ChangeKind, Waiting, close, facts, resolve, told, unname, waiting};
use crate::change::Change;
use crate::error::Result;
use crate::event::EventKind;
use crate::id::{ChangeId, MemberId};
use crate::infra::clock::Date;
use crate::license::terms::Terms;
use crate::license::{BASE, take_back};
use crate::member::life;

/// What takes effect at a period's end: removals and closings first, then the plan. Billing and pools must be locked.
pub(crate) async fn take_effect(change: &mut Change, on: Date) -> Result<()> {
    let account = change.account();
    let due = sqlx::query_scalar!(
        r#"SELECT change_id AS "change_id: ChangeId" FROM license_change
           WHERE account_id = $1 AND status = 'SCHEDULED' AND effective_on <= $2 ORDER BY created_at, change_id"#,
        account.0,
        on as Date,
    )
    .fetch_all(change.conn())
    .await?;
    for id in due {
        let Some(waiting) = waiting(change, id, "SCHEDULED").await? else { continue };
        if waiting.kind == ChangeKind::Plan {
            set_plan(change, &waiting.terms).await?;
        } else {
            take_away(change, id, &waiting).await?;
        }
        resolve(change, id, "APPLIED", None).await?;
        let kind = match waiting.kind {
            ChangeKind::Disable => "DISABLE",
            ChangeKind::Plan => "PLAN",
            _ => "REMOVE",
        };
        told(change, EventKind::LicenseChangeApplied, id, facts(kind, &waiting.terms));
    }
    Ok(())
}

/// Takes licences from those who are still named, and fewer are paid for.
async fn take_away(change: &mut Change, id: ChangeId, waiting: &Waiting) -> Result<()> {
    let account = change.account();
    let named = sqlx::query!(
        r#"SELECT product_id, member_id AS "member_id: MemberId", successor_id AS "successor_id: MemberId"
           FROM license_named WHERE account_id = $1 AND change_id = $2 ORDER BY member_id"#,
        account.0,
        id.0,
    )
    .fetch_all(change.conn())
    .await?;
    let leavers: Vec<(MemberId, Option<MemberId>)> =
        named.iter().filter(|row| row.product_id == BASE).map(|row| (row.member_id, row.successor_id)).collect();
    // Whoever is taken out gives everything back, linked licences as well.
    life::take_out_named(change, &leavers).await?;
    unname(change, id, &waiting.terms).await?;
    for reduction in &waiting.terms.reductions {
        let holders: Vec<MemberId> = named
            .iter()
            .filter(|row| row.product_id == reduction.product_id && reduction.product_id != BASE)
            .map(|row| row.member_id)
            .collect();
        take_back(change, &reduction.product_id, &holders).await?;
        sqlx::query!(
            "UPDATE license_pool SET paid = paid - $3 WHERE account_id = $1 AND product_id = $2",
            account.0,
            reduction.product_id,
            reduction.quantity,
        )
        .execute(change.conn())
        .await?;
    }
    if waiting.kind == ChangeKind::Disable {
        for reduction in &waiting.terms.reductions {
            close::close_pool(change, &reduction.product_id).await?;
        }
    }
    Ok(())
}

pub(super) async fn set_plan(change: &mut Change, terms: &Terms) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "UPDATE account_billing SET currency = $2, billing_interval = $3, version = version + 1 WHERE account_id = $1",
        account.0,
        terms.plan_currency,
        terms.interval.as_str(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
