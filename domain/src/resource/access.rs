//! Who has access to what: every active member, from the first to the last day of their validity, to what is open to all, to what they answer for, to what is open to them, and to what
//! is open to a group of theirs that is not archived. Nobody has access to an archived resource. The right to manage or to read
//! resources is about Muster's records of them; it opens nothing in the host product.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Filter, Resource, SELECT, cursor, push_filter, register};
use crate::actor::{Action, Asker, Asks as _, Reach};
use crate::error::{Refused, Result};
use crate::id::{AccountId, MemberId, ResourceId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{Cursor, Page, Request};
use crate::permission::Permission;
use crate::service_token::Scope;

/// Why somebody has access: the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Ground {
    /// It is open to everybody.
    Everybody,
    /// They answer for it.
    Responsible,
    /// It is open to them.
    Member,
    /// It is open to a group of theirs.
    Group,
}

/// What names a resource.
#[derive(Clone, Debug)]
pub enum Reference {
    /// Its id.
    Id(ResourceId),
    /// What the host product calls it.
    External {
        /// Its type.
        resource_type: String,
        /// Its id in the host product.
        external_id: String,
    },
}

/// References as columns for a statement: in each row an id, or a type and an external id.
#[derive(Default)]
struct Columns {
    ids: Vec<Option<Uuid>>,
    types: Vec<Option<String>>,
    externals: Vec<Option<String>>,
}

impl Columns {
    fn of(references: &[Reference]) -> Self {
        let mut columns = Self::default();
        for reference in references {
            let (id, kind, external) = match reference {
                Reference::Id(id) => (Some(id.0), None, None),
                // What cannot be registered is the name of nothing.
                Reference::External { resource_type, external_id } => {
                    (None, register::word(resource_type), register::external(external_id))
                }
            };
            columns.ids.push(id);
            columns.types.push(kind);
            columns.externals.push(external);
        }
        columns
    }
}

/// Within which units the asker may know what a member has access to: everywhere for themselves and for the host product.
fn reach(asker: &Asker, member: MemberId) -> Result<Reach> {
    if asker.member() == Some(member) || asker.has_scope(Scope::Access) {
        return Ok(Reach::Everywhere);
    }
    match asker {
        // Managing resources is no reason to ask who has access to them all day long.
        Asker::Host(_) => Err(Refused::missing(Vec::new()).into()),
        Asker::Member(actor) => match actor.reach(Action::ReadResources) {
            Reach::Nowhere => Err(Refused::missing(vec![Permission::ResourcesRead]).into()),
            reach => Ok(reach),
        },
    }
}

