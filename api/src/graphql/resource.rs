//! Things of the host product.

pub mod access;
pub mod manage;
pub mod rate;

use async_graphql::connection::Connection;
use async_graphql::dataloader::DataLoader;
use async_graphql::{ComplexObject, Context, ID, InputObject, Result, SimpleObject};
use domain::actor::{Action, Reach};
use domain::id::{GroupId, MemberId, ResourceId, UnitId};
use domain::infra::page::{Arguments, Request};
use domain::resource::{self, Opened};

use self::rate::ResourceRate;
use super::connection::connection;
use super::context::{ContextExt as _, parse_id};
use super::error::{ErrorCode, failed, top_level};
use super::loader::OpenedLoader;
use super::member::{Member, reference};
use super::scalar::DateTime;
use super::unit::Unit;

/// A thing of the host product, like a matter or a contact. Whoever has access to it reads its name; to whom it is open, and its rates,
/// are for readers of resources.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Resource {
    #[graphql(skip)]
    inner: resource::Resource,
    /// Opaque id.
    pub id: ID,
    /// What it is, in the host product's words.
    #[graphql(name = "type")]
    kind: String,
    /// Its id in the host product; with the type it is its own in the account.
    external_id: String,
    /// Its name; the external id while it is archived.
    name: String,
    /// Id of who answers for it.
    responsible_member_id: Option<ID>,
    /// Id of the unit it belongs to.
    unit_id: Option<ID>,
    /// Whether every active member has access.
    open_to_all: bool,
    /// Grows with each change.
    version: i32,
    /// When it was first registered.
    created_at: DateTime,
    /// Since when nobody has access; null if it is not archived.
    archived_at: Option<DateTime>,
}

impl From<resource::Resource> for Resource {
    fn from(resource: resource::Resource) -> Self {
        let inner = resource.clone();
        Self {
            id: resource.resource_id.to_string().into(),
            kind: resource.resource_type,
            external_id: resource.external_id,
            name: resource.name,
            responsible_member_id: resource.responsible_member_id.map(|member| member.to_string().into()),
            unit_id: resource.unit_id.map(|unit| unit.to_string().into()),
            open_to_all: resource.open_to_all,
            version: resource.version,
            created_at: resource.created_at.into(),
            archived_at: resource.archived_at.map(Into::into),
            inner,
        }
    }
}

#[ComplexObject]
impl Resource {
    /// Who answers for it; null for nobody.
    async fn responsible_member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.inner.responsible_member_id).await
    }

    /// The unit it belongs to; null for none, for who may not see that unit, and for the host product.
    async fn unit(&self, ctx: &Context<'_>) -> Option<Result<Unit>> {
        let id = self.inner.unit_id.filter(|_| ctx.host().is_none())?;
        let loaded = async { ctx.loader()?.load_one(id).await.map_err(|error| super::loader::top_level(&error)) };
        loaded.await.map(|unit| unit.map(Unit::from)).transpose()
    }

    /// Ids of the groups it is open to, archived ones included; null for who may not read resources.
    async fn group_ids(&self, ctx: &Context<'_>) -> Option<Result<Vec<ID>>> {
        let ids = |opened: Opened| opened.groups.iter().map(GroupId::to_string).map(ID::from).collect();
        self.opened(ctx).await.map(|opened| opened.map(ids))
    }

    /// Ids of the members it is open to by themselves; null for who may not read resources.
    async fn member_ids(&self, ctx: &Context<'_>) -> Option<Result<Vec<ID>>> {
        let ids = |opened: Opened| opened.members.iter().map(MemberId::to_string).map(ID::from).collect();
        self.opened(ctx).await.map(|opened| opened.map(ids))
    }

    /// Custom rates by group, the highest first; null for who may not read resources.
    async fn rates(&self, ctx: &Context<'_>) -> Option<Result<Vec<ResourceRate>>> {
        let rates = |opened: Opened| opened.rates.into_iter().map(ResourceRate::from).collect();
        self.opened(ctx).await.map(|opened| opened.map(rates))
    }

    /// Whether the viewer may open it, set rates and archive it.
    async fn viewer_can_manage(&self, ctx: &Context<'_>) -> bool {
        self.is_within(ctx, Action::ManageResources)
    }

    /// Whether the viewer may see to whom it is open, and its rates.
    async fn viewer_can_read(&self, ctx: &Context<'_>) -> bool {
        self.is_within(ctx, Action::ReadResources)
    }
}

