//! Seats. The pool's row decides every race: a conditional update takes seats, a check refuses what would oversell.

pub mod alert;
pub mod allocate;
pub mod change;
mod grant;
pub mod quote;
pub mod terms;
pub mod trial;
pub mod wish;

use serde_json::json;
use sqlx::PgConnection;

use crate::catalogue::product::{Product, ProductKind};
use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId};
use crate::infra::clock::Timestamp;
use crate::invitation;

pub use grant::set_granted;

/// The product everybody who can sign in holds.
pub const BASE: &str = "base";

/// An account's licences of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The product.
    pub product: Product,
    /// Granted at sign-up or by the operator, of a running trial, and paid.
    pub owned: i32,
    /// Of those owned, paid: the ones that cost something and can be removed.
    pub paid: i32,
    /// Allocated, or reserved by live invitations, or held by a running import.
    pub in_use: i32,
    /// Of those in use, reserved by live invitations.
    pub reserved: i32,
    /// To be removed at the period's end.
    pub scheduled: i32,
    /// Free to be given to somebody.
    pub available: i32,
    /// Whether the product is closed at the period's end, so that nobody is given one any more.
    pub closing: bool,
    /// Its trial, if it runs.
    pub trial: Option<RunningTrial>,
}

/// A trial that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningTrial {
    /// Licences that cost nothing until it ends.
    pub quantity: i32,
    /// When it ends: from then on those that are allocated are paid for.
    pub ends_at: Timestamp,
    /// Whether the account does not want to go on: then they are taken back.
    pub opted_out: bool,
}

/// The pools of an account, by product.
pub async fn pools(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<Pool>> {
    let rows = sqlx::query!(
        r#"SELECT l.product_id, p.name, p.kind AS "kind: ProductKind", l.granted + l.trial + l.paid AS "owned!", l.paid, l.in_use,
                  l.scheduled, l.closing, l.granted + l.trial + l.paid - l.in_use - (l.scheduled - l.named_held) AS "available!",
                  (SELECT count(*)::int FROM license_allocation a
                   WHERE a.account_id = l.account_id AND a.product_id = l.product_id AND a.reserved) AS "reserved!",
                  t.quantity AS "trial?", t.ends_at AS "trial_ends_at?", t.opted_out_at AS "opted_out_at?"
           FROM license_pool l JOIN product p USING (product_id)
           LEFT JOIN license_trial t ON t.account_id = l.account_id AND t.product_id = l.product_id AND t.ended_at IS NULL
           WHERE l.account_id = $1 ORDER BY l.product_id"#,
        account.0,
    )
    .fetch_all(conn)
    .await?;
    let pools = rows.into_iter().map(|row| Pool {
        product: Product { key: row.product_id, name: row.name, kind: row.kind },
        owned: row.owned,
        paid: row.paid,
        in_use: row.in_use,
        reserved: row.reserved,
        scheduled: row.scheduled,
        available: row.available,
        closing: row.closing,
        trial: row.trial.zip(row.trial_ends_at).map(|(quantity, ends_at)| RunningTrial {
            quantity,
            ends_at,
            opted_out: row.opted_out_at.is_some(),
        }),
    });
    Ok(pools.collect())
}

/// How many seats a caller wants, and whether fewer will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This many or none.
    All(i32),
    /// This many or as many as there are.
    UpTo(i32),
}

/// Takes base seats and returns how many. Overdue invitations give theirs back first when there are too few. Locks the pool.
///
/// # Errors
/// SEAT_SHORTAGE, when [`Wanted::All`] cannot be had.
pub async fn take(change: &mut Change, wanted: Wanted) -> Result<i32> {
    let (Wanted::All(count) | Wanted::UpTo(count)) = wanted;
    if count == 0 || take_exactly(change, count).await? {
        return Ok(count);
    }
    // The update that found too few locked nothing; from here on nobody else takes or returns any.
    lock(change).await?;
    invitation::lapse_overdue(change).await?;
    let available = available(change).await?;
    match wanted {
        Wanted::All(required) if available < required => {
            let detail = Detail::Seats { required, available };
            Err(Refused { detail, ..Refused::new(Code::SeatShortage) }.into())
        }
        Wanted::All(_) | Wanted::UpTo(_) => {
            let count = count.min(available);
            let taken = count == 0 || take_exactly(change, count).await?;
            if taken { Ok(count) } else { Err(Error::Stale) }
        }
    }
}

async fn take_exactly(change: &mut Change, count: i32) -> Result<bool> {
    take_of(change, BASE, count).await
}

