//! Members.

pub mod life;

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Result, SimpleObject};
use domain::actor::{Action, Actor, Target};
use domain::error::{Code, Error, Refused};
use domain::id::{GroupId, MemberId, RoleId, UnitId};
use domain::infra::page::Request;
use domain::member::{self, Include, Status, Step, Visibility, Wish};
use domain::permission::SystemRole;
use domain::profile;

use super::connection::{arguments, connection};
use super::context::{ContextExt as _, parse_id, parse_subjects};
use super::cost;
use super::email_change::{self, PendingEmailChange};
use super::error::{failed, top_level};
use super::license::MemberLicense;
use super::resource::{self, Resource, ResourceFilter};
use super::role::{MemberGroup, MemberRole, MemberUnit};
use super::scalar::{CountryCode, Date, DateTime, EmailAddress, PhoneNumber, TimeZone};
use super::verdict::Verdict;

pub use life::MemberLifeMutation;

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
    /// The first day on which they may sign in, in the account's time zone; null for no such day.
    valid_from: Option<Date>,
    /// The last day of their membership, in the account's time zone; null for no such day.
    valid_until: Option<Date>,
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
            valid_from: member.validity.from.map(Date),
            valid_until: member.validity.until.map(Date),
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
        let convert = |roles: &[member::MemberRole]| roles.iter().cloned().map(MemberRole::from).collect();
        self.listed(ctx, |member| member.roles.as_deref().map(convert)).await
    }

    /// The licences they hold or that are reserved for them; null where the profile may not be read.
    async fn licenses(&self, ctx: &Context<'_>) -> Option<Result<Vec<MemberLicense>>> {
        let convert = |held: &[member::License]| held.iter().cloned().map(MemberLicense::from).collect();
        self.listed(ctx, |member| member.licenses.as_deref().map(convert)).await
    }

    /// The groups they are in, but for archived ones; null where the profile may not be read.
    async fn groups(&self, ctx: &Context<'_>) -> Option<Result<Vec<MemberGroup>>> {
        let convert = |groups: &[member::MemberGroup]| groups.iter().cloned().map(MemberGroup::from).collect();
        self.listed(ctx, |member| member.groups.as_deref().map(convert)).await
    }

    /// The units they belong to, but for archived ones; null where the profile may not be read.
    async fn units(&self, ctx: &Context<'_>) -> Option<Result<Vec<MemberUnit>>> {
        let convert = |units: &[member::MemberUnit]| units.iter().cloned().map(MemberUnit::from).collect();
        self.listed(ctx, |member| member.units.as_deref().map(convert)).await
    }

    /// How many units they belong to; null where the profile may not be read.
    async fn units_count(&self, ctx: &Context<'_>) -> Option<Result<i32>> {
        let count = |units: &[member::MemberUnit]| i32::try_from(units.len()).unwrap_or(i32::MAX);
        self.listed(ctx, |member| member.units.as_deref().map(count)).await
    }

    /// Whether the viewer may change their profile.
    async fn viewer_can_update(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Update).await
    }

    /// Whether the viewer may suspend them.
    async fn viewer_can_suspend(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Step(Step::Suspend)).await
    }

    /// Whether the viewer may let them in again.
    async fn viewer_can_activate(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Step(Step::Activate)).await
    }

    /// Whether the viewer may take them out.
    async fn viewer_can_deactivate(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Step(Step::Deactivate)).await
    }

    /// Whether the viewer may take them back; whether there is a seat is another question.
    async fn viewer_can_reactivate(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Step(Step::Reactivate)).await
    }

    /// Whether the viewer may delete them.
    async fn viewer_can_delete(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Step(Step::Delete)).await
    }

    /// Whether the viewer may change their roles; roles that grant more than the viewer holds are refused all the same.
    async fn viewer_can_assign_roles(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::AssignRoles).await
    }

    /// Whether the viewer may change their login e-mail.
    async fn viewer_can_change_email(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::ChangeEmail).await
    }

    /// What they have access to in the host product, by name. For themselves, and for readers of resources (`resources.read`).
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    async fn accessible_resources(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<ResourceFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Resource>>> {
        let arguments = arguments(first, after, last, before);
        Some(resource::access::accessible(ctx, self.inner.member_id, filter, &arguments).await)
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
        let administrator = roles.iter().any(|role| role.is_wide(SystemRole::Administrator));
        Some(Ok(if administrator { AccountRole::Administrator } else { AccountRole::User }))
    }
}

