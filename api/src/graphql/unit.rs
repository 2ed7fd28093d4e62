//! Organizational units.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, ID, InputObject, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::id::UnitId;
use domain::infra::page::{Arguments, Request};
use domain::unit;

use super::connection::connection;
use super::context::ContextExt as _;
use super::error::{failed, top_level};
use super::loader::MembersOf;
use super::role::count as to_count;
use super::scalar::DateTime;
use super::verdict::Verdict;

pub mod manage;

/// A part of the account that the assignment of a role can be limited to.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Unit {
    #[graphql(skip)]
    inner: UnitId,
    /// Opaque id.
    pub id: ID,
    /// As people see it.
    name: String,
    /// What it is.
    description: Option<String>,
    /// Grows with each change, for `expectedVersion`.
    version: i32,
    /// When it was made.
    created_at: DateTime,
    /// Since when what roles are limited to it grants nothing; null for one that is in use.
    archived_at: Option<DateTime>,
}

impl From<unit::Unit> for Unit {
    fn from(unit: unit::Unit) -> Self {
        Self {
            inner: unit.unit_id,
            id: unit.unit_id.to_string().into(),
            name: unit.name,
            description: unit.description,
            version: unit.version,
            created_at: unit.created_at.into(),
            archived_at: unit.archived_at.map(Into::into),
        }
    }
}

#[ComplexObject]
impl Unit {
    /// How many members belong to it, invited ones included; `account { members(filter: { unitId }) }` lists them.
    async fn members_count(&self, ctx: &Context<'_>) -> Option<Result<i32>> {
        let loaded =
            async { ctx.loader()?.load_one(MembersOf(self.inner)).await.map_err(|e| super::loader::top_level(&e)) };
        Some(loaded.await.map(|count| to_count(count.unwrap_or_default())))
    }

    /// Whether the viewer may change and archive it, and choose its members.
    async fn viewer_can_manage(&self, ctx: &Context<'_>) -> Option<Verdict> {
        Some(ctx.viewer()?.may(Action::ManageUnits, Target::Account).into())
    }
}

/// Which units are wanted: those that meet every given condition.
#[derive(InputObject, Clone, Debug, Default)]
pub struct UnitFilter {
    /// Archived ones, or those in use; both unless given.
    archived: Option<bool>,
    /// Part of the name.
    text: Option<String>,
}

impl UnitFilter {
    fn read(self) -> unit::Filter {
        unit::Filter { archived: self.archived, text: self.text.map(|text| text.chars().take(200).collect()) }
    }
}

/// Reads a page of units.
pub async fn page(
    ctx: &Context<'_>,
    filter: Option<UnitFilter>,
    arguments: &Arguments,
) -> Result<Connection<String, Unit>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Anywhere).map_err(top_level)?;
    let request = Request::new(arguments, unit::ORDER).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows = unit::list(&mut conn, actor, &filter.unwrap_or_default().read(), &request).await.map_err(failed)?;
    Ok(connection(rows, Unit::from))
}

/// Counts units.
pub async fn count(ctx: &Context<'_>, filter: Option<UnitFilter>) -> Result<i32> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Anywhere).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    unit::count(&mut conn, actor, &filter.unwrap_or_default().read()).await.map(to_count).map_err(failed)
}

/// Whether the account has units.
pub async fn in_use(ctx: &Context<'_>) -> Result<bool> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    unit::in_use(&mut conn, actor.account_id).await.map_err(failed)
}

/// Reads units by id; those that are not the viewer's to see are left out.
pub async fn read_many(ctx: &Context<'_>, ids: &[UnitId]) -> Result<Vec<Unit>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let units = unit::read_many(&mut conn, actor, ids).await.map_err(failed)?;
    Ok(units.into_iter().map(Unit::from).collect())
}
