//! Members.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::actor::{Action, Actor, Target};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{MemberId, RoleId};
use domain::infra::page::Request;
use domain::member::{self, Include, Status, Visibility};
use domain::permission::SystemRole;
use domain::profile;

use super::connection::connection;
use super::context::{ContextExt as _, mutate, parse_id, parse_ids};
use super::email_change::{self, PendingEmailChange};
use super::error::{failed, top_level};
use super::license::MemberLicense;
use super::payload::payloads;
use super::role::MemberRole;
use super::scalar::{CountryCode, DateTime, EmailAddress, PhoneNumber, TimeZone};
use super::user_error::{UserError, split};

/// Where a member stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Status")]
pub enum MemberStatus {
    /// Asked to join, holds a reserved seat unless the invitation has lapsed.
    Invited,
    /// Joined.
    Active,
    /// Shut out by hand; keeps the seat.
    Suspended,
    /// Taken out; holds no seat.
    Deactivated,
}

impl std::str::FromStr for MemberStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Status::Invited, Status::Active, Status::Suspended, Status::Deactivated];
        all.into_iter().find(|status| status.as_str() == text).map(Self::from).ok_or(())
    }
}

/// What a member is to the account, by account-wide roles.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountRole {
    /// Owns the account.
    PrimarySubscriber,
    /// Holds Administrator.
    Administrator,
    /// Anybody else.
    User,
}

/// What a person's subscription covers.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "profile::SubscriptionType")]
pub enum SubscriptionType {
    /// The person practises law.
    Attorney,
    /// The person does not.
    NonAttorney,
}

/// A person's place in the account. Who may not read a member's profile finds active members only, and of those names, job
/// title and whether they own the account: everything else is null, and `viewerCanReadProfile` says so.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Member {
    #[graphql(skip)]
    inner: member::Member,
    /// Opaque id.
    pub id: ID,
    /// Where they stand.
    status: MemberStatus,
    /// Whether they own the account.
    is_owner: bool,
    /// Address. For an active member it is also the login.
    email: Option<EmailAddress>,
    /// First name.
    first_name: Option<String>,
    /// Last name.
    last_name: Option<String>,
    /// Initials.
    initials: Option<String>,
    /// Time zone they work in.
    time_zone: Option<TimeZone>,
    /// Street address.
    address: Option<String>,
    /// City.
    city: Option<String>,
    /// State or province.
    state: Option<String>,
    /// Postal code.
    zip: Option<String>,
    /// Country.
    country: Option<CountryCode>,
    /// Phone number.
    phone: Option<PhoneNumber>,
    /// Job title.
    job_title: Option<String>,
    /// Attorney or not.
    subscription_type: Option<SubscriptionType>,
    /// Grows with each change of the profile.
    version: Option<i32>,
    /// When they were invited, imported, or founded the account.
    created_at: Option<DateTime>,
    /// When they accepted.
    joined_at: Option<DateTime>,
    /// When they last signed in.
    last_sign_in_at: Option<DateTime>,
    /// When they were last active, to within half a minute.
    last_activity_at: Option<DateTime>,
    /// Whether the viewer sees the whole profile.
    viewer_can_read_profile: bool,
}

impl From<member::Member> for Member {
    fn from(member: member::Member) -> Self {
        let inner = member.clone();
        let readable = member.visibility != Visibility::Basic;
        let profile = member.profile;
        Self {
            id: member.member_id.to_string().into(),
            status: member.status.into(),
            is_owner: member.owner,
            email: member.email.map(EmailAddress),
            first_name: profile.first_name,
            last_name: profile.last_name,
            initials: profile.initials,
            time_zone: profile.time_zone.map(TimeZone),
            address: profile.address,
            city: profile.city,
            state: profile.state,
            zip: profile.zip,
            country: profile.country.map(CountryCode),
            phone: profile.phone.map(PhoneNumber),
            job_title: profile.job_title,
            subscription_type: profile.subscription_type.map(Into::into),
            version: member.version,
            created_at: member.created_at.map(Into::into),
            joined_at: member.joined_at.map(Into::into),
            last_sign_in_at: member.last_sign_in_at.map(Into::into),
            last_activity_at: member.last_activity_at.map(Into::into),
            viewer_can_read_profile: readable,
            inner,
        }
    }
}

#[ComplexObject]
impl Member {
    /// Their roles; null where the profile may not be read.
    async fn roles(&self, ctx: &Context<'_>) -> Option<Result<Vec<MemberRole>>> {
        if self.inner.visibility == Visibility::Basic {
            return None;
        }
        let convert = |roles: &[member::MemberRole]| roles.iter().cloned().map(MemberRole::from).collect();
        if let Some(roles) = &self.inner.roles {
            return Some(Ok(convert(roles)));
        }
        let loaded = load(ctx, self.inner.member_id).await.map(|member| member.and_then(|m| m.roles));
        loaded.map(|roles| roles.map(|roles| convert(&roles))).transpose()
    }

