//! What an operator grants: licences that cost nothing.

use serde_json::json;

use super::{BASE, lock};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{Code, Detail, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::invitation;

/// Sets how many base seats are granted; licences of linked products follow.
///
/// # Errors
/// SEAT_SHORTAGE when more than that are in use; OUT_OF_RANGE below none, or when that leaves none at all.
pub async fn set_granted(change: &mut Change, granted: i32, reason: Option<&str>) -> Result<()> {
    lock(change).await?;
    invitation::lapse_overdue(change).await?;
    let account = change.account();
    let pools = sqlx::query!(
        r#"SELECT l.product_id, p.kind AS "kind: ProductKind", l.granted, l.trial + l.paid AS "others!", l.scheduled,
                  l.in_use + l.scheduled - l.named_held AS "needed!"
           FROM license_pool l JOIN product p USING (product_id)
           WHERE l.account_id = $1 AND p.kind <> 'ADD_ON' ORDER BY l.product_id"#,
        account.0,
    )
    .fetch_all(change.conn())
    .await?;
    let base = pools.iter().find(|pool| pool.kind == ProductKind::Base).expect("every account has base seats");
    if granted < 0 || granted + base.others - base.scheduled < 1 {
        return Err(Code::OutOfRange.into());
    }
    let by = granted - base.granted;
    for pool in &pools {
        // A linked product that was opened when there were more paid seats than today has no granted ones to give up.
        let after = (pool.granted + by).max(0);
        if pool.needed > after + pool.others {
            let detail = Detail::Seats { required: pool.needed, available: after + pool.others };
            return Err(Refused { detail, ..Refused::new(Code::SeatShortage) }.into());
        }
        sqlx::query!(
            "UPDATE license_pool SET granted = $3 WHERE account_id = $1 AND product_id = $2",
            account.0,
            pool.product_id,
            after,
        )
        .execute(change.conn())
        .await?;
    }
    let event =
        NewEvent::new(EventKind::SeatsSet).detail(json!({ "before": base.granted, "after": granted, "product": BASE }));
    change.record(match reason {
        Some(reason) => event.personal(json!({ "reason": reason })),
        None => event,
    });
    Ok(())
}
