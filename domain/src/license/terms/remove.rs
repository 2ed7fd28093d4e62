//! Fewer licences, and who loses theirs.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::ground::{Ground, refused};
use super::next::next_statement;
use super::{Named, Reduction, Terms};
use crate::actor::{Action, Standing, Target};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{AtField as _, Code, Detail, Error, Refused, Result};
use crate::id::MemberId;
use crate::license::BASE;
use crate::member::status::Locked;
use crate::member::successor;

pub(super) async fn remove(
    change: &mut Change,
    ground: &Ground<'_>,
    standing: &Standing,
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<Terms> {
    let (product, quantity) = (ground.product()?, ground.quantity()?);
    let pool = ground.pools.get(product).ok_or_else(|| refused(Code::NotFound))?;
    if pool.kind == ProductKind::Linked {
        return Err(refused(Code::FollowsBase));
    }
    if pool.closing {
        return Err(refused(Code::ProductClosing));
    }
    if quantity > pool.paid - pool.scheduled {
        return Err(Refused::new(Code::NotRemovable).at("quantity").into());
    }
    if product == BASE && pool.owned() - pool.scheduled - quantity < 1 {
        return Err(Refused::new(Code::LastSeat).at("quantity").into());
    }
    let named = named(change, ground, standing, locked).await?;
    let mut reductions = vec![Reduction { product_id: product.to_owned(), quantity }];
    if product == BASE {
        for key in ground.linked() {
            let linked = &ground.pools[key];
            let count = quantity.min(linked.paid - linked.scheduled);
            if count > 0 {
                reductions.push(Reduction { product_id: key.clone(), quantity: count });
            }
        }
    }
    for reduction in &reductions {
        let of_it = named.iter().filter(|named| named.product_id == reduction.product_id).count();
        let of_it = i32::try_from(of_it).expect("bounded by the limit on names");
        let available = ground.pools[&reduction.product_id].available();
        if of_it > reduction.quantity {
            return Err(Refused::new(Code::OutOfRange).at("quantity").into());
        }
        let required = reduction.quantity - of_it;
        if required > available {
            let detail = Detail::Seats { required, available };
            return Err(Refused { detail, ..Refused::new(Code::SeatShortage).at("quantity") }.into());
        }
    }
    let mut terms = ground.terms(ground.period.ends_on);
    terms.named = named;
    let fewer =
        |key: &str| reductions.iter().find(|one| one.product_id == key).map_or(0, |reduction| -reduction.quantity);
    terms.next =
        next_statement(change, ground, &terms, fewer, &ground.billing.currency, ground.billing.interval).await?;
    terms.reductions = reductions;
    Ok(terms)
}

/// Who holds what, of the members that a wish names.
async fn held(change: &mut Change, members: &[MemberId]) -> Result<BTreeSet<(MemberId, String, bool)>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT a.member_id AS "member_id: MemberId", a.product_id, n.member_id IS NOT NULL AS "named!"
           FROM license_allocation a
           LEFT JOIN license_named n ON n.account_id = a.account_id AND n.product_id = a.product_id AND n.member_id = a.member_id
           WHERE a.account_id = $1 AND a.member_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.member_id, row.product_id, row.named)).collect())
}

/// Looks at each holder that is to lose a licence.
async fn named(
    change: &mut Change,
    ground: &Ground<'_>,
    standing: &Standing,
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<Vec<Named>> {
    let product = ground.product()?;
    let members: Vec<MemberId> = ground.wish.releases.iter().map(|release| release.member_id).collect();
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let held = held(change, &members).await?;
    let busy = successor::responsible(change, &members).await?;
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (index, release) in ground.wish.releases.iter().enumerate() {
        let at = |code| Error::from(Refused::new(code).at("memberId").at(index).at("releases"));
        let member = release.member_id;
        let Some(found) = locked.get(&member) else { return Err(at(Code::NotFound)) };
        if !seen.insert(member) {
            return Err(at(Code::Duplicate));
        }
        if held.contains(&(member, product.to_owned(), true)) {
            return Err(at(Code::AlreadyNamed));
        }
        if !held.contains(&(member, product.to_owned(), false)) {
            return Err(at(Code::LicenseNotHeld));
        }
        let place = |field: &str, result: Result<()>| result.at(field).at(index).at("releases");
        if product == BASE {
            place("memberId", leaves(standing, member, found))?;
        }
        match release.successor_id {
            Some(to) => place("successorId", successor::check(standing, Action::ReadMembers, locked, to, &members))?,
            None if product == BASE && busy.contains(&member) => {
                place("successorId", Err(Code::SuccessorRequired.into()))?;
            }
            None => {}
        }
        let name = |product_id: &str| Named {
            product_id: product_id.to_owned(),
            member_id: member,
            successor_id: release.successor_id,
            status: found.status,
        };
        all.push(name(product));
        for key in ground.linked().filter(|_| product == BASE) {
            if held.contains(&(member, key.clone(), false)) {
                if !release.release_linked {
                    return Err(Refused::new(Code::LinkedLicenseHeld)
                        .at("releaseLinked")
                        .at(index)
                        .at("releases")
                        .into());
                }
                all.push(name(key));
            }
        }
    }
    Ok(all)
}

/// Whether the actor may have somebody taken out, or an invitation revoked.
fn leaves(standing: &Standing, member: MemberId, found: &Locked) -> Result<()> {
    let invited = found.user_id.is_none();
    let action = if invited { Action::Invite } else { Action::Deactivate };
    standing
        .may(action, Target::Member { member_id: member, owner: found.owner, units: &found.units, held: &found.held })
}
