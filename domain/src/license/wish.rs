//! Add-ons that an invitation wishes for: given when the person accepts, if any is free then; otherwise administrators are told.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::allocate;
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{InvitationId, MemberId};

/// Add-ons that one invitation wishes for at most.
const MAX_WISHES: usize = 20;

/// The add-ons that can be wished for.
pub(crate) async fn sold(conn: &mut PgConnection) -> sqlx::Result<BTreeSet<String>> {
    let keys = sqlx::query_scalar!("SELECT product_id FROM product WHERE kind = 'ADD_ON' AND withdrawn_at IS NULL");
    Ok(keys.fetch_all(conn).await?.into_iter().collect())
}

/// Whether a wish can be written down.
///
/// # Errors
/// At `productIds` TOO_MANY; NOT_FOUND where one is no add-on that is sold; DUPLICATE.
pub(crate) fn check(wished: &[String], sold: &BTreeSet<String>) -> Result<(), Refused> {
    let distinct: BTreeSet<&String> = wished.iter().collect();
    let code = if wished.len() > MAX_WISHES {
        Code::TooMany
    } else if distinct.len() < wished.len() {
        Code::Duplicate
    } else if !wished.iter().all(|product| sold.contains(product)) {
        Code::NotFound
    } else {
        return Ok(());
    };
    Err(Refused::new(code).at("productIds"))
}

/// Writes down what invitations wish for.
pub(crate) async fn write(change: &mut Change, wishes: &[(InvitationId, &[String])]) -> Result<()> {
    let account = change.account();
    let rows = wishes.iter().flat_map(|(id, products)| products.iter().map(|product| (id.0, product.clone())));
    let (ids, products): (Vec<Uuid>, Vec<String>) = rows.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO license_wish (account_id, invitation_id, product_id) SELECT $1, * FROM unnest($2::uuid[], $3::text[])",
        account.0,
        &ids,
        &products,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Locks the pools that wishes may take from: before members.
pub(crate) async fn lock(change: &mut Change, wishes: &[String]) -> Result<()> {
    if wishes.is_empty() { Ok(()) } else { super::lock(change).await }
}

/// Gives whoever has just joined what their invitation wished for; what is not free is told in the feed. The pools must be locked.
pub(crate) async fn grant(change: &mut Change, member: MemberId, wishes: &[String]) -> Result<()> {
    let mut missing = Vec::new();
    for product in wishes {
        if !allocate::give_if_free(change, product, member).await? {
            missing.push(product);
        }
    }
    if !missing.is_empty() {
        let detail = json!({ "products": missing });
        change.record(NewEvent::new(EventKind::LicenseWishUnmet).subject(member.0).detail(detail));
    }
    Ok(())
}
