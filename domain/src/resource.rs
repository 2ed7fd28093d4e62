//! Things of the host product (a matter, a contact): registered by it, opened to everybody, to groups or to members.
//!
//! Who may register, open and read them is judged by the unit of a resource. What lies outside of an asker's units is to them as if
//! it were not there. Without any such right a member reads what they have access to, and nothing of who else has.

use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::actor::{Action, Asker, Asks as _, Reach};
use crate::id::{MemberId, ResourceId, UnitId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{self, Cursor, Page, Request, SortKind, SortValue};

mod access;
mod grant;
mod manage;
mod opened;
mod rate;
mod register;

pub use access::{Ground, Reference, accessible, can_access};
pub use grant::{Opening, grant, revoke};
pub use manage::{archive, assign, unarchive};
pub use opened::{Opened, opened};
pub use rate::{Decided, EffectiveRate, Rate, effective_rate, remove_rate, set_rate};
pub use register::{Given, Registered, Registration, register};

/// Characters of a type.
pub const TYPE_CHARS: usize = 64;
/// Characters of an external id, and of a name.
pub const TEXT_CHARS: usize = 200;

/// A thing of the host product.
#[derive(Clone, Debug, FromRow)]
pub struct Resource {
    /// Its id.
    pub resource_id: ResourceId,
    /// What it is, in the host product's words.
    pub resource_type: String,
    /// Its id in the host product; with the type it is its own in the account.
    pub external_id: String,
    /// Its name; the external id while it is archived.
    pub name: String,
    /// Who answers for it.
    pub responsible_member_id: Option<MemberId>,
    /// The unit it belongs to.
    pub unit_id: Option<UnitId>,
    /// Whether every active member has access.
    pub open_to_all: bool,
    /// Grows with each change.
    pub version: i32,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// Since when nobody has access.
    pub archived_at: Option<Timestamp>,
    sort_name: String,
}

/// Which resources are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of a type.
    pub resource_type: Option<String>,
    /// Those of a unit.
    pub unit_id: Option<UnitId>,
    /// Those for which a member answers.
    pub responsible: Option<MemberId>,
    /// Archived ones, or those that are not; both unless given.
    pub archived: Option<bool>,
    /// Part of the name or of the external id, in any letter case.
    pub text: Option<String>,
}

/// Part of the cursors: resources are listed by name.
pub const ORDER: (&str, SortKind) = ("resource.name.asc", SortKind::Text);

const SELECT: &str = "SELECT r.resource_id, r.resource_type, r.external_id, r.name, r.responsible_member_id, r.unit_id, r.open_to_all, \
     r.version, r.created_at, r.archived_at, lower(r.name) AS sort_name FROM resource r WHERE r.account_id = ";

fn push_filter(statement: &mut QueryBuilder<Postgres>, reach: &Reach, filter: &Filter) {
    let (everywhere, units) = reach.parts();
    if !everywhere {
        statement.push(" AND r.unit_id = ANY(").push_bind(units).push(")");
    }
    if let Some(kind) = &filter.resource_type {
        statement.push(" AND r.resource_type = ").push_bind(kind.replace('\0', " "));
    }
    if let Some(unit) = filter.unit_id {
        statement.push(" AND r.unit_id = ").push_bind(unit.0);
    }
    if let Some(member) = filter.responsible {
        statement.push(" AND r.responsible_member_id = ").push_bind(member.0);
    }
    if let Some(archived) = filter.archived {
        statement.push(" AND (r.archived_at IS NOT NULL) = ").push_bind(archived);
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        let pattern = page::containing(text);
        statement.push(" AND (lower(r.name) LIKE ").push_bind(pattern.clone());
        statement.push(" OR lower(r.external_id) LIKE ").push_bind(pattern).push(")");
    }
}

fn cursor(resource: Resource) -> (Cursor, Resource) {
    (Cursor::new(ORDER.0, SortValue::Text(resource.sort_name.clone()), resource.resource_id.0), resource)
}

/// A page of the resources within the asker's reach, by name, each with its cursor: one statement.
pub async fn list(
    conn: &mut PgConnection,
    asker: &Asker,
    filter: &Filter,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, Resource)>> {
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(asker.account().0);
    push_filter(&mut statement, &asker.reach(Action::ReadResources), filter);
    request.push_to(&mut statement, "lower(r.name)", "r.resource_id", false);
    let rows: Vec<Resource> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request.page(rows).map(cursor))
}

/// How many resources there are on all pages of a list.
pub async fn count(conn: &mut PgConnection, asker: &Asker, filter: &Filter) -> sqlx::Result<i64> {
    let mut statement = QueryBuilder::new("SELECT count(*) FROM resource r WHERE r.account_id = ");
    statement.push_bind(asker.account().0);
    push_filter(&mut statement, &asker.reach(Action::ReadResources), filter);
    statement.build_query_scalar().fetch_one(conn).await
}

/// Reads resources by id, in the order asked for: those within the asker's reach, and those that the asking member has access to.
pub async fn read_many(conn: &mut PgConnection, asker: &Asker, ids: &[ResourceId]) -> sqlx::Result<Vec<Resource>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(asker.account().0).push(" AND r.resource_id = ANY(").push_bind(raw).push(")");
    push_visible(&mut statement, asker);
    let mut resources: Vec<Resource> = statement.build_query_as().fetch_all(conn).await?;
    resources.sort_by_key(|resource| ids.iter().position(|id| *id == resource.resource_id));
    Ok(resources)
}

/// Reads a resource by what the host product calls it, as [`read_many`] does.
pub async fn by_external_id(
    conn: &mut PgConnection,
    asker: &Asker,
    resource_type: &str,
    external_id: &str,
) -> sqlx::Result<Option<Resource>> {
    let (Some(kind), Some(external)) = (register::word(resource_type), register::external(external_id)) else {
        return Ok(None);
    };
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(asker.account().0);
    statement.push(" AND r.resource_type = ").push_bind(kind).push(" AND r.external_id = ").push_bind(external);
    push_visible(&mut statement, asker);
    statement.build_query_as().fetch_optional(conn).await
}

fn push_visible(statement: &mut QueryBuilder<Postgres>, asker: &Asker) {
    let (everywhere, units) = asker.reach(Action::ReadResources).parts();
    if everywhere {
        return;
    }
    statement.push(" AND (r.unit_id = ANY(").push_bind(units).push(")");
    if let Some(member) = asker.member() {
        statement.push(" OR ");
        access::push_accessible(statement, asker.account(), member, asker.now());
    }
    statement.push(")");
}
