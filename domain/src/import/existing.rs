//! Who of a batch's addresses is in the account already, and how.

use std::collections::HashMap;

use super::column::Column;
use super::row::RowFault;
use crate::change::Change;
use crate::error::Result;
use crate::id::{GroupId, InvitationId, MemberId, RoleId};
use crate::invitation::{self, Lapsed, UNDELIVERABLE_AFTER};
use crate::license;
use crate::member::Status;
use crate::profile::{FieldFault, Profile, SubscriptionType};

/// Somebody who has an address of the file.
#[derive(PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) member_id: MemberId,
    pub(super) status: Status,
    pub(super) owner: bool,
    /// The invitation they have, if it has lapsed: unless the row is as they are, they are invited anew.
    pub(super) lapsed: Option<InvitationId>,
    /// What that said to them.
    pub(super) message: Option<String>,
    pub(super) profile: Profile,
    pub(super) version: i32,
    /// Roles for the whole account.
    pub(super) roles: Vec<RoleId>,
    /// All assignments, also those limited to units.
    pub(super) assignments: i32,
    /// Those that are not archived.
    pub(super) groups: Vec<GroupId>,
}

impl Existing {
    /// Whether what is wrong with a row by itself is wrong with it for somebody who is there already: what they never had is not
    /// missing, and addresses are asked for of new members only.
    pub(super) fn has(&self, fault: &RowFault) -> bool {
        let profile = &self.profile;
        match (fault.code, fault.column) {
            (code, _) if code.is_of_domain() => false,
            (FieldFault::Required, Some(Column::FirstName)) => profile.first_name.is_some(),
            (FieldFault::Required, Some(Column::LastName)) => profile.last_name.is_some(),
            (FieldFault::Required, Some(Column::SubscriptionType)) => profile.subscription_type.is_some(),
            _ => true,
        }
    }

    /// What a new invitation replaces.
    pub(super) fn replaceable(&self) -> Option<Lapsed> {
        self.lapsed.map(|invitation_id| Lapsed { member_id: self.member_id, invitation_id })
    }
}

/// Reads who has some addresses. An overdue invitation counts as lapsed; if it is to `lapse`, it does now, under the pool's lock.
pub(super) async fn read(change: &mut Change, emails: &[String], lapse: bool) -> Result<HashMap<String, Existing>> {
    let (found, overdue) = look(change, emails).await?;
    if !overdue || !lapse {
        return Ok(found);
    }
    license::lock(change).await?;
    invitation::lapse_addresses(change, emails).await?;
    Ok(look(change, emails).await?.0)
}

/// How many of some addresses are nobody's who is in the account, lapsed invitations aside: at most so many are invited.
pub(super) async fn count_new(change: &mut Change, emails: &[String]) -> Result<i32> {
    let (account, now) = (change.account(), change.now());
    let count = sqlx::query_scalar!(
        r#"SELECT count(*)::int AS "count!" FROM unnest($2::text[]) e(email)
           LEFT JOIN LATERAL (SELECT member_id, status FROM member WHERE account_id = $1 AND email = e.email LIMIT 1) m ON true
           LEFT JOIN LATERAL (SELECT state, expires_at, sent_at, queued_at FROM invitation
                              WHERE account_id = $1 AND member_id = m.member_id AND finished_at IS NULL LIMIT 1) i ON true
           WHERE m.member_id IS NULL
              OR (m.status = 'INVITED' AND (i.state = 'EXPIRED' OR (i.state = 'PENDING' AND (i.expires_at <= $3
                  OR (i.sent_at IS NULL AND i.queued_at <= $4)))))"#,
        account.0,
        emails,
        now,
        now - UNDELIVERABLE_AFTER,
    )
    .fetch_one(change.conn())
    .await?;
    Ok(count)
}

/// Also says whether anybody's invitation is overdue. Each address is looked up by itself (`LIMIT 1`; there is one at most): joined as
/// tables, the whole account would be read for each batch as soon as the statistics of the tables are older than their rows.
async fn look(change: &mut Change, emails: &[String]) -> Result<(HashMap<String, Existing>, bool)> {
    let (account, now) = (change.account(), change.now());
    let rows = sqlx::query!(
        r#"SELECT m.email AS "email!", m.member_id AS "member_id!: MemberId", m.status AS "status!: Status", m.version AS "version!",
                  EXISTS (SELECT FROM account_owner o WHERE o.account_id = $1 AND o.member_id = m.member_id) AS "owner!",
                  i.invitation_id AS "invitation_id?: InvitationId", i.message AS "message?", (m.status = 'INVITED' AND i.state = 'EXPIRED') IS TRUE AS "lapsed!",
                  (m.status = 'INVITED' AND i.state = 'PENDING'
                   AND (i.expires_at <= $3 OR (i.sent_at IS NULL AND i.queued_at <= $4))) IS TRUE AS "overdue!",
                  m.first_name, m.last_name, m.initials, m.time_zone, m.address, m.city, m.state, m.zip, m.country, m.phone, m.job_title,
                  m.subscription_type AS "subscription_type: SubscriptionType",
                  ARRAY(SELECT r.role_id FROM member_role r WHERE r.account_id = $1 AND r.member_id = m.member_id AND r.unit_ref IS NULL
                        ORDER BY r.role_id) AS "roles!: Vec<RoleId>",
                  (SELECT count(*)::int FROM member_role r WHERE r.account_id = $1 AND r.member_id = m.member_id) AS "assignments!",
                  ARRAY(SELECT g.group_id FROM group_member g JOIN member_group USING (account_id, group_id)
                        WHERE g.account_id = $1 AND g.member_id = m.member_id AND archived_at IS NULL ORDER BY group_id) AS "groups!: Vec<GroupId>"
           FROM unnest($2::text[]) e(email)
           CROSS JOIN LATERAL (SELECT * FROM member WHERE account_id = $1 AND email = e.email LIMIT 1) m
           LEFT JOIN LATERAL (SELECT invitation_id, message, state, expires_at, sent_at, queued_at FROM invitation
                              WHERE account_id = $1 AND member_id = m.member_id AND finished_at IS NULL LIMIT 1) i ON true"#,
        account.0,
        emails,
        now,
        now - UNDELIVERABLE_AFTER,
    )
    .fetch_all(change.conn())
    .await?;
    let overdue = rows.iter().any(|row| row.overdue);
    let found = rows.into_iter().map(|row| {
        let profile = Profile {
            first_name: row.first_name,
            last_name: row.last_name,
            initials: row.initials,
            time_zone: row.time_zone,
            address: row.address,
            city: row.city,
            state: row.state,
            zip: row.zip,
            country: row.country,
            phone: row.phone,
            job_title: row.job_title,
            subscription_type: row.subscription_type,
        };
        let existing = Existing {
            member_id: row.member_id,
            status: row.status,
            owner: row.owner,
            lapsed: row.invitation_id.filter(|_| row.lapsed || row.overdue),
            message: row.message,
            profile,
            version: row.version,
            roles: row.roles,
            assignments: row.assignments,
            groups: row.groups,
        };
        (row.email, existing)
    });
    Ok((found.collect(), overdue))
}
