//! Scattered references, loaded together.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader;
use domain::actor::Actor;
use domain::id::{InvitationId, MemberId, RoleId, UnitId};
use domain::infra::db::Db;
use domain::invitation::{self, Invitation};
use domain::member::{self, Include, Member};
use domain::role;
use domain::unit;

/// Loads what one actor may see. Made per request.
#[derive(Debug)]
pub struct Loader {
    /// The database.
    pub db: Db,
    /// Who asks.
    pub actor: Actor,
}

impl dataloader::Loader<MemberId> for Loader {
    type Value = Member;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[MemberId]) -> Result<HashMap<MemberId, Member>, Self::Error> {
        let lists = Include { roles: true, licenses: true, groups: true, units: true, held: true };
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let members = member::read_many(&mut conn, &self.actor, keys, lists).await.map_err(failed)?;
        Ok(members.into_iter().map(|member| (member.member_id, member)).collect())
    }
}

impl dataloader::Loader<InvitationId> for Loader {
    type Value = Invitation;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[InvitationId]) -> Result<HashMap<InvitationId, Invitation>, Self::Error> {
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let invitations = invitation::read_many(&mut conn, &self.actor, keys).await.map_err(failed)?;
        Ok(invitations.into_iter().map(|invitation| (invitation.invitation_id, invitation)).collect())
    }
}

/// The usage of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UsageOf(pub RoleId);

impl dataloader::Loader<UsageOf> for Loader {
    type Value = role::Usage;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[UsageOf]) -> Result<HashMap<UsageOf, role::Usage>, Self::Error> {
        let ids: Vec<RoleId> = keys.iter().map(|key| key.0).collect();
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let usage = role::usage(&mut conn, self.actor.account_id, &ids).await.map_err(failed)?;
        Ok(keys.iter().copied().zip(usage).collect())
    }
}

/// The number of members of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembersOf(pub UnitId);

impl dataloader::Loader<MembersOf> for Loader {
    type Value = i64;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[MembersOf]) -> Result<HashMap<MembersOf, i64>, Self::Error> {
        let ids: Vec<UnitId> = keys.iter().map(|key| key.0).collect();
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let counts = unit::member_counts(&mut conn, self.actor.account_id, &ids).await.map_err(failed)?;
        Ok(keys.iter().copied().zip(counts).collect())
    }
}

fn failed<E: Into<domain::error::Error>>(error: E) -> Arc<domain::error::Error> {
    Arc::new(error.into())
}

/// The top-level error of a shared failure. Whoever loads first logs it in full; the others learn only what it amounts to.
pub fn top_level(error: &domain::error::Error) -> async_graphql::Error {
    match error {
        domain::error::Error::Database(error) => super::error::of_database(error),
        _ => super::error::ErrorCode::ServiceUnavailable.error("Try again in a moment."),
    }
}
