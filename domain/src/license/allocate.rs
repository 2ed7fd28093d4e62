//! Licences of add-ons and linked products, given to active members by hand and taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use uuid::Uuid;

use super::{BASE, lock, take_back, take_of};
use crate::actor::{Action, Actor, Target};
use crate::billing::{self, PoolState};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{Code, Detail, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::MemberId;
use crate::invitation::ErrorPolicy;
use crate::member::Status;
use crate::member::status::{Locked, lock_many};

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
    let request = Request { direction, pool, members, holders: holders(change, product, members).await? };
    let (good, bad) = request.judge(&locked);
    if policy == ErrorPolicy::AllOrNothing && !bad.is_empty() {
        return Err(Error::Refused(bad));
    }
    match direction {
        Direction::Allocate => give(change, product, &good).await?,
        Direction::Deallocate => take_back(change, product, &good).await?,
    }
    Ok(Allotted { members: good, refused: bad })
}

/// A request, with what it is judged by.
struct Request<'a> {
    direction: Direction,
    pool: &'a PoolState,
    members: &'a [MemberId],
    /// Who of them holds a licence already.
    holders: BTreeSet<MemberId>,
}

impl Request<'_> {
    /// Parts those with whom it can be done from the others, each member once.
    fn judge(&self, locked: &BTreeMap<MemberId, Locked>) -> (Vec<MemberId>, Vec<Refused>) {
        let (mut good, mut bad, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut free = usize::try_from(self.pool.available()).unwrap_or_default();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| seen.insert(**member)) {
            match self.judge_one(*member, locked.get(member), free) {
                Ok(()) => {
                    free = free.saturating_sub(1);
                    good.push(*member);
                }
                Err(refused) => bad.push(refused.at(index).at("memberIds")),
            }
        }
        (good, bad)
    }

    fn judge_one(&self, member: MemberId, found: Option<&Locked>, free: usize) -> Result<(), Refused> {
        let held = self.holders.contains(&member);
        let found = found.ok_or_else(|| Refused::new(Code::NotFound))?;
        match self.direction {
            Direction::Deallocate if held => Ok(()),
            Direction::Deallocate => Err(Refused::new(Code::LicenseNotHeld)),
            Direction::Allocate if held => Err(Refused::new(Code::LicenseHeld)),
            Direction::Allocate if found.status != Status::Active => Err(Refused::new(Code::WrongStatus)),
            Direction::Allocate if free == 0 => {
                let required = i32::try_from(self.members.len()).unwrap_or(i32::MAX);
                let detail = Detail::Seats { required, available: self.pool.available() };
                Err(Refused { detail, ..Refused::new(Code::SeatShortage) })
            }
            Direction::Allocate => Ok(()),
        }
    }
}

/// Gives members licences, with an event each.
///
/// # Errors
/// [`Error::Stale`] when there are not so many; nothing was written then.
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
    for member in members {
        let detail = json!({ "product": product });
        change.record(NewEvent::new(EventKind::LicenseAllocated).subject(member.0).detail(detail));
    }
    Ok(())
}

/// Gives a member a licence if one is free. Answers whether.
pub(super) async fn give_if_free(change: &mut Change, product: &str, member: MemberId) -> Result<bool> {
    match give(change, product, &[member]).await {
        Err(Error::Stale) => Ok(false),
        given => given.map(|()| true),
    }
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
