//! How far an import is, followed over a socket.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Result;
use domain::actor::Actor;
use domain::id::ImportId;
use domain::import as rules;
use domain::infra::db::Db;
use futures::Stream;
use futures::stream::unfold;

use super::MemberImport;
use crate::asker::Asker;
use crate::graphql::error::failed;
use crate::live::Watch;
use crate::state::State;

/// Between two looks. An import moves without events where it only looks, so that nothing wakes its followers.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// Looks that may fail one after the other before the subscription ends with an error.
const TRIES: u32 = 20;

/// An import as the actor may see it.
pub async fn look(db: &Db, actor: &Actor, id: ImportId) -> Result<Option<rules::MemberImport>> {
    let mut conn = db.pool.acquire().await.map_err(failed)?;
    Ok(rules::read_many(&mut conn, actor, &[id]).await.map_err(failed)?.pop())
}

/// Who follows, and what they were told last.
struct Follower {
    state: State,
    actor: Actor,
    watch: Arc<Watch>,
    id: ImportId,
    told: Option<rules::MemberImport>,
}

/// The import now, and again whenever it has come further, until it has ended or the right to follow has.
pub fn progress(
    state: State,
    actor: Actor,
    watch: Arc<Watch>,
    first: rules::MemberImport,
) -> impl Stream<Item = Result<MemberImport>> + use<> {
    let follower = Follower { state, actor, watch, id: first.import_id, told: None };
    unfold((follower, Some(first)), |(mut follower, first)| async move {
        let next = match first {
            Some(first) => Ok(first),
            None => Box::pin(follower.next()).await?,
        };
        let told = next.map(|import| {
            follower.told = Some(import.clone());
            MemberImport::from(import)
        });
        Some((told, (follower, None)))
    })
}

impl Follower {
    /// The import once it differs from what was told last; `None` when there is no more to tell.
    async fn next(&mut self) -> Option<Result<rules::MemberImport>> {
        let told = self.told.as_ref()?;
        if told.finished_at.is_some() {
            return None;
        }
        let mut failures = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                () = self.watch.ended() => return None,
            }
            let place = self.state.admission.wait(&Asker::User(self.actor.user_id)).await;
            let looked = look(&self.state.db, &self.actor, self.id).await;
            drop(place);
            match looked {
                Ok(None) => return None,
                Ok(Some(import)) if import.differs(told) => return Some(Ok(import)),
                Ok(Some(_)) => failures = 0,
                Err(error) if failures == TRIES => {
                    self.told = None;
                    return Some(Err(error));
                }
                Err(_) => failures += 1,
            }
        }
    }
}
