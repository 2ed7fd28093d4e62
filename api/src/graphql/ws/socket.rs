//! A socket's life: `connection_init`, operations, the end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_graphql::Executor;
use async_graphql::parser::types::OperationType;
use axum::extract::ws::Message;
use bytes::Bytes;
use domain::error::Error;
use domain::infra::metrics;
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::close::Close;
use super::credentials::Shown;
use super::message::{self, Incoming, Map};
use super::open::Seat;
use super::running::{Counted, Item, Running, items, too_many};
use super::{Host, Peer, Shared};
use crate::auth::{new_request_id, origin};
use crate::graphql::error::{ErrorCode, of_failure};
use crate::graphql::operation::Operation;
use crate::graphql::params::Params;
use crate::trace::operation_span;

/// A normal closure (RFC 6455, section 7.4.1), whatever reason the client gave.
const CLOSED_BY_CLIENT: u16 = 1000;

/// What carries messages.
pub(super) trait Wire:
    Stream<Item = Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Unpin + Send
{
}

impl<T> Wire for T where
    T: Stream<Item = Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Unpin + Send
{
}

/// How a socket ends.
#[derive(Debug)]
enum End {
    /// It is closed.
    Close(Close),
    /// The peer has closed it.
    Left,
    /// The peer is gone or does not read, so that there is nobody to tell.
    Cut(&'static str),
}

/// What happens next.
enum Step {
    /// The right to use the socket has ended.
    Ended,
    /// The process is stopping.
    Stopping,
    /// The deadline has passed.
    Deadline,
    /// Something came, or nothing will any more.
    Received(Option<Result<Message, axum::Error>>),
    /// An operation gave something, or ended.
    Gave(String, Option<Item>),
}

/// Who uses a socket, once that is known.
struct User<H: Host> {
    token: SecretString,
    watch: Arc<H::Watch>,
    ended: BoxFuture<'static, ()>,
    _seat: Seat,
}

struct Socket<W, E, H: Host> {
    wire: W,
    shared: Arc<Shared<E, H>>,
    peer: Arc<Peer>,
    user: Option<User<H>>,
    running: Running,
    /// Of `connection_init`; afterwards of the next ping.
    deadline: Pin<Box<Sleep>>,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Whether the peer was heard of since the last ping.
    heard: bool,
}

/// Serves a socket until it has ended. `spoken`: whether the client speaks the sub-protocol.
pub(super) async fn run<W: Wire, E: Executor, H: Host>(wire: W, spoken: bool, shared: Arc<Shared<E, H>>, peer: Peer) {
    let deadline = Box::pin(tokio::time::sleep(shared.times.init));
    let stopping = Some(Box::pin(shared.stopping.clone().cancelled_owned()));
    let running = Running::default();
    let mut socket =
        Socket { wire, shared, peer: Arc::new(peer), user: None, running, deadline, stopping, heard: true };
    metrics::socket_opened();
    let end = if spoken { socket.serve().await } else { End::Close(Close::OtherProtocol) };
    // What it held is free before the peer has answered.
    let Socket { wire, shared, user, running, .. } = socket;
    drop((user, running));
    metrics::socket_closed(match &end {
        End::Close(close) => Some(close.code()),
        End::Left => Some(CLOSED_BY_CLIENT),
        End::Cut(_) => None,
    });
    match end {
        End::Close(close) => {
            tracing::debug!(close.code = close.code(), "a socket was closed");
            let times = shared.times;
            Box::pin(tokio::time::timeout(times.close, say_goodbye(wire, close))).await.ok();
        }
        End::Left => {
            // Reading on sends the answer to the peer's close.
            let times = shared.times;
            Box::pin(tokio::time::timeout(times.close, read_on(wire))).await.ok();
        }
        End::Cut(why) => tracing::debug!(why, "a socket was cut off"),
    }
}

async fn say_goodbye<W: Wire>(mut wire: W, close: Close) {
    if wire.send(close.frame()).await.is_ok() {
        read_on(wire).await;
    }
}

/// A connection that is dropped with something unread is reset, and the peer may miss the close.
async fn read_on<W: Wire>(mut wire: W) {
    while let Some(Ok(_)) = wire.next().await {}
}

impl<W: Wire, E: Executor, H: Host> Socket<W, E, H> {
    async fn serve(&mut self) -> End {
        loop {
            let step = std::future::poll_fn(|context| self.poll_step(context)).await;
            // Boxed, so that a socket on which nothing happens holds nothing for it.
            if let Err(end) = Box::pin(self.take(step)).await {
                return end;
            }
            // What a peer sends at once is read at once, and a document may take a while: others have their turn in between.
            tokio::task::yield_now().await;
        }
    }

