//! GraphQL: the protocol, its guards, the schema.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, MergedObject, Object, Result, SDLExportOptions, Schema};

use self::account::{Account, AccountMutation};
use self::billing::BillingMutation;
use self::billing::statement::Statement;
use self::email_change::EmailChangeMutation;
use self::event::Events;
use self::export::{Export, ExportMutation};
use self::group::{Group, GroupMutation};
use self::import::template::MemberImportTemplate;
use self::import::{ImportMutation, Job, MemberImport};
use self::invitation::answer::{InvitationAnswer, InvitationByTokenPayload};
use self::invitation::manage::InvitationMutation;
use self::license::ProductOffer;
use self::license::allocate::AllocationMutation;
use self::license::change::{ChangeMutation, LicenseChange};
use self::license::quote::{LicenseQuote, QuoteMutation};
use self::license::trial::TrialMutation;
use self::member::MemberLifeMutation;
use self::node::Node;
use self::password::PasswordMutation;
use self::permission::{AccessExplanation, Permission};
use self::resource::access::{ResourceAccess, ResourceReferenceInput};
use self::resource::manage::ResourceMutation;
use self::resource::rate::{EffectiveRate, RateMutation};
use self::resource::{Resource, ResourceFilter};
use self::role::assign::RoleAssignMutation;
use self::role::manage::RoleMutation;
use self::scalar::EmailAddress;
use self::session::{SessionMutation, Viewer};
use self::sign_in_diagnosis::SignInDiagnosis;
use self::sign_up::SignUpMutation;
use self::sso::SsoMutation;
use self::subscription::Subscription;
use self::unit::manage::UnitMutation;

pub mod account;
pub mod billing;
pub mod connection;
pub mod context;
pub mod cost;
pub mod document;
pub mod email_change;
pub mod error;
pub mod event;
pub mod export;
pub mod graphiql;
pub mod group;
pub mod guard;
pub mod host;
pub mod http;
pub mod import;
pub mod invitation;
pub mod license;
pub mod loader;
pub mod member;
pub mod money;
pub mod node;
pub mod operation;
pub mod order;
pub mod params;
pub mod password;
mod payload;
pub mod permission;
pub mod progress;
pub mod resource;
pub mod role;
pub mod root_field;
pub mod scalar;
pub mod session;
pub mod sign_in_diagnosis;
pub mod sign_up;
pub mod sso;
pub mod subscription;
pub mod unit;
pub mod user_error;
pub mod verdict;
pub mod ws;

/// What can be asked.
#[derive(Debug, Default)]
pub struct Query;

/// What can be asked.
#[Object]
impl Query {
    /// Whoever is signed in; null for nobody.
    async fn viewer(&self, ctx: &Context<'_>) -> Option<Viewer> {
        session::viewer(ctx)
    }

