//! Licence pools and who holds what.

use async_graphql::{Context, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::license;
use domain::member;

use super::context::ContextExt as _;
use super::error::{failed, top_level};
use super::scalar::DateTime;

/// Something that licences are bought of.
#[derive(SimpleObject, Clone, Debug)]
pub struct Product {
    /// Key in the catalogue, like `base`.
    key: String,
    /// As people see it.
    name: String,
}

/// An account's licences of one product.
#[derive(SimpleObject, Clone, Debug)]
pub struct LicensePool {
    /// Of what.
    product: Product,
    /// Granted and paid.
    owned: i32,
    /// Held by members, reserved by invitations, or kept by a running import.
    in_use: i32,
    /// Of those in use, reserved by invitations.
    reserved: i32,
    /// To be removed at the period's end.
    scheduled: i32,
    /// Free to be given to somebody.
    available: i32,
}

impl From<license::Pool> for LicensePool {
    fn from(pool: license::Pool) -> Self {
        Self {
            product: Product { key: pool.product_id, name: pool.product_name },
            owned: pool.owned,
            in_use: pool.in_use,
            reserved: pool.reserved,
            scheduled: pool.scheduled,
            available: pool.available,
        }
    }
}

/// A licence that a member holds.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberLicense {
    /// Of what.
    product: Product,
    /// Whether it is only reserved, until an invitation is accepted.
    reserved: bool,
    /// Since when.
    allocated_at: DateTime,
}

impl From<member::License> for MemberLicense {
    fn from(held: member::License) -> Self {
        Self {
            product: Product { key: held.product_id, name: held.product_name },
            reserved: held.reserved,
            allocated_at: held.allocated_at.into(),
        }
    }
}

/// Reads the pools of the viewer's account.
pub async fn pools(ctx: &Context<'_>) -> Result<Vec<LicensePool>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let pools = license::pools(&mut conn, actor.account_id).await.map_err(failed)?;
    Ok(pools.into_iter().map(LicensePool::from).collect())
}
