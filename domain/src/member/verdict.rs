//! Whether somebody may do something to a member, decided as the mutation itself would, before it is asked for.

use super::life::Step;
use super::status::Locked;
use super::{Held, Member};
use crate::actor::{Action, Actor, Rights, Target, decide};
use crate::error::{Code, Refused};
use crate::id::MemberId;

/// Something that can be asked for of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A step of their life.
    Step(Step),
    /// Changing their profile.
    Update,
    /// Changing their roles.
    AssignRoles,
    /// Changing their login e-mail.
    ChangeEmail,
}

/// What a step may be refused for, by rights and by status.
pub(super) fn judge(
    actor: MemberId,
    rights: &Rights,
    step: Step,
    member: MemberId,
    locked: &Locked,
) -> Result<(), Refused> {
    let target = Target::Member { member_id: member, owner: locked.owner, units: &locked.units, held: &locked.held };
    decide(actor, rights, step.action(), target)?;
    step.from(locked.status, locked.prior_status).map(drop).ok_or(Refused::new(Code::WrongStatus))
}

/// The verdict for a member that was read with what decides over it; without that NOT_FOUND.
pub fn verdict(actor: &Actor, member: &Member, wish: Wish) -> Result<(), Refused> {
    let Some(Held { grants, units }) = &member.held else { return Err(Refused::new(Code::NotFound)) };
    let target = Target::Member { member_id: member.member_id, owner: member.owner, units, held: grants };
    let own = member.member_id == actor.member_id;
    let action = match wish {
        Wish::Step(step) => step.action(),
        Wish::Update | Wish::ChangeEmail if own => return Ok(()),
        Wish::Update => Action::UpdateMember,
        Wish::AssignRoles => Action::AssignRoles,
        Wish::ChangeEmail => Action::ChangeEmail,
    };
    decide(actor.member_id, &actor.rights, action, target)?;
    match wish {
        Wish::Step(step) if step.from(member.status, member.prior_status).is_none() => {
            Err(Refused::new(Code::WrongStatus))
        }
        // The login of somebody who has not joined is the address of their invitation.
        Wish::ChangeEmail if member.user_id.is_none() => Err(Refused::new(Code::WrongStatus)),
        _ => Ok(()),
    }
}
