//! Groups of members.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, ID, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::change::Kind;
use domain::error::Error;
use domain::group::{self, Moved, NewGroup, Update};
use domain::id::{GroupId, MemberId};
use domain::infra::page::{Arguments, Page, Request};

use super::connection::{arguments, connection};
use super::context::{ContextExt as _, mutate, parse_id, parse_subjects};
use super::cost;
use super::error::{failed, top_level};
use super::invitation::ErrorPolicy;
use super::member::{self, Member};
use super::payload::payloads;
use super::scalar::DateTime;
use super::user_error::{UserError, split, user_errors};

/// A set of members. It opens resources to all of them, and may carry a rate on a resource. An archived group grants nothing and
/// takes no members.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Group {
    #[graphql(skip)]
    inner: GroupId,
    /// Opaque id.
    pub id: ID,
    /// Its name: no other group that is not archived has it.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// Whether its members get no custom rate by it.
    excluded_from_custom_rates: bool,
    /// Grows with each change of the group itself; for `expectedVersion`.
    version: i32,
    /// When it was made.
    created_at: DateTime,
    /// Since when it is archived; null if it is not.
    archived_at: Option<DateTime>,
    /// How many members it has, invited ones included.
    members_count: i32,
}

impl From<group::Group> for Group {
    fn from(group: group::Group) -> Self {
        Self {
            inner: group.group_id,
            id: group.group_id.to_string().into(),
            name: group.name,
            description: group.description,
            excluded_from_custom_rates: group.excluded_from_custom_rates,
            version: group.version,
            created_at: group.created_at.into(),
            archived_at: group.archived_at.map(Into::into),
            members_count: i32::try_from(group.members).unwrap_or(i32::MAX),
        }
    }
}

#[ComplexObject]
impl Group {
    /// Its members, by name.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Member>>> {
        Some(members(ctx, self.inner, &arguments(first, after, last, before)).await)
    }

    /// Whether the viewer may change and archive it, and choose its members.
    async fn viewer_can_manage(&self, ctx: &Context<'_>) -> bool {
        ctx.viewer().is_some_and(|actor| actor.can(Action::ManageGroups))
    }
}

/// Which groups are wanted: those that meet every given condition.
#[derive(InputObject, Clone, Debug, Default)]
pub struct GroupFilter {
    /// Archived ones, or those that are not; both unless given.
    archived: Option<bool>,
    /// Part of the name, in any letter case.
    text: Option<String>,
}

impl GroupFilter {
    fn read(self) -> group::Filter {
        group::Filter { archived: self.archived, text: self.text.map(|text| text.chars().take(200).collect()) }
    }
}

/// Reads a page of groups.
pub async fn page(
    ctx: &Context<'_>,
    filter: Option<GroupFilter>,
    arguments: &Arguments,
) -> Result<Connection<String, Group>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, group::ORDER).map_err(top_level)?;
    let filter = filter.unwrap_or_default().read();
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows = group::list(&mut conn, actor, &filter, &request).await.map_err(failed)?;
    Ok(connection(rows, Group::from))
}

/// Counts groups.
pub async fn count(ctx: &Context<'_>, filter: Option<GroupFilter>) -> Result<i32> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let count = group::count(&mut conn, actor, &filter.unwrap_or_default().read()).await.map_err(failed)?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Reads a page of a group's members: one statement finds them, the next reads them.
async fn members(ctx: &Context<'_>, group: GroupId, arguments: &Arguments) -> Result<Connection<String, Member>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    let request = Request::new(arguments, group::MEMBERS_ORDER).map_err(top_level)?;
    let page = {
        let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
        group::members(&mut conn, actor, group, &request).await.map_err(failed)?
    };
    let ids: Vec<MemberId> = page.rows.iter().map(|(_, member)| *member).collect();
    let members = member::read_many(ctx, actor, &ids).await?;
    // A member may be gone between the two statements.
    let rows = page.rows.into_iter().filter_map(|(cursor, id)| {
        let id = id.to_string();
        members.iter().find(|member| *member.id == id).cloned().map(|member| (cursor, member))
    });
    let rows = rows.collect();
    Ok(connection(Page { rows, has_previous: page.has_previous, has_next: page.has_next }, |member| member))
}

/// Reads groups by id, for `nodes`; nothing for whoever may not read members.
pub async fn read_many(ctx: &Context<'_>, ids: &[GroupId]) -> Result<Vec<Group>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let groups = group::read_many(&mut conn, actor, ids).await.map_err(failed)?;
    Ok(groups.into_iter().map(Group::from).collect())
}

/// Resolves a reference to a group, which is null for who may not read members.
pub async fn reference(ctx: &Context<'_>, id: GroupId) -> Option<Result<Group>> {
    let load = async {
        let loaded = ctx.loader()?.load_one(id).await;
        loaded.map_err(|error| super::loader::top_level(&error))
    };
    load.await.map(|group| group.map(Group::from)).transpose()
}

/// Reads a group by its id.
pub async fn read(ctx: &Context<'_>, id: &ID) -> Result<Option<Group>> {
    ctx.actor()?.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    Ok(read_many(ctx, &[parse_id(id)]).await?.pop())
}

payloads! {
    {
        /// The group as of now.
        group: Option<Group>,
    }
    /// A group was made.
    GroupCreatePayload;
    /// A group was changed.
    GroupUpdatePayload;
    /// Members were put into a group.
    GroupAddMembersPayload;
    /// Members were taken out of a group.
    GroupRemoveMembersPayload;
    /// A group was archived.
    GroupArchivePayload;
    /// A group was taken out of the archive.
    GroupUnarchivePayload;
}

/// A group to make.
#[derive(InputObject, Debug)]
pub struct GroupCreateInput {
    /// 1 to 100 characters; no other group that is not archived may have it, in any letter case.
    name: String,
    /// What it is for: at most 500 characters.
    description: Option<String>,
    /// Whether its members get no custom rate by it.
    #[graphql(default)]
    excluded_from_custom_rates: bool,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// What of a group is to change; what is left out stays.
#[derive(InputObject, Debug)]
pub struct GroupUpdateInput {
    /// Which.
    group_id: ID,
    /// The version that was read: refused with VERSION_CONFLICT if somebody else was quicker.
    expected_version: Option<i32>,
    /// 1 to 100 characters.
    name: Option<String>,
    /// At most 500 characters; empty clears it.
    description: Option<String>,
    /// Whether its members get no custom rate by it.
    excluded_from_custom_rates: Option<bool>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

macro_rules! member_inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The group.
            group_id: ID,
            /// At least one member, and at most as many as configured (500 unless changed).
            member_ids: Vec<ID>,
            /// What becomes of the others when some are refused.
            #[graphql(default)]
            error_policy: ErrorPolicy,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

member_inputs! {
    /// Whom to put into a group. Who is in it stays; invited members may be in groups already.
    GroupAddMembersInput;
    /// Whom to take out of a group.
    GroupRemoveMembersInput;
}

macro_rules! group_inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The group.
            group_id: ID,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

group_inputs! {
    /// Which group to archive.
    GroupArchiveInput;
    /// Which group to take out of the archive.
    GroupUnarchiveInput;
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<Moved, Error>) -> Result<P>
where
    P: From<(Option<Group>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(done) => {
            let group = read_many(ctx, &[done.group_id]).await.ok().and_then(|mut groups| groups.pop());
            (group, user_errors(done.refused))
        }
        Err(user_errors) => (None, user_errors),
    }))
}

