//! GraphQL over sockets: the sub-protocol `graphql-transport-ws`, as
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md> specifies it, over [`Operations`].
//!
//! A socket is one task. It polls its operations itself. While something waits to be written, each of them goes on only as far as
//! its next result, so that a peer who does not read stops what it has asked for: at most one message per socket and one result per
//! operation are ever held, and no operation stops half-way with a connection to the database. Only mutations run in tasks of their own, as
//! over HTTP, because a peer who leaves must not cut a commit.
//!
//! | file | what it hides |
//! |---|---|
//! | `close` | why a socket is closed, by code |
//! | `message` | the messages of the protocol as JSON |
//! | `credentials` | where a client shows its token |
//! | `open` | how many sockets there are, of whom |
//! | `running` | the operations of a socket |
//! | `socket` | a socket's life |

mod close;
mod credentials;
mod message;
mod open;
mod running;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Data, Executor};
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use domain::actor::Origin;
use domain::error::Result;
use domain::infra::config;
use domain::session::Authenticated;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::credentials::Shown;
pub use self::open::OpenSockets;
use super::operation::Operations;

/// The sub-protocol.
pub const PROTOCOL: &str = "graphql-transport-ws";

/// Bytes of a message and of a frame of a client.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes a socket reads at once. The library's own buffers would cost 10,000 idle sockets 1.3 GB.
const READ_BYTES: usize = 1024;

/// Bytes that may wait to be written. It is one message, however large, since the next one is written after it.
const WRITE_BYTES: usize = 64 * 1024 * 1024;

/// What sockets need of the product: who somebody is, until when, and what resolvers find.
pub trait Host: Send + Sync + 'static {
    /// What knows until when somebody may use a socket. Resolvers find it as `Arc` in their data.
    type Watch: Send + Sync + 'static;

    /// A place among what is worked on at once.
    type Place: Send + Sync + 'static;

    /// Waits for a place, for who shows a token at a network address; `None` when too many wait already.
    fn admit(&self, token: &str, address: IpAddr) -> impl Future<Output = Option<Self::Place>> + Send;

    /// Who a token belongs to.
    ///
    /// # Errors
    /// As [`domain::session::authenticate`].
    fn authenticate(&self, token: &str, origin: Origin) -> impl Future<Output = Result<Authenticated>> + Send;

    /// Begins to watch a session.
    ///
    /// # Errors
    /// The database's.
    fn watch(&self, session: &Authenticated) -> impl Future<Output = Result<Self::Watch>> + Send;

    /// Waits until somebody may not use the socket any more.
    fn ended(watch: &Self::Watch) -> impl Future<Output = ()> + Send;

    /// What the resolvers of an operation find. The session is as valid as it was a moment ago.
    fn data(&self, session: Authenticated, origin: Origin, peer: &Peer, watch: &Arc<Self::Watch>) -> Data;
}

/// What is known of a peer before it tells who it is.
#[derive(Debug)]
pub struct Peer {
    /// Where it is.
    pub network_address: IpAddr,
    /// What it calls itself.
    pub user_agent: Option<Box<str>>,
    /// What the request for the socket showed; what the first message shows goes before.
    pub shown: Shown,
}

/// How long a socket waits for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For `connection_init`.
    init: Duration,
    /// Between two pings; whoever has answered nothing until the next is gone.
    ping: Duration,
    /// For the peer to take a message.
    write: Duration,
    /// For the peer to answer a close.
    close: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            init: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            write: Duration::from_secs(10),
            close: Duration::from_secs(2),
        }
    }
}

/// The sockets of a process. Clones share everything.
pub struct Sockets<E, H>(Arc<Shared<E, H>>);

impl<E, H> Clone for Sockets<E, H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<E, H> {
    operations: Operations<E>,
    host: H,
    open: Arc<OpenSockets>,
    /// Sockets a user may have.
    sockets_limit: usize,
    /// Operations a socket may have.
    operations_limit: usize,
    times: Times,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// Whether a request wants to become a socket.
pub fn is_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // HTTP/2 has a method for it.
    upgrade || method == Method::CONNECT
}

impl<E: Executor, H: Host> Sockets<E, H> {
    /// No socket yet. `open` counts them.
    pub fn new(operations: Operations<E>, host: H, open: Arc<OpenSockets>, limits: &config::Limits) -> Self {
        Self::with(operations, host, open, limits, Times::default())
    }

    fn with(operations: Operations<E>, host: H, open: Arc<OpenSockets>, limits: &config::Limits, times: Times) -> Self {
        let (sockets_limit, operations_limit) = (limits.sockets, limits.socket_operations);
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Shared { operations, host, open, sockets_limit, operations_limit, times, stopping, tasks }))
    }

    /// Answers a request for a socket, and runs that from then on. Whether its site may call has been looked at.
    pub fn accept(&self, upgrade: WebSocketUpgrade, peer: Peer) -> Response {
        let shared = Arc::clone(&self.0);
        // Until the socket has ended; also one whose upgrade is still under way.
        let (task, open) = (shared.tasks.token(), shared.open.enter());
        upgrade
            .protocols([PROTOCOL])
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BYTES)
            .max_message_size(MESSAGE_BYTES)
            .max_frame_size(MESSAGE_BYTES)
            .on_upgrade(move |wire| {
                let spoken = wire.protocol().is_some();
                // Boxed once: unboxed, each of the futures around it would hold it again.
                Box::pin(async move {
                    socket::run(wire, spoken, shared, peer).await;
                    drop((task, open));
                })
            })
    }

    /// Takes no further operations, lets queries and mutations come to their end, and closes every socket. Returns when all are
    /// closed.
    pub async fn drain(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
