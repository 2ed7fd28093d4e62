//! The feed of an account: what happened in it, in order.

use std::collections::HashSet;

use async_graphql::connection::{Connection, Edge};
use async_graphql::{Context, Enum, ID, Result, SimpleObject};
use domain::actor::{Action, Author, Target};
use domain::event::read::{self, Page, ReadError};
use domain::event::{Cursor, EventKind};
use domain::infra::page;

pub use self::kind::AccountEvent;
use super::context::ContextExt as _;
use super::error::{ErrorCode, failed, top_level};

pub mod kind;
pub mod part;

/// What caused an event.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventActorKind {
    /// A member of the account.
    Member,
    /// The host product, by itself.
    Host,
    /// Whoever runs the installation.
    Operator,
    /// The service itself: deadlines, deliveries.
    System,
}

/// Who caused an event.
#[derive(SimpleObject, Clone, Debug)]
pub struct EventActor {
    /// What they are.
    kind: EventActorKind,
    /// Which member; null for anybody else.
    member_id: Option<ID>,
    /// Which credential of the host product; null for anybody else.
    service_token_id: Option<ID>,
}

impl From<Author> for EventActor {
    fn from(author: Author) -> Self {
        let (kind, member_id, service_token_id) = match author {
            Author::Member(member) => (EventActorKind::Member, Some(member.to_string().into()), None),
            Author::Host(token) => (EventActorKind::Host, None, Some(token.to_string().into())),
            Author::Operator => (EventActorKind::Operator, None, None),
            Author::System => (EventActorKind::System, None, None),
        };
        Self { kind, member_id, service_token_id }
    }
}

/// The ends of a feed.
#[derive(SimpleObject, Clone, Debug)]
pub struct FeedEnds {
    /// The place before the oldest event that is kept: reading after it gives all of them.
    oldest_cursor: String,
    /// The place after the newest event: reading after it gives what happens from now on.
    newest_cursor: String,
}

/// A page of a feed.
pub type Events = Connection<String, AccountEvent, FeedEnds>;

/// Reads the viewer's feed after a cursor. Needs `activity.read`.
pub async fn page(
    ctx: &Context<'_>,
    after: Option<&str>,
    first: Option<i32>,
    kinds: Option<&[String]>,
) -> Result<Events> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadActivity, Target::Account).map_err(top_level)?;
    let size = page::size(first, "first").map_err(top_level)?;
    let after = after.map(Cursor::parse).transpose().map_err(top_level)?;
    let kinds = parse_kinds(kinds)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let page = read::page(&mut conn, actor.account_id, after, &kinds, size).await.map_err(unreadable)?;
    Ok(connection(&page))
}

fn connection(page: &Page) -> Events {
    let ends = FeedEnds { oldest_cursor: page.oldest.encode(), newest_cursor: page.newest.encode() };
    let mut connection = Connection::with_additional_fields(page.has_previous, page.has_next, ends);
    let edges = page.events.iter().map(|event| Edge::new(Cursor::of(event).encode(), AccountEvent::from(event)));
    connection.edges.extend(edges);
    connection
}

/// The kinds that a client names; none for all.
///
/// # Errors
/// BAD_USER_INPUT for a kind that is not in the catalogue, and for an empty list.
pub fn parse_kinds(kinds: Option<&[String]>) -> Result<Vec<EventKind>> {
    let Some(kinds) = kinds else { return Ok(Vec::new()) };
    if kinds.is_empty() {
        return Err(ErrorCode::BadUserInput.error("Name at least one kind, or leave `kinds` out for all."));
    }
    let parse = |kind: &String| {
        let known = EventKind::from_key(kind);
        known.ok_or_else(|| ErrorCode::BadUserInput.error(format!("There is no kind of event named {kind:?}.")))
    };
    let mut named = kinds.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    named.retain(|kind| seen.insert(*kind));
    Ok(named)
}

/// The top-level error of a feed that cannot be read from a cursor. Its `oldestCursor` is where reading can begin again.
pub fn unreadable(error: ReadError) -> async_graphql::Error {
    let (code, message, oldest) = match error {
        ReadError::Database(error) => return failed(error),
        ReadError::CursorExpired { oldest } => (
            ErrorCode::CursorExpired,
            "Events after this cursor are no longer kept. Begin again after `oldestCursor`; what was missed is gone.",
            oldest,
        ),
        ReadError::CursorUnknown { oldest } => (
            ErrorCode::BadUserInput,
            "The feed has no event of this cursor. It belongs to another account, or the database was restored \
             from a backup that is older than the event. Begin again after `oldestCursor` and compare.",
            oldest,
        ),
    };
    let mut error = code.error(message);
    error.extensions.get_or_insert_default().set("oldestCursor", oldest.encode());
    error
}
