//! Scattered references, loaded together.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader;
use domain::actor::Actor;
use domain::email_change::{self, Pending};
use domain::group::{self, Group};
use domain::id::{AccountId, GroupId, InvitationId, MemberId, ResourceId, RoleId, UnitId};
use domain::infra::db::Db;
use domain::invitation::{self, Invitation};
use domain::member::{self, Include, Member};
use domain::resource::{self, Opened};
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
        let invitations = invitation::read_many(&mut conn, &self.actor, keys, true).await.map_err(failed)?;
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

impl dataloader::Loader<UnitId> for Loader {
    type Value = unit::Unit;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[UnitId]) -> Result<HashMap<UnitId, unit::Unit>, Self::Error> {
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let units = unit::read_many(&mut conn, &self.actor, keys).await.map_err(failed)?;
        Ok(units.into_iter().map(|unit| (unit.unit_id, unit)).collect())
    }
}

impl dataloader::Loader<GroupId> for Loader {
    type Value = Group;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[GroupId]) -> Result<HashMap<GroupId, Group>, Self::Error> {
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let groups = group::read_many(&mut conn, &self.actor, keys).await.map_err(failed)?;
        Ok(groups.into_iter().map(|group| (group.group_id, group)).collect())
    }
}

/// Loads to whom resources of an account are open. Made per request; whoever asks it has looked at the right to know.
#[derive(Debug)]
pub struct OpenedLoader {
    /// The database.
    pub db: Db,
    /// The account.
    pub account: AccountId,
}

impl dataloader::Loader<ResourceId> for OpenedLoader {
    type Value = Opened;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[ResourceId]) -> Result<HashMap<ResourceId, Opened>, Self::Error> {
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        resource::opened(&mut conn, self.account, keys).await.map_err(failed)
    }
}

/// The change of a member's login e-mail that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingOf(pub MemberId);

impl dataloader::Loader<PendingOf> for Loader {
    type Value = Pending;
    type Error = Arc<domain::error::Error>;

    async fn load(&self, keys: &[PendingOf]) -> Result<HashMap<PendingOf, Pending>, Self::Error> {
        let members: Vec<MemberId> = keys.iter().map(|key| key.0).collect();
        let mut conn = self.db.pool.acquire().await.map_err(failed)?;
        let pending = email_change::of_members(&mut conn, &self.actor, &members).await.map_err(failed)?;
        Ok(pending.into_iter().map(|(member, pending)| (PendingOf(member), pending)).collect())
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
