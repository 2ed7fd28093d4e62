//! A small schema with subscriptions, a host that knows a few tokens, and a peer that speaks through channels.

use std::collections::HashSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::Duration;

use async_graphql::{Context, Data, Error as GraphqlError, Object, Schema, SimpleObject, Subscription};
use axum::extract::ws::Message;
use domain::actor::{Actor, Author, Origin, Rights};
use domain::error::{Error, Result};
use domain::id::{AccountId, MemberId, SessionId, UserId};
use domain::infra::clock::Timestamp;
use domain::infra::config;
use domain::permission::PermissionSet;
use domain::session::Authenticated;
use futures::{Sink, SinkExt, Stream, StreamExt, stream};
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, PollSender};

use super::super::{Host, OpenSockets, Peer, Shared, Shown, Sockets, Times, socket};
use crate::graphql::error::ErrorCode;
use crate::graphql::operation::Operations;

/// What resolvers and tests share.
#[derive(Default)]
pub(super) struct World {
    /// Items that endless sources have given.
    pub(super) given: AtomicUsize,
    /// Streams and queries that were dropped.
    pub(super) dropped: Arc<Notify>,
    pub(super) entered: Notify,
    pub(super) gate: Notify,
    pub(super) done: Notify,
    /// Whether too much is worked on.
    pub(super) full: AtomicBool,
    pub(super) revoked: Mutex<HashSet<String>>,
    /// Ends the right to any socket.
    pub(super) ended: CancellationToken,
}

struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn world<'a>(ctx: &Context<'a>) -> &'a Arc<World> {
    ctx.data_unchecked::<Arc<World>>()
}

pub(super) struct Query;

#[Object]
impl Query {
    async fn hello(&self) -> &str {
        "world"
    }

    async fn watched(&self, ctx: &Context<'_>) -> bool {
        ctx.data_opt::<Arc<CancellationToken>>().is_some()
    }

    async fn panics(&self, values: Option<Vec<i32>>) -> i32 {
        values.expect("hunter2")[0]
    }

    async fn waits(&self, ctx: &Context<'_>) -> i32 {
        let _tell = Tell(Arc::clone(&world(ctx).dropped));
        world(ctx).entered.notify_one();
        std::future::pending().await
    }
}

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn waits(&self, ctx: &Context<'_>) -> i32 {
        world(ctx).entered.notify_one();
        world(ctx).gate.notified().await;
        world(ctx).done.notify_one();
        7
    }
}

#[derive(SimpleObject)]
#[graphql(complex)]
struct Thing {
    number: i32,
}

#[async_graphql::ComplexObject]
impl Thing {
    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn broken(&self) -> Result<i32, GraphqlError> {
        Err(ErrorCode::Forbidden.error("You need members.read."))
    }
}

pub(super) struct Root;

#[Subscription]
impl Root {
    async fn count(&self, to: i32) -> impl Stream<Item = i32> {
        stream::iter(1..=to)
    }

    async fn thing(&self) -> impl Stream<Item = Thing> {
        stream::iter([Thing { number: 1 }])
    }

    #[expect(clippy::unused_async, reason = "what the library asks for")]
    async fn fails(&self) -> Result<stream::Empty<i32>, GraphqlError> {
        Err(ErrorCode::Forbidden.error("You need members.read."))
    }

    async fn breaks(&self) -> impl Stream<Item = Result<i32, GraphqlError>> {
        stream::iter([Ok(1), Err(ErrorCode::BadUserInput.error("The cursor has expired.")), Ok(3)])
    }

    async fn panics(&self) -> impl Stream<Item = i32> {
        stream::once(async { panic!("hunter2") })
    }

    async fn forever(&self, ctx: &Context<'_>) -> impl Stream<Item = i32> {
        let tell = Tell(Arc::clone(&world(ctx).dropped));
        stream::pending().inspect(move |_: &i32| {
            let _ = &tell;
        })
    }

    async fn endless(&self, ctx: &Context<'_>) -> impl Stream<Item = String> {
        let world = Arc::clone(world(ctx));
        stream::repeat_with(move || {
            world.given.fetch_add(1, Ordering::SeqCst);
            "x".repeat(1_000)
        })
    }
}

pub(super) type ToySchema = Schema<Query, Mutation, Root>;

impl Host for Arc<World> {
    type Watch = CancellationToken;
    type Place = ();

    async fn admit(&self, _: &str, _: IpAddr) -> Option<()> {
        (!self.full.load(Ordering::SeqCst)).then_some(())
    }

    /// Tokens are names of users: "a" and "a/2" are of the same.
    async fn authenticate(&self, token: &str, origin: Origin) -> Result<Authenticated> {
        match token {
            "away" => return Err(Error::Database(sqlx::Error::PoolTimedOut)),
            "slow" => std::future::pending().await,
            "bad" => return Err(Error::Unauthenticated),
            token if self.revoked.lock().unwrap().contains(token) => return Err(Error::Unauthenticated),
            _ => {}
        }
        let mut user = [0; 16];
        user[0] = token.as_bytes()[0];
        let now = Timestamp(jiff::Timestamp::now());
        let rights = Arc::new(Rights { version: 1, owner: false, permissions: PermissionSet::EVERYTHING });
        let actor = Actor {
            account_id: AccountId::new(),
            member_id: MemberId::new(),
            user_id: UserId(uuid::Uuid::from_bytes(user)),
            session_id: SessionId::new(),
            rights,
            now,
            origin: Origin { author: Author::System, ..origin },
        };
        Ok(Authenticated { actor, account_name: String::new(), cookie: false, until: now, looked_at: 1 })
    }

