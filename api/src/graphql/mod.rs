//! GraphQL: the protocol, its guards, the schema.

use async_graphql::{Context, ID, MergedObject, Object, Result, SDLExportOptions, Schema};

use self::account::{Account, AccountMutation};
use self::email_change::EmailChangeMutation;
use self::event::Events;
use self::import::{ImportMutation, Job, MemberImport};
use self::invitation::InvitationMutation;
use self::invitation::answer::{InvitationAnswer, InvitationByTokenPayload};
use self::member::MemberMutation;
use self::node::Node;
use self::password::PasswordMutation;
use self::scalar::EmailAddress;
use self::session::{SessionMutation, Viewer};
use self::sign_in_diagnosis::SignInDiagnosis;
use self::sign_up::SignUpMutation;
use self::sso::SsoMutation;
use self::subscription::Subscription;

pub mod account;
pub mod connection;
pub mod context;
pub mod cost;
pub mod document;
pub mod email_change;
pub mod error;
pub mod event;
pub mod graphiql;
pub mod guard;
pub mod http;
pub mod import;
pub mod invitation;
pub mod license;
pub mod loader;
pub mod member;
pub mod node;
pub mod operation;
pub mod order;
pub mod params;
pub mod password;
mod payload;
pub mod role;
pub mod root_field;
pub mod scalar;
pub mod session;
pub mod sign_in_diagnosis;
pub mod sign_up;
pub mod sso;
pub mod subscription;
pub mod user_error;
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

    /// Long work by its id; null for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn job(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Option<Result<Job>> {
        import::read(ctx, &id).await.map(|import| import.map(|import| Job::MemberImport(Box::new(import)))).transpose()
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
    MemberMutation,
    ImportMutation,
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