    /// In this order: who may no longer listen hears nothing, a deadline passes however much a peer sends, and what it sends (the
    /// end of an operation, say) goes before what it is sent.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if self.has_ended(context) {
            return Poll::Ready(Step::Ended);
        }
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Step::Stopping);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Step::Deadline);
        }
        if let Poll::Ready(received) = self.wire.poll_next_unpin(context) {
            // However much comes, what was begun goes on.
            self.running.keep_working(context);
            return Poll::Ready(Step::Received(received));
        }
        let Poll::Ready((id, item)) = self.running.poll_next(context) else { return Poll::Pending };
        // Whoever ends a right does so before they hand out what came after it: what came in between is not handed on.
        Poll::Ready(if self.has_ended(context) { Step::Ended } else { Step::Gave(id, item) })
    }

    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        self.user.as_mut().is_some_and(|user| user.ended.poll_unpin(context).is_ready())
    }

    async fn take(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Ended => return Err(End::Close(Close::Forbidden)),
            Step::Stopping => {
                self.stopping = None;
                self.running.end_subscriptions();
            }
            Step::Deadline => self.deadline().await?,
            Step::Received(received) => self.receive(received).await?,
            Step::Gave(id, Some(item)) => {
                let message = item.message(&id).ok_or(End::Close(Close::Forbidden))?;
                self.send(message).await?;
            }
            Step::Gave(id, None) => self.send(message::complete(&id)).await?,
        }
        // What has a single result was left to come to its end.
        if self.stopping.is_none() && self.running.len() == 0 {
            return Err(End::Close(Close::Restart));
        }
        Ok(())
    }

    async fn deadline(&mut self) -> Result<(), End> {
        if self.user.is_none() {
            return Err(End::Close(Close::InitTimeout));
        }
        if !self.heard {
            // The answer may lie there unread: this socket may not have had its turn.
            let Some(received) = self.wire.next().now_or_never() else { return Err(End::Cut("no answer to a ping")) };
            Box::pin(self.receive(received)).await?;
        }
        self.heard = false;
        self.deadline.as_mut().reset(Instant::now() + self.shared.times.ping);
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn receive(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match received {
            None => return Err(End::Cut("the peer is gone")),
            Some(Err(error)) => return Err(fault(error)),
            Some(Ok(message)) => message,
        };
        self.heard = true;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(End::Close(Close::BadMessage("Invalid message: expected text"))),
            Message::Close(_) => return Err(End::Left),
            // The library answers pings.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
        };
        match Incoming::read(text.as_str()).map_err(End::Close)? {
            Incoming::Init(payload) => Box::pin(self.init(&payload)).await,
            Incoming::Ping(payload) => self.send(message::pong(payload.as_deref())).await,
            Incoming::Pong => Ok(()),
            Incoming::Subscribe(id, params) => match self.subscribe(id, params)? {
                Some(refusal) => self.send(refusal).await,
                None => Ok(()),
            },
            Incoming::Complete(id) => {
                self.running.end(&id);
                Ok(())
            }
        }
    }

    async fn init(&mut self, payload: &Map) -> Result<(), End> {
        if self.user.is_some() {
            return Err(End::Close(Close::SecondInit));
        }
        let token = match (Shown::by_payload(payload), &self.peer.shown) {
            (Shown::Token(token), _) => token,
            (Shown::Nothing, Shown::Token(token)) => token.clone(),
            _ => return Err(End::Close(Close::Forbidden)),
        };
        let user = tokio::select! {
            biased;
            user = let_in(&self.shared, token, self.peer.network_address) => user.map_err(End::Close)?,
            () = &mut self.deadline => return Err(End::Close(Close::TryAgain)),
        };
        self.user = Some(user);
        self.deadline.as_mut().reset(Instant::now() + self.shared.times.ping);
        self.send(message::ack()).await
    }

    /// Begins an operation, or answers why not.
    fn subscribe(&mut self, id: String, params: Params) -> Result<Option<Message>, End> {
        let Some(user) = &self.user else { return Err(End::Close(Close::Unauthorized)) };
        if self.running.contains(&id) {
            return Err(End::Close(Close::Duplicate(id)));
        }
        if self.stopping.is_none() {
            // The close that follows tells.
            return Ok(None);
        }
        let request_id: Arc<str> = new_request_id().into();
        let span = operation_span(&request_id);
        let entered = span.enter();
        let limit = self.shared.operations_limit;
        let operation =
            if self.running.len() >= limit { Err(too_many(limit)) } else { self.shared.operations.read(params) };
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => {
                let refusal = Item::refused(error, &request_id);
                Counted::begin("none").ended(&refusal);
                return Ok(refusal.message(&id));
            }
        };
        span.record("graphql.operation", operation.label()).record("graphql.mutation", operation.is_mutation());
        let single = operation.kind() != OperationType::Subscription;
        let items = self.items(user, operation, request_id);
        drop(entered);
        self.running.begin(id, single, items, span);
        Ok(None)
    }

    fn items(&self, user: &User<H>, operation: Operation, request_id: Arc<str>) -> super::running::Items {
        let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
        let (token, watch) = (user.token.clone(), Arc::clone(&user.watch));
        let origin = origin(&request_id, self.peer.network_address);
        let single = operation.kind() != OperationType::Subscription;
        let caller = async move {
            let place = shared.host.admit(token.expose_secret(), peer.network_address).await.ok_or(Error::Busy)?;
            let session = shared.host.authenticate(token.expose_secret(), origin.clone()).await?;
            let mut data = shared.host.data(session, origin, &peer, &watch);
            if single {
                // Until the work is done. A subscription mostly waits, and must not keep others from working.
                data.insert(place);
            }
            Ok(data)
        };
        items(self.shared.operations.clone(), operation, caller, request_id)
    }

    /// Hands a message over. Until the peer has taken it, operations go on as far as their next result, and nothing else happens; whoever does not take it in time is cut off, and so
    /// is whoever may not have it any more.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let mut sending = self.wire.send(message);
        let sent = if let Some(sent) = (&mut sending).now_or_never() {
            sent
        } else {
            let ended = self.user.as_mut().map(|user| &mut user.ended);
            Box::pin(wait(sending, ended, &mut self.running, self.shared.times.write)).await?
        };
        sent.map_err(|_| End::Cut("the peer is gone"))
    }
}

