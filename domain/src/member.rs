//! A person's place in one account: reading it, and what administrators do to it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Action, Actor};
use crate::id::{AccountId, MemberId, RoleId, UserId};
use crate::infra::clock::Timestamp;
use crate::profile::Profile;

mod list;
pub(crate) mod place;
mod roles;
pub(crate) mod status;

pub use list::{Filter, Order, count, list};
pub(crate) use place::MAX_ROLES;
pub use place::Place;
use roles::columns;
pub use roles::{Assigned, Mode, assign_roles};
pub use status::{activate, deactivate, reactivate, suspend};

/// Where a member stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type, serde::Serialize, serde::Deserialize,
)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Asked to join.
    Invited,
    /// Joined.
    Active,
    /// Shut out by hand, keeps the seat.
    Suspended,
    /// Gone, without a seat.
    Deactivated,
}

impl Status {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "INVITED",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Deactivated => "DEACTIVATED",
        }
    }
}

/// How much of a member an actor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Themselves.
    Own,
    /// Everything.
    Full,
    /// Name and job title.
    Basic,
}

/// A member as an actor may see them: what they may not see is not in here.
#[derive(Clone, Debug)]
pub struct Member {
    /// Their id.
    pub member_id: MemberId,
    /// How much of them the actor sees.
    pub visibility: Visibility,
    /// Their identity; none until they have accepted.
    pub user_id: Option<UserId>,
    /// Their address.
    pub email: Option<String>,
    /// Where they stand.
    pub status: Status,
    /// Whether they own the account.
    pub owner: bool,
    /// Their profile; only names and job title when [`Visibility::Basic`].
    pub profile: Profile,
    /// Grows with each change of the profile.
    pub version: Option<i32>,
    /// When they were invited, imported, or founded the account.
    pub created_at: Option<Timestamp>,
    /// When they accepted.
    pub joined_at: Option<Timestamp>,
    /// When they last signed in.
    pub last_sign_in_at: Option<Timestamp>,
    /// When they were last active, to within half a minute.
    pub last_activity_at: Option<Timestamp>,
    /// Asked for by [`Include`].
    pub roles: Option<Vec<MemberRole>>,
    /// Asked for by [`Include`].
    pub licenses: Option<Vec<License>>,
}

/// A role a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRole {
    /// The role.
    pub role_id: RoleId,
    /// Its name.
    pub name: String,
    /// Its key, if it is a system role.
    pub system_key: Option<String>,
}

/// A licence a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    /// The product.
    pub product_id: String,
    /// Its name.
    pub product_name: String,
    /// Whether it is only reserved, by an invitation.
    pub reserved: bool,
    /// Since when.
    pub allocated_at: Timestamp,
}

/// Which lists are wanted with each member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// Their roles.
    pub roles: bool,
    /// Their licences.
    pub licenses: bool,
}

pub(crate) fn visibility(actor: &Actor, member: MemberId) -> Visibility {
    if member == actor.member_id {
        Visibility::Own
    } else if actor.can(Action::ReadMembers) {
        Visibility::Full
    } else {
        Visibility::Basic
    }
}

/// Reads members by id, in the order asked for; those that do not exist, or are not the actor's to see, are left out.
pub async fn read_many(
    conn: &mut PgConnection,
    actor: &Actor,
    ids: &[MemberId],
    include: Include,
) -> sqlx::Result<Vec<Member>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as::<_, list::Row>(list::SELECT_BY_ID)
        .bind(actor.account_id.0)
        .bind(&raw)
        .fetch_all(&mut *conn)
        .await?;
    let mut members: Vec<Member> = rows.into_iter().filter_map(|row| row.seen_by(actor)).collect();
    members.sort_by_key(|member| ids.iter().position(|id| *id == member.member_id));
    attach_lists(conn, actor.account_id, &mut members, include).await?;
    Ok(members)
}

/// All lists asked for, of all members, in one statement.
pub(crate) async fn attach_lists(
    conn: &mut PgConnection,
    account: AccountId,
    members: &mut [Member],
    include: Include,
) -> sqlx::Result<()> {
    if members.is_empty() || include == Include::default() {
        return Ok(());
    }
    let shown: Vec<Uuid> =
        members.iter().filter(|m| m.visibility != Visibility::Basic).map(|m| m.member_id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT a.member_id AS "member_id!: MemberId", r.role_id AS "role_id?: RoleId", r.name AS "name!", r.system_key AS "key?",
                  NULL::text AS "product_id?", false AS "reserved!", a.assigned_at AS "since!"
           FROM member_role a JOIN role r USING (account_id, role_id)
           WHERE $3 AND a.account_id = $1 AND a.member_id = ANY($2)
           UNION ALL
           SELECT l.member_id, NULL, p.name, NULL, l.product_id, l.reserved, l.allocated_at
           FROM license_allocation l JOIN product p USING (product_id)
           WHERE $4 AND l.account_id = $1 AND l.member_id = ANY($2)
           ORDER BY 3"#,
        account.0,
        &shown,
        include.roles,
        include.licenses,
    )
    .fetch_all(conn)
    .await?;
    for member in members.iter_mut() {
        member.roles = include.roles.then(Vec::new);
        member.licenses = include.licenses.then(Vec::new);
    }
    for row in rows {
        let Some(member) = members.iter_mut().find(|member| member.member_id == row.member_id) else { continue };
        if let (Some(roles), Some(role_id)) = (&mut member.roles, row.role_id) {
            roles.push(MemberRole { role_id, name: row.name, system_key: row.key });
        } else if let (Some(licenses), Some(product_id)) = (&mut member.licenses, row.product_id) {
            licenses.push(License {
                product_id,
                product_name: row.name,
                reserved: row.reserved,
                allocated_at: row.since,
            });
        }
    }
    Ok(())
}