/// Why a member has access to each of some resources, in the order asked for, with the resource's id; `None` where they have none, and
/// where the resource, the member, or the resource's unit is not the asker's to see. One statement, which finds the member's groups once.
///
/// # Errors
/// NOT_PERMITTED for a member who asks about somebody else without `resources.read`, and for a service token without the scope.
pub async fn can_access(
    conn: &mut PgConnection,
    asker: &Asker,
    member: MemberId,
    references: &[Reference],
) -> Result<Vec<Option<(ResourceId, Ground)>>> {
    let (everywhere, units) = reach(asker, member)?.parts();
    let columns = Columns::of(references);
    let rows = sqlx::query!(
        r#"WITH mine AS MATERIALIZED (
               SELECT y.group_id FROM group_member y JOIN member_group g ON g.account_id = $1 AND g.group_id = y.group_id
               WHERE y.account_id = $1 AND y.member_id = $2 AND g.archived_at IS NULL)
           SELECT w.ord AS "ord!", r.resource_id AS "resource_id: ResourceId",
                  CASE WHEN r.open_to_all THEN 'EVERYBODY'
                       WHEN r.responsible_member_id = m.member_id THEN 'RESPONSIBLE'
                       WHEN EXISTS (SELECT FROM resource_member x
                                    WHERE x.account_id = $1 AND x.resource_id = r.resource_id AND x.member_id = m.member_id)
                           THEN 'MEMBER'
                       WHEN EXISTS (SELECT FROM resource_group x
                                    WHERE x.account_id = $1 AND x.resource_id = r.resource_id
                                      AND x.group_id IN (SELECT group_id FROM mine))
                           THEN 'GROUP' END AS "ground: Ground"
           FROM unnest($3::uuid[], $4::text[], $5::text[]) WITH ORDINALITY w(id, resource_type, external_id, ord)
           JOIN account o ON o.account_id = $1
           JOIN member m ON m.account_id = $1 AND m.member_id = $2 AND m.status = 'ACTIVE'
                AND (m.valid_from > ($8::timestamptz AT TIME ZONE o.time_zone)::date) IS NOT TRUE
                AND (m.valid_until < ($8::timestamptz AT TIME ZONE o.time_zone)::date) IS NOT TRUE
           JOIN LATERAL (SELECT i.* FROM resource i WHERE i.account_id = $1 AND i.resource_id = w.id
                         UNION ALL
                         SELECT e.* FROM resource e
                         WHERE e.account_id = $1 AND e.resource_type = w.resource_type AND e.external_id = w.external_id) r
                ON r.archived_at IS NULL AND ($6 OR r.unit_id = ANY($7))"#,
        asker.account().0,
        member.0,
        &columns.ids as &[Option<Uuid>],
        &columns.types as &[Option<String>],
        &columns.externals as &[Option<String>],
        everywhere,
        &units,
        asker.now(),
    )
    .fetch_all(conn)
    .await?;
    let mut answers = vec![None; references.len()];
    for row in rows {
        let place = usize::try_from(row.ord).ok().and_then(|ord| answers.get_mut(ord - 1));
        if let (Some(place), Some(id), Some(ground)) = (place, row.resource_id, row.ground) {
            *place = Some((id, ground));
        }
    }
    Ok(answers)
}

/// A page of what a member has access to, by name, each with its cursor: one statement.
///
/// # Errors
/// As [`can_access`].
pub async fn accessible(
    conn: &mut PgConnection,
    asker: &Asker,
    member: MemberId,
    filter: &Filter,
    request: &Request,
) -> Result<Page<(Cursor, Resource)>> {
    let reach = reach(asker, member)?;
    let mut statement = QueryBuilder::new(SELECT);
    statement.push_bind(asker.account().0);
    push_filter(&mut statement, &reach, filter);
    statement.push(" AND ");
    push_accessible(&mut statement, asker.account(), member, asker.now());
    request.push_to(&mut statement, "lower(r.name)", "r.resource_id", false);
    let rows: Vec<Resource> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request.page(rows).map(cursor))
}

/// The condition that a member has access to the resource `r`. What is open to them is found once, not once a row.
pub(super) fn push_accessible(
    statement: &mut QueryBuilder<Postgres>,
    account: AccountId,
    member: MemberId,
    now: Timestamp,
) {
    statement
        .push("(r.archived_at IS NULL AND EXISTS (SELECT FROM member s JOIN account o USING (account_id) WHERE s.account_id = ")
        .push_bind(account.0)
        .push(" AND s.member_id = ")
        .push_bind(member.0)
        .push(" AND s.status = 'ACTIVE' AND (s.valid_from > (")
        .push_bind(now)
        .push("::timestamptz AT TIME ZONE o.time_zone)::date) IS NOT TRUE AND (s.valid_until < (")
        .push_bind(now)
        .push("::timestamptz AT TIME ZONE o.time_zone)::date) IS NOT TRUE) AND (r.open_to_all OR r.responsible_member_id = ")
        .push_bind(member.0)
        .push(" OR r.resource_id IN (SELECT x.resource_id FROM resource_member x WHERE x.account_id = ")
        .push_bind(account.0)
        .push(" AND x.member_id = ")
        .push_bind(member.0)
        .push(
            " UNION ALL SELECT x.resource_id FROM group_member y JOIN member_group g USING (account_id, group_id) \
             JOIN resource_group x USING (account_id, group_id) WHERE g.archived_at IS NULL AND y.account_id = ",
        )
        .push_bind(account.0)
        .push(" AND y.member_id = ")
        .push_bind(member.0)
        .push(")))");
}