/// What a rule did that refuses nothing in part.
fn whole(group_id: GroupId) -> Moved {
    Moved { group_id, refused: Vec::new() }
}

/// Runs one of the rules that take a group, members and a policy.
macro_rules! on_members {
    ($ctx:expr, $input:expr, $rule:path) => {{
        let outcome = async {
            let group: GroupId = parse_id(&$input.group_id);
            let members = parse_subjects(&$input.member_ids, "memberIds", $ctx.state().config.limits.bulk)?;
            let policy = $input.error_policy.into();
            let done = mutate($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let members: Vec<MemberId> = members.clone();
                Box::pin(async move { $rule(change, actor, group, &members, policy).await })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(answer($ctx, outcome).await)
    }};
}

/// Mutations of groups.
#[derive(Debug, Default)]
pub struct GroupMutation;

#[Object]
impl GroupMutation {
    /// Makes a group. Needs `groups.manage`.
    async fn group_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A group to make.")] input: GroupCreateInput,
    ) -> Option<Result<GroupCreatePayload>> {
        let limit = ctx.state().config.limits.groups;
        let new = NewGroup {
            name: input.name,
            description: input.description,
            excluded_from_custom_rates: input.excluded_from_custom_rates,
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let new = new.clone();
            Box::pin(async move { group::create(change, actor, &new, limit).await.map(whole) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Changes what a group is called, or whether rates apply by it. Needs `groups.manage`.
    async fn group_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What of a group is to change; what is left out stays.")] input: GroupUpdateInput,
    ) -> Option<Result<GroupUpdatePayload>> {
        let id: GroupId = parse_id(&input.group_id);
        let update = Update {
            expected_version: input.expected_version,
            name: input.name,
            description: input.description,
            excluded_from_custom_rates: input.excluded_from_custom_rates,
        };
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            let update = update.clone();
            Box::pin(async move { group::update(change, actor, id, &update).await.map(|()| whole(id)) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Puts members into a group, up to 500 at once; who is in it stays. Needs `groups.manage`.
    async fn group_add_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to put into a group.")] input: GroupAddMembersInput,
    ) -> Option<Result<GroupAddMembersPayload>> {
        on_members!(ctx, input, group::add_members)
    }

    /// Takes members out of a group, up to 500 at once; what it opened to them is closed at once. Needs `groups.manage`.
    async fn group_remove_members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take out of a group.")] input: GroupRemoveMembersInput,
    ) -> Option<Result<GroupRemoveMembersPayload>> {
        on_members!(ctx, input, group::remove_members)
    }

    /// Archives a group: it grants nothing from now on, takes no members, and its name is free. Needs `groups.manage`.
    async fn group_archive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group to archive.")] input: GroupArchiveInput,
    ) -> Option<Result<GroupArchivePayload>> {
        let id: GroupId = parse_id(&input.group_id);
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { group::archive(change, actor, id).await.map(|()| whole(id)) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }

    /// Takes a group out of the archive, with the members and the resources it had. Needs `groups.manage`.
    async fn group_unarchive(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which group to take out of the archive.")] input: GroupUnarchiveInput,
    ) -> Option<Result<GroupUnarchivePayload>> {
        let id: GroupId = parse_id(&input.group_id);
        let limit = ctx.state().config.limits.groups;
        let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
            Box::pin(async move { group::unarchive(change, actor, id, limit).await.map(|()| whole(id)) })
        });
        let outcome = done.await.map(|done| done.outcome);
        Some(answer(ctx, outcome).await)
    }
}
