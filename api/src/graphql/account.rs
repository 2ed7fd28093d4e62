//! The account the viewer acts in.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, ID, InputObject, Object, Result, SimpleObject};
use domain::account::{self, PolicyUpdate};
use domain::actor::{Action, Actor, Target};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{AccountId, MemberId};
use domain::infra::db::Db;

use super::billing::statement::Statement;
use super::billing::{self, BillingProfile};
use super::connection::arguments;
use super::context::{ContextExt as _, mutate};
use super::cost;
use super::error::failed;
use super::group::{self, Group, GroupFilter};
use super::import::{self, MemberImport};
use super::invitation::{self, Invitation, InvitationFilter, InvitationOrder, InvitationPage};
use super::license::change::LicenseChange;
use super::license::{self, LicensePool};
use super::member::{self, Member, MemberCounts, MemberFilter, MemberOrder, MemberPage};
use super::payload::payloads;
use super::resource::{self, Resource, ResourceFilter};
use super::role::{self, Role};
use super::scalar::{DateTime, TimeZone};
use super::sso::{self, AccountSsoPolicy};
use super::unit::{self, Unit, UnitFilter};
use super::user_error::{UserError, split};
use super::verdict::Verdict;

/// A firm, an organization: the account the session belongs to.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Account {
    #[graphql(skip)]
    owner_id: MemberId,
    /// Opaque id.
    pub id: ID,
    /// Its name, live.
    name: String,
    /// Time zone in which its dates are meant.
    time_zone: TimeZone,
    /// When it was founded.
    created_at: DateTime,
    /// What it decides for itself.
    policy: AccountPolicy,
    /// When it ends, or ended; from then on it can only be read. Null unless it is cancelled.
    ends_at: Option<DateTime>,
}

/// What an account decides for itself.
#[derive(SimpleObject, Clone, Debug)]
pub struct AccountPolicy {
    /// Seconds an invitation can be accepted, from when a mail server took it.
    invitation_lifetime_seconds: i32,
    /// Whether free-mail addresses are refused.
    refuse_personal_domains: bool,
    /// Free-mail domains that are accepted all the same.
    allowed_personal_domains: Vec<String>,
    /// The only domains that are accepted; empty for any.
    allowed_domains: Vec<String>,
    /// Seconds of disuse after which a session ends.
    session_idle_seconds: i32,
    /// Seconds after which a session ends in any case.
    session_absolute_seconds: i32,
}

impl From<account::Account> for Account {
    fn from(account: account::Account) -> Self {
        Self {
            owner_id: account.owner_id,
            id: account.account_id.to_string().into(),
            name: account.name,
            time_zone: TimeZone(account.time_zone),
            ends_at: account.ends_at.map(Into::into),
            created_at: account.created_at.into(),
            policy: AccountPolicy {
                invitation_lifetime_seconds: account.policy.invitation_lifetime_seconds,
                refuse_personal_domains: account.policy.refuse_personal_domains,
                allowed_personal_domains: account.policy.allowed_personal_domains,
                allowed_domains: account.policy.allowed_domains,
                session_idle_seconds: account.policy.session_idle_seconds,
                session_absolute_seconds: account.policy.session_absolute_seconds,
            },
        }
    }
}

#[ComplexObject]
impl Account {
    /// Its owner.
    async fn owner(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        member::reference(ctx, Some(self.owner_id)).await
    }