/// Takes so many licences of a product, or none if there are too few or the product is being closed.
async fn take_of(change: &mut Change, product: &str, count: i32) -> Result<bool> {
    let account = change.account();
    let taken = sqlx::query!(
        "UPDATE license_pool SET in_use = in_use + $3
         WHERE account_id = $1 AND product_id = $2 AND NOT closing
           AND in_use + $3 + scheduled - named_held <= granted + trial + paid",
        account.0,
        product,
        count,
    )
    .execute(change.conn())
    .await?;
    Ok(taken.rows_affected() == 1)
}

async fn available(change: &mut Change) -> Result<i32> {
    let account = change.account();
    let available = sqlx::query_scalar!(
        r#"SELECT granted + trial + paid - in_use - (scheduled - named_held) AS "available!"
           FROM license_pool WHERE account_id = $1 AND product_id = $2"#,
        account.0,
        BASE,
    )
    .fetch_one(change.conn())
    .await?;
    Ok(available)
}

/// How many seats can be had now: those that are free, and those of invitations that are overdue. Takes no lock.
pub async fn obtainable(change: &mut Change) -> Result<i32> {
    let free = available(change).await?;
    Ok(free + invitation::count_overdue(change).await?)
}

/// Locks the account's pools: before members, as the order of locks wants it.
pub async fn lock(change: &mut Change) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "SELECT 1 AS one FROM license_pool WHERE account_id = $1 ORDER BY product_id FOR NO KEY UPDATE",
        account.0,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(())
}

/// Gives seats back that nobody holds any more. The pool must be locked, or be about to be the first lock taken.
pub async fn give_back(change: &mut Change, count: i32) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let account = change.account();
    let given = sqlx::query!(
        "UPDATE license_pool SET in_use = in_use - $3 WHERE account_id = $1 AND product_id = $2",
        account.0,
        BASE,
        count,
    )
    .execute(change.conn())
    .await?;
    if given.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// Writes down who holds seats that were taken.
pub async fn allocate(change: &mut Change, members: &[MemberId], reserved: bool) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    sqlx::query!(
        "INSERT INTO license_allocation (account_id, product_id, member_id, reserved, allocated_at)
         SELECT $1, $2, unnest($3::uuid[]), $4, $5",
        account.0,
        BASE,
        &ids,
        reserved,
        now,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Takes every licence from members and gives it back to its pool. Returns how many base seats that freed. The pools must be locked, or
/// only hold base seats of those members.
pub async fn release(change: &mut Change, members: &[MemberId]) -> Result<i32> {
    release_of(change, members, None).await
}

/// The same for one product, or for all. Returns how many base seats that freed.
pub(crate) async fn release_of(change: &mut Change, members: &[MemberId], product: Option<&str>) -> Result<i32> {
    let account = change.account();
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    // Who was named for a removal is not any more: that takes a free one instead.
    let freed = sqlx::query!(
        r#"WITH unnamed AS (
               DELETE FROM license_named
               WHERE account_id = $1 AND member_id = ANY($2) AND ($3::text IS NULL OR product_id = $3) RETURNING product_id),
           gone AS (
               DELETE FROM license_allocation
               WHERE account_id = $1 AND member_id = ANY($2) AND ($3::text IS NULL OR product_id = $3) RETURNING product_id),
           freed AS (
               SELECT product_id, count(*)::int AS count, (SELECT count(*)::int FROM unnamed u WHERE u.product_id = g.product_id) AS unnamed
               FROM gone g GROUP BY product_id)
           UPDATE license_pool p SET in_use = p.in_use - f.count, named_held = p.named_held - f.unnamed
           FROM freed f WHERE p.account_id = $1 AND p.product_id = f.product_id
           RETURNING p.product_id, f.count AS "count!""#,
        account.0,
        &ids,
        product,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(freed.iter().find(|freed| freed.product_id == BASE).map_or(0, |freed| freed.count))
}

/// Takes a product's licence from its holders, each with an event. The pools must be locked.
pub(crate) async fn take_back(change: &mut Change, product: &str, holders: &[MemberId]) -> Result<()> {
    release_of(change, holders, Some(product)).await?;
    for member in holders {
        let detail = json!({ "product": product });
        change.record(NewEvent::new(EventKind::LicenseDeallocated).subject(member.0).detail(detail));
    }
    Ok(())
}

/// Turns a member's reservation into an allocation.
pub async fn confirm(change: &mut Change, member: MemberId) -> Result<()> {
    let account = change.account();
    let confirmed = sqlx::query!(
        "UPDATE license_allocation SET reserved = false WHERE account_id = $1 AND product_id = $2 AND member_id = $3 AND reserved",
        account.0,
        BASE,
        member.0,
    )
    .execute(change.conn())
    .await?;
    if confirmed.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}
