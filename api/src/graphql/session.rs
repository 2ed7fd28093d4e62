//! Signing in and out, and the viewer.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::{ComplexObject, Context, Error as GraphqlError, ID, InputObject, Object, Result, SimpleObject};
use domain::access;
use domain::across;
use domain::actor::{Actor, WHOLE_ACCOUNT};
use domain::change::Kind;
use domain::error::Error;
use domain::id::{AccountId, SessionId, UnitId};
use domain::permission::PermissionSet;
use domain::session::{self, Client, Opened, SignIn};
use secrecy::SecretString;

use super::account::{self, Account};
use super::context::{ContextExt as _, mutate, parse_id};
use super::cost;
use super::error::{ErrorCode, failed, top_level};
use super::member::{Member, MemberStatus, reference};
use super::payload::payloads;
use super::scalar::{Date, DateTime, EmailAddress};
use super::user_error::{UserError, split};
use crate::auth::{Credentials, session_cookie};
use crate::live::Watch;

/// Whoever is signed in.
#[derive(SimpleObject, Debug)]
#[graphql(complex)]
pub struct Viewer {
    #[graphql(skip)]
    actor: Actor,
    /// Keys of the permissions they hold for the whole account: the administrative ones, then the host product's.
    permissions: Vec<String>,
    /// What they hold within units only.
    unit_permissions: Vec<UnitPermissions>,
}

/// What somebody holds within a unit, besides what they hold for the whole account.
#[derive(SimpleObject, Clone, Debug)]
pub struct UnitPermissions {
    /// The unit.
    unit_id: ID,
    /// Keys of the permissions.
    permissions: Vec<String>,
}

#[ComplexObject]
impl Viewer {
    /// Their identity, the same in all their accounts.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn user(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        let read = async {
            let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
            let email = domain::user::email(&mut conn, self.actor.user_id).await.map_err(failed)?;
            Ok(email.map(|email| User { id: self.actor.user_id.to_string().into(), email: EmailAddress(email) }))
        };
        read.await.transpose()
    }

    /// Whether they may do something: in the whole account, in a unit, or on a resource. On a resource, a permission of the host product
    /// counts only where the resource is open to them. False for what does not exist.
    #[graphql(complexity = "cost::one(0)")]
    async fn can(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Key of the permission.")] permission: String,
        #[graphql(desc = "Within which unit.")] unit_id: Option<ID>,
        #[graphql(desc = "On which resource.")] resource_id: Option<ID>,
    ) -> Option<Result<bool>> {
        let scope = (unit_id.as_ref().map(parse_id), resource_id.as_ref().map(parse_id));
        let can = async {
            let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
            access::can(&mut conn, &self.actor, &permission, scope).await.map_err(top_level)
        };
        Some(can.await)
    }

    /// Their place in this account.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, Some(self.actor.member_id)).await
    }

    /// The account they act in.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn account(&self, ctx: &Context<'_>) -> Option<Result<Account>> {
        Some(account::read(ctx).await)
    }

    /// The session this request came by.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn session(&self, ctx: &Context<'_>) -> Option<Result<Session>> {
        let all = match session::of_member(&ctx.state().db, &self.actor).await {
            Ok(all) => all,
            Err(error) => return Some(Err(top_level(error))),
        };
        let mut own = all.into_iter().filter(|session| session.session_id == self.actor.session_id);
        own.next().map(|session| Ok(Session::new(session, &self.actor)))
    }

    /// Their live sessions in this account, newest first.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn sessions(&self, ctx: &Context<'_>) -> Option<Result<Vec<Session>>> {
        let all = session::of_member(&ctx.state().db, &self.actor).await.map_err(top_level);
        Some(all.map(|all| all.into_iter().map(|session| Session::new(session, &self.actor)).collect()))
    }

    /// All accounts they belong to; `sessionSwitchAccount` enters another.
    #[graphql(complexity = "cost::one(child_complexity)")]
    async fn accounts(&self, ctx: &Context<'_>) -> Option<Result<Vec<Membership>>> {
        let read = async {
            let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
            let places = across::memberships(&mut conn, self.actor.user_id, self.actor.now).await.map_err(failed)?;
            let membership = |place: across::Membership| {
                Some(Membership {
                    account_id: place.account_id.to_string().into(),
                    account_name: place.account_name,
                    status: place.status.parse().ok()?,
                    valid_from: place.valid_from.map(Date),
                    is_current: place.account_id == self.actor.account_id,
                })
            };
            Ok(places.into_iter().filter_map(membership).collect())
        };
        Some(read.await)
    }
}