    /// The licences they hold or that are reserved for them; null where the profile may not be read.
    async fn licenses(&self, ctx: &Context<'_>) -> Option<Result<Vec<MemberLicense>>> {
        if self.inner.visibility == Visibility::Basic {
            return None;
        }
        let convert = |held: &[member::License]| held.iter().cloned().map(MemberLicense::from).collect();
        if let Some(held) = &self.inner.licenses {
            return Some(Ok(convert(held)));
        }
        let loaded = load(ctx, self.inner.member_id).await.map(|member| member.and_then(|m| m.licenses));
        loaded.map(|held| held.map(|held| convert(&held))).transpose()
    }

    /// The change of their login e-mail that waits, as far as it was asked for in this account; null where the profile may not be
    /// read. One's own is shown wherever it was asked for.
    async fn pending_email_change(&self, ctx: &Context<'_>) -> Option<Result<PendingEmailChange>> {
        if self.inner.visibility == Visibility::Basic {
            return None;
        }
        email_change::pending(ctx, self.inner.member_id).await
    }

    /// What they are to the account; null where the profile may not be read.
    async fn account_role(&self, ctx: &Context<'_>) -> Option<Result<AccountRole>> {
        if self.is_owner {
            return Some(Ok(AccountRole::PrimarySubscriber));
        }
        let roles = match self.roles(ctx).await.ok()?? {
            Ok(roles) => roles,
            Err(error) => return Some(Err(error)),
        };
        let administrator = roles.iter().any(|role| role.is(SystemRole::Administrator));
        Some(Ok(if administrator { AccountRole::Administrator } else { AccountRole::User }))
    }
}

async fn load(ctx: &Context<'_>, id: MemberId) -> Result<Option<member::Member>> {
    ctx.loader()?.load_one(id).await.map_err(|error| super::loader::top_level(&error))
}

/// Resolves a reference to a member, which may be gone or not the viewer's to see.
pub async fn reference(ctx: &Context<'_>, id: Option<MemberId>) -> Option<Result<Member>> {
    load(ctx, id?).await.map(|member| member.map(Member::from)).transpose()
}

/// What members are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "member::Order")]
pub enum MemberOrderField {
    /// Last name, then first name.
    Name,
    /// Address. Needs `members.read`.
    Email,
    /// When they were invited, imported, or founded the account. Needs `members.read`.
    CreatedAt,
}

/// Up or down.
#[derive(Enum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderDirection {
    /// Smallest, earliest first.
    #[default]
    Asc,
    /// Greatest, latest first.
    Desc,
}

/// How members are sorted.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct MemberOrder {
    /// By what.
    field: MemberOrderField,
    /// Up or down.
    #[graphql(default)]
    direction: OrderDirection,
}

/// Which members are wanted: those that meet every given condition.
#[derive(InputObject, Clone, Debug, Default)]
pub struct MemberFilter {
    /// Who stand here.
    status: Option<Vec<MemberStatus>>,
    /// Who have this role.
    role_id: Option<ID>,
    /// Part of the name or the address.
    text: Option<String>,
}

impl MemberFilter {
    fn read(self) -> member::Filter {
        member::Filter {
            statuses: self.status.unwrap_or_default().into_iter().map(Into::into).collect(),
            role_id: self.role_id.as_ref().map(parse_id::<RoleId>),
            text: self.text.map(|text| text.chars().take(200).collect()),
        }
    }
}

/// The arguments of a page of members.
pub struct MemberPage {
    /// See [`MemberFilter`].
    pub filter: Option<MemberFilter>,
    /// See [`MemberOrder`].
    pub order: Option<MemberOrder>,
    /// Paging.
    pub arguments: domain::infra::page::Arguments,
}

/// Reads a page of members with the lists that are asked for.
pub async fn page(ctx: &Context<'_>, page: MemberPage) -> Result<Connection<String, Member>> {
    let actor = ctx.actor()?;
    let order = page.order.unwrap_or(MemberOrder { field: MemberOrderField::Name, direction: OrderDirection::Asc });
    let (field, descending) = (member::Order::from(order.field), order.direction == OrderDirection::Desc);
    if field != member::Order::Name {
        // The order, and the cursors, would tell what only readers of profiles may know.
        actor.may(Action::ReadMembers, Target::Account).map_err(top_level)?;
    }
    let filter = page.filter.unwrap_or_default().read();
    let request = Request::new(&page.arguments, (&field.key(descending), field.kind())).map_err(top_level)?;
    let include = include(ctx, &["nodes", "edges"]);
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows = member::list(&mut conn, actor, &filter, (field, descending), &request, include).await.map_err(failed)?;
    Ok(connection(rows, Member::from))
}

