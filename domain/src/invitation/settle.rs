//! An invitation that nobody has to answer any more: its address became the login of somebody who is a member already.

use serde_json::json;

use super::{State, manage};
use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{InvitationId, MemberId, RoleId};

/// Withdraws an open invitation, in the name of the member who has its address. The pool must be locked.
pub(crate) async fn settle(change: &mut Change, id: InvitationId, invited: MemberId, by: MemberId) -> Result<()> {
    let account = change.account();
    let locked = sqlx::query!(
        "SELECT 1 AS one FROM member WHERE account_id = $1 AND member_id = $2 AND user_id IS NULL FOR UPDATE",
        account.0,
        invited.0,
    );
    if locked.fetch_optional(change.conn()).await?.is_none() {
        return Err(Error::Stale);
    }
    let roles = sqlx::query_scalar!(
        r#"SELECT role_id AS "role_id: RoleId" FROM member_role WHERE account_id = $1 AND member_id = $2 ORDER BY role_id, unit_id"#,
        account.0,
        invited.0,
    )
    .fetch_all(change.conn())
    .await?;
    manage::end(change, id, invited, State::Revoked).await?;
    change.record_in(
        account,
        by,
        NewEvent::new(EventKind::InvitationRevoked)
            .subject(invited.0)
            .detail(json!({ "invitation": id, "roles": roles })),
    );
    Ok(())
}
