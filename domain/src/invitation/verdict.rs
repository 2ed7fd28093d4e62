//! Whether somebody may do something with an invitation, decided as the mutation itself would, before it is asked for.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Invitation, State};
use crate::actor::{Action, Actor, Grants, Target, decide, of_members};
use crate::error::{Code, Refused};
use crate::id::{MemberId, UnitId};
use crate::member::{Held, Status};

/// Something that can be asked for of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Sending it for the first time.
    Send,
    /// Sending it again.
    Resend,
    /// Correcting it.
    Update,
    /// Withdrawing it.
    Revoke,
}

/// What decides over verdicts: of the invited member.
#[derive(Clone, Debug, Default)]
pub struct Invitee {
    /// What they will be able to do, and where they belong.
    pub held: Held,
    /// Whether they are shut out.
    pub suspended: bool,
}

/// Reads what decides over verdicts, of all invitations of a page.
pub(super) async fn attach(conn: &mut PgConnection, actor: &Actor, invitations: &mut [Invitation]) -> sqlx::Result<()> {
    let members: Vec<MemberId> = invitations.iter().filter_map(|invitation| invitation.member_id).collect();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = sqlx::query!(
        r#"SELECT m.member_id AS "member_id: MemberId", m.status AS "status: Status",
                  ARRAY(SELECT u.unit_id FROM member_unit u WHERE u.account_id = m.account_id AND u.member_id = m.member_id)
                      AS "units!: Vec<UnitId>"
           FROM member m WHERE m.account_id = $1 AND m.member_id = ANY($2)"#,
        actor.account_id.0,
        &ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut grants = of_members(conn, actor.account_id, &members).await?;
    let mut invitees: BTreeMap<MemberId, Invitee> = rows
        .into_iter()
        .map(|row| {
            let held = Held { grants: grants.remove(&row.member_id).unwrap_or_default(), units: row.units };
            (row.member_id, Invitee { held, suspended: row.status == Status::Suspended })
        })
        .collect();
    for invitation in invitations {
        invitation.invitee = Some(invitation.member_id.and_then(|member| invitees.remove(&member)).unwrap_or_default());
    }
    Ok(())
}

/// The verdict for an invitation that was read with what decides over it; without that NOT_FOUND.
pub fn verdict(actor: &Actor, invitation: &Invitation, wish: Wish) -> Result<(), Refused> {
    decide(actor.member_id, &actor.rights, Action::Invite, Target::Anywhere)?;
    let Some(invitee) = &invitation.invitee else { return Err(Refused::new(Code::NotFound)) };
    let Some(member_id) = invitation.member_id.filter(|_| invitation.state.is_open()) else {
        return Err(Refused::new(Code::InvitationNotOpen));
    };
    let code = match (wish, invitation.state) {
        (Wish::Send, State::NotSent)
        | (Wish::Resend, State::Pending | State::Expired)
        | (Wish::Update | Wish::Revoke, _) => None,
        (Wish::Send, _) => Some(Code::InvitationLive),
        (Wish::Resend, _) => Some(Code::InvitationNotSent),
    };
    let shut_out = invitee.suspended && matches!(wish, Wish::Send | Wish::Resend);
    if let Some(code) = code.or(shut_out.then_some(Code::InvitationSuspended)) {
        return Err(Refused::new(code));
    }
    let nothing = Grants::default();
    let held = if wish == Wish::Revoke { &nothing } else { &invitee.held.grants };
    let target = Target::Member { member_id, owner: false, units: &invitee.held.units, held };
    decide(actor.member_id, &actor.rights, Action::Invite, target)
}
