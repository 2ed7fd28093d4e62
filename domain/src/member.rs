//! A person's place in one account: reading it, and what administrators do to it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::{Actor, Grants};
use crate::id::{GroupId, MemberId, RoleId, UnitId, UserId};
use crate::infra::clock::Timestamp;
use crate::profile::Profile;

mod attach;
mod erase;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod place;
mod roles;
mod row;
pub(crate) mod sight;
pub(crate) mod status;
pub mod successor;
mod update;
pub mod validity;
mod verdict;

pub(crate) use attach::attach_lists;
pub use life::{Step, Subjects, Taken, activate, deactivate, leave, suspend, take};
pub use list::{Counts, Filter, Order, count, counts, explain, list};
pub(crate) use place::MAX_ROLES;
pub use place::Place;
use roles::columns;
pub use roles::{Assigned, Mode, assign_roles};
pub(crate) use update::updated;
pub use update::{Texts, Update, Updated, update};
pub use validity::Validity;
pub use verdict::{Wish, verdict};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
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
    /// Where they stood before they were suspended or deactivated.
    pub prior_status: Option<Status>,
    /// Whether they own the account.
    pub owner: bool,
    /// Their profile; only names and job title when [`Visibility::Basic`].
    pub profile: Profile,
    /// From when until when they are a member.
    pub validity: Validity,
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
    /// Asked for by [`Include`].
    pub groups: Option<Vec<MemberGroup>>,
    /// Asked for by [`Include`].
    pub units: Option<Vec<MemberUnit>>,
    /// Asked for by [`Include`].
    pub held: Option<Held>,
}

/// What decides over who may do something to a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What they may do.
    pub grants: Grants,
    /// The units they belong to.
    pub units: Vec<UnitId>,
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
    /// The unit it is limited to.
    pub unit: Option<MemberUnit>,
}

/// A unit a member belongs to, or a role of theirs is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberUnit {
    /// The unit.
    pub unit_id: UnitId,
    /// Its name.
    pub name: String,
    /// Whether it is archived: then a role that is limited to it gives nothing.
    pub archived: bool,
}

/// A group a member is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberGroup {
    /// The group.
    pub group_id: GroupId,
    /// Its name.
    pub name: String,
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
#[expect(clippy::struct_excessive_bools, reason = "lists that are wanted or not")]
pub struct Include {
    /// Their roles.
    pub roles: bool,
    /// Their licences.
    pub licenses: bool,
    /// Their groups, but for archived ones.
    pub groups: bool,
    /// Their units, but for archived ones.
    pub units: bool,
    /// What decides over who may do something to them.
    pub held: bool,
}

/// Reads members by id, in the order asked for; those that do not exist, or are not the actor's to see, are left out.
pub async fn read_many(
    conn: &mut PgConnection,
    actor: &Actor,
    ids: &[MemberId],
    include: Include,
) -> sqlx::Result<Vec<Member>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut statement = row::select("", actor, &sight::Sight::of(actor), None);
    statement.push(" AND m.member_id = ANY(").push_bind(raw).push(")");
    let rows: Vec<row::Row> = statement.build_query_as().fetch_all(&mut *conn).await?;
    let mut members: Vec<Member> = rows.into_iter().map(row::Row::seen).collect();
    members.sort_by_key(|member| ids.iter().position(|id| *id == member.member_id));
    attach_lists(conn, actor.account_id, &mut members, include).await?;
    Ok(members)
}