/// The viewer, if anybody is signed in.
pub fn viewer(ctx: &Context<'_>) -> Option<Viewer> {
    let Credentials::Session(session) = &ctx.caller().credentials else { return None };
    let rights = &session.actor.rights;
    let mut permissions: Vec<String> = keys(rights.grants.wide());
    permissions.extend(rights.host.wide().map(str::to_owned));
    let limited = rights.grants.scopes().filter(|(scope, _)| *scope != WHOLE_ACCOUNT);
    let mut units: BTreeMap<UnitId, Vec<String>> = limited.map(|(unit, held)| (unit, keys(held))).collect();
    for (unit, held) in rights.host.limited() {
        units.entry(unit).or_default().extend(held.iter().cloned());
    }
    let within =
        |(unit, permissions): (UnitId, Vec<String>)| UnitPermissions { unit_id: unit.to_string().into(), permissions };
    let unit_permissions = units.into_iter().map(within).collect();
    Some(Viewer { actor: session.actor.clone(), permissions, unit_permissions })
}

fn keys(held: PermissionSet) -> Vec<String> {
    held.iter().map(|permission| permission.key().to_owned()).collect()
}

/// A person's global identity.
#[derive(SimpleObject, Debug)]
pub struct User {
    /// Opaque id. Only the viewer has one here, so `node` does not take it.
    id: ID,
    /// The address they sign in with.
    email: EmailAddress,
}

/// A place in one of the viewer's accounts.
#[derive(SimpleObject, Debug)]
pub struct Membership {
    /// Id of the account.
    account_id: ID,
    /// Its name.
    account_name: String,
    /// The viewer's status there.
    status: MemberStatus,
    /// The day from which they may enter it, while that is ahead.
    valid_from: Option<Date>,
    /// Whether it is the account this session belongs to.
    is_current: bool,
}

/// A session of the viewer.
#[derive(SimpleObject, Debug)]
pub struct Session {
    /// Opaque id, for `sessionRevoke`; `node` does not take it.
    id: ID,
    /// The account's name when the session was opened.
    account_name: String,
    /// What the client called itself.
    user_agent: Option<String>,
    /// Where it was opened from.
    network_address: Option<String>,
    /// When it was opened.
    created_at: DateTime,
    /// When it was last used, to within half a minute.
    last_used_at: Option<DateTime>,
    /// When it ends at the latest.
    expires_at: DateTime,
    /// Whether this request came by it.
    is_current: bool,
}

impl Session {
    fn new(session: session::Session, actor: &Actor) -> Self {
        Self {
            is_current: session.session_id == actor.session_id,
            id: session.session_id.to_string().into(),
            account_name: session.account_name,
            user_agent: session.user_agent,
            network_address: session.network_address,
            created_at: session.created_at.into(),
            last_used_at: session.last_used_at.map(Into::into),
            expires_at: session.absolute_expires_at.into(),
        }
    }
}

/// Signing in.
#[derive(InputObject)]
pub struct SessionCreateInput {
    /// Address.
    email: EmailAddress,
    /// Password.
    password: String,
    /// The account to enter; the one entered last unless given.
    account_id: Option<ID>,
    /// Keeps the session in an HttpOnly cookie instead of handing its token out. Requests then need the header
    /// `X-Muster-CSRF: 1`.
    #[graphql(default)]
    cookie: bool,
}

payloads! {
    {
        /// The session's secret, for `Authorization: Bearer`. Shown once; null when it is in a cookie.
        token: Option<String>,
        /// The account that was entered.
        account_id: Option<ID>,
        /// When the session ends at the latest.
        expires_at: Option<DateTime>,
    }
    /// A new session.
    SessionCreatePayload;
    /// A new session in another account, instead of the one before.
    SessionSwitchAccountPayload;
}

/// Ending a session.
#[derive(InputObject, Debug)]
pub struct SessionRevokeInput {
    /// One of the viewer's own sessions; the current one unless given.
    session_id: Option<ID>,
    /// Makes a repetition harmless.
    idempotency_key: Option<String>,
}

/// A session ended.
#[derive(SimpleObject, Debug)]
pub struct SessionRevokePayload {
    /// Id of the session that ended.
    session_id: Option<ID>,
    /// Why none did.
    user_errors: Vec<UserError>,
}

