//! Inviting, sending, correcting and withdrawing.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use domain::change::Kind;
use domain::error::{Code, Error, Refused};
use domain::id::{ImportId, InvitationId};
use domain::invitation::{self, Handled, Invite};
use domain::member::{Place, Validity};

use super::super::context::{ContextExt as _, mutate, parse_id, parse_ids, parse_subjects};
use super::super::import::{self, MemberImport};
use super::super::member::SubscriptionType;
use super::super::payload::payloads;
use super::super::role::{UnitRoleInput, assignments};
use super::super::scalar::{Date, EmailAddress};
use super::super::user_error::{UserError, split, user_errors};
use super::{ErrorPolicy, Invitation, reread};

/// Somebody to invite.
#[derive(InputObject, Debug)]
pub struct MemberInviteItem {
    /// Keys of add-ons that they are given when they accept, if any is free then; at most 20.
    product_ids: Option<Vec<String>>,
    /// Address.
    email: EmailAddress,
    /// First name, if known.
    first_name: Option<String>,
    /// Last name, if known.
    last_name: Option<String>,
    /// Your own words to them: plain text, at most 500 characters.
    message: Option<String>,
    /// Attorney or not.
    subscription_type: Option<SubscriptionType>,
    /// The roles they will have in the whole account. At least one role is needed, here or in `unitRoles`.
    #[graphql(default)]
    role_ids: Vec<ID>,
    /// The roles they will have within units.
    #[graphql(default)]
    unit_roles: Vec<UnitRoleInput>,
    /// The units they will belong to. Whoever manages some units only names at least one of those.
    #[graphql(default)]
    unit_ids: Vec<ID>,
    /// The groups they will be in. Needs `groups.manage`.
    #[graphql(default)]
    group_ids: Vec<ID>,
    /// The first day on which they may sign in, in the account's time zone; from acceptance on unless given.
    valid_from: Option<Date>,
    /// The last day of their membership, in the account's time zone: after it they are deactivated.
    valid_until: Option<Date>,
}

/// Whom to invite.
#[derive(InputObject, Debug)]
pub struct MemberInviteInput {
    /// At least one person, and at most as many as configured (500 unless changed).
    invitations: Vec<MemberInviteItem>,
    /// Whether a mail is sent; without one they can be sent later.
    #[graphql(default = true)]
    send: bool,
    /// What becomes of the good ones when others are refused.
    #[graphql(default)]
    error_policy: ErrorPolicy,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

payloads! {
    {
        /// Those that were handled, as of now.
        invitations: Option<Vec<Invitation>>,
    }
    /// People were invited.
    MemberInvitePayload;
    /// Invitations were sent again.
    InvitationResendPayload;
}

payloads! {
    {
        /// Those that were handled, as of now.
        invitations: Option<Vec<Invitation>>,
        /// The import whose invitations the worker sends from now on.
        member_import: Option<MemberImport>,
    }
    /// Invitations were sent for the first time.
    InvitationSendPayload;
}

async fn many<P>(ctx: &Context<'_>, outcome: Result<Handled, Error>) -> Result<P>
where
    P: From<(Option<Vec<Invitation>>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(handled) => (reread(ctx, &handled.invitations).await, user_errors(handled.refused)),
        Err(user_errors) => (None, user_errors),
    }))
}

payloads! {
    {
        /// The invitation as of now.
        invitation: Option<Invitation>,
    }
    /// An invitation was corrected.
    InvitationUpdatePayload;
    /// An invitation was withdrawn.
    InvitationRevokePayload;
}