    async fn watch(&self, _session: &Authenticated) -> Result<CancellationToken> {
        Ok(self.ended.clone())
    }

    async fn ended(watch: &CancellationToken) {
        watch.cancelled().await;
    }

    fn data(&self, session: Authenticated, _: Origin, _: &Peer, watch: &Arc<CancellationToken>) -> Data {
        let mut data = Data::default();
        data.insert(Arc::clone(self));
        data.insert(session);
        data.insert(Arc::clone(watch));
        data
    }
}

/// The server's end of a connection. Holds one message that the peer has not taken.
struct Pipe {
    from: mpsc::UnboundedReceiver<Result<Message, axum::Error>>,
    to: PollSender<Message>,
}

impl Stream for Pipe {
    type Item = Result<Message, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        self.from.poll_recv(cx)
    }
}

impl Sink<Message> for Pipe {
    type Error = axum::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to.poll_ready_unpin(cx).map_err(axum::Error::new)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), axum::Error> {
        self.to.start_send_unpin(item).map_err(axum::Error::new)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to.poll_flush_unpin(cx).map_err(axum::Error::new)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to.poll_close_unpin(cx).map_err(axum::Error::new)
    }
}

/// A server.
pub(super) struct Toy {
    pub(super) world: Arc<World>,
    pub(super) open: Arc<OpenSockets>,
    pub(super) sockets: Sockets<ToySchema, Arc<World>>,
}

pub(super) const PATIENT: Times = Times {
    init: Duration::from_mins(1),
    ping: Duration::from_mins(1),
    write: Duration::from_mins(1),
    close: Duration::from_mins(1),
};

impl Toy {
    pub(super) fn new(times: Times) -> Self {
        let schema = crate::graphql::guard::guarded(Schema::build(Query, Mutation, Root)).finish();
        let mut limits = config::Config::defaults("postgres://localhost/muster").limits;
        (limits.sockets, limits.socket_operations) = (2, 3);
        let (world, open) = (Arc::<World>::default(), Arc::<OpenSockets>::default());
        let operations = Operations::new(schema.clone(), &schema.sdl(), &limits);
        let sockets = Sockets::with(operations, Arc::clone(&world), Arc::clone(&open), &limits, times);
        Self { world, open, sockets }
    }

    fn shared(&self) -> Arc<Shared<ToySchema, Arc<World>>> {
        Arc::clone(&self.sockets.0)
    }

    /// Opens a socket whose request showed this.
    pub(super) fn connect_with(&self, shown: Shown, spoken: bool) -> Client {
        let (to_server, from) = mpsc::unbounded_channel();
        let (to, from_server) = mpsc::channel(1);
        let pipe = Pipe { from, to: PollSender::new(to) };
        let peer = Peer { network_address: [127, 0, 0, 1].into(), user_agent: None, shown };
        let (shared, tasks) = (self.shared(), self.sockets.0.tasks.clone());
        let entered = self.open.enter();
        let task = tasks.spawn(async move {
            socket::run(pipe, spoken, shared, peer).await;
            drop(entered);
        });
        Client { to: Some(to_server), from: from_server, task }
    }

    pub(super) fn connect(&self) -> Client {
        self.connect_with(Shown::Nothing, true)
    }

    /// Opens a socket and has it acknowledged.
    pub(super) async fn enter(&self, token: &str) -> Client {
        let mut client = self.connect();
        client.init(token);
        assert_eq!(client.next().await, json!({ "type": "connection_ack" }));
        client
    }
}

/// A peer.
pub(super) struct Client {
    to: Option<mpsc::UnboundedSender<Result<Message, axum::Error>>>,
    pub(super) from: mpsc::Receiver<Message>,
    pub(super) task: JoinHandle<()>,
}

impl Client {
    pub(super) fn send(&self, message: Message) {
        self.to.as_ref().unwrap().send(Ok(message)).ok();
    }

    pub(super) fn fault(&self, error: tungstenite::Error) {
        self.to.as_ref().unwrap().send(Err(axum::Error::new(error))).unwrap();
    }

    pub(super) fn text(&self, text: &str) {
        self.send(Message::Text(text.into()));
    }

    pub(super) fn init(&self, token: &str) {
        let payload = json!({ "authorization": format!("Bearer {token}") });
        self.text(&json!({ "type": "connection_init", "payload": payload }).to_string());
    }

    pub(super) fn subscribe(&self, id: &str, query: &str) {
        self.text(&json!({ "id": id, "type": "subscribe", "payload": { "query": query } }).to_string());
    }

    pub(super) fn complete(&self, id: &str) {
        self.text(&json!({ "id": id, "type": "complete" }).to_string());
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Json {
        match self.from.recv().await {
            Some(Message::Text(text)) => serde_json::from_str(text.as_str()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The code and the reason of the close that comes next, and that nothing comes after it.
    pub(super) async fn closed(mut self) -> (u16, String) {
        let Some(Message::Close(Some(frame))) = self.from.recv().await else { panic!("it is not closed") };
        self.to = None;
        assert_eq!(self.from.recv().await, None);
        self.task.await.unwrap();
        (frame.code, frame.reason.as_str().to_owned())
    }

    /// Drops the connection.
    pub(super) async fn leave(mut self) {
        self.to = None;
        self.task.await.unwrap();
    }
}
