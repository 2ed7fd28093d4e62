//! What may be seen of a change while it waits.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::actor::Actor;
use crate::id::MemberId;
use crate::infra::clock::Timestamp;

/// A change that waits. Whether it waits for the new address or for the old one is nobody's to see: it would tell whether the person
/// is in another account.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The address to be.
    pub new_email: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Until when it can be confirmed.
    pub expires_at: Timestamp,
}

/// The changes that wait of some members, as far as they were asked for in the actor's account; of the actor, wherever it was. The
/// caller sees to it that the actor may read these members' profiles.
pub async fn of_members(
    conn: &mut PgConnection,
    actor: &Actor,
    members: &[MemberId],
) -> sqlx::Result<HashMap<MemberId, Pending>> {
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT CASE WHEN user_id = $4 THEN $5 ELSE member_id END AS "member_id!: MemberId", new_email, created_at, expires_at
           FROM email_change
           WHERE state = 'PENDING' AND expires_at > $3
             AND ((account_id = $1 AND member_id = ANY($2)) OR (user_id = $4 AND $5 = ANY($2)))
           ORDER BY created_at"#,
        actor.account_id.0,
        &ids,
        actor.now,
        actor.user_id.0,
        actor.member_id.0,
    )
    .fetch_all(conn)
    .await?;
    // Of several the newest: it comes last.
    let pending = rows.into_iter().map(|row| {
        let pending = Pending { new_email: row.new_email, requested_at: row.created_at, expires_at: row.expires_at };
        (row.member_id, pending)
    });
    Ok(pending.collect())
}
