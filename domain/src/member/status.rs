//! What administrators do to a member's status.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Status;
use super::validity::Validity;
use crate::actor::{Action, Actor, Assignment, Grants, Standing, Target, of_members};
use crate::change::Change;
use crate::error::{AtField as _, Code, Result};
use crate::id::{MemberId, RoleId, UnitId, UserId};
use crate::infra::clock::Date;

/// A member under lock.
pub(crate) struct Locked {
    /// Their identity, once they have joined.
    pub user_id: Option<UserId>,
    pub email: String,
    pub status: Status,
    pub prior_status: Option<Status>,
    pub validity: Validity,
    pub owner: bool,
    /// What they may do.
    pub held: Grants,
    /// The units they belong to.
    pub units: Vec<UnitId>,
    pub assignments: Vec<Assignment>,
}

/// Locks a member who is about to change, and asks whether the actor may do that to them. NOT_FOUND stands at `memberId`, as the
/// other refusals.
pub(crate) async fn lock(
    change: &mut Change,
    actor: &Actor,
    member: MemberId,
    action: Action,
) -> Result<(Locked, Standing)> {
    // Who may nowhere do such a thing learns nothing from the look-up.
    actor.may(action, Target::Anywhere)?;
    let locked = lock_any(change, member).await.at("memberId")?;
    let standing = change.standing(actor).await?;
    let target = Target::Member { member_id: member, owner: locked.owner, units: &locked.units, held: &locked.held };
    standing.may(action, target).at("memberId")?;
    Ok((locked, standing))
}

/// Locks a member, whoever asks.
pub(crate) async fn lock_any(change: &mut Change, member: MemberId) -> Result<Locked> {
    lock_many(change, &[member]).await?.remove(&member).ok_or_else(|| Code::NotFound.into())
}

/// Locks members, whoever asks, in the order of their ids; those that there are not are left out.
pub(crate) async fn lock_many(change: &mut Change, members: &[MemberId]) -> Result<BTreeMap<MemberId, Locked>> {
    let (account, ids) = (change.account(), raw(members));
    let rows = sqlx::query_as!(
        Stored,
        r#"SELECT member_id AS "member_id: MemberId", user_id AS "user_id: UserId", email, status AS "status: Status",
                  prior_status AS "prior_status: Status", valid_from, valid_until
           FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR UPDATE"#,
        account.0,
        &ids,
    );
    let rows = rows.fetch_all(change.conn()).await?;
    complete(change, rows).await
}

/// As [`lock_many`], for whoever leaves status and login alone: they may sign in meanwhile.
pub(crate) async fn hold_many(change: &mut Change, members: &[MemberId]) -> Result<BTreeMap<MemberId, Locked>> {
    let (account, ids) = (change.account(), raw(members));
    let rows = sqlx::query_as!(
        Stored,
        r#"SELECT member_id AS "member_id: MemberId", user_id AS "user_id: UserId", email, status AS "status: Status",
                  prior_status AS "prior_status: Status", valid_from, valid_until
           FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id FOR NO KEY UPDATE"#,
        account.0,
        &ids,
    );
    let rows = rows.fetch_all(change.conn()).await?;
    complete(change, rows).await
}

/// Locks members as [`hold_many`] does, without reading anything of them: for whoever changes very many, and looks at them later.
pub(crate) async fn hold_in_order(change: &mut Change, members: &[MemberId]) -> Result<()> {
    let (account, ids) = (change.account(), raw(members));
    let held = sqlx::query!(
        "SELECT count(*) FROM (SELECT FROM member WHERE account_id = $1 AND member_id = ANY($2)
                               ORDER BY member_id FOR NO KEY UPDATE) held",
        account.0,
        &ids,
    );
    held.fetch_one(change.conn()).await?;
    Ok(())
}

/// As [`lock_many`], for whoever writes nothing: locks nobody.
pub(crate) async fn look_at_many(change: &mut Change, members: &[MemberId]) -> Result<BTreeMap<MemberId, Locked>> {
    let (account, ids) = (change.account(), raw(members));
    let rows = sqlx::query_as!(
        Stored,
        r#"SELECT member_id AS "member_id: MemberId", user_id AS "user_id: UserId", email, status AS "status: Status",
                  prior_status AS "prior_status: Status", valid_from, valid_until
           FROM member WHERE account_id = $1 AND member_id = ANY($2) ORDER BY member_id"#,
        account.0,
        &ids,
    );
    let rows = rows.fetch_all(change.conn()).await?;
    complete(change, rows).await
}

fn raw(members: &[MemberId]) -> Vec<Uuid> {
    members.iter().map(|member| member.0).collect()
}

/// What a member's own row says.
struct Stored {
    member_id: MemberId,
    user_id: Option<UserId>,
    email: String,
    status: Status,
    prior_status: Option<Status>,
    valid_from: Option<Date>,
    valid_until: Option<Date>,
}

async fn complete(change: &mut Change, rows: Vec<Stored>) -> Result<BTreeMap<MemberId, Locked>> {
    let account = change.account();
    let found: Vec<MemberId> = rows.iter().map(|row| row.member_id).collect();
    let mut places = places(change, &found).await?;
    let mut held = of_members(change.conn(), account, &found).await?;
    let locked = rows.into_iter().filter_map(|row| {
        let place = places.remove(&row.member_id)?;
        let locked = Locked {
            user_id: row.user_id,
            email: row.email,
            status: row.status,
            prior_status: row.prior_status,
            validity: Validity { from: row.valid_from, until: row.valid_until },
            owner: place.owner,
            held: held.remove(&row.member_id).unwrap_or_default(),
            units: place.units,
            assignments: place.assignments,
        };
        Some((row.member_id, locked))
    });
    Ok(locked.collect())
}

struct Where {
    owner: bool,
    units: Vec<UnitId>,
    assignments: Vec<Assignment>,
}

/// In a statement of its own: within the one that waits for the lock it would show what was before the wait.
async fn places(change: &mut Change, members: &[MemberId]) -> Result<BTreeMap<MemberId, Where>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT m.id AS "id!: MemberId", EXISTS (SELECT FROM account_owner WHERE account_id = $1 AND member_id = m.id) AS "owner!",
                  ARRAY(SELECT unit_id FROM member_unit WHERE account_id = $1 AND member_id = m.id) AS "units!: Vec<UnitId>",
                  ARRAY(SELECT role_id FROM member_role WHERE account_id = $1 AND member_id = m.id ORDER BY role_id, unit_id)
                      AS "roles!: Vec<RoleId>",
                  ARRAY(SELECT unit_id FROM member_role WHERE account_id = $1 AND member_id = m.id ORDER BY role_id, unit_id)
                      AS "role_units!: Vec<UnitId>"
           FROM unnest($2::uuid[]) m(id)"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    let place = |assignments: std::iter::Zip<std::vec::IntoIter<RoleId>, std::vec::IntoIter<UnitId>>| {
        assignments.map(|(role_id, unit_id)| Assignment { role_id, unit_id }).collect()
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            let assignments = place(row.roles.into_iter().zip(row.role_units));
            (row.id, Where { owner: row.owner, units: row.units, assignments })
        })
        .collect())
}
