//! Sockets of the product: who may use one, and what its resolvers find.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_graphql::Data;
use async_graphql::dataloader::DataLoader;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use domain::actor::Origin;
use domain::error::{Error, Result};
use domain::session::{Authenticated, authenticate};
use futures::future::BoxFuture;
use tracing::Instrument as _;

use crate::admission::Admitted;
use crate::auth::{Credentials, network_address};
use crate::graphql::MusterSchema;
use crate::graphql::context::Caller;
use crate::graphql::http;
use crate::graphql::loader::Loader;
use crate::graphql::ws::{Host, Peer, Shown, Sockets};
use crate::live::Watch;
use crate::state::State;

impl Host for State {
    type Watch = Watch;
    type Place = Admitted;

    async fn admit(&self, token: &str, address: IpAddr) -> Option<Admitted> {
        self.admission.admit(&self.askers.of(Some(token), address)).await
    }

    async fn authenticate(&self, token: &str, origin: Origin) -> Result<Authenticated> {
        let session = unless_away(self, authenticate(&self.db, token, origin)).await;
        self.askers.learn(token, session.as_ref().map(|session| session.actor.user_id));
        let session = session?;
        self.presence.heard();
        self.activity.note(&session.actor);
        Ok(session)
    }

    async fn watch(&self, session: &Authenticated) -> Result<Watch> {
        Box::pin(unless_away(self, self.live.watch(session))).await
    }

    async fn ended(watch: &Watch) {
        watch.ended().await;
    }

    fn data(&self, session: Authenticated, origin: Origin, peer: &Peer, watch: &Arc<Watch>) -> Data {
        watch.renew(&session);
        let mut data = signed_in(self, &session);
        data.insert(Caller {
            credentials: Credentials::Session(Box::new(session)),
            origin,
            user_agent: peer.user_agent.as_deref().map(str::to_owned),
        });
        data.insert(Arc::clone(watch));
        data
    }
}

/// Does not wait for a database that is away.
async fn unless_away<T>(state: &State, asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = state.presence.lost() => Err(Error::Database(sqlx::Error::PoolTimedOut)),
        answer = asked => answer,
    }
}

/// What the resolvers of any signed-in request find, besides its caller.
pub fn signed_in(state: &State, session: &Authenticated) -> Data {
    let mut data = Data::default();
    let loader = Loader { db: state.db.clone(), actor: session.actor.clone() };
    // What it logs belongs to the request.
    data.insert(DataLoader::new(loader, |work: BoxFuture<'static, ()>| tokio::spawn(work.in_current_span())));
    data.insert(state.clone());
    data
}

/// Turns a request into a socket. Whether its site may call has been looked at.
pub async fn open(
    sockets: &Sockets<MusterSchema, State>,
    state: &State,
    mut head: Parts,
    peer: SocketAddr,
    site: &http::Caller,
) -> Response {
    let headers = &head.headers;
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let peer = Peer {
        network_address: network_address(&state.config.http, peer, headers),
        user_agent: agent.map(|agent| agent.chars().take(200).collect::<String>().into()),
        shown: Shown::by_request(headers, site),
    };
    match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => sockets.accept(upgrade, peer),
        Err(rejection) => rejection.into_response(),
    }
}
