//! Invitations, for those who invite.

pub mod answer;
pub mod manage;

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Result, SimpleObject};
use domain::actor::{Action, Target};
use domain::id::InvitationId;
use domain::infra::page::Request;
use domain::invitation::{self, Delivery, State, Wish};

use super::connection::connection;
use super::context::ContextExt as _;
use super::error::{failed, top_level};
use super::member::{Member, OrderDirection, reference};
use super::scalar::{DateTime, EmailAddress};
use super::verdict::Verdict;

/// Where an invitation stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "State")]
pub enum InvitationState {
    /// Made without a mail: no link, no lifetime.
    NotSent,
    /// The mail was asked for.
    Pending,
    /// Lapsed; can be sent again if there is a seat.
    Expired,
    /// The person joined.
    Accepted,
    /// Withdrawn, or replaced by a newer one.
    Revoked,
    /// The person said no.
    Declined,
}

/// How far the mail of an invitation got.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "Delivery")]
pub enum DeliveryState {
    /// Waits to be sent, or to be tried again.
    Queued,
    /// A mail server took it.
    Sent,
    /// A mail server refused it for good.
    Failed,
}

/// An invitation. Open ones (NOT_SENT, PENDING, EXPIRED) have an invited member; ended ones stay listed.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct Invitation {
    #[graphql(skip)]
    inner: invitation::Invitation,
    /// Opaque id.
    pub id: ID,
    /// Where it stands.
    state: InvitationState,
    /// To whom.
    email: EmailAddress,
    /// First name, as the inviter wrote it.
    first_name: Option<String>,
    /// Last name, as the inviter wrote it.
    last_name: Option<String>,
    /// The inviter's own words.
    message: Option<String>,
    /// When it was made.
    created_at: DateTime,
    /// When it was accepted, revoked or declined.
    finished_at: Option<DateTime>,
    /// When a mail server took the mail: the lifetime starts then.
    sent_at: Option<DateTime>,
    /// When it lapses; null until a mail server took the mail.
    expires_at: Option<DateTime>,
    /// How far the mail got; null while none was asked for.
    delivery: Option<DeliveryState>,
    /// What the mail server said last, without addresses.
    delivery_reply: Option<String>,
    /// When it said so.
    delivery_at: Option<DateTime>,
    /// Whether it lapsed because no mail server took the mail for 72 hours.
    undeliverable: bool,
}

impl From<invitation::Invitation> for Invitation {
    fn from(invitation: invitation::Invitation) -> Self {
        let inner = invitation.clone();
        Self {
            id: invitation.invitation_id.to_string().into(),
            state: invitation.state.into(),
            email: EmailAddress(invitation.email),
            first_name: invitation.first_name,
            last_name: invitation.last_name,
            message: invitation.message,
            created_at: invitation.created_at.into(),
            finished_at: invitation.finished_at.map(Into::into),
            sent_at: invitation.sent_at.map(Into::into),
            expires_at: invitation.expires_at.map(Into::into),
            delivery: invitation.delivery.map(Into::into),
            delivery_reply: invitation.delivery_reply,
            delivery_at: invitation.delivery_at.map(Into::into),
            undeliverable: invitation.undeliverable,
            inner,
        }
    }
}

#[ComplexObject]
impl Invitation {
    /// The invited member, with roles and seat; null once it was revoked or declined.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.inner.member_id).await
    }

    /// Whether the viewer may send it for the first time; limits on mails are another question.
    async fn viewer_can_send(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Send).await
    }

    /// Whether the viewer may send it again; seats and limits on mails are another question.
    async fn viewer_can_resend(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Resend).await
    }

    /// Whether the viewer may correct it.
    async fn viewer_can_update(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Update).await
    }

    /// Whether the viewer may withdraw it.
    async fn viewer_can_revoke(&self, ctx: &Context<'_>) -> Option<Result<Verdict>> {
        self.verdict(ctx, Wish::Revoke).await
    }

    /// Who is answerable for what it grants; null for an operator, or when they are gone.
    async fn invited_by(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.inner.invited_by).await
    }
}

