//! What can be followed. Over a socket only, which holds the right to follow: see [`crate::live`].

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Context, Error, ID, Result, SimpleObject, Subscription};
use domain::actor::{Action, Actor, Target};
use domain::event::Cursor;
use futures::{FutureExt as _, Stream, StreamExt as _};

use super::account::{self, Account};
use super::context::ContextExt as _;
use super::cost;
use super::error::{ErrorCode, top_level};
use super::event::{AccountEvent, parse_kinds, unreadable};
use super::export::Export;
use super::import::MemberImport;
use super::license::change::LicenseChange;
use super::progress;
use crate::admission::Admitted;
use crate::asker::Asker;
use crate::live::Watch;
use crate::state::State;

/// How often an account is read before its subscription ends with an error.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// What can be followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription;

/// The account as it is now.
#[derive(SimpleObject, Debug)]
pub struct AccountUpdate {
    /// The account.
    account: Account,
    /// Held until the fields are resolved: many may follow one account, and all would ask at once.
    #[graphql(skip)]
    _place: Admitted,
}

/// What can be followed, over a socket. The socket is closed with 4403 as soon as the session ends or its member may do less than
/// before; connect again, with the last cursor.
#[Subscription]
impl Subscription {
    /// What happens in the account, in order and without gaps: first everything after the cursor, then each event as it is
    /// committed. Keep the cursor of the last event you have dealt with, and connect again with it. Needs `activity.read`.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn account_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Events after this one, whose cursor it is; from now on unless given.")] after: Option<String>,
        #[graphql(desc = "At least 1: so many at most, then it is complete; without end unless given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Of these kinds, like `member.suspended`; of all unless given.")] kinds: Option<Vec<String>>,
    ) -> Result<impl Stream<Item = Result<AccountEvent>> + use<>> {
        ctx.actor()?.may(Action::ReadActivity, Target::Account).map_err(top_level)?;
        let after = after.as_deref().map(Cursor::parse).transpose().map_err(top_level)?;
        let kinds = parse_kinds(kinds.as_deref())?;
        let first = first
            .map(|first| usize::try_from(first).ok().filter(|first| *first > 0).ok_or_else(too_few))
            .transpose()?;
        let watch = watch(ctx)?;
        let events = Box::pin(watch.events(after, kinds)).await.map_err(unreadable)?;
        Ok(events.take(first.unwrap_or(usize::MAX)).map(|event| match event {
            Ok(event) => Ok(AccountEvent::from(event.as_ref())),
            Err(error) => Err(unreadable(error)),
        }))
    }

    /// A change of licences as it is now, and again whenever it has moved on, until it is done, failed or cancelled. Needs
    /// `licenses.read`, `licenses.allocate` or `licenses.manage`; ends at once for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn license_change_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<impl Stream<Item = Result<LicenseChange>> + use<>> {
        let actor = ctx.actor()?;
        actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
        Ok(progress::follow(ctx.state(), actor, &watch(ctx)?, id.parse().ok()))
    }

    /// The account as it is now, and again whenever something in it has changed, at most twice a second. Several changes may come
    /// as one.
    #[graphql(complexity = "cost::one(child_complexity)")]
    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn account_updated(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Result<AccountUpdate>> + use<'_>> {
        let (state, actor) = (ctx.state().clone(), ctx.actor()?.clone());
        let updates = watch(ctx)?.updates();
        Ok(updates.then(move |()| {
            let (state, actor) = (state.clone(), actor.clone());
            // Boxed: it is there only while there is something to read.
            async move { update(&state, &actor).await }.boxed()
        }))
    }

    /// A file that is made for the viewer: how far it is, at once and whenever that has changed, until it is there or will not be. It is
    /// complete at once for what does not exist, or was made for somebody else.
    #[graphql(complexity = "cost::one(child_complexity)")]
    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn export_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<impl Stream<Item = Result<Export>> + use<>> {
        Ok(progress::follow(ctx.state(), ctx.actor()?, &watch(ctx)?, id.parse().ok()))
    }

    /// An import as it is now, and again whenever it has come further, at most twice a second, until it has ended. Needs `imports.read`
    /// or `imports.run`; ends at once for what does not exist in this account.
    #[graphql(complexity = "cost::one(child_complexity)")]
    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn member_import_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<impl Stream<Item = Result<MemberImport>> + use<>> {
        let actor = ctx.actor()?;
        actor.may(Action::ReadImports, Target::Account).map_err(top_level)?;
        Ok(progress::follow(ctx.state(), actor, &watch(ctx)?, id.parse().ok()))
    }
}

/// Reads the account; for a while again when that fails, because an error would end the subscription.
async fn update(state: &State, actor: &Actor) -> Result<AccountUpdate> {
    let asker = Asker::User(actor.user_id);
    for _ in 1..TRIES {
        let place = state.admission.wait(&asker).await;
        if let Ok(account) = account::of(&state.db, actor).await {
            return Ok(AccountUpdate { account, _place: place });
        }
        drop(place);
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    let place = state.admission.wait(&asker).await;
    Ok(AccountUpdate { account: account::of(&state.db, actor).await?, _place: place })
}

fn too_few() -> Error {
    ErrorCode::BadUserInput.error("`first` is at least 1; leave it out to follow without end.")
}

/// The socket's right to follow.
fn watch(ctx: &Context<'_>) -> Result<Arc<Watch>> {
    let watch = ctx.data_opt::<Arc<Watch>>();
    watch
        .cloned()
        .ok_or_else(|| ErrorCode::BadUserInput.error("Subscriptions run over a WebSocket (graphql-transport-ws)."))
}
