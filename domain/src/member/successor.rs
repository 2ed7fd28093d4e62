//! Who leaves hands over what they are responsible for. Whatever a member can be responsible for is found and moved here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Status;
use super::status::Locked;
use crate::actor::{Action, Standing};
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId, ResourceId};
use crate::job::{JobKind, NewJob};

/// Things that one event names.
const PER_EVENT: usize = 100;

/// Whether somebody can take over from those who leave: an active member whom the actor can see, and none of those.
///
/// # Errors
/// NOT_FOUND, SUCCESSOR_INVALID.
pub(crate) fn check(
    standing: &Standing,
    action: Action,
    locked: &BTreeMap<MemberId, Locked>,
    successor: MemberId,
    leavers: &[MemberId],
) -> Result<()> {
    let grants = &standing.rights.grants;
    let found = locked.get(&successor).filter(|locked| {
        let reach = grants.reach(action.permissions());
        let own_units: Vec<_> = grants.units().collect();
        successor == standing.member_id
            || grants.belongs_everywhere()
            || reach.includes(&locked.units)
            || locked.units.iter().any(|unit| own_units.contains(unit))
    });
    let Some(found) = found else { return Err(Code::NotFound.into()) };
    if found.status != Status::Active || leavers.contains(&successor) {
        return Err(Refused::new(Code::SuccessorInvalid).into());
    }
    Ok(())
}

/// Which of these members are responsible for anything.
pub(crate) async fn responsible(change: &mut Change, members: &[MemberId]) -> Result<BTreeSet<MemberId>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT DISTINCT responsible_member_id AS "member!: MemberId" FROM resource
           WHERE account_id = $1 AND responsible_member_id = ANY($2) AND archived_at IS NULL"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Moves everything that members are responsible for to their successor, who is told by mail. All of them must be locked.
pub(super) async fn move_all(change: &mut Change, leavers: &[MemberId], successor: MemberId) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let ids: Vec<Uuid> = leavers.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"WITH moving AS (
               SELECT account_id, resource_id, responsible_member_id FROM resource
               WHERE account_id = $1 AND responsible_member_id = ANY($2) AND archived_at IS NULL ORDER BY resource_id FOR NO KEY UPDATE)
           UPDATE resource r SET responsible_member_id = $3, version = r.version + 1
           FROM moving WHERE r.account_id = moving.account_id AND r.resource_id = moving.resource_id
           RETURNING moving.responsible_member_id AS "before!: MemberId", r.resource_id AS "resource_id: ResourceId""#,
        account.0,
        &ids,
        successor.0,
    )
    .fetch_all(change.conn())
    .await?;
    let mut by_leaver: BTreeMap<MemberId, Vec<ResourceId>> = BTreeMap::new();
    for row in &rows {
        by_leaver.entry(row.before).or_default().push(row.resource_id);
    }
    for (leaver, mut resources) in by_leaver {
        resources.sort_unstable();
        for some in resources.chunks(PER_EVENT) {
            let detail = json!({ "successor": successor, "resources": some });
            change.record(NewEvent::new(EventKind::MemberSucceeded).subject(leaver.0).detail(detail));
        }
    }
    if !rows.is_empty() {
        change.enqueue(NewJob {
            account_id: account.0,
            kind: JobKind::MailSuccession,
            payload: json!({ "memberId": successor, "resources": rows.len(), "at": now }),
            dedupe_key: format!("{successor}:{}", now.as_microsecond()),
        });
    }
    Ok(())
}

/// What a mail to a member needs.
#[derive(Clone, Debug)]
pub struct MemberMail {
    /// Their address, as of now.
    pub email: String,
    /// Their first name, if known.
    pub first_name: Option<String>,
    /// The account's name.
    pub account_name: String,
}

/// Reads what a mail to a member needs; `None` unless they are active.
pub async fn mail(conn: &mut PgConnection, account: AccountId, member: MemberId) -> sqlx::Result<Option<MemberMail>> {
    sqlx::query_as!(
        MemberMail,
        "SELECT u.email, m.first_name, a.name AS account_name
         FROM member m JOIN app_user u USING (user_id) JOIN account a USING (account_id)
         WHERE m.account_id = $1 AND m.member_id = $2 AND m.status = 'ACTIVE'",
        account.0,
        member.0,
    )
    .fetch_optional(conn)
    .await
}
