//! Connections: how many there are, and how long one may stay without doing anything.
//!
//! The library's own accept loop waits for ever: for the first byte of a client, for the rest of a head, for somebody to read an
//! answer. Here a connection lasts as long as it is of use:
//!
//! * Its first request has begun in ten seconds, or the idle time if that is shorter.
//! * The head of each further one is there in the idle time; that also ends a connection that is kept for later (HTTP/1).
//! * While no request is worked on, bytes move in every idle time, in either direction: that ends connections whose peer is gone
//!   or does not read, and idle ones of HTTP/2.
//!
//! How long bodies may take to arrive, and work to be done, is the business of whoever reads or does it. A socket is ended by its
//! own pings.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use domain::infra::config;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a client may take until its first request has come, at the most.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Bytes of a request's head; a query may stand in it.
const HEAD_BYTES: usize = 128 * 1024;
/// Requests at once on a connection of HTTP/2.
const STREAMS: u32 = 100;
/// Bytes of the headers of a request of HTTP/2.
const HEADERS_BYTES: u32 = 16 * 1024;
/// Bytes of a body of HTTP/2 that may wait to be read, of each request and of all of a connection.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Requests of HTTP/2 that a client may take back before they were looked at; more end the connection.
const TAKEN_BACK: usize = 20;
/// When no connection can be accepted, because there are too many open files, say.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    idle: Duration,
    first: Duration,
}

impl Limits {
    fn new(http: &config::Http) -> Self {
        let idle = Duration::from_secs(http.idle_seconds);
        Self { connections: http.connections, idle, first: FIRST_REQUEST.min(idle) }
    }
}

/// Serves `router` until `stopping`, then lets the requests end that are under way.
pub async fn serve(listener: TcpListener, router: Router, http: &config::Http, stopping: &CancellationToken) {
    let limits = Limits::new(http);
    let (places, connections) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS_BYTES)
        .max_pending_accept_reset_streams(TAKEN_BACK)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        // For sockets over HTTP/2.
        .enable_connect_protocol();
    let builder = Arc::new(builder);
    while let Some((stream, peer, place)) = accept(&listener, &places, stopping).await {
        let use_of = Arc::new(Use::default());
        let connection = Connection { peer, router: router.clone(), use_of: Arc::clone(&use_of), limits };
        let stream = Stream { tcp: stream, use_of, _place: place };
        connections.spawn(connection.serve(Arc::clone(&builder), stream, stopping.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, when there is a place for it; `None` when the process is stopping.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stopping: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, place),
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    };
    stopping.run_until_cancelled(next).await
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What a connection is used for.
#[derive(Debug, Default)]
struct Use {
    /// Whether a request has ever come.
    asked: AtomicBool,
    /// Requests that are worked on.
    working: AtomicUsize,
    /// Whether bytes have moved since this was last looked at.
    moved: AtomicBool,
}

impl Use {
    fn is_idle(&self) -> bool {
        !self.moved.swap(false, Ordering::Relaxed) && self.working.load(Ordering::Relaxed) == 0
    }
}

/// A request that is worked on.
struct Working(Arc<Use>);

impl Working {
    fn begin(use_of: &Arc<Use>) -> Self {
        use_of.asked.store(true, Ordering::Relaxed);
        use_of.working.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(use_of))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    use_of: Arc<Use>,
    limits: Limits,
}

impl Connection {
    async fn serve(self, builder: Arc<Builder<TokioExecutor>>, stream: Stream, stopping: CancellationToken) {
        let Self { peer, router, use_of, limits } = self;
        let asked = Arc::clone(&use_of);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (router, working) = (router.clone(), Working::begin(&asked));
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let answer = router.oneshot(request).await;
                drop(working);
                Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
            }
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut wait = pin!(tokio::time::sleep(limits.first));
        // Whether it was asked to end, by a stop or for being idle.
        let (mut ending, mut idle) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = &*error, "a connection broke off");
                    }
                    return;
                }
                () = stopping.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = wait.as_mut() => {
                    if idle && use_of.is_idle() || !use_of.asked.load(Ordering::Relaxed) {
                        tracing::debug!("an idle connection was closed");
                        return;
                    }
                    idle = use_of.is_idle();
                    if idle && !ending {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    wait.as_mut().reset(tokio::time::Instant::now() + limits.idle);
                }
            }
        }
    }
}

/// A client's end of a connection, with its place among all.
struct Stream {
    tcp: TcpStream,
    use_of: Arc<Use>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = ready!(written)?;
        self.use_of.moved.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.use_of.moved.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