    /// Its members. Without `members.read` only active ones, with names and job titles; and for those whose roles are limited to units,
    /// only those of their units.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<MemberFilter>,
        #[graphql(desc = "How they are sorted; by name unless given.")] order_by: Option<MemberOrder>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list in this order.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list in this order.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Member>>> {
        let arguments = arguments(first, after, last, before);
        Some(member::page(ctx, MemberPage { filter, order: order_by, arguments }).await)
    }

    /// How many members meet the filter.
    #[graphql(complexity = "cost::one(0)")]
    async fn members_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<MemberFilter>,
    ) -> Option<Result<i32>> {
        Some(member::count(ctx, filter).await)
    }

    /// How many members of each status the viewer sees, in one look.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn member_counts(&self, ctx: &Context<'_>) -> Option<Result<MemberCounts>> {
        Some(member::counts(ctx).await)
    }

    /// Its invitations, newest first unless sorted otherwise. Needs `members.read`; who has it in some units only sees those of people
    /// who are in one of them.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<InvitationFilter>,
        #[graphql(desc = "How they are sorted.")] order_by: Option<InvitationOrder>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list in this order.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list in this order.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Invitation>>> {
        let arguments = arguments(first, after, last, before);
        Some(invitation::page(ctx, InvitationPage { filter, order: order_by, arguments }).await)
    }

    /// How many invitations meet the filter. Needs `members.read`.
    #[graphql(complexity = "cost::one(0)")]
    async fn invitations_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<InvitationFilter>,
    ) -> Option<Result<i32>> {
        Some(invitation::count(ctx, filter).await)
    }

    /// How it pays. Needs `billing.read` or `billing.manage`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn billing_profile(&self, ctx: &Context<'_>) -> Option<Result<BillingProfile>> {
        Some(billing::read(ctx).await)
    }

    /// What it owes, period by period: the draft of the running one first, then the newest. Needs `billing.read` or `billing.manage`.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn statements(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Statement>>> {
        Some(billing::statement::page(ctx, &arguments(first, after, last, before)).await)
    }

    /// Changes of its licences, the newest first. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn license_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, LicenseChange>>> {
        Some(license::change::page(ctx, &arguments(first, after, last, before)).await)
    }

    /// Its licences by product. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn license_pools(&self, ctx: &Context<'_>) -> Option<Result<Vec<LicensePool>>> {
        Some(license::pools(ctx).await)
    }

    /// Imports of members, the newest first. Needs `imports.read` or `imports.run`.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn member_imports(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, MemberImport>>> {
        Some(import::page(ctx, &arguments(first, after, last, before)).await)
    }

    /// Its rule on single sign-on. Needs `members.read`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn sso_policy(&self, ctx: &Context<'_>) -> Option<Result<AccountSsoPolicy>> {
        Some(sso::read(ctx).await)
    }

    /// Its groups, by name. Needs `members.read`.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<GroupFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Group>>> {
        Some(group::page(ctx, filter, &arguments(first, after, last, before)).await)
    }

    /// How many groups meet the filter. Needs `members.read`.
    #[graphql(complexity = "cost::one(0)")]
    async fn groups_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<GroupFilter>,
    ) -> Option<Result<i32>> {
        Some(group::count(ctx, filter).await)
    }

    /// Things of the host product, by name. Needs `resources.read` or `resources.manage`; who holds it in some units only finds those of
    /// these units.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn resources(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<ResourceFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Resource>>> {
        Some(resource::page(ctx, filter, &arguments(first, after, last, before)).await)
    }

    /// How many resources meet the filter. Needs what `resources` needs.
    #[graphql(complexity = "cost::one(0)")]
    async fn resources_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<ResourceFilter>,
    ) -> Option<Result<i32>> {
        Some(resource::count(ctx, filter).await)
    }

    /// Its roles, by name.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Archived ones, rather than those that can be given.", default)] archived: bool,
    ) -> Option<Result<Vec<Role>>> {
        Some(role::read(ctx, domain::role::Filter { ids: None, archived: Some(archived) }).await)
    }

    /// Its units, by name. Needs `members.read`; who has it within units only sees those.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn units(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<UnitFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Unit>>> {
        Some(unit::page(ctx, filter, &arguments(first, after, last, before)).await)
    }

    /// How many units meet the filter. Needs `members.read`.
    #[graphql(complexity = "cost::one(0)")]
    async fn units_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<UnitFilter>,
    ) -> Option<Result<i32>> {
        Some(unit::count(ctx, filter).await)
    }

    /// Whether the account has any unit that is not archived: only then does a frontend show units.
    #[graphql(complexity = "cost::one(0)")]
    async fn units_in_use(&self, ctx: &Context<'_>) -> Option<Result<bool>> {
        Some(unit::in_use(ctx).await)
    }

    /// Whether the viewer may make roles.
    async fn viewer_can_manage_roles(&self, ctx: &Context<'_>) -> Option<Verdict> {
        Some(ctx.viewer()?.may(Action::ManageRoles, Target::Account).into())
    }

    /// Whether the viewer may make units.
    async fn viewer_can_manage_units(&self, ctx: &Context<'_>) -> Option<Verdict> {
        Some(ctx.viewer()?.may(Action::ManageUnits, Target::Account).into())
    }

    /// Whether the viewer may invite, were it into some units only.
    async fn viewer_can_invite(&self, ctx: &Context<'_>) -> bool {
        ctx.viewer().is_some_and(|actor| actor.may(Action::Invite, Target::Anywhere).is_ok())
    }

    /// Whether the viewer may make, change and archive groups.
    async fn viewer_can_manage_groups(&self, ctx: &Context<'_>) -> bool {
        ctx.viewer().is_some_and(|actor| actor.can(Action::ManageGroups))
    }

    /// Whether the viewer may import members.
    async fn viewer_can_import(&self, ctx: &Context<'_>) -> bool {
        ctx.viewer().is_some_and(|actor| actor.can(Action::Import))
    }

    /// Whether the viewer may rename the account and change its policy.
    async fn viewer_can_update(&self, ctx: &Context<'_>) -> bool {
        ctx.viewer().is_some_and(|actor| actor.can(Action::UpdateAccount))
    }
}

