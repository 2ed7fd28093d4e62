//! Open invitations under lock, and who may touch them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::State;
use crate::actor::{Action, Assignment, Grants, Standing, Target, of_members};
use crate::change::Change;
use crate::error::{Code, Result};
use crate::id::{GroupId, InvitationId, MemberId, RoleId, UnitId};
use crate::infra::clock::Timestamp;
use crate::infra::email_address::EmailAddress;
use crate::member::{Place, Status, Validity};
use crate::profile::SubscriptionType;

/// An open invitation under lock, with its member.
pub(super) struct Open {
    pub(super) invitation_id: InvitationId,
    pub(super) member_id: MemberId,
    pub(super) email: EmailAddress,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) message: Option<String>,
    pub(super) subscription_type: Option<SubscriptionType>,
    pub(super) validity: Validity,
    pub(super) state: State,
    pub(super) generation: i32,
    pub(super) queued_at: Option<Timestamp>,
    pub(super) resent_at: Vec<Timestamp>,
    pub(super) assignments: Vec<Assignment>,
    pub(super) units: Vec<UnitId>,
    pub(super) groups: Vec<GroupId>,
    pub(super) suspended: bool,
}

/// Locks an open invitation with its member, who may go or get another address.
pub(super) async fn lock(change: &mut Change, id: InvitationId) -> Result<Open> {
    let account = change.account();
    // At once as strongly as that needs: two who hold a weaker lock would wait for each other.
    sqlx::query!(
        "SELECT 1 AS one FROM member m JOIN invitation i USING (account_id, member_id)
         WHERE i.account_id = $1 AND i.invitation_id = $2 AND i.finished_at IS NULL FOR UPDATE OF m",
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    lock_many(change, &[id]).await?.remove(&id).unwrap_or_else(|| Err(Code::NotFound.into()))
}

/// Locks invitations with their members, in the order of these. One that is not open is refused; one that there is not is left out.
pub(super) async fn lock_many(
    change: &mut Change,
    ids: &[InvitationId],
) -> Result<BTreeMap<InvitationId, Result<Open>>> {
    let account = change.account();
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT i.invitation_id AS "invitation_id: InvitationId", m.member_id AS "member_id: MemberId", i.email, i.state AS "state: State",
                  i.generation, i.queued_at, i.resent_at, m.status AS "status: Status", i.first_name, i.last_name, i.message,
                  m.subscription_type AS "subscription_type: SubscriptionType", m.valid_from, m.valid_until
           FROM member m JOIN invitation i USING (account_id, member_id)
           WHERE i.account_id = $1 AND i.invitation_id = ANY($2) AND i.finished_at IS NULL
           ORDER BY m.member_id FOR NO KEY UPDATE OF m, i"#,
        account.0,
        &raw,
    )
    .fetch_all(change.conn())
    .await?;
    let members: Vec<MemberId> = rows.iter().map(|row| row.member_id).collect();
    let mut places = places(change, &members).await?;
    let opens = rows.into_iter().map(|row| {
        let place = places.remove(&row.member_id).unwrap_or_default();
        let open = Open {
            invitation_id: row.invitation_id,
            member_id: row.member_id,
            email: EmailAddress::parse(&row.email).expect("stored addresses are normalised"),
            state: row.state,
            generation: row.generation,
            queued_at: row.queued_at,
            resent_at: row.resent_at,
            first_name: row.first_name,
            last_name: row.last_name,
            message: row.message,
            subscription_type: row.subscription_type,
            validity: Validity { from: row.valid_from, until: row.valid_until },
            assignments: place.assignments,
            units: place.units,
            groups: place.groups,
            suspended: row.status == Status::Suspended,
        };
        (row.invitation_id, Ok(open))
    });
    let mut found: BTreeMap<InvitationId, Result<Open>> = opens.collect();
    if found.len() < ids.len() {
        let ended = sqlx::query_scalar!(
            r#"SELECT invitation_id AS "id: InvitationId" FROM invitation
               WHERE account_id = $1 AND invitation_id = ANY($2) AND finished_at IS NOT NULL"#,
            account.0,
            &raw,
        );
        for id in ended.fetch_all(change.conn()).await? {
            found.entry(id).or_insert_with(|| Err(Code::InvitationNotOpen.into()));
        }
    }
    Ok(found)
}

/// What members of invitations will hold and belong to. In a statement of its own: within the one that waits for the lock it would
/// show what was before the wait.
async fn places(change: &mut Change, members: &[MemberId]) -> Result<BTreeMap<MemberId, Place>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT m.id AS "id!: MemberId",
                  ARRAY(SELECT role_id FROM member_role WHERE account_id = $1 AND member_id = m.id ORDER BY role_id, unit_id)
                      AS "roles!: Vec<RoleId>",
                  ARRAY(SELECT unit_id FROM member_role WHERE account_id = $1 AND member_id = m.id ORDER BY role_id, unit_id)
                      AS "role_units!: Vec<UnitId>",
                  ARRAY(SELECT unit_id FROM member_unit WHERE account_id = $1 AND member_id = m.id) AS "units!: Vec<UnitId>",
                  ARRAY(SELECT group_id FROM group_member WHERE account_id = $1 AND member_id = m.id) AS "groups!: Vec<GroupId>"
           FROM unnest($2::uuid[]) m(id)"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    let place = |roles: Vec<RoleId>, units: Vec<UnitId>| {
        roles.into_iter().zip(units).map(|(role_id, unit_id)| Assignment { role_id, unit_id }).collect()
    };
    let places = rows.into_iter().map(|row| {
        (row.id, Place { assignments: place(row.roles, row.role_units), units: row.units, groups: row.groups })
    });
    Ok(places.collect())
}

/// Whether the actor may touch an invitation: it is to a unit of theirs, and grants nothing they do not hold.
pub(super) async fn may_handle(change: &mut Change, standing: &Standing, open: &Open) -> Result<()> {
    may_handle_all(change, standing, std::iter::once(open)).await?.remove(0)
}

/// [`may_handle`] for each of some, in their order.
pub(super) async fn may_handle_all<'a>(
    change: &mut Change,
    standing: &Standing,
    opens: impl Iterator<Item = &'a Open> + Clone,
) -> Result<Vec<Result<()>>> {
    let (account, nothing) = (change.account(), Grants::default());
    let members: Vec<MemberId> = opens.clone().map(|open| open.member_id).collect();
    let held = of_members(change.conn(), account, &members).await?;
    let judge = |open: &Open| {
        let held = held.get(&open.member_id).unwrap_or(&nothing);
        let target = Target::Member { member_id: open.member_id, owner: false, units: &open.units, held };
        standing.may(Action::Invite, target)
    };
    Ok(opens.map(judge).collect())
}

/// Whoever may invite may withdraw, whatever the invitation grants.
pub(super) fn may_withdraw(standing: &Standing, open: &Open) -> Result<()> {
    let nothing = Grants::default();
    let target = Target::Member { member_id: open.member_id, owner: false, units: &open.units, held: &nothing };
    standing.may(Action::Invite, target)
}
