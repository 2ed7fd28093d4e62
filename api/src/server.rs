//! The HTTP server: routes, and how it starts and stops.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Data;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use domain::infra::config::{MailTransport, is_loopback_url};
use domain::infra::metrics::{self, Cause};
use domain::session::FLUSH;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::admission::Admitted;
use crate::asker::Asker;
use crate::auth::{Credentials, asker, credentials, network_address, origin, request_id, session_cookie};
use crate::connection;
use crate::graphql::context::Caller;
use crate::graphql::error::{DATABASE_AWAY, ErrorCode, of_failure};
use crate::graphql::graphiql::{self, Sdl};
use crate::graphql::host;
use crate::graphql::http::{Endpoint, Origins, Prepared};
use crate::graphql::operation::Operations;
use crate::graphql::ws::{Sockets, is_upgrade};
use crate::graphql::{MusterSchema, schema, sdl};
use crate::health::{self, Health};
use crate::pages;
use crate::socket::{self, of_host, signed_in};
use crate::state::State;
use crate::trace::{Believed, trace};
use crate::upload::{self, Arrivals, Uploads};

/// Mutations that compute the hash of a password, open to anybody.
const HASHING: [&str; 5] = ["sessionCreate", "signUp", "passwordReset", "invitationAccept", "loginEmailChangeRevert"];
/// How long uses of sessions are written for the last time, when the process ends.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// The API of one process.
#[derive(Clone)]
pub struct Server {
    state: State,
    operations: Operations<MusterSchema>,
    endpoint: Endpoint<MusterSchema>,
    sockets: Sockets<MusterSchema, State>,
    sdl: Arc<Sdl>,
    /// Cancelled when the process has been told to end.
    stopping: CancellationToken,
}

impl Server {
    /// Builds the schema once.
    pub fn new(state: State) -> Self {
        let text = sdl();
        let limits = &state.config.limits;
        let operations = Operations::new(schema(), &text, limits);
        let endpoint = Endpoint::new(operations.clone(), limits, &state.config.http);
        let sockets = Sockets::new(operations.clone(), state.clone(), Arc::clone(&state.sockets), limits);
        Self { state, operations, endpoint, sockets, sdl: Sdl::new(text), stopping: CancellationToken::new() }
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let sdl = Arc::clone(&self.sdl);
        let config = &self.state.config;
        let health = Health::new(self.state.db.clone(), Arc::clone(config)).until(self.stopping.clone());
        let mut router = Router::new()
            .route("/graphql", any(graphql))
            .with_state(self.clone())
            .route("/graphql/schema.graphql", get(move || async move { sdl.response() }))
            .route("/graphiql", get(|| async { graphiql::page("/graphql") }))
            .merge(health::router(health))
            .merge(self.refused_while_away(upload::router(self.uploads())))
            .merge(self.refused_while_away(pages::router().with_state(self.state.clone())))
            .merge(pages::assets());
        if config.mail.transport == MailTransport::Outbox && is_loopback_url(&config.http.public_url) {
            router = router.merge(pages::dev_mail::router(config.data_dir.join("mail")));
        }
        let traced = router.layer(from_fn_with_state(Believed::new(&config.http.trusted_proxies), trace));
        traced.layer(from_fn_with_state(self.stopping.clone(), part))
    }

    /// Cancelled some time after the process was told to end, when the last request may come.
    fn closing(&self) -> CancellationToken {
        let (stopping, closing) = (self.stopping.clone(), CancellationToken::new());
        let time = Duration::from_secs(self.state.config.http.drain_seconds);
        let token = closing.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            tokio::time::sleep(time).await;
            token.cancel();
        });
        closing
    }

    /// Routes that need the database, outside of GraphQL.
    fn refused_while_away(&self, routes: Router) -> Router {
        let presence = self.state.presence.clone();
        routes.layer(from_fn(move |request: Request, next: Next| {
            let presence = presence.clone();
            async move {
                tokio::select! {
                    biased;
                    () = presence.lost() => {
                        metrics::refused(Cause::DatabaseAway);
                        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
                    }
                    response = next.run(request) => response,
                }
            }
        }))
    }

    fn uploads(&self) -> Uploads {
        let config = &self.state.config;
        let (limit, origins) = (config.limits.upload_bytes, Origins::new(&config.http));
        let time_limit = Duration::from_secs(config.limits.upload_seconds);
        let arrivals = Arrivals::new(config.limits.uploads_at_once);
        Uploads { db: self.state.db.clone(), files: self.state.files.clone(), limit, time_limit, origins, arrivals }
    }

    /// Serves until `shutdown`, and on for as long as balancers need to notice that it is not ready any more. Then it finishes the
    /// requests it has, on sockets as well, which it closes, and the mutations whose clients have left: all together as long as the
    /// configuration allows. What sessions were used for until then is written last.
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) {
        let ended = CancellationToken::new();
        let flusher = tokio::spawn(flush(self.state.clone(), ended.clone()));
        let _ended = ended.clone().drop_guard();
        let options = self.state.db.pool.connect_options();
        self.state.presence.watch((*options).clone(), ended.clone());
        let (live, following) = (self.state.live.clone(), ended.clone());
        tokio::spawn(async move { live.run(following).await });
        self.stopping = shutdown;
        let closing = self.closing();
        let requests = connection::serve(listener, self.router(), &self.state.config.http, &closing);
        let sockets = async {
            closing.cancelled().await;
            self.sockets.drain().await;
        };
        let work = async {
            tokio::join!(requests, sockets);
            self.operations.drain().await;
        };
        let late = async {
            closing.cancelled().await;
            tokio::time::sleep(Duration::from_secs(self.state.config.http.shutdown_seconds)).await;
        };
        tokio::select! {
            () = work => {}
            () = late => tracing::warn!("requests were cut off: they took longer than http.shutdown_seconds"),
        }
        ended.cancel();
        if tokio::time::timeout(LAST_FLUSH, flusher).await.is_err() {
            tracing::warn!("the last use of sessions could not be written in time");
        }
    }
}