async fn one<P>(ctx: &Context<'_>, outcome: Result<InvitationId, Error>) -> Result<P>
where
    P: From<(Option<Invitation>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(id) => (reread(ctx, &[id]).await.and_then(|mut list| list.pop()), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Which invitations to send for the first time.
#[derive(InputObject, Debug)]
pub struct InvitationSendInput {
    /// At least one invitation that was never sent, and at most as many as configured (500 unless changed).
    #[graphql(default)]
    invitation_ids: Vec<ID>,
    /// Instead of invitations, an import: the worker sends all those of its new members that were never sent. Needs `imports.read` or
    /// `imports.run` as well. What cannot be sent stays as it is.
    member_import_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which invitations to send again.
#[derive(InputObject, Debug)]
pub struct InvitationResendInput {
    /// At least one invitation that is pending or has lapsed, and at most as many as configured (500 unless changed).
    invitation_ids: Vec<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What to correct; what is left out stays.
#[derive(InputObject, Debug)]
pub struct InvitationUpdateInput {
    /// Which.
    invitation_id: ID,
    /// A new address restarts the invitation: the old link is dead, and a mail goes to the new address if one went to the old.
    email: Option<EmailAddress>,
    /// First name; empty clears it.
    first_name: Option<String>,
    /// Last name; empty clears it.
    last_name: Option<String>,
    /// Your own words; empty clears them.
    message: Option<String>,
    /// Attorney or not.
    subscription_type: Option<SubscriptionType>,
    /// The roles it will give for the whole account, instead of those before.
    role_ids: Option<Vec<ID>>,
    /// The roles it will give within units, instead of those before.
    unit_roles: Option<Vec<UnitRoleInput>>,
    /// The units the person will belong to, instead of those before.
    unit_ids: Option<Vec<ID>>,
    /// The groups the person will be in, instead of those before. Needs `groups.manage`.
    group_ids: Option<Vec<ID>>,
    /// The first day of the membership; null clears it.
    valid_from: MaybeUndefined<Date>,
    /// The last day of the membership; null clears it.
    valid_until: MaybeUndefined<Date>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// Which invitation to withdraw.
#[derive(InputObject, Debug)]
pub struct InvitationRevokeInput {
    /// Which.
    invitation_id: ID,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

fn invites(items: Vec<MemberInviteItem>, bulk: usize) -> Result<Vec<Invite>, Error> {
    let code = if items.is_empty() { Some(Code::Required) } else { (items.len() > bulk).then_some(Code::TooMany) };
    if let Some(code) = code {
        return Err(Refused::new(code).at("invitations").into());
    }
    let invite = |item: MemberInviteItem| Invite {
        wishes: item.product_ids.unwrap_or_default(),
        email: item.email.0,
        first_name: item.first_name,
        last_name: item.last_name,
        message: item.message,
        subscription_type: item.subscription_type.map(Into::into),
        place: Place {
            assignments: assignments(&item.role_ids, &item.unit_roles),
            units: parse_ids(&item.unit_ids),
            groups: parse_ids(&item.group_ids),
        },
        validity: Validity { from: item.valid_from.map(|date| date.0), until: item.valid_until.map(|date| date.0) },
    };
    Ok(items.into_iter().map(invite).collect())
}

async fn send_some(ctx: &Context<'_>, input: &InvitationSendInput) -> Result<Handled, Error> {
    let ids = parse_subjects(&input.invitation_ids, "invitationIds", ctx.state().config.limits.bulk)?;
    let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
        let ids: Vec<InvitationId> = ids.clone();
        Box::pin(async move { invitation::send(change, actor, &ids).await })
    });
    Ok(done.await?.outcome)
}

async fn send_import(ctx: &Context<'_>, input: &InvitationSendInput, id: ImportId) -> Result<ImportId, Error> {
    let both = !input.invitation_ids.is_empty();
    let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
        Box::pin(async move {
            let id = domain::import::send_invitations(change, actor, id).await?;
            if both { Err(Refused::new(Code::TooMany).at("invitationIds").into()) } else { Ok(id) }
        })
    });
    Ok(done.await?.outcome)
}

/// Mutations of invitations.
#[derive(Debug, Default)]
pub struct InvitationMutation;

#[Object]
impl InvitationMutation {
    /// Invites people: each becomes an invited member with a reserved seat. Needs `members.invite`, and every permission that
    /// the roles grant.
    async fn member_invite(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to invite.")] input: MemberInviteInput,
    ) -> Option<Result<MemberInvitePayload>> {
        let outcome = async {
            let invites = invites(input.invitations, ctx.state().config.limits.bulk)?;
            let (send, policy) = (input.send, invitation::ErrorPolicy::from(input.error_policy));
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let invites = invites.clone();
                Box::pin(async move { invitation::invite(change, actor, &invites, send, policy).await })
            });
            let invited = done.await?.outcome;
            Ok(Handled { invitations: invited.invitations, refused: invited.refused })
        };
        let outcome = outcome.await;
        Some(many(ctx, outcome).await)
    }

    /// Sends invitations that were made without a mail. Needs `members.invite`.
    async fn invitation_send(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitations to send for the first time.")] input: InvitationSendInput,
    ) -> Option<Result<InvitationSendPayload>> {
        let answer = async {
            let Some(import) = &input.member_import_id else {
                let outcome = send_some(ctx, &input).await;
                return Ok(match split(outcome)? {
                    Ok(handled) => (reread(ctx, &handled.invitations).await, None, user_errors(handled.refused)),
                    Err(user_errors) => (None, None, user_errors),
                });
            };
            let outcome = send_import(ctx, &input, parse_id(import)).await;
            Ok(match split(outcome)? {
                Ok(id) => {
                    (None, import::read_many(ctx, &[id]).await.ok().and_then(|mut found| found.pop()), Vec::new())
                }
                Err(user_errors) => (None, None, user_errors),
            })
        };
        Some(answer.await.map(InvitationSendPayload::from))
    }

    /// Sends invitations again with a new link; the old one is dead at once, and a lapsed one needs a seat. At most once a
    /// minute and five times in 24 hours each. Needs `members.invite`.
    async fn invitation_resend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitations to send again.")] input: InvitationResendInput,
    ) -> Option<Result<InvitationResendPayload>> {
        let outcome = async {
            let ids = parse_subjects(&input.invitation_ids, "invitationIds", ctx.state().config.limits.bulk)?;
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let ids: Vec<InvitationId> = ids.clone();
                Box::pin(async move { invitation::resend(change, actor, &ids).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(many(ctx, outcome).await)
    }

    /// Corrects an open invitation. Needs `members.invite`, and every permission that its roles grant.
    async fn invitation_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to correct; what is left out stays.")] input: InvitationUpdateInput,
    ) -> Option<Result<InvitationUpdatePayload>> {
        let outcome = async {
            let id: InvitationId = parse_id(&input.invitation_id);
            let update = invitation::Update {
                email: input.email.map(|email| email.0),
                first_name: input.first_name,
                last_name: input.last_name,
                message: input.message,
                subscription_type: input.subscription_type.map(Into::into),
                role_ids: input.role_ids.map(|ids| parse_ids(&ids)),
                unit_roles: input.unit_roles.map(|roles| assignments(&[], &roles)),
                unit_ids: input.unit_ids.map(|ids| parse_ids(&ids)),
                group_ids: input.group_ids.map(|ids| parse_ids(&ids)),
                valid_from: input.valid_from.as_opt_ref().map(|date| date.map(|date| date.0)),
                valid_until: input.valid_until.as_opt_ref().map(|date| date.map(|date| date.0)),
            };
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let update = update.clone();
                Box::pin(async move { invitation::update(change, actor, id, &update).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one(ctx, outcome).await)
    }

    /// Withdraws an open invitation: the link is dead and the seat is free. Needs `members.invite`.
    async fn invitation_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which invitation to withdraw.")] input: InvitationRevokeInput,
    ) -> Option<Result<InvitationRevokePayload>> {
        let outcome = async {
            let id: InvitationId = parse_id(&input.invitation_id);
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                Box::pin(async move { invitation::revoke(change, actor, id).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(one(ctx, outcome).await)
    }
}