impl Invitation {
    async fn verdict(&self, ctx: &Context<'_>, wish: Wish) -> Option<Result<Verdict>> {
        let actor = match ctx.actor() {
            Ok(actor) => actor,
            Err(error) => return Some(Err(error)),
        };
        if self.inner.invitee.is_some() {
            return Some(Ok(invitation::verdict(actor, &self.inner, wish).into()));
        }
        let loader = match ctx.loader() {
            Ok(loader) => loader,
            Err(error) => return Some(Err(error)),
        };
        let found = loader.load_one(self.inner.invitation_id).await.map_err(|error| super::loader::top_level(&error));
        let found: Option<Result<invitation::Invitation>> = found.transpose();
        Some(found?.map(|found| invitation::verdict(actor, &found, wish).into()))
    }
}

/// What invitations are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "invitation::Order")]
pub enum InvitationOrderField {
    /// When it was made.
    CreatedAt,
    /// Address.
    Email,
}

/// How invitations are sorted.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct InvitationOrder {
    /// By what.
    field: InvitationOrderField,
    /// Up or down.
    #[graphql(default)]
    direction: OrderDirection,
}

/// Which invitations are wanted: those that meet every given condition.
#[derive(InputObject, Clone, Debug, Default)]
pub struct InvitationFilter {
    /// Those that stand here.
    state: Option<Vec<InvitationState>>,
    /// Those whose mail was refused for good or that lapsed undelivered, or all others.
    undeliverable: Option<bool>,
}

impl InvitationFilter {
    fn read(self) -> invitation::Filter {
        invitation::Filter {
            states: self.state.unwrap_or_default().into_iter().map(Into::into).collect(),
            undeliverable: self.undeliverable,
        }
    }
}

/// The arguments of a page of invitations.
pub struct InvitationPage {
    /// See [`InvitationFilter`].
    pub filter: Option<InvitationFilter>,
    /// See [`InvitationOrder`].
    pub order: Option<InvitationOrder>,
    /// Paging.
    pub arguments: domain::infra::page::Arguments,
}

/// Reads a page of invitations.
pub async fn page(ctx: &Context<'_>, page: InvitationPage) -> Result<Connection<String, Invitation>> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Anywhere).map_err(top_level)?;
    let order = page
        .order
        .unwrap_or(InvitationOrder { field: InvitationOrderField::CreatedAt, direction: OrderDirection::Desc });
    let (field, descending) = (invitation::Order::from(order.field), order.direction == OrderDirection::Desc);
    let request = Request::new(&page.arguments, (&field.key(descending), field.kind())).map_err(top_level)?;
    let filter = page.filter.unwrap_or_default().read();
    let asked = (&request, asks_verdict(ctx));
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let rows = invitation::list(&mut conn, actor, &filter, (field, descending), asked).await.map_err(failed)?;
    Ok(connection(rows, Invitation::from))
}

/// Whether a verdict is asked for of the invitations of a page.
fn asks_verdict(ctx: &Context<'_>) -> bool {
    let fields = ["viewerCanSend", "viewerCanResend", "viewerCanUpdate", "viewerCanRevoke"];
    let below = |path: &str, name: &str| {
        let below = ctx.look_ahead().field(path);
        below.field(name).exists() || below.field("node").field(name).exists()
    };
    fields.iter().any(|name| below("nodes", name) || below("edges", name))
}

/// Counts invitations.
pub async fn count(ctx: &Context<'_>, filter: Option<InvitationFilter>) -> Result<i32> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadMembers, Target::Anywhere).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let count = invitation::count(&mut conn, actor, &filter.unwrap_or_default().read()).await.map_err(failed)?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Reads invitations by id for `nodes`.
pub async fn read_many(ctx: &Context<'_>, ids: &[InvitationId]) -> Result<Vec<Invitation>> {
    let actor = ctx.actor()?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let invitations = invitation::read_many(&mut conn, actor, ids, false).await.map_err(failed)?;
    Ok(invitations.into_iter().map(Invitation::from).collect())
}

/// Reads invitations again after a mutation; none when that fails, so that the payload still arrives.
async fn reread(ctx: &Context<'_>, ids: &[InvitationId]) -> Option<Vec<Invitation>> {
    read_many(ctx, ids).await.ok()
}

/// What becomes of the good ones when others are refused.
#[derive(Enum, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[graphql(remote = "invitation::ErrorPolicy")]
pub enum ErrorPolicy {
    /// The good ones are done.
    Partial,
    /// Nothing is done.
    #[default]
    AllOrNothing,
}