/// Finds out who a token belongs to, whether they may have another socket, and until when.
async fn let_in<E, H: Host>(shared: &Shared<E, H>, token: SecretString, address: IpAddr) -> Result<User<H>, Close> {
    let _place = shared.host.admit(token.expose_secret(), address).await.ok_or(Close::TryAgain)?;
    let origin = origin(&new_request_id(), address);
    let session = shared.host.authenticate(token.expose_secret(), origin).await.map_err(refusal)?;
    let seat = shared.open.seat(session.actor.user_id, shared.sockets_limit).ok_or(Close::TooManySockets)?;
    let watch = Arc::new(shared.host.watch(&session).await.map_err(refusal)?);
    let watched = Arc::clone(&watch);
    let ended = async move { H::ended(&watched).await }.boxed();
    Ok(User { token, watch, ended, _seat: seat })
}

/// Waits for a write as long as that may take.
async fn wait<T>(
    sending: impl Future<Output = T>,
    ended: Option<&mut BoxFuture<'static, ()>>,
    running: &mut Running,
    limit: std::time::Duration,
) -> Result<T, End> {
    let working = std::future::poll_fn(|context| {
        running.keep_working(context);
        Poll::<Infallible>::Pending
    });
    let ended = async {
        match ended {
            Some(ended) => ended.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = ended => Err(End::Cut("the right ended in the middle of a message")),
        sent = sending => Ok(sent),
        never = working => match never {},
        () = tokio::time::sleep(limit) => Err(End::Cut("the peer does not read")),
    }
}

/// What a failure to find out who asks means for a socket.
fn refusal(failure: Error) -> Close {
    if matches!(failure, Error::Unauthenticated) {
        return Close::Forbidden;
    }
    match of_failure(failure) {
        (ErrorCode::ServiceUnavailable, _) => Close::TryAgain,
        _ => Close::Internal,
    }
}

/// What an error of the connection means.
fn fault(error: axum::Error) -> End {
    use tungstenite::Error as Fault;
    use tungstenite::error::ProtocolError;
    match error.into_inner().downcast_ref::<Fault>() {
        Some(Fault::Capacity(_)) => End::Close(Close::TooLarge),
        Some(Fault::Utf8(_)) => End::Close(Close::BadMessage("Invalid message: expected text in UTF-8")),
        Some(Fault::Protocol(ProtocolError::ResetWithoutClosingHandshake)) | None => End::Cut("the peer is gone"),
        Some(Fault::Protocol(_)) => End::Close(Close::BadFrame),
        Some(_) => End::Cut("the peer is gone"),
    }
}
