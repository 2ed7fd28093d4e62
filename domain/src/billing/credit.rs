//! Credits: what an operator gives back. Each is taken off the account's next statements, as far as there is something to pay on them, and
//! what is left of it waits for the one after: so no statement is negative, and nothing of a credit is lost.

use serde_json::json;
use sqlx::PgConnection;

use super::period::Period;
use super::proration::{MILLION, tax};
use super::statement::{self, LineKind, NewLine};
use super::{Billing, lock};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, CreditId};
use crate::infra::money::{Money, told};

/// Characters of a reason.
const REASON_CHARS: usize = 200;

/// Gives a credit, whose amount is without tax: that goes back along with it, at the account's rate when it is used.
///
/// # Errors
/// NOT_FOUND at `productId`; INVALID_AMOUNT at `amount`, for one that is not positive; WRONG_CURRENCY at `currency`, for another than the
/// account's plan has; REQUIRED and TOO_LONG at `reason`; ACCOUNT_READ_ONLY for an account that has ended.
pub async fn give(change: &mut Change, product: &str, amount: Money, reason: &str) -> Result<CreditId> {
    let billing = lock(change).await?;
    let (account, now, id, reason) = (change.account(), change.now(), CreditId::new(), reason.trim());
    if billing.ended {
        return Err(Code::AccountReadOnly.into());
    }
    if amount.currency.code() != billing.currency {
        return Err(Refused::wanting(&billing.currency).at("currency").into());
    }
    if amount.minor <= 0 {
        return Err(Refused::new(Code::InvalidAmount).at("amount").into());
    }
    match reason.chars().count() {
        0 => return Err(Refused::new(Code::Required).at("reason").into()),
        chars if chars > REASON_CHARS => return Err(Refused::new(Code::TooLong).at("reason").into()),
        _ => {}
    }
    let given = sqlx::query!(
        "INSERT INTO billing_credit (account_id, credit_id, product_id, currency, net, reason, created_at)
         SELECT $1, $2, product_id, $4, $5, $6, $7 FROM product WHERE product_id = $3",
        account.0,
        id.0,
        product,
        billing.currency,
        amount.minor,
        reason,
        now,
    )
    .execute(change.conn())
    .await?;
    if given.rows_affected() == 0 {
        return Err(Refused::new(Code::NotFound).at("productId").into());
    }
    let detail = json!({ "product": product, "amount": told(amount.minor, &billing.currency), "reason": reason });
    change.record(NewEvent::new(EventKind::CreditGiven).subject(id.0).detail(detail));
    Ok(id)
}

/// A credit that is not used up.
struct Left {
    credit_id: CreditId,
    product_id: String,
    /// Minor units, without tax.
    amount: i64,
}

/// What is left of an account's credits in a currency, the oldest first.
async fn left(conn: &mut PgConnection, account: AccountId, currency: &str) -> sqlx::Result<Vec<Left>> {
    sqlx::query_as!(
        Left,
        r#"SELECT credit_id AS "credit_id: CreditId", product_id, net - used AS "amount!" FROM billing_credit
           WHERE account_id = $1 AND used < net AND currency = $2 ORDER BY created_at, credit_id"#,
        account.0,
        currency,
    )
    .fetch_all(conn)
    .await
}

/// Takes credits off the draft before it is issued, for the period that has ended. Billing must be locked.
pub(super) async fn apply(change: &mut Change, billing: &Billing, ended: &Period, currency: &str) -> Result<()> {
    let (account, rate) = (change.account(), billing.tax_rate);
    let credits = left(change.conn(), account, currency).await?;
    if credits.is_empty() {
        return Ok(());
    }
    let draft = statement::draft(change.conn(), account).await?.ok_or(Error::Stale)?;
    let taxed = draft.taxed.get(&rate).copied().unwrap_or_default();
    let shares = shares(&credits, draft.net + draft.tax - draft.paid, taxed, rate);
    for (credit, net) in credits.into_iter().zip(shares).filter(|(_, net)| *net > 0) {
        let used = sqlx::query!(
            "UPDATE billing_credit SET used = used + $3 WHERE account_id = $1 AND credit_id = $2",
            account.0,
            credit.credit_id.0,
            net,
        );
        used.execute(change.conn()).await?;
        let line = NewLine {
            kind: LineKind::Credit,
            product_id: credit.product_id,
            quantity: 1,
            unit_price: -net,
            from_on: ended.starts_on,
            until_on: ended.ends_on,
            of_days: ended.days(),
            net: -net,
            tax_rate: rate,
            fixed_tax: None,
            paid: false,
            change_id: None,
            credit_id: Some(credit.credit_id),
        };
        statement::add(change, currency, &[line]).await?;
    }
    Ok(())
}

/// What credits would take off a statement with so much unpaid, tax included, of which `taxed` bears tax at the rate: without tax, and
/// the tax.
pub(crate) async fn outlook(
    conn: &mut PgConnection,
    account: AccountId,
    currency: &str,
    (unpaid, taxed, rate): (i64, i64, i32),
) -> sqlx::Result<(i64, i64)> {
    let credits = left(conn, account, currency).await?;
    let net: i64 = shares(&credits, unpaid, taxed, rate).into_iter().sum();
    Ok((net, -tax(taxed, -net, rate)))
}

/// How much is taken of each.
fn shares(credits: &[Left], mut unpaid: i64, mut taxed: i64, rate: i32) -> Vec<i64> {
    let share = |credit: &Left| {
        let net = most(credit.amount, unpaid, taxed, rate);
        unpaid -= net - tax(taxed, -net, rate);
        taxed -= net;
        net
    };
    credits.iter().map(share).collect()
}

/// The most of `left` that can be taken off where so much is unpaid, tax included, and `taxed` bears tax at the rate.
fn most(left: i64, unpaid: i64, taxed: i64, rate: i32) -> i64 {
    let fits = |net: i64| net - tax(taxed, -net, rate) <= unpaid;
    let about = i128::from(unpaid.max(0)) * i128::from(MILLION) / i128::from(MILLION + rate);
    // Rounding moves it by less than two units.
    let about = i64::try_from(about).expect("less than what is unpaid") + 2;
    (0..=4).map(|less| (about - less).min(left).max(0)).find(|net| fits(*net)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_much_is_taken_off_as_there_is_to_pay(left in 1..=999_999_i64, taxed in 0..=999_999_i64, fixed in 0..=9_999_i64, rate in 0..=MILLION) {
            let unpaid = taxed + tax(0, taxed, rate) + fixed;
            let net = most(left, unpaid, taxed, rate);
            let gross = |net: i64| net - tax(taxed, -net, rate);
            prop_assert!((0..=left).contains(&net) && gross(net) <= unpaid);
            prop_assert!(net == left || gross(net + 1) > unpaid);
        }
    }

    #[test]
    fn nothing_is_taken_off_where_nothing_is_to_pay() {
        assert_eq!((most(100, 0, 0, 190_000), most(100, -5, 0, 190_000)), (0, 0));
        // 12.00 and 19 % of it.
        assert_eq!((most(5_000, 1_428, 1_200, 190_000), most(700, 1_428, 1_200, 190_000)), (1_200, 700));
    }
}