    /// The account the session belongs to.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn account(&self, ctx: &Context<'_>) -> Option<Result<Account>> {
        Some(account::read(ctx).await)
    }

    /// Anything by its id; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn node(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Node>> {
        node::load(ctx, &[id]).await.map(|mut nodes| nodes.pop().flatten()).transpose()
    }

    /// Many things by their ids, at most 100, in the order asked for; null in place of what does not exist.
    #[graphql(complexity = "cost::nodes(ids.len(), child_complexity)")]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Their ids.")] ids: Vec<ID>,
    ) -> Option<Result<Vec<Option<Node>>>> {
        Some(node::load(ctx, &ids).await)
    }

    /// An import of members. Needs `imports.read` or `imports.run`; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn member_import(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Option<Result<MemberImport>> {
        import::read(ctx, &id).await.transpose()
    }

    /// A file that was made for the viewer; null for what does not exist, or was made for somebody else.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn export(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Export>> {
        export::read(ctx, &id).await.transpose()
    }

    /// What a file to import looks like: its columns, their values, and a file to begin with. Needs `imports.read` or `imports.run`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn member_import_template(&self, ctx: &Context<'_>) -> Option<Result<MemberImportTemplate>> {
        Some(import::template::read(ctx).await)
    }

    /// A group. Needs `members.read`; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn group(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Group>> {
        group::read(ctx, &id).await.transpose()
    }

    /// A resource: for who reads resources, and for members who have access to it. Null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn resource(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Resource>> {
        resource::read(ctx, &id).await.transpose()
    }

    /// A resource by what the host product calls it, as `resource`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn resource_by_external_id(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "type", desc = "Its type.")] kind: String,
        #[graphql(desc = "Its id in the host product.")] external_id: String,
    ) -> Option<Result<Resource>> {
        resource::by_external_id(ctx, &kind, &external_id).await.transpose()
    }

    /// Whether a member has access to each of some resources, at most 100, in the order asked for: made to be asked on each
    /// request of the host product. For the member themselves, for readers of resources (`resources.read`), and for service tokens
    /// with the scope `access`.
    #[graphql(complexity = "cost::one(resources.len().saturating_mul(child_complexity))")]
    async fn can_access(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who.")] member_id: ID,
        #[graphql(desc = "To what.")] resources: Vec<ResourceReferenceInput>,
    ) -> Option<Result<Vec<ResourceAccess>>> {
        Some(resource::access::can_access(ctx, &member_id, &resources).await)
    }

    /// What a member has access to, by name. For whom: as `canAccess`.
    #[graphql(complexity = "cost::page(first, last, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn accessible_resources(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who.")] member_id: ID,
        #[graphql(desc = "Which ones.")] filter: Option<ResourceFilter>,
        #[graphql(desc = "Rows after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] after: Option<String>,
        #[graphql(desc = "Rows before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "A cursor of this list.")] before: Option<String>,
    ) -> Option<Result<Connection<String, Resource>>> {
        let arguments = connection::arguments(first, after, last, before);
        Some(resource::access::accessible(ctx, context::parse_id(&member_id), filter, &arguments).await)
    }

    /// The rate per hour that holds for a member on a resource, and which rule chose it: of the groups they are in that are neither
    /// archived nor excluded from custom rates the highest, then the oldest. Null if none applies. Needs `resources.read`, or a
    /// service token with the scope `resources`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn effective_rate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who.")] member_id: ID,
        #[graphql(desc = "On what.")] resource_id: ID,
    ) -> Option<Result<EffectiveRate>> {
        resource::rate::effective(ctx, &member_id, &resource_id).await.transpose()
    }

    /// Long work by its id; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn job(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Job>> {
        import::job(ctx, &id).await.transpose()
    }

    /// What is sold, and for how much.
    #[graphql(complexity = "cost::one(cost::one(child_complexity))")]
    async fn products(&self, ctx: &Context<'_>) -> Option<Result<Vec<ProductOffer>>> {
        Some(license::products(ctx).await)
    }

    /// A priced change of licences. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`; null for what does not exist in this
    /// account, or expired long ago.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn license_quote(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Option<Result<LicenseQuote>> {
        license::quote::read(ctx, &id).await.transpose()
    }

    /// A change of licences. Needs `licenses.read`, `licenses.allocate` or `licenses.manage`; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn license_change(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Option<Result<LicenseChange>> {
        license::change::read(ctx, &id).await.transpose()
    }

    /// A statement with its lines. Needs `billing.read` or `billing.manage`; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(cost::one(child_complexity))")]
    async fn statement(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Statement>> {
        billing::statement::read(ctx, &id).await.transpose()
    }

    /// Everything that a role can allow: what Muster knows, then what the host product declared.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn permissions(&self, ctx: &Context<'_>) -> Option<Result<Vec<Permission>>> {
        Some(permission::read(ctx).await)
    }

    /// Why a member may, or may not, do something. Everybody may ask it of themselves; of others it needs `members.read`. Null for a member
    /// or a resource that does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn explain_access(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member.")] member_id: ID,
        #[graphql(desc = "Key of the permission.")] permission: String,
        #[graphql(desc = "On which resource; without one, anywhere.")] resource_id: Option<ID>,
    ) -> Option<Result<AccessExplanation>> {
        permission::explain(ctx, &member_id, &permission, resource_id.as_ref()).await.transpose()
    }

    /// What happened in the account, the oldest kept event first. Needs `activity.read`. Events come in the order of their numbers;
    /// whoever reads on after the last cursor they got misses none and gets none twice.
    #[graphql(complexity = "cost::page(first, None, child_complexity)")]
    async fn account_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "A cursor of this feed; null for the oldest event that is kept. `CURSOR_EXPIRED` when events after it are \
                          no longer kept: `extensions.oldestCursor` is where to begin again."
        )]
        after: Option<String>,
        #[graphql(desc = "Events after `after`: 1 to 100, 20 unless given.")] first: Option<i32>,
        #[graphql(desc = "Only events of these kinds, like `member.suspended`; all unless given.")] kinds: Option<
            Vec<String>,
        >,
    ) -> Option<Result<Events>> {
        Some(event::page(ctx, after.as_deref(), first, kinds.as_deref()).await)
    }

    /// Why somebody can, or cannot, sign in to this account with an address, and what to do. Needs `members.read`; tells nothing of
    /// other accounts.
    #[graphql(complexity = "cost::one(cost::one(child_complexity))")]
    async fn sign_in_diagnosis(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address that the person tries.")] email: EmailAddress,
    ) -> Option<Result<SignInDiagnosis>> {
        Some(sign_in_diagnosis::diagnose(ctx, &email.0).await)
    }

    /// What the link of an invitation shows. Looking never answers it.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn invitation_by_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The link's token.")] token: String,
    ) -> Option<Result<InvitationByTokenPayload>> {
        Some(invitation::answer::by_token(ctx, &token).await)
    }
}

/// What can be changed. Failures that a person can mend are in `userErrors`; then nothing they concern was changed.
#[derive(MergedObject, Debug, Default)]
pub struct Mutation(
    SignUpMutation,
    SessionMutation,
    PasswordMutation,
    EmailChangeMutation,
    AccountMutation,
    SsoMutation,
    InvitationMutation,
    InvitationAnswer,
    RoleMutation,
    RoleAssignMutation,
    UnitMutation,
    MemberLifeMutation,
    ImportMutation,
    ExportMutation,
    GroupMutation,
    ResourceMutation,
    RateMutation,
    AllocationMutation,
    QuoteMutation,
    ChangeMutation,
    TrialMutation,
    BillingMutation,
);

/// The public schema.
pub type MusterSchema = Schema<Query, Mutation, Subscription>;

/// Builds the schema, with its guards.
pub fn schema() -> MusterSchema {
    guard::guarded(Schema::build(Query, Mutation::default(), Subscription)).limit_complexity(cost::MAX).finish()
}

/// The schema as text, in a stable order.
pub fn sdl() -> String {
    let options = SDLExportOptions::new().sorted_arguments().sorted_enum_items().sorted_fields();
    schema().sdl_with_options(options)
}
