//! What the diagnosis reads: of the account's members and invitations, those that the actor may read.

use sqlx::PgConnection;

use super::Finding;
use crate::actor::{Action, Actor};
use crate::id::{InvitationId, MemberId};
use crate::infra::clock::Date;
use crate::member::Status;

/// Others who might be meant, at most.
const SIMILAR: i64 = 5;

/// The member who has an address.
pub(super) struct Found {
    pub member_id: MemberId,
    pub email: String,
    pub status: Status,
    /// Their invitation, while they have not joined.
    pub invitation_id: Option<InvitationId>,
    pub has_signed_in: bool,
    /// The first day on which they may enter, if it is yet to come in the account's time zone.
    pub not_before: Option<Date>,
    /// The last day on which they might enter, if it is over there.
    pub not_after: Option<Date>,
}

/// The member who has an address, if the actor may read them.
pub(super) async fn member(conn: &mut PgConnection, actor: &Actor, email: &str) -> sqlx::Result<Option<Found>> {
    let (everywhere, units) = actor.reach(Action::ReadMembers).parts();
    sqlx::query_as!(
        Found,
        r#"SELECT m.member_id AS "member_id: MemberId", m.email, m.status AS "status: Status",
                  i.invitation_id AS "invitation_id?: InvitationId", a.last_sign_in_at IS NOT NULL AS "has_signed_in!",
                  CASE WHEN m.valid_from > ($5::timestamptz AT TIME ZONE o.time_zone)::date THEN m.valid_from END AS "not_before: Date",
                  CASE WHEN m.valid_until < ($5::timestamptz AT TIME ZONE o.time_zone)::date THEN m.valid_until END AS "not_after: Date"
           FROM member m
           JOIN account o USING (account_id)
           LEFT JOIN invitation i ON i.account_id = m.account_id AND i.member_id = m.member_id AND i.finished_at IS NULL
           LEFT JOIN member_activity a ON a.account_id = m.account_id AND a.member_id = m.member_id
           WHERE m.account_id = $1 AND m.email = $2
             AND ($3 OR EXISTS (SELECT FROM member_unit u
                                WHERE u.account_id = m.account_id AND u.member_id = m.member_id AND u.unit_id = ANY($4)))"#,
        actor.account_id.0,
        email,
        everywhere,
        &units,
        actor.now,
    )
    .fetch_optional(conn)
    .await
}

/// Members who had an address, or are to have it. Of changes that wait only those that were asked for in this account.
pub(super) async fn changes(conn: &mut PgConnection, actor: &Actor, email: &str) -> sqlx::Result<Vec<Finding>> {
    let (everywhere, units) = actor.reach(Action::ReadMembers).parts();
    let rows = sqlx::query!(
        r#"SELECT m.member_id AS "member_id: MemberId", m.email, c.new_email, c.expires_at, c.changed_at
           FROM email_change c
           JOIN member m ON m.account_id = $1 AND m.user_id = c.user_id
           WHERE ((c.state = 'CHANGED' AND c.old_email = $2 AND m.email <> $2)
                  OR (c.state = 'PENDING' AND c.account_id = $1 AND c.new_email = $2 AND c.expires_at > $3))
             AND ($4 OR EXISTS (SELECT FROM member_unit u
                                WHERE u.account_id = m.account_id AND u.member_id = m.member_id AND u.unit_id = ANY($5)))
           ORDER BY c.created_at DESC LIMIT $6"#,
        actor.account_id.0,
        email,
        actor.now,
        everywhere,
        &units,
        SIMILAR,
    )
    .fetch_all(conn)
    .await?;
    let finding = rows.into_iter().map(|row| match row.changed_at {
        Some(at) => Finding::AddressChanged { member_id: row.member_id, email: row.email, at },
        None => {
            Finding::NewAddressNotConfirmed { member_id: row.member_id, email: row.new_email, until: row.expires_at }
        }
    });
    Ok(finding.collect())
}

/// Members and invited people whose address has the same name before the `@` at another domain, or differs only in dots, hyphens,
/// underscores and what follows a plus sign: `jane.doe@` is like `janedoe@`, `jane_doe+work@`.
pub(super) async fn similar(conn: &mut PgConnection, actor: &Actor, email: &str) -> sqlx::Result<Vec<Finding>> {
    let (everywhere, units) = actor.reach(Action::ReadMembers).parts();
    // The expression of the index member_by_mailbox_name.
    let rows = sqlx::query!(
        r#"SELECT m.member_id AS "member_id: MemberId", m.email, m.created_at
           FROM member m
           WHERE m.account_id = $1
             AND regexp_replace(split_part(split_part(m.email, '@', 1), '+', 1), '[._-]', '', 'g')
                 = nullif(regexp_replace(split_part(split_part($2, '@', 1), '+', 1), '[._-]', '', 'g'), '')
             AND ($3 OR EXISTS (SELECT FROM member_unit u
                                WHERE u.account_id = m.account_id AND u.member_id = m.member_id AND u.unit_id = ANY($4)))
           ORDER BY m.created_at DESC, m.member_id LIMIT $5"#,
        actor.account_id.0,
        email,
        everywhere,
        &units,
        SIMILAR,
    )
    .fetch_all(conn)
    .await?;
    let finding = rows.into_iter().map(|row| Finding::InvitedAtAnotherAddress {
        member_id: row.member_id,
        email: row.email,
        at: row.created_at,
    });
    Ok(finding.collect())
}
