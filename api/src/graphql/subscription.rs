//! What can be followed. Over a socket only, which holds the right to follow: see [`crate::live`].

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Context, Error, ID, Result, SimpleObject, Subscription};
use domain::actor::{Action, Actor, Target};
use domain::event::Cursor;
use domain::id::{ChangeId, ExportId};
use domain::license::change::ChangeStatus;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};

use super::account::{self, Account};
use super::context::{ContextExt as _, parse_id};
use super::cost;
use super::error::{ErrorCode, top_level};
use super::event::{AccountEvent, parse_kinds, unreadable};
use super::export::{self, Export};
use super::license;
use super::license::change::LicenseChange;
use crate::admission::Admitted;
use crate::asker::Asker;
use crate::live::Watch;
use crate::state::State;

/// How often an account is read before its subscription ends with an error.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// How often a file that is being made is looked at, whatever else happens in the account.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

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
    ) -> Result<impl Stream<Item = Result<LicenseChange>> + use<'_>> {
        let (state, actor) = (ctx.state().clone(), ctx.actor()?.clone());
        actor.may(Action::ReadLicenses, Target::Account).map_err(top_level)?;
        let follow = Follow { updates: Box::pin(watch(ctx)?.updates()), state, actor, id: parse_id(&id), last: None };
        Ok(futures::stream::unfold(Some(follow), |follow| async move { follow?.next().await }.boxed()))
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
        let (state, actor) = (ctx.state().clone(), ctx.actor()?.clone());
        let updates = watch(ctx)?.updates().boxed();
        let progress = Progress { state, actor, id: id.parse().ok(), updates, last: None };
        Ok(stream::unfold(progress, |progress| progress.next().boxed()))
    }
}

/// Somebody who follows an export.
struct Progress {
    state: State,
    actor: Actor,
    id: Option<ExportId>,
    /// Something in the account has changed, as its beginning and its end do.
    updates: BoxStream<'static, ()>,
    last: Option<Export>,
}

impl Progress {
    /// What it has come to since the last time; none once it has ended.
    async fn next(mut self) -> Option<(Result<Export>, Self)> {
        let id = self.id?;
        if self.last.as_ref().is_some_and(Export::has_ended) {
            return None;
        }
        loop {
            // In between it moves without an event.
            if let Ok(None) = tokio::time::timeout(BETWEEN_LOOKS, self.updates.next()).await {
                return None;
            }
            let place = self.state.admission.wait(&Asker::User(self.actor.user_id)).await;
            let read = look(&self.state, &self.actor, id).await;
            drop(place);
            match read {
                Ok(None) => return None,
                Ok(Some(export)) if self.last.as_ref().is_some_and(|last| last.is_as_far_as(&export)) => {}
                Ok(Some(export)) => {
                    self.last = Some(export.clone());
                    return Some((Ok(export), self));
                }
                Err(error) => {
                    self.id = None;
                    return Some((Err(error), self));
                }
            }
        }
    }
}

/// Reads an export; for a while again when that fails, because an error would end the subscription.
async fn look(state: &State, actor: &Actor, id: ExportId) -> Result<Option<Export>> {
    for _ in 1..TRIES {
        if let Ok(export) = export::of(state, actor, id).await {
            return Ok(export);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    export::of(state, actor, id).await
}

/// Somebody who follows a change of licences.
struct Follow<U> {
    updates: U,
    state: State,
    actor: Actor,
    id: ChangeId,
    last: Option<ChangeStatus>,
}

impl<U: Stream<Item = ()> + Unpin> Follow<U> {
    /// The change when it has moved on; nothing more once it is final, or gone.
    async fn next(mut self) -> Option<(Result<LicenseChange>, Option<Self>)> {
        loop {
            self.updates.next().await?;
            match self.look().await {
                Err(error) => return Some((Err(error), None)),
                Ok(None) => return None,
                Ok(Some(change)) if self.last == Some(change.state) => {}
                Ok(Some(change)) => {
                    self.last = Some(change.state);
                    let goes_on = matches!(change.state, ChangeStatus::Pending | ChangeStatus::Scheduled);
                    return Some((Ok(change), goes_on.then_some(self)));
                }
            }
        }
    }

    /// Reads the change; for a while again when that fails, because an error would end the subscription.
    async fn look(&self) -> Result<Option<LicenseChange>> {
        let mut tries = 1;
        loop {
            let place = self.state.admission.wait(&Asker::User(self.actor.user_id)).await;
            let found = license::change::of(&self.state.db, &self.actor, self.id).await;
            drop(place);
            if found.is_ok() || tries == TRIES {
                return found;
            }
            tries += 1;
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
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