/// Ends a connection with its next answer once the process is to stop, so that nobody sends another request on one that is about to be
/// closed. HTTP/2 has a message of its own for that.
async fn part(Shared(stopping): Shared<CancellationToken>, request: Request, next: Next) -> Response {
    let before = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if before && stopping.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Writes uses of sessions now and then, and a last time before the process ends.
async fn flush(state: State, ended: CancellationToken) {
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(FLUSH) => false,
            () = ended.cancelled() => true,
        };
        let written = state.activity.flush(&state.db).await.and(state.service_uses.flush(&state.db).await);
        if let Err(error) = written {
            tracing::warn!(%error, "the use of sessions and service tokens could not be written");
        }
        if last {
            return;
        }
    }
}

async fn graphql(
    Shared(server): Shared<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let id = request_id(request.headers());
    if is_upgrade(request.method(), request.headers()) {
        let (head, _) = request.into_parts();
        return match server.endpoint.site(&head, &id) {
            Ok(site) => socket::open(&server.sockets, &server.state, head, peer, &site).await,
            Err(response) => *response,
        };
    }
    let (head, prepared) = match server.endpoint.receive(request, &id).await {
        Ok(received) => received,
        Err(response) => return *response,
    };
    let operation = prepared.operation();
    Span::current().record("graphql.operation", operation.label()).record("graphql.mutation", operation.is_mutation());
    let refusal = prepared.refusal();
    let presence = server.state.presence.clone();
    // A mutation that is under way goes on.
    tokio::select! {
        biased;
        () = presence.lost() => {
            metrics::refused(Cause::DatabaseAway);
            refusal.answer(ErrorCode::ServiceUnavailable, DATABASE_AWAY)
        }
        response = answer(&server, &id, peer, &head, prepared) => response,
    }
}

async fn answer(server: &Server, id: &str, peer: SocketAddr, head: &Parts, prepared: Prepared) -> Response {
    // Before anything costs a connection to the database; after the body was read, so that a slow sender holds no place.
    let address = network_address(&server.state.config.http, peer, &head.headers);
    let Some(admitted) = admit(&server.state, &prepared, head, address).await else {
        let message = "Too many requests are under way. Come again after the seconds that Retry-After says.";
        return server.endpoint.refuse(&prepared, ErrorCode::ServiceUnavailable, message);
    };
    let origin = origin(id, address);
    match credentials(&server.state, &head.headers, origin.clone()).await {
        Ok(credentials) => {
            let agent = head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
            execute(server, prepared, Caller { credentials, origin, user_agent: agent }, admitted).await
        }
        Err(error) => {
            let (code, message) = of_failure(error);
            server.endpoint.refuse(&prepared, code, message)
        }
    }
}

async fn admit(state: &State, prepared: &Prepared, head: &Parts, address: IpAddr) -> Option<Admitted> {
    if HASHING.contains(&prepared.operation().root_field()) {
        // Who somebody is counts only once their password was compared.
        return state.hashing.admit(&Asker::at(address)).await;
    }
    state.admission.admit(&asker(state, &head.headers, address)).await
}

async fn execute(server: &Server, prepared: Prepared, caller: Caller, admitted: Admitted) -> Response {
    let mut data = Data::default();
    match &caller.credentials {
        Credentials::Invalid => {
            let message = "The session is not valid (any more). Sign in again.";
            return server.endpoint.refuse(&prepared, ErrorCode::Unauthenticated, message);
        }
        Credentials::NoCsrfHeader => {
            let message = "A request that carries the session cookie needs the header X-Muster-CSRF: 1.";
            return server.endpoint.refuse(&prepared, ErrorCode::Forbidden, message);
        }
        Credentials::Anonymous | Credentials::EndedCookie => data.insert(server.state.clone()),
        Credentials::HostWithoutAccount => {
            let message = "Name the account in the header Muster-Account: its id, like acc_…";
            return server.endpoint.refuse(&prepared, ErrorCode::BadUserInput, message);
        }
        Credentials::Host(host) => {
            if let Some(field) = host::refused(&prepared.operation().root_fields()) {
                let message = format!("A service token may not ask for {field}.");
                return server.endpoint.refuse(&prepared, ErrorCode::Forbidden, &message);
            }
            data = of_host(&server.state, host);
        }
        Credentials::Session(session) => data = signed_in(&server.state, session),
    }
    let ended_cookie = matches!(caller.credentials, Credentials::EndedCookie);
    data.insert(caller);
    // Until the work is done, which is later than the client's leaving if it is a mutation.
    data.insert(admitted);
    let mut response = server.endpoint.execute(prepared, data).await;
    if ended_cookie && !response.headers().contains_key(header::SET_COOKIE) {
        let cleared = session_cookie(&server.state.config.http, "", 0);
        let cleared = cleared.parse().expect("a cookie of plain characters");
        response.headers_mut().insert(header::SET_COOKIE, cleared);
    }
    response
}
