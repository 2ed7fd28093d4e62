//! Licences of add-ons and linked products, given to active members by hand and taken back.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use super::{BASE, lock, release_of, take_of};
use crate::actor::{Action, Actor, Target};
use crate::billing;
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::MemberId;
use crate::invitation::ErrorPolicy;
use crate::member::Status;
use crate::member::status::lock_many;

/// Whether licences are given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Given.
    Allocate,
    /// Taken back.
    Deallocate,
}

/// What became of several members, in the order of the request.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Allotted {
    /// Who was given one, or lost it.
    pub members: Vec<MemberId>,
    /// The others, by their place in the request.
    pub refused: Vec<Refused>,
}

/// Gives members a licence each, or takes it. Licences go to the first ones while there are any. Locks the pools, then the members.
///
/// # Errors
/// NOT_PERMITTED; at `productId` NOT_FOUND, BASE_LICENSE, PRODUCT_CLOSING; with [`ErrorPolicy::AllOrNothing`] every refusal. Per member
/// NOT_FOUND, WRONG_STATUS, LICENSE_HELD, LICENSE_NOT_HELD, SEAT_SHORTAGE.
pub async fn allot(
    change: &mut Change,
    actor: &Actor,
    direction: Direction,
    product: &str,
    members: &[MemberId],
    policy: ErrorPolicy,
) -> Result<Allotted> {
    actor.may(Action::AllocateLicenses, Target::Account)?;
    lock(change).await?;
    let locked = lock_many(change, members).await?;
    let standing = change.standing(actor).await?;
    standing.may(Action::AllocateLicenses, Target::Account)?;
    let account = change.account();
    let refused = |code| Error::from(Refused::new(code).at("productId"));
    let pools = billing::pool_states(change.conn(), account).await?;
    let pool = pools.get(product).ok_or_else(|| refused(Code::NotFound))?;
    if pool.kind == ProductKind::Base {
        return Err(refused(Code::BaseLicense));
    }
    if pool.closing && direction == Direction::Allocate {
        return Err(refused(Code::ProductClosing));
    }
    let holders = holders(change, product, members).await?;
    let (mut good, mut bad, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut free = usize::try_from(pool.available()).unwrap_or_default();
    let required = i32::try_from(members.len()).unwrap_or(i32::MAX);
    for (index, member) in members.iter().enumerate().filter(|(_, member)| seen.insert(**member)) {
        let held = holders.contains(member);
        let judged = match (locked.get(member), direction) {
            (None, _) => Err(Refused::new(Code::NotFound)),
            (Some(_), Direction::Deallocate) if !held => Err(Refused::new(Code::LicenseNotHeld)),
            (Some(_), Direction::Deallocate) => Ok(()),
            (Some(_), Direction::Allocate) if held => Err(Refused::new(Code::LicenseHeld)),
            (Some(found), Direction::Allocate) if found.status != Status::Active => {
                Err(Refused::new(Code::WrongStatus))
            }
            (Some(_), Direction::Allocate) if free == 0 => {
                let detail = Detail::Seats { required, available: pool.available() };
                Err(Refused { detail, ..Refused::new(Code::SeatShortage) })
            }
            (Some(_), Direction::Allocate) => {
                free -= 1;
                Ok(())
            }
        };
        match judged {
            Ok(()) => good.push(*member),
            Err(refused) => bad.push(refused.at(index).at("memberIds")),
        }
    }
    if policy == ErrorPolicy::AllOrNothing && !bad.is_empty() {
        return Err(Error::Refused(bad));
    }
    match direction {
        Direction::Allocate => give(change, product, &good).await?,
        Direction::Deallocate => {
            release_of(change, &good, Some(product)).await?;
        }
    }
    let kind = match direction {
        Direction::Allocate => EventKind::LicenseAllocated,
        Direction::Deallocate => EventKind::LicenseDeallocated,
    };
    for member in &good {
        change.record(NewEvent::new(kind).subject(member.0).detail(json!({ "product": product })));
    }
    Ok(Allotted { members: good, refused: bad })
}

/// Takes licences from a pool for members. They must be there.
async fn give(change: &mut Change, product: &str, members: &[MemberId]) -> Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let count = i32::try_from(members.len()).expect("bounded by the limit on bulk");
    if !take_of(change, product, count).await? {
        return Err(Error::Stale);
    }
    let (account, now) = (change.account(), change.now());
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    sqlx::query!(
        "INSERT INTO license_allocation (account_id, product_id, member_id, reserved, allocated_at)
         SELECT $1, $2, unnest($3::uuid[]), false, $4",
        account.0,
        product,
        &ids,
        now,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Gives a member a licence if one is free. Answers whether.
pub(super) async fn give_if_free(change: &mut Change, product: &str, member: MemberId) -> Result<bool> {
    let (account, now) = (change.account(), change.now());
    if !take_of(change, product, 1).await? {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO license_allocation (account_id, product_id, member_id, reserved, allocated_at) VALUES ($1, $2, $3, false, $4)",
        account.0,
        product,
        member.0,
        now,
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::LicenseAllocated).subject(member.0).detail(json!({ "product": product })));
    Ok(true)
}

async fn holders(change: &mut Change, product: &str, members: &[MemberId]) -> Result<BTreeSet<MemberId>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT member_id AS "member_id: MemberId" FROM license_allocation
           WHERE account_id = $1 AND product_id = $2 AND member_id = ANY($3)"#,
        account.0,
        product,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Which of these members hold a licence of a linked product: their seat cannot be taken without it.
pub(crate) async fn holders_of_linked(change: &mut Change, members: &[MemberId]) -> Result<BTreeSet<MemberId>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT DISTINCT a.member_id AS "member_id: MemberId" FROM license_allocation a JOIN product p USING (product_id)
           WHERE a.account_id = $1 AND a.member_id = ANY($2) AND p.kind = 'LINKED' AND a.product_id <> $3"#,
        account.0,
        &ids,
        BASE,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().collect())
}