/// Reads the viewer's account.
pub async fn read(ctx: &Context<'_>) -> Result<Account> {
    by_id(&ctx.state().db, ctx.account_id()?).await
}

/// Reads the account of somebody.
pub async fn of(db: &Db, actor: &Actor) -> Result<Account> {
    by_id(db, actor.account_id).await
}

async fn by_id(db: &Db, id: AccountId) -> Result<Account> {
    let mut conn = db.pool.acquire().await.map_err(failed)?;
    Ok(account::read(&mut conn, id).await.map_err(failed)?.into())
}

payloads! {
    {
        /// The account as of now.
        account: Option<Account>,
    }
    /// The account was renamed.
    AccountRenamePayload;
    /// The account's policy was changed.
    AccountPolicyUpdatePayload;
}

/// A further account, and what went wrong.
#[derive(SimpleObject, Debug)]
pub struct AccountCreatePayload {
    /// Id of the new account; `sessionSwitchAccount` enters it.
    account_id: Option<ID>,
    /// Why there is none.
    user_errors: Vec<UserError>,
}

/// A further account.
#[derive(InputObject, Debug)]
pub struct AccountCreateInput {
    /// Its name: 1 to 100 characters.
    name: String,
    /// Its time zone; the member's unless given.
    time_zone: Option<TimeZone>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// A new name.
#[derive(InputObject, Debug)]
pub struct AccountRenameInput {
    /// 1 to 100 characters.
    name: String,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What of the policy is to change; what is left out stays.
#[derive(InputObject, Debug)]
pub struct AccountPolicyUpdateInput {
    /// Seconds: one hour to 30 days. Holds for mails sent from now on.
    invitation_lifetime_seconds: Option<i32>,
    /// Whether free-mail addresses are refused.
    refuse_personal_domains: Option<bool>,
    /// Free-mail domains that are accepted all the same: at most 100.
    allowed_personal_domains: Option<Vec<String>>,
    /// The only domains that are accepted: at most 100; empty for any.
    allowed_domains: Option<Vec<String>>,
    /// Seconds: five minutes to 90 days. Holds for sessions opened from now on.
    session_idle_seconds: Option<i32>,
    /// Seconds: five minutes to 365 days. Holds for sessions opened from now on.
    session_absolute_seconds: Option<i32>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// The account after a mutation of it.
pub(super) async fn answer<P>(ctx: &Context<'_>, outcome: Result<(), Error>) -> Result<P>
where
    P: From<(Option<Account>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(()) => (read(ctx).await.ok(), Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Mutations of accounts.
#[derive(Debug, Default)]
pub struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Founds a further account, with the signed-in person as its owner.
    async fn account_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A further account.")] input: AccountCreateInput,
    ) -> Option<Result<AccountCreatePayload>> {
        let outcome = async {
            let seats = ctx.state().config.sign_up.base_seats;
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::System, move |change, actor| {
                let (name, zone) = (input.name.clone(), input.time_zone.clone());
                Box::pin(async move {
                    account::create(change, actor, &name, zone.as_ref().map(|zone| zone.0.as_str()), seats).await
                })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(id) => AccountCreatePayload { account_id: Some(id.to_string().into()), user_errors: Vec::new() },
            Err(user_errors) => AccountCreatePayload { account_id: None, user_errors },
        }))
    }

    /// Renames the account at once. Needs `account.update`.
    async fn account_rename(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A new name.")] input: AccountRenameInput,
    ) -> Option<Result<AccountRenamePayload>> {
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let name = input.name.clone();
            Box::pin(async move { account::rename(change, actor, &name).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Changes the account's policy. Needs `account.update`.
    async fn account_policy_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of the policy is to change; what is left out stays.")] input: AccountPolicyUpdateInput,
    ) -> Option<Result<AccountPolicyUpdatePayload>> {
        let update = PolicyUpdate {
            invitation_lifetime_seconds: input.invitation_lifetime_seconds,
            refuse_personal_domains: input.refuse_personal_domains,
            allowed_personal_domains: input.allowed_personal_domains,
            allowed_domains: input.allowed_domains,
            session_idle_seconds: input.session_idle_seconds,
            session_absolute_seconds: input.session_absolute_seconds,
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { account::update_policy(change, actor, update).await })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }
}
