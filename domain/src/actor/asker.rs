//! Who may ask for things of the host product: a member, or the host product itself with a service token.

use uuid::Uuid;

use super::{Action, Actor, Origin, Reach, Target};
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::id::{AccountId, MemberId, ServiceTokenId};
use crate::infra::clock::Timestamp;
use crate::service_token::{self, Scope};

/// The host product, acting in an account by itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its credential.
    pub token_id: ServiceTokenId,
    /// The account it names with the request.
    pub account_id: AccountId,
    /// What the credential is for.
    pub scopes: Vec<Scope>,
    /// Business time when the request began.
    pub now: Timestamp,
    /// Where the request comes from.
    pub origin: Origin,
}

impl Host {
    fn may(&self, action: Action) -> bool {
        self.scopes.iter().any(|scope| scope.allows(action))
    }
}

/// A member or the host product.
#[derive(Clone, Debug)]
pub enum Asker {
    /// Somebody who is signed in.
    Member(Box<Actor>),
    /// The host product.
    Host(Box<Host>),
}

/// What [`Change`] wants to know of whoever asks.
pub trait Asks: Sync {
    /// The account it is about.
    fn account(&self) -> AccountId;
    /// Where the request comes from.
    fn origin(&self) -> &Origin;
    /// Business time when the request began.
    fn now(&self) -> Timestamp;
    /// Whose idempotency keys count.
    fn keys_of(&self) -> Uuid;
}

impl Asks for Actor {
    fn account(&self) -> AccountId {
        self.account_id
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn keys_of(&self) -> Uuid {
        self.member_id.0
    }
}

impl Asks for Asker {
    fn account(&self) -> AccountId {
        match self {
            Self::Member(actor) => actor.account_id,
            Self::Host(host) => host.account_id,
        }
    }

    fn origin(&self) -> &Origin {
        match self {
            Self::Member(actor) => &actor.origin,
            Self::Host(host) => &host.origin,
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Member(actor) => actor.now,
            Self::Host(host) => host.now,
        }
    }

    fn keys_of(&self) -> Uuid {
        match self {
            Self::Member(actor) => actor.member_id.0,
            Self::Host(host) => host.token_id.0,
        }
    }
}

impl Asker {
    /// Who asks, if it is a member.
    pub fn member(&self) -> Option<MemberId> {
        match self {
            Self::Member(actor) => Some(actor.member_id),
            Self::Host(_) => None,
        }
    }

    /// Where they may do something, as of when the request began.
    pub fn reach(&self, action: Action) -> Reach {
        match self {
            Self::Member(actor) => actor.reach(action),
            Self::Host(host) if host.may(action) => Reach::Everywhere,
            Self::Host(_) => Reach::Nowhere,
        }
    }

    /// Refuses whoever may nowhere do something, before anything is looked up.
    pub fn may(&self, action: Action) -> Result<()> {
        match self {
            Self::Member(actor) => actor.may(action, Target::Anywhere),
            Self::Host(host) if host.may(action) => Ok(()),
            Self::Host(_) => Err(Refused::missing(Vec::new()).into()),
        }
    }

    /// Where they may do something now that the running transaction holds its locks; refuses who may do it nowhere.
    pub async fn stands(&self, change: &mut Change, action: Action) -> Result<Reach> {
        match self {
            Self::Member(actor) => {
                let standing = change.standing(actor).await?;
                standing.may(action, Target::Anywhere)?;
                Ok(standing.rights.grants.reach(action.permissions()))
            }
            Self::Host(host) => {
                service_token::check_live(change, host.token_id).await?;
                self.may(action)?;
                Ok(Reach::Everywhere)
            }
        }
    }

    /// Whether the host product may ask for it by this scope; whatever concerns a member is judged elsewhere.
    pub fn has_scope(&self, scope: Scope) -> bool {
        matches!(self, Self::Host(host) if host.scopes.contains(&scope))
    }
}

/// What lies outside of a reach is as if it were not there.
pub(crate) fn inside(reach: &Reach, units: &[crate::id::UnitId]) -> Result<()> {
    if reach.includes(units) { Ok(()) } else { Err(Code::NotFound.into()) }
}