/// Entering another account.
#[derive(InputObject, Debug)]
pub struct SessionSwitchAccountInput {
    /// One of the viewer's accounts.
    account_id: ID,
}

fn opened<P>(ctx: &Context<'_>, cookie: bool, outcome: Result<Opened, Error>) -> Result<P>
where
    P: From<(Option<String>, Option<ID>, Option<DateTime>, Vec<UserError>)>,
{
    Ok(P::from(match split(outcome)? {
        Ok(opened) => {
            let token = opened.token.expose();
            if cookie {
                let seconds = opened.absolute_expires_at.0.duration_since(opened.created_at.0).as_secs();
                ctx.insert_http_header("set-cookie", session_cookie(&ctx.state().config.http, &token, seconds));
            }
            let account_id = opened.account_id.to_string().into();
            ((!cookie).then_some(token), Some(account_id), Some(opened.absolute_expires_at.into()), Vec::new())
        }
        Err(user_errors) => (None, None, None, user_errors),
    }))
}

/// Mutations of sessions.
#[derive(Debug, Default)]
pub struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Signs in. The answer to a wrong password and to an unknown address is the same, and takes as long. Takes no
    /// idempotency key: a repetition opens another session.
    async fn session_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Signing in.")] input: SessionCreateInput,
    ) -> Option<Result<SessionCreatePayload>> {
        let cookie = input.cookie;
        if cookie && over_socket(ctx) {
            return Some(Err(http_only()));
        }
        let outcome = async {
            let account_id = input.account_id.as_ref().map(parse_id::<AccountId>);
            let password = SecretString::from(input.password);
            let sign_in = SignIn {
                email: &input.email.0,
                password: &password,
                account_id,
                client: Client { cookie, user_agent: ctx.caller().user_agent.clone() },
            };
            let state = ctx.state();
            session::create(&state.db, &state.passwords, ctx.caller().origin.clone(), sign_in).await
        };
        let outcome = outcome.await;
        Some(opened(ctx, cookie, outcome))
    }

    /// Ends one of the viewer's own sessions, at once and on every process.
    async fn session_revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Ending a session.")] input: SessionRevokeInput,
    ) -> Option<Result<SessionRevokePayload>> {
        let outcome = async {
            let given = input.session_id.as_ref().map(parse_id::<SessionId>);
            let done = mutate(ctx, input.idempotency_key.as_deref(), Kind::System, move |change, actor| {
                let id = given.unwrap_or(actor.session_id);
                Box::pin(async move { session::revoke(change, actor, id).await.map(|()| id) })
            });
            let ended = done.await?.outcome;
            if ctx.viewer().is_some_and(|actor| actor.session_id == ended) {
                ctx.insert_http_header("set-cookie", session_cookie(&ctx.state().config.http, "", 0));
            }
            Ok(ended)
        };
        let outcome = outcome.await;
        Some(split(outcome).map(|outcome| match outcome {
            Ok(id) => SessionRevokePayload { session_id: Some(id.to_string().into()), user_errors: Vec::new() },
            Err(user_errors) => SessionRevokePayload { session_id: None, user_errors },
        }))
    }

    /// Enters another of the viewer's accounts: opens a session there and ends the current one. Takes no idempotency key: the
    /// session that could repeat it has ended.
    async fn session_switch_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Entering another account.")] input: SessionSwitchAccountInput,
    ) -> Option<Result<SessionSwitchAccountPayload>> {
        let Credentials::Session(current) = &ctx.caller().credentials else {
            return Some(Err(top_level(Error::Unauthenticated)));
        };
        if over_socket(ctx) {
            return Some(Err(http_only()));
        }
        let cookie = current.cookie;
        let outcome = async {
            let account = parse_id::<AccountId>(&input.account_id);
            let client = Client { cookie, user_agent: ctx.caller().user_agent.clone() };
            session::switch_account(&ctx.state().db, &current.actor, account, &client).await
        };
        let outcome = outcome.await;
        Some(opened(ctx, cookie, outcome))
    }
}

fn over_socket(ctx: &Context<'_>) -> bool {
    ctx.data_opt::<Arc<Watch>>().is_some()
}

/// A socket takes no cookie, and ends with its session, perhaps before the answer that holds the new one's token.
fn http_only() -> GraphqlError {
    ErrorCode::BadUserInput.error("Send this over HTTP: a socket carries no cookie, and ends with its session.")
}
