//! What a batch of rows does: new members with their invitations, and other values, roles and groups of those who are there.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::batch::roles_after;
use super::fate::{Edit, Fate, edits, joining};
use crate::actor::Standing;
use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::group;
use crate::id::MemberId;
use crate::invitation::{self, NewInvitation};
use crate::member::updated;
use crate::profile::{Profile, SubscriptionType};

/// Changes those who are there and are locked. The groups they come into are not locked.
///
/// # Errors
/// [`Error::Stale`] when others were faster.
pub(super) async fn edit(change: &mut Change, standing: &Standing, fates: &[Fate]) -> Result<()> {
    let edits: Vec<&Edit> = edits(fates).collect();
    if edits.is_empty() {
        return Ok(());
    }
    update_profiles(change, &edits).await?;
    add_roles(change, standing, &edits).await?;
    add_groups(change, &edits).await
}

/// Has plans made for an account that grows: after the first rows of an import, while there are few members in all accounts.
pub(super) async fn refresh_statistics(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT refresh_member_statistics()").execute(conn).await?;
    Ok(())
}

/// Invites new members, and returns them in the order of their rows. The groups they come into are not locked.
///
/// # Errors
/// [`Error::Stale`] when others were faster.
pub(super) async fn invite(
    change: &mut Change,
    (importer, send): (MemberId, bool),
    fates: &[Fate],
) -> Result<Vec<MemberId>> {
    let mut items = Vec::new();
    let mut replaced = Vec::new();
    for fate in fates {
        if let Fate::Invited(item, lapsed) = fate {
            items.push(NewInvitation::clone(item));
            replaced.extend(*lapsed);
        }
    }
    invitation::replace(change, &replaced).await?;
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let ids = invitation::create(change, Some(importer), &items, send).await?;
    Ok(ids.into_iter().map(|(_, member)| member).collect())
}

/// The members are locked. The names stand on an open invitation as well.
async fn update_profiles(change: &mut Change, edits: &[&Edit]) -> Result<()> {
    let edits: Vec<&&Edit> = edits.iter().filter(|edit| edit.before != edit.after).collect();
    if edits.is_empty() {
        return Ok(());
    }
    let account = change.account();
    let ids: Vec<Uuid> = edits.iter().map(|edit| edit.member_id.0).collect();
    let versions: Vec<i32> = edits.iter().map(|edit| edit.version).collect();
    let column = |value: fn(&Profile) -> &Option<String>| -> Vec<Option<String>> {
        edits.iter().map(|edit| value(&edit.after).clone()).collect()
    };
    let subscriptions: Vec<Option<String>> = edits
        .iter()
        .map(|edit| edit.after.subscription_type.map(|subscription| SubscriptionType::as_str(subscription).to_owned()))
        .collect();
    let written = sqlx::query!(
        "WITH u AS (
             SELECT * FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                                  $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[])
                  u(id, version, first_name, last_name, initials, time_zone, address, city, state, zip, country, phone, job_title,
                    subscription_type)),
              open AS (
             UPDATE invitation i SET first_name = u.first_name, last_name = u.last_name FROM u
             WHERE i.account_id = $1 AND i.member_id = u.id AND i.finished_at IS NULL)
         UPDATE member m SET version = m.version + 1, first_name = u.first_name, last_name = u.last_name, initials = u.initials,
                time_zone = u.time_zone, address = u.address, city = u.city, state = u.state, zip = u.zip, country = u.country,
                phone = u.phone, job_title = u.job_title, subscription_type = u.subscription_type
         FROM u WHERE m.account_id = $1 AND m.member_id = u.id AND m.version = u.version",
        account.0,
        &ids,
        &versions,
        &column(|p| &p.first_name) as &[Option<String>],
        &column(|p| &p.last_name) as &[Option<String>],
        &column(|p| &p.initials) as &[Option<String>],
        &column(|p| &p.time_zone) as &[Option<String>],
        &column(|p| &p.address) as &[Option<String>],
        &column(|p| &p.city) as &[Option<String>],
        &column(|p| &p.state) as &[Option<String>],
        &column(|p| &p.zip) as &[Option<String>],
        &column(|p| &p.country) as &[Option<String>],
        &column(|p| &p.phone) as &[Option<String>],
        &column(|p| &p.job_title) as &[Option<String>],
        &subscriptions as &[Option<String>],
    )
    .execute(change.conn())
    .await?;
    if written.rows_affected() != edits.len() as u64 {
        return Err(Error::Stale);
    }
    for edit in edits {
        change.record(updated(edit.member_id, &edit.before, &edit.after));
    }
    Ok(())
}

/// From now on the importer is answerable for what open invitations grant.
async fn add_roles(change: &mut Change, standing: &Standing, edits: &[&Edit]) -> Result<()> {
    let pairs = edits.iter().flat_map(|edit| edit.add_roles.iter().map(|role| (edit.member_id.0, role.0)));
    let (members, roles): (Vec<Uuid>, Vec<Uuid>) = pairs.unzip();
    if members.is_empty() {
        return Ok(());
    }
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "WITH answerable AS (UPDATE invitation SET invited_by = $5
                             WHERE account_id = $1 AND member_id = ANY($3) AND finished_at IS NULL)
         INSERT INTO member_role (account_id, member_id, role_id, assigned_at)
         SELECT $1, w.member_id, w.role_id, $2 FROM unnest($3::uuid[], $4::uuid[]) w(member_id, role_id) ON CONFLICT DO NOTHING",
        account.0,
        now,
        &members,
        &roles,
        standing.member_id.0,
    )
    .execute(change.conn())
    .await?;
    for edit in edits.iter().filter(|edit| !edit.add_roles.is_empty()) {
        if edit.active {
            change.rights_changed();
        }
        let after = roles_after(&edit.roles_before, &edit.add_roles);
        let detail = json!({ "before": edit.roles_before, "after": after,
                             "unitRoles": { "before": edit.unit_roles, "after": edit.unit_roles } });
        change.record(NewEvent::new(EventKind::MemberRolesChanged).subject(edit.member_id.0).detail(detail));
    }
    Ok(())
}

async fn add_groups(change: &mut Change, edits: &[&Edit]) -> Result<()> {
    let mut joining: Vec<_> = joining(edits.iter().copied()).into_iter().collect();
    joining.sort_unstable_by_key(|(group, _)| *group);
    for (group, members) in joining {
        let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
        group::put_in(change, group, &ids).await?;
    }
    Ok(())
}
