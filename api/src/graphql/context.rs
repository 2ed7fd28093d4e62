//! What resolvers take from a request: the actor, the state, and the one way to run a mutation.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, Result, Value};
use domain::actor::{Actor, Asker, Asks as _, Host, Origin};
use domain::change::{self, Change, Done, Kind, Once};
use domain::error::{Code, Error, Refused};
use domain::id::{AccountId, Id};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ErrorCode, top_level};
use super::loader::Loader;
use crate::auth::Credentials;
use crate::state::State;

/// Who sends a request, as resolvers find it.
#[derive(Debug)]
pub struct Caller {
    /// What they have proven.
    pub credentials: Credentials,
    /// Where they are.
    pub origin: Origin,
    /// What their client calls itself.
    pub user_agent: Option<String>,
}

/// Shorthands for resolvers.
pub trait ContextExt {
    /// The process's state.
    fn state(&self) -> &State;
    /// Who asks.
    fn caller(&self) -> &Caller;
    /// Who asks, if signed in.
    fn viewer(&self) -> Option<&Actor>;
    /// Who asks; UNAUTHENTICATED unless signed in.
    fn actor(&self) -> Result<&Actor>;
    /// The host product, if it asks.
    fn host(&self) -> Option<&Host>;
    /// Who asks, a member or the host product; UNAUTHENTICATED for nobody.
    fn asker(&self) -> Result<Asker>;
    /// The account that is asked about; UNAUTHENTICATED for nobody.
    fn account_id(&self) -> Result<AccountId>;
    /// Loads scattered references together.
    fn loader(&self) -> Result<&DataLoader<Loader>>;
}

impl ContextExt for Context<'_> {
    fn state(&self) -> &State {
        self.data_unchecked::<State>()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked::<Caller>()
    }

    fn viewer(&self) -> Option<&Actor> {
        match &self.caller().credentials {
            Credentials::Session(session) => Some(&session.actor),
            _ => None,
        }
    }

    fn actor(&self) -> Result<&Actor> {
        if self.host().is_some() {
            return Err(ErrorCode::Forbidden.error("A service token may not ask for this."));
        }
        self.viewer().ok_or_else(|| top_level(Error::Unauthenticated))
    }

    fn host(&self) -> Option<&Host> {
        match &self.caller().credentials {
            Credentials::Host(host) => Some(host),
            _ => None,
        }
    }

    fn asker(&self) -> Result<Asker> {
        asker(self).ok_or_else(|| top_level(Error::Unauthenticated))
    }

    fn account_id(&self) -> Result<AccountId> {
        self.asker().map(|asker| asker.account())
    }

    fn loader(&self) -> Result<&DataLoader<Loader>> {
        self.actor()?;
        self.data::<DataLoader<Loader>>().map_err(|_| ErrorCode::InternalServerError.error("no loader"))
    }
}

fn asker(ctx: &Context<'_>) -> Option<Asker> {
    match (ctx.host(), ctx.viewer()) {
        (Some(host), _) => Some(Asker::Host(Box::new(host.clone()))),
        (None, Some(actor)) => Some(Asker::Member(Box::new(actor.clone()))),
        (None, None) => None,
    }
}

/// Reads an id of a kind; anything else is the id of nothing.
pub fn parse_id<T: Id>(id: &ID) -> T {
    id.parse().unwrap_or(T::NOTHING)
}

/// Reads ids of a kind, each as [`parse_id`] does: the rule then answers an unreadable one as any other that it does not find, at
/// its place, and only to those who may ask.
pub fn parse_ids<T: Id>(ids: &[ID]) -> Vec<T> {
    ids.iter().map(parse_id).collect()
}

/// Reads the ids of what a mutation is about: one to `bulk`.
pub fn parse_subjects<T: Id>(ids: &[ID], field: &str, bulk: usize) -> Result<Vec<T>, Error> {
    let code = if ids.is_empty() { Some(Code::Required) } else { (ids.len() > bulk).then_some(Code::TooMany) };
    match code {
        Some(code) => Err(Refused::new(code).at(field).into()),
        None => Ok(parse_ids(ids)),
    }
}

/// A rule in a transaction: the closure of [`mutate`].
pub type Rule<'c, T> = BoxFuture<'c, Result<T, Error>>;

/// Runs a rule for the signed-in caller, once per idempotency key.
pub async fn mutate<T, F>(ctx: &Context<'_>, key: Option<&str>, kind: Kind, rule: F) -> Result<Done<T>, Error>
where
    T: Serialize + DeserializeOwned + Send,
    F: for<'c> Fn(&'c mut Change, &'c Actor) -> Rule<'c, T> + Sync,
{
    let actor = ctx.viewer().ok_or(Error::Unauthenticated)?;
    let once = once(ctx, key)?;
    change::run(&ctx.state().db, actor, kind, once.as_ref(), rule).await
}

/// [`mutate`], for a member or the host product.
pub async fn mutate_as<T, F>(ctx: &Context<'_>, key: Option<&str>, kind: Kind, rule: F) -> Result<Done<T>, Error>
where
    T: Serialize + DeserializeOwned + Send,
    F: for<'c> Fn(&'c mut Change, &'c Asker) -> Rule<'c, T> + Sync,
{
    let asker = asker(ctx).ok_or(Error::Unauthenticated)?;
    let once = once(ctx, key)?;
    change::run(&ctx.state().db, &asker, kind, once.as_ref(), rule).await
}

/// The idempotency key of the running mutation, with a fingerprint of the rest of its input.
pub fn once(ctx: &Context<'_>, key: Option<&str>) -> Result<Option<Once>, Error> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.chars().count() > 200 || key.chars().any(char::is_control) {
        let code = if key.is_empty() { Code::Required } else { Code::OutOfRange };
        return Err(Refused::new(code).at("idempotencyKey").into());
    }
    let field = ctx.field();
    let mut rest = String::new();
    for (name, value) in field.arguments().unwrap_or_default() {
        let mut value = value;
        if let Value::Object(input) = &mut value {
            input.shift_remove("idempotencyKey");
        }
        let json = value.into_json().unwrap_or_default();
        rest.push_str(name.as_str());
        // Objects of serde_json are sorted by key, so the order in which a client writes fields does not matter.
        rest.push_str(&json.to_string());
    }
    // Inputs hold passwords: without the installation's key nobody can try which ones give the stored fingerprint.
    let fingerprint = ctx.state().db.key.digest("idempotency", &rest).to_vec();
    Ok(Some(Once { key: key.to_owned(), mutation: field.name().to_owned(), fingerprint }))
}