impl Member {
    async fn verdict(&self, ctx: &Context<'_>, wish: Wish) -> Option<Result<Verdict>> {
        let actor = match ctx.actor() {
            Ok(actor) => actor,
            Err(error) => return Some(Err(error)),
        };
        if self.inner.held.is_some() {
            return Some(Ok(member::verdict(actor, &self.inner, wish).into()));
        }
        let loaded = load(ctx, self.inner.member_id).await.transpose()?;
        Some(loaded.map(|member| member::verdict(actor, &member, wish).into()))
    }

    /// Something that was read with the member, or is read now with that of others.
    async fn listed<T>(&self, ctx: &Context<'_>, get: impl Fn(&member::Member) -> Option<T>) -> Option<Result<T>> {
        if self.inner.visibility == Visibility::Basic {
            return None;
        }
        if let Some(found) = get(&self.inner) {
            return Some(Ok(found));
        }
        load(ctx, self.inner.member_id).await.map(|member| member.as_ref().and_then(&get)).transpose()
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
    /// Address. Needs `members.read`, and lists those whose profile the viewer may read.
    Email,
    /// When they were invited, imported, or founded the account. Needs `members.read`, and lists those whose profile the viewer may
    /// read.
    CreatedAt,
    /// When they accepted; who has not stands where 1970 does. Needs `members.read`, and lists those whose profile the viewer may read.
    JoinedAt,
    /// When they were last active; who never was stands where 1970 does. Needs `members.read`, and lists those whose profile the viewer
    /// may read.
    LastActivity,
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

/// Which members are wanted: those that meet every given condition. What the viewer may not see of somebody is not found.
#[derive(InputObject, Clone, Debug, Default)]
pub struct MemberFilter {
    /// Who stand here.
    status: Option<Vec<MemberStatus>>,
    /// Who have this role.
    role_id: Option<ID>,
    /// Who are in this group.
    group_id: Option<ID>,
    /// Who belong to this unit.
    unit_id: Option<ID>,
    /// Who hold a licence of any of these products, by their keys.
    product_ids: Option<Vec<String>>,
    /// Whose subscription covers this.
    subscription_type: Option<SubscriptionType>,
    /// Part of the name or the address, in any letter case.
    text: Option<String>,
}

impl MemberFilter {
    pub(super) fn read(self) -> member::Filter {
        member::Filter {
            statuses: self.status.unwrap_or_default().into_iter().map(Into::into).collect(),
            role_id: self.role_id.as_ref().map(parse_id::<RoleId>),
            group_id: self.group_id.as_ref().map(parse_id::<GroupId>),
            unit_id: self.unit_id.as_ref().map(parse_id::<UnitId>),
            products: self.product_ids.unwrap_or_default(),
            subscription_type: self.subscription_type.map(Into::into),
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

impl MemberPage {
    /// The holders of a product's licences, by name.
    pub fn holders(product: &str, arguments: domain::infra::page::Arguments) -> Self {
        let filter = MemberFilter { product_ids: Some(vec![product.to_owned()]), ..MemberFilter::default() };
        Self { filter: Some(filter), order: None, arguments }
    }
}

/// Reads a page of members with the lists that are asked for.
pub async fn page(ctx: &Context<'_>, page: MemberPage) -> Result<Connection<String, Member>> {
    let actor = ctx.actor()?;
    let order = page.order.unwrap_or(MemberOrder { field: MemberOrderField::Name, direction: OrderDirection::Asc });
    let (field, descending) = (member::Order::from(order.field), order.direction == OrderDirection::Desc);
    if field != member::Order::Name {
        // The order, and the cursors, would tell what only readers of profiles may know.
        actor.may(Action::ReadMembers, Target::Anywhere).map_err(top_level)?;
    }
    let filter = page.filter.unwrap_or_default().read();
    let request = Request::new(&page.arguments, (&field.key(descending), field.kind())).map_err(top_level)?;
    let include = include(ctx, &["nodes", "edges"]);
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows =
        member::list(&mut conn, actor, &filter, (field, descending), &request, include).await.map_err(top_level)?;
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

/// How many members of each status the viewer sees: a number for each tab of a frontend.
#[derive(SimpleObject, Clone, Copy, Debug)]
pub struct MemberCounts {
    /// Who have joined.
    active: i32,
    /// Who were asked to join, lapsed ones included.
    invited: i32,
    /// Who are shut out.
    suspended: i32,
    /// Who were taken out.
    deactivated: i32,
}

/// Counts members by status.
pub async fn counts(ctx: &Context<'_>) -> Result<MemberCounts> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let counts = member::counts(&mut conn, actor).await.map_err(failed)?;
    let number = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    Ok(MemberCounts {
        active: number(counts.active),
        invited: number(counts.invited),
        suspended: number(counts.suspended),
        deactivated: number(counts.deactivated),
    })
}

/// Fields that are decided by what a member may do.
const VERDICTS: [&str; 8] = [
    "viewerCanUpdate",
    "viewerCanSuspend",
    "viewerCanActivate",
    "viewerCanDeactivate",
    "viewerCanReactivate",
    "viewerCanDelete",
    "viewerCanAssignRoles",
    "viewerCanChangeEmail",
];

/// Which lists of members are asked for below the running field.
fn include(ctx: &Context<'_>, paths: &[&str]) -> Include {
    let below = |name: &str| {
        paths.iter().any(|path| {
            let below = ctx.look_ahead().field(path);
            below.field(name).exists() || below.field("node").field(name).exists()
        })
    };
    Include {
        roles: below("roles") || below("accountRole"),
        licenses: below("licenses"),
        groups: below("groups"),
        units: below("units") || below("unitsCount"),
        held: VERDICTS.iter().any(|field| below(field)),
    }
}

/// Reads a member again after a mutation; null when that fails, so that the payload still arrives.
pub async fn reread(ctx: &Context<'_>, id: MemberId) -> Option<Member> {
    reread_many(ctx, &[id], &["member"]).await?.pop()
}

/// Reads members again after a mutation whose payload has them in these fields.
pub async fn reread_many(ctx: &Context<'_>, ids: &[MemberId], fields: &[&str]) -> Option<Vec<Member>> {
    let actor = ctx.viewer()?;
    let lists = include(ctx, fields);
    let mut conn = ctx.state().db.pool.acquire().await.ok()?;
    let members = member::read_many(&mut conn, actor, ids, lists).await.ok()?;
    Some(members.into_iter().map(Member::from).collect())
}

/// Reads members by id for `nodes`.
pub async fn read_many(ctx: &Context<'_>, actor: &Actor, ids: &[MemberId]) -> Result<Vec<Member>> {
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let members = member::read_many(&mut conn, actor, ids, Include::default()).await.map_err(failed)?;
    Ok(members.into_iter().map(Member::from).collect())
}

/// The members a mutation names: one by `memberId`, or several by `memberIds`. Answers whether they came as a list.
pub fn subjects(one: Option<&ID>, many: Option<&[ID]>, bulk: usize) -> Result<(Vec<MemberId>, bool), Error> {
    match (one, many) {
        (Some(id), None) => Ok((vec![parse_id(id)], false)),
        (None, Some(ids)) => parse_subjects(ids, "memberIds", bulk).map(|ids| (ids, true)),
        (None, None) => Err(Refused::new(Code::Required).at("memberId").into()),
        (Some(_), Some(_)) => Err(Refused::new(Code::OutOfRange).at("memberIds").into()),
    }
}
