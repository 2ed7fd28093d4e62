//! What is under way, followed over a socket until it has ended.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Result;
use domain::actor::Actor;
use futures::future::{self, Either};
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};

use crate::asker::Asker;
use crate::live::Watch;
use crate::state::State;

/// How often something is read before the subscription ends with an error.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Something that comes further until it ends.
pub trait Progress: Sized + Send + 'static {
    /// What it is found by.
    type Id: Copy + Send + Sync + 'static;
    /// How far it is: who follows it is told when this has changed.
    type Stage: PartialEq + Send + Sync + 'static;
    /// How often it is looked at whatever else happens in the account; only when something does unless given.
    const BETWEEN_LOOKS: Option<Duration>;

    /// Reads it as an actor may see it; none if there is nothing to see.
    fn look(state: &State, actor: &Actor, id: Self::Id) -> impl Future<Output = Result<Option<Self>>> + Send;

    /// How far it is.
    fn stage(&self) -> Self::Stage;

    /// Whether nothing of it changes any more.
    fn has_ended(&self) -> bool;
}

/// Somebody who follows.
struct Follower<P: Progress> {
    state: State,
    actor: Actor,
    id: P::Id,
    /// Something in the account has changed.
    updates: BoxStream<'static, ()>,
    told: Option<P::Stage>,
}

/// It as it is now, and again whenever it has come further, at most twice a second, until it has ended or the right to follow has.
/// Complete at once without an id.
pub fn follow<P: Progress>(
    state: &State,
    actor: &Actor,
    watch: &Arc<Watch>,
    id: Option<P::Id>,
) -> impl Stream<Item = Result<P>> + use<P> {
    let (state, actor, updates) = (state.clone(), actor.clone(), watch.updates().boxed());
    let follower = id.map(|id| Follower { state, actor, id, updates, told: None });
    // Boxed: it is there only while there is something to read.
    stream::unfold(follower, |follower| async move { follower?.next().await }.boxed())
}

impl<P: Progress> Follower<P> {
    /// It, once it has come further than was told; with nobody who goes on following once that is the last of it.
    async fn next(mut self) -> Option<(Result<P>, Option<Self>)> {
        loop {
            self.wait().await?;
            match look::<P>(&self.state, &self.actor, self.id).await {
                Err(error) => return Some((Err(error), None)),
                Ok(found) => {
                    let found = found?;
                    let stage = Some(found.stage());
                    if self.told != stage {
                        self.told = stage;
                        let follower = (!found.has_ended()).then_some(self);
                        return Some((Ok(found), follower));
                    }
                }
            }
        }
    }

    /// Until it is time to look again; none when the right to follow has ended.
    async fn wait(&mut self) -> Option<()> {
        let Some(pause) = P::BETWEEN_LOOKS else { return self.updates.next().await };
        match future::select(self.updates.next(), Box::pin(tokio::time::sleep(pause))).await {
            Either::Left((update, _)) => update,
            Either::Right(_) => Some(()),
        }
    }
}

/// Reads it; for a while again when that fails, because an error would end the subscription.
async fn look<P: Progress>(state: &State, actor: &Actor, id: P::Id) -> Result<Option<P>> {
    let mut tries = 1;
    loop {
        let place = state.admission.wait(&Asker::User(actor.user_id)).await;
        let found = P::look(state, actor, id).await;
        drop(place);
        if found.is_ok() || tries == TRIES {
            return found;
        }
        tries += 1;
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}
