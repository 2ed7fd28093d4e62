//! Notices that few licences are left: once, until their use changes.

use sqlx::PgConnection;

use crate::billing::notice::{self, Notice};
use crate::change::Change;
use crate::error::Result;
use crate::id::AccountId;

/// With so few left of so many the owner and those who manage licences are told: of up to 15 one, of up to 25 two, of up to 99 a tenth,
/// of up to 999 8 %, beyond 5 %, rounded down.
pub fn is_low(owned: i32, available: i32) -> bool {
    available <= threshold(owned)
}

fn threshold(owned: i32) -> i32 {
    match owned {
        ..=15 => 1,
        16..=25 => 2,
        26..=99 => owned / 10,
        100..=999 => i32::try_from(i64::from(owned) * 8 / 100).unwrap_or(i32::MAX),
        _ => owned / 20,
    }
}

/// Asks for the notices of the change's account. Returns how many.
pub async fn notify_low(change: &mut Change) -> Result<usize> {
    let account = change.account();
    let pools = sqlx::query!(
        r#"SELECT product_id, granted + trial + paid AS "owned!", in_use, granted + trial + paid - in_use - (scheduled - named_held) AS "available!"
           FROM license_pool WHERE account_id = $1 AND NOT closing AND alerted_in_use IS DISTINCT FROM in_use
           ORDER BY product_id FOR NO KEY UPDATE"#,
        account.0,
    )
    .fetch_all(change.conn())
    .await?;
    let mut told = 0;
    for pool in pools.iter().filter(|pool| is_low(pool.owned, pool.available)) {
        sqlx::query!(
            "UPDATE license_pool SET alerted_in_use = in_use WHERE account_id = $1 AND product_id = $2",
            account.0,
            pool.product_id,
        )
        .execute(change.conn())
        .await?;
        notice::enqueue(change, &Notice::SeatsLow { product_id: pool.product_id.clone(), in_use: pool.in_use }).await?;
        told += 1;
    }
    Ok(told)
}

/// What the notice says.
#[derive(Clone, Debug)]
pub struct LowMail {
    /// The product's name.
    pub product: String,
    /// Owned.
    pub owned: i32,
    /// Free.
    pub available: i32,
}

/// Reads what the notice says; `None` when enough are free by now.
pub async fn mail(conn: &mut PgConnection, account: AccountId, product: &str) -> sqlx::Result<Option<LowMail>> {
    let pool = sqlx::query_as!(
        LowMail,
        r#"SELECT p.name AS product, l.granted + l.trial + l.paid AS "owned!",
                  l.granted + l.trial + l.paid - l.in_use - (l.scheduled - l.named_held) AS "available!"
           FROM license_pool l JOIN product p USING (product_id) WHERE l.account_id = $1 AND l.product_id = $2"#,
        account.0,
        product,
    )
    .fetch_optional(conn)
    .await?;
    Ok(pool.filter(|pool| is_low(pool.owned, pool.available)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_fewer_of_fewer() {
        let of = [(1, 1), (15, 1), (16, 2), (25, 2), (26, 2), (99, 9), (100, 8), (999, 79), (1_000, 50), (10_000, 500)];
        for (owned, left) in of {
            assert!(is_low(owned, left) && !is_low(owned, left + 1), "{left} of {owned}");
        }
    }
}
