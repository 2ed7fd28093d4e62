//! Who has access to what.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, InputObject, Result, SimpleObject};
use domain::id::MemberId;
use domain::infra::page::{Arguments, Request};
use domain::resource::{self, Ground, Reference};

use super::{Resource, ResourceFilter};
use crate::graphql::connection::connection;
use crate::graphql::context::{ContextExt as _, parse_id};
use crate::graphql::error::{ErrorCode, failed, top_level};

/// Resources that `canAccess` takes at once.
const MAX_RESOURCES: usize = 100;

/// What names a resource: its id, or its type and its id in the host product.
#[derive(InputObject, Clone, Debug)]
pub struct ResourceReferenceInput {
    /// Its id; then nothing else.
    id: Option<ID>,
    /// Its type, together with `externalId`.
    #[graphql(name = "type")]
    kind: Option<String>,
    /// Its id in the host product, together with `type`.
    external_id: Option<String>,
}

impl ResourceReferenceInput {
    fn read(&self) -> Result<Reference> {
        match (&self.id, &self.kind, &self.external_id) {
            (Some(id), None, None) => Ok(Reference::Id(parse_id(id))),
            (None, Some(kind), Some(external)) => {
                Ok(Reference::External { resource_type: kind.clone(), external_id: external.clone() })
            }
            _ => Err(ErrorCode::BadUserInput.error("Name a resource by `id`, or by `type` and `externalId`.")),
        }
    }
}

/// Why somebody has access: the first of these that holds.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Ground")]
pub enum AccessGround {
    /// It is open to everybody.
    Everybody,
    /// They answer for it.
    Responsible,
    /// It is open to them.
    Member,
    /// It is open to a group of theirs.
    Group,
}

/// Whether a member has access to a resource.
#[derive(SimpleObject, Clone, Debug)]
pub struct ResourceAccess {
    /// Whether they have.
    allowed: bool,
    /// Why; null if they have not.
    ground: Option<AccessGround>,
    /// Id of the resource; null if they have none, so that nothing tells whether it exists.
    resource_id: Option<ID>,
}

/// Whether a member has access to each of some resources.
pub async fn can_access(
    ctx: &Context<'_>,
    member: &ID,
    resources: &[ResourceReferenceInput],
) -> Result<Vec<ResourceAccess>> {
    let asker = ctx.asker()?;
    if resources.len() > MAX_RESOURCES {
        return Err(ErrorCode::BadUserInput.error(format!("At most {MAX_RESOURCES} resources at once.")));
    }
    let references = resources.iter().map(ResourceReferenceInput::read).collect::<Result<Vec<_>>>()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let answers = resource::can_access(&mut conn, &asker, parse_id(member), &references).await.map_err(top_level)?;
    let answer = |answer: Option<(domain::id::ResourceId, Ground)>| ResourceAccess {
        allowed: answer.is_some(),
        ground: answer.map(|(_, ground)| ground.into()),
        resource_id: answer.map(|(id, _)| id.to_string().into()),
    };
    Ok(answers.into_iter().map(answer).collect())
}

/// Reads a page of what a member has access to.
pub async fn accessible(
    ctx: &Context<'_>,
    member: MemberId,
    filter: Option<ResourceFilter>,
    arguments: &Arguments,
) -> Result<Connection<String, Resource>> {
    let asker = ctx.asker()?;
    let request = Request::new(arguments, resource::ORDER).map_err(top_level)?;
    let filter = filter.unwrap_or_default().read();
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = resource::accessible(&mut conn, &asker, member, &filter, &request).await.map_err(top_level)?;
    Ok(connection(page, Resource::from))
}
