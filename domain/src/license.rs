//! Seats. The pool's row decides every race: a conditional update takes seats, a check refuses what would oversell.

use sqlx::PgConnection;

use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId};
use crate::invitation;

/// The product everybody who can sign in holds.
pub const BASE: &str = "base";

/// An account's licences of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The product's key.
    pub product_id: String,
    /// The product's name.
    pub product_name: String,
    /// Granted at sign-up or by the operator, and paid.
    pub owned: i32,
    /// Allocated, or reserved by live invitations, or held by a running import.
    pub in_use: i32,
    /// Of those in use, reserved by live invitations.
    pub reserved: i32,
    /// To be removed at the period's end.
    pub scheduled: i32,
    /// Free to be given to somebody.
    pub available: i32,
}

/// The pools of an account, by product.
pub async fn pools(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<Pool>> {
    sqlx::query_as!(
        Pool,
        r#"SELECT l.product_id, p.name AS product_name, l.granted + l.paid AS "owned!", l.in_use, l.scheduled,
                  l.granted + l.paid - l.in_use - (l.scheduled - l.named_held) AS "available!",
                  (SELECT count(*)::int FROM license_allocation a
                   WHERE a.account_id = l.account_id AND a.product_id = l.product_id AND a.reserved) AS "reserved!"
           FROM license_pool l JOIN product p USING (product_id) WHERE l.account_id = $1 ORDER BY l.product_id"#,
        account.0,
    )
    .fetch_all(conn)
    .await
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
    let account = change.account();
    let taken = sqlx::query!(
        "UPDATE license_pool SET in_use = in_use + $3
         WHERE account_id = $1 AND product_id = $2 AND in_use + $3 + scheduled - named_held <= granted + paid",
        account.0,
        BASE,
        count,
    )
    .execute(change.conn())
    .await?;
    Ok(taken.rows_affected() == 1)
}

async fn available(change: &mut Change) -> Result<i32> {
    let account = change.account();
    let available = sqlx::query_scalar!(
        r#"SELECT granted + paid - in_use - (scheduled - named_held) AS "available!"
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

/// Locks the base pool: before members, as the order of locks wants it.
pub async fn lock(change: &mut Change) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "SELECT 1 AS one FROM license_pool WHERE account_id = $1 AND product_id = $2 FOR NO KEY UPDATE",
        account.0,
        BASE
    )
    .fetch_one(change.conn())
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

/// Takes every licence from members and gives the seats back. Returns how many base seats that freed.
pub async fn release(change: &mut Change, members: &[MemberId]) -> Result<i32> {
    let account = change.account();
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    let freed = sqlx::query!(
        "DELETE FROM license_allocation WHERE account_id = $1 AND product_id = $2 AND member_id = ANY($3)",
        account.0,
        BASE,
        &ids,
    )
    .execute(change.conn())
    .await?;
    let freed = i32::try_from(freed.rows_affected()).expect("as many as members");
    give_back(change, freed).await?;
    Ok(freed)
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

/// An operator's grant of seats: sets how many are granted, until licences can be bought.
///
/// # Errors
/// SEAT_SHORTAGE when more than that are in use; OUT_OF_RANGE below one.
pub async fn set_granted(change: &mut Change, granted: i32) -> Result<()> {
    if granted < 1 {
        return Err(Code::OutOfRange.into());
    }
    lock(change).await?;
    invitation::lapse_overdue(change).await?;
    let account = change.account();
    let before = sqlx::query!(
        "SELECT granted, paid, in_use + scheduled - named_held AS \"needed!\" FROM license_pool WHERE account_id = $1 AND product_id = $2",
        account.0,
        BASE,
    )
    .fetch_one(change.conn())
    .await?;
    if before.needed > granted + before.paid {
        let detail = Detail::Seats { required: before.needed, available: granted + before.paid };
        return Err(Refused { detail, ..Refused::new(Code::SeatShortage) }.into());
    }
    sqlx::query!(
        "UPDATE license_pool SET granted = $3 WHERE account_id = $1 AND product_id = $2",
        account.0,
        BASE,
        granted
    )
    .execute(change.conn())
    .await?;
    change.record(
        NewEvent::new(EventKind::SeatsSet)
            .detail(serde_json::json!({ "before": before.granted, "after": granted, "product": BASE })),
    );
    Ok(())
}