impl Resource {
    fn is_within(&self, ctx: &Context<'_>, action: Action) -> bool {
        let reach = ctx.asker().map_or(Reach::Nowhere, |asker| asker.reach(action));
        reach.includes(self.inner.unit_id.as_slice())
    }

    async fn opened(&self, ctx: &Context<'_>) -> Option<Result<Opened>> {
        if !self.is_within(ctx, Action::ReadResources) {
            return None;
        }
        let Ok(loader) = ctx.data::<DataLoader<OpenedLoader>>() else {
            return Some(Err(ErrorCode::InternalServerError.error("no loader")));
        };
        let opened = loader.load_one(self.inner.resource_id).await;
        Some(opened.map(Option::unwrap_or_default).map_err(|error| super::loader::top_level(&error)))
    }
}

/// Which resources are wanted: those that meet every given condition.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ResourceFilter {
    /// Those of this type.
    #[graphql(name = "type")]
    kind: Option<String>,
    /// Those of this unit.
    unit_id: Option<ID>,
    /// Those for which this member answers.
    responsible_member_id: Option<ID>,
    /// Archived ones, or those that are not; both unless given.
    archived: Option<bool>,
    /// Part of the name or of the external id, in any letter case.
    text: Option<String>,
}

impl ResourceFilter {
    fn read(self) -> resource::Filter {
        resource::Filter {
            resource_type: self.kind,
            unit_id: self.unit_id.as_ref().map(parse_id::<UnitId>),
            responsible: self.responsible_member_id.as_ref().map(parse_id::<MemberId>),
            archived: self.archived,
            text: self.text.map(|text| text.chars().take(200).collect()),
        }
    }
}

/// Reads a page of resources.
pub async fn page(
    ctx: &Context<'_>,
    filter: Option<ResourceFilter>,
    arguments: &Arguments,
) -> Result<Connection<String, Resource>> {
    let asker = ctx.asker()?;
    asker.may(Action::ReadResources).map_err(top_level)?;
    let request = Request::new(arguments, resource::ORDER).map_err(top_level)?;
    let filter = filter.unwrap_or_default().read();
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows = resource::list(&mut conn, &asker, &filter, &request).await.map_err(failed)?;
    Ok(connection(rows, Resource::from))
}

/// Counts resources.
pub async fn count(ctx: &Context<'_>, filter: Option<ResourceFilter>) -> Result<i32> {
    let asker = ctx.asker()?;
    asker.may(Action::ReadResources).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let count = resource::count(&mut conn, &asker, &filter.unwrap_or_default().read()).await.map_err(failed)?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Reads resources by id: those that the asker may read, or has access to.
pub async fn read_many(ctx: &Context<'_>, ids: &[ResourceId]) -> Result<Vec<Resource>> {
    let asker = ctx.asker()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let resources = resource::read_many(&mut conn, &asker, ids).await.map_err(failed)?;
    Ok(resources.into_iter().map(Resource::from).collect())
}

/// Reads a resource by its id.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<Resource>> {
    Ok(read_many(ctx, &[parse_id(id)]).await?.pop())
}

/// Reads a resource by what the host product calls it.
pub async fn by_external_id(ctx: &Context<'_>, kind: &str, external_id: &str) -> Result<Option<Resource>> {
    let asker = ctx.asker()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let found = resource::by_external_id(&mut conn, &asker, kind, external_id).await.map_err(failed)?;
    Ok(found.map(Resource::from))
}
