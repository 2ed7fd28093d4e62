//! Giving members roles.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use domain::change::Kind;
use domain::error::{Error, Refused};
use domain::member;

use super::super::context::{ContextExt as _, mutate};
use super::super::invitation::ErrorPolicy;
use super::super::member::{Member, reread_many, subjects};
use super::super::payload::payloads;
use super::super::user_error::{split, user_errors};
use super::{UnitRoleInput, assignments};

/// What is done with the roles that are named.
#[derive(Enum, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[graphql(remote = "member::Mode")]
pub enum RoleAssignMode {
    /// Members have them besides those they have.
    Add,
    /// Members no longer have them.
    Remove,
    /// Members have these and no others.
    #[default]
    Set,
}

/// Whose roles to change, and how.
#[derive(InputObject, Debug)]
pub struct MemberAssignRolesInput {
    /// The member; or several by `memberIds`.
    member_id: Option<ID>,
    /// The members: at most as many as configured (500 unless changed).
    member_ids: Option<Vec<ID>>,
    /// What is done with the roles.
    #[graphql(default)]
    mode: RoleAssignMode,
    /// Roles for the whole account.
    #[graphql(default)]
    role_ids: Vec<ID>,
    /// Roles within units. At least one role is named, here or in `roleIds`; a member has at most 20.
    #[graphql(default)]
    unit_roles: Vec<UnitRoleInput>,
    /// What becomes of the good ones when others are refused.
    #[graphql(default)]
    error_policy: ErrorPolicy,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// The member as of now, if one was named by `memberId`.
        member: Option<Member>,
        /// Those whose roles are as asked for, as of now.
        members: Option<Vec<Member>>,
    }
    /// Roles were given.
    MemberAssignRolesPayload;
}

/// Puts refusals of the one member that was named at `memberId`.
pub fn at_subject(refused: Vec<Refused>, one: bool) -> Vec<Refused> {
    let place = |mut refused: Refused| {
        if one && refused.field.first().is_some_and(|name| name == "memberIds") {
            refused.field.drain(..2);
            refused = refused.at("memberId");
        }
        refused
    };
    refused.into_iter().map(place).collect()
}

/// Mutations of the roles that members have.
#[derive(Debug, Default)]
pub struct RoleAssignMutation;

#[Object]
impl RoleAssignMutation {
    /// Gives members roles, takes them away, or sets them; for one or many. Needs `roles.assign` in each scope, every administrative
    /// permission that the roles grant there, and every one that the members hold.
    async fn member_assign_roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose roles to change, and how.")] input: MemberAssignRolesInput,
    ) -> Option<Result<MemberAssignRolesPayload>> {
        Some(assign(ctx, input).await)
    }
}

async fn assign(ctx: &Context<'_>, input: MemberAssignRolesInput) -> Result<MemberAssignRolesPayload> {
    let bulk = ctx.state().config.limits.bulk;
    let named = ctx.viewer().ok_or(Error::Unauthenticated);
    let named = named.and_then(|_| subjects(input.member_id.as_ref(), input.member_ids.as_deref(), bulk));
    let (members, one) = match split(named)? {
        Ok((members, listed)) => (members, !listed),
        Err(user_errors) => return Ok((None, None, user_errors).into()),
    };
    let wanted = assignments(&input.role_ids, &input.unit_roles);
    let (mode, policy) = (member::Mode::from(input.mode), input.error_policy.into());
    let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
        let (members, wanted) = (members.clone(), wanted.clone());
        Box::pin(async move { member::assign_roles(change, actor, &members, (mode, &wanted), policy).await })
    });
    let outcome = done.await.map(|done| done.outcome).map_err(|error| match error {
        Error::Refused(list) => Error::Refused(at_subject(list, one)),
        other => other,
    });
    Ok(match split(outcome)? {
        Ok(assigned) => {
            let members = reread_many(ctx, &assigned.members, &["member", "members"]).await;
            let member = members.as_ref().filter(|_| one).and_then(|members| members.first().cloned());
            (member, members, user_errors(at_subject(assigned.refused, one))).into()
        }
        Err(user_errors) => (None, None, user_errors).into(),
    })
}
