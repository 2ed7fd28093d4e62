//! Invitations that were not answered in time, or could not be delivered, give their seats back.

use jiff::SignedDuration;
use serde_json::json;
use sqlx::PgConnection;

use crate::change::Change;
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, InvitationId, MemberId};
use crate::infra::clock::Timestamp;
use crate::license;

/// How long a mail is tried before its invitation lapses.
pub(crate) const UNDELIVERABLE_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Invitations one transaction lapses at most.
const BATCH: i64 = 500;

/// Lapses what is overdue in the change's account, a batch of it, and returns how many. The pool must be locked: whoever
/// needs a seat calls this first. Invitations that are being answered right now are passed over.
pub async fn lapse_overdue(change: &mut Change) -> Result<usize> {
    let (account, now) = (change.account(), change.now());
    let due = due(change.conn(), account, now, None).await?;
    lapse(change, &due).await?;
    Ok(due.len())
}

/// Lapses those of some addresses that are overdue, so that nobody has to wait for the sweep to be invited anew. The pool must
/// be locked.
pub(crate) async fn lapse_addresses(change: &mut Change, emails: &[String]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let due = due(change.conn(), account, now, Some(emails)).await?;
    lapse(change, &due).await
}

/// How many would lapse if somebody needed their seats.
pub(crate) async fn count_overdue(change: &mut Change) -> Result<i32> {
    let (account, now) = (change.account(), change.now());
    let count = sqlx::query_scalar!(
        r#"SELECT count(*)::int AS "count!" FROM invitation
           WHERE account_id = $1 AND state = 'PENDING' AND (expires_at <= $2 OR (sent_at IS NULL AND queued_at <= $3))"#,
        account.0,
        now,
        now - UNDELIVERABLE_AFTER,
    )
    .fetch_one(change.conn())
    .await?;
    Ok(count)
}

async fn lapse(change: &mut Change, due: &[Due]) -> Result<()> {
    if due.is_empty() {
        return Ok(());
    }
    let account = change.account();
    let ids: Vec<_> = due.iter().map(|invitation| invitation.invitation_id.0).collect();
    sqlx::query!(
        "UPDATE invitation SET state = 'EXPIRED', undeliverable = sent_at IS NULL WHERE account_id = $1 AND invitation_id = ANY($2)",
        account.0,
        &ids,
    )
    .execute(change.conn())
    .await?;
    let members: Vec<MemberId> = due.iter().map(|invitation| invitation.member_id).collect();
    license::release(change, &members).await?;
    for invitation in due {
        let kind = if invitation.sent { EventKind::InvitationLapsed } else { EventKind::InvitationUndeliverable };
        change.record(
            NewEvent::new(kind)
                .subject(invitation.member_id.0)
                .detail(json!({ "invitation": invitation.invitation_id })),
        );
    }
    Ok(())
}

struct Due {
    invitation_id: InvitationId,
    member_id: MemberId,
    sent: bool,
}

/// What is overdue, at some addresses or at any.
async fn due(
    conn: &mut PgConnection,
    account: AccountId,
    now: Timestamp,
    emails: Option<&[String]>,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"SELECT invitation_id AS "invitation_id: InvitationId", member_id AS "member_id!: MemberId", sent_at IS NOT NULL AS "sent!"
           FROM invitation
           WHERE account_id = $1 AND state = 'PENDING'
             AND (expires_at <= $2 OR (sent_at IS NULL AND queued_at <= $3))
             AND ($5::text[] IS NULL OR email = ANY($5))
           ORDER BY invitation_id LIMIT $4 FOR UPDATE SKIP LOCKED"#,
        account.0,
        now,
        now - UNDELIVERABLE_AFTER,
        BATCH,
        emails,
    )
    .fetch_all(conn)
    .await
}

/// Lapses a batch of what is overdue in an account; for the sweep.
pub async fn lapse_account(change: &mut Change) -> Result<usize> {
    license::lock(change).await?;
    lapse_overdue(change).await
}