/// Counts members.
pub async fn count(ctx: &Context<'_>, filter: Option<MemberFilter>) -> Result<i32> {
    let actor = ctx.actor()?;
    let filter = filter.unwrap_or_default().read();
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let count = member::count(&mut conn, actor, &filter).await.map_err(failed)?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Which lists of members are asked for below the running field.
fn include(ctx: &Context<'_>, paths: &[&str]) -> Include {
    let below = |name: &str| {
        paths.iter().any(|path| {
            let below = ctx.look_ahead().field(path);
            below.field(name).exists() || below.field("node").field(name).exists()
        })
    };
    Include { roles: below("roles") || below("accountRole"), licenses: below("licenses") }
}

/// Reads a member again after a mutation; null when that fails, so that the payload still arrives.
pub async fn reread(ctx: &Context<'_>, id: MemberId) -> Option<Member> {
    let actor = ctx.viewer()?;
    let lists = include(ctx, &["member"]);
    let mut conn = ctx.state().db.pool.acquire().await.ok()?;
    let mut members = member::read_many(&mut conn, actor, &[id], lists).await.ok()?;
    members.pop().map(Member::from)
}

/// Reads members by id for `nodes`.
pub async fn read_many(ctx: &Context<'_>, actor: &Actor, ids: &[MemberId]) -> Result<Vec<Member>> {
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let members = member::read_many(&mut conn, actor, ids, Include::default()).await.map_err(failed)?;
    Ok(members.into_iter().map(Member::from).collect())
}

payloads! {
    {
        /// The member as of now.
        member: Option<Member>,
    }
    /// Somebody was shut out.
    MemberSuspendPayload;
    /// Somebody was let in again.
    MemberActivatePayload;
    /// Somebody was taken out.
    MemberDeactivatePayload;
    /// Somebody was taken back.
    MemberReactivatePayload;
    /// Somebody's roles were set.
    MemberAssignRolesPayload;
}

macro_rules! status_inputs {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(InputObject, Debug)]
        pub struct $name {
            /// The member.
            member_id: ID,
            /// Makes a repetition harmless.
            idempotency_key: Option<String>,
        }
    )*};
}

status_inputs! {
    /// Whom to suspend.
    MemberSuspendInput;
    /// Whom to let in again.
    MemberActivateInput;
    /// Whom to take out.
    MemberDeactivateInput;
    /// Whom to take back.
    MemberReactivateInput;
}

/// Whose roles to set.
#[derive(InputObject, Debug)]
pub struct MemberAssignRolesInput {
    /// The member.
    member_id: ID,
    /// The roles they will have: at least one, at most 20.
    role_ids: Vec<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

async fn answer<P>(ctx: &Context<'_>, outcome: Result<MemberId, Error>) -> Result<P>
where
    P: From<(Option<Member>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(member) => (reread(ctx, member).await, Vec::new()),
        Err(user_errors) => (None, user_errors),
    }))
}

/// Runs one of the rules that take a member and nothing else.
macro_rules! on_member {
    ($ctx:expr, $input:expr, $rule:path) => {{
        let outcome = async {
            let id: MemberId = parse_id(&$input.member_id);
            let done = mutate($ctx, $input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                Box::pin(async move { $rule(change, actor, id).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(answer($ctx, outcome).await)
    }};
}

/// Mutations of members.
#[derive(Debug, Default)]
pub struct MemberMutation;

#[Object]
impl MemberMutation {
    /// Shuts a member or an invited person out at once; the seat is kept. Needs `members.suspend`; not yourself, not the owner.
    async fn member_suspend(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to suspend.")] input: MemberSuspendInput,
    ) -> Option<Result<MemberSuspendPayload>> {
        on_member!(ctx, input, member::suspend)
    }

    /// Gives a suspended member the status before. Needs `members.suspend`; not yourself.
    async fn member_activate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to let in again.")] input: MemberActivateInput,
    ) -> Option<Result<MemberActivatePayload>> {
        on_member!(ctx, input, member::activate)
    }

    /// Takes a member out and frees the seat. Needs `members.deactivate`; not yourself, not the owner.
    async fn member_deactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take out.")] input: MemberDeactivateInput,
    ) -> Option<Result<MemberDeactivatePayload>> {
        on_member!(ctx, input, member::deactivate)
    }

    /// Takes a deactivated member back: takes a seat and gives the status before. Needs `members.deactivate`.
    async fn member_reactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to take back.")] input: MemberReactivateInput,
    ) -> Option<Result<MemberReactivatePayload>> {
        on_member!(ctx, input, member::reactivate)
    }

    /// Sets which roles a member has. Needs `roles.assign`, and every permission that the roles grant and the member holds.
    async fn member_assign_roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose roles to set.")] input: MemberAssignRolesInput,
    ) -> Option<Result<MemberAssignRolesPayload>> {
        let outcome = async {
            let id: MemberId = parse_id(&input.member_id);
            let roles: Vec<RoleId> = parse_ids(&input.role_ids);
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::Asked, move |change, actor| {
                let roles = roles.clone();
                Box::pin(async move { member::assign_roles(change, actor, id, &roles).await.map(|()| id) })
            });
            Ok(done.await?.outcome)
        };
        let outcome = outcome.await;
        Some(answer(ctx, outcome).await)
    }
}
