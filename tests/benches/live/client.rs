//! Accounts, people and sockets, made quickly.

use anyhow::{Context as _, Result, ensure};
use domain::actor::Origin;
use domain::id::AccountId;
use domain::infra::db::Db;
use domain::password::Passwords;
use domain::session::{self, Client, SignIn};
use domain::sign_up;
use futures::{SinkExt as _, StreamExt as _};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::support::firm::{CHEAP, PASSWORD, sign_up as request, sign_up_token};

/// The owner of an account.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) account: AccountId,
    pub(crate) email: String,
    pub(crate) token: String,
}

/// Founds so many accounts with so many seats.
pub(crate) async fn found(db: &Db, count: usize, seats: i32) -> Result<Vec<Owner>> {
    let mut owners = Vec::with_capacity(count);
    for number in 0..count {
        let email = format!("owner{number}@harborandfinch.example");
        let token = sign_up_token(db, request(db, &email).await);
        sign_up::confirm(db, Origin::system(), &token, seats).await?;
        owners.push(sign_in(db, &email).await?);
    }
    Ok(owners)
}

/// Opens a session.
pub(crate) async fn sign_in(db: &Db, email: &str) -> Result<Owner> {
    let password = SecretString::from(PASSWORD);
    let sign_in = SignIn { email, password: &password, account_id: None, client: Client::default() };
    let opened = session::create(db, &Passwords::new(CHEAP), Origin::system(), sign_in).await?;
    Ok(Owner { account: opened.account_id, email: email.to_owned(), token: opened.token.expose() })
}

/// A socket that follows its account.
pub(crate) struct Follower(WebSocketStream<TcpStream>);

impl Follower {
    /// Opens a socket with small buffers and subscribes.
    pub(crate) async fn open(url: &str, token: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("an http URL")?;
        let mut request = format!("ws://{address}/graphql").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
        let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (wire, _) = client_async_with_config(request, stream, Some(config)).await?;
        let mut socket = Self(wire);
        let authorization = format!("Bearer {token}");
        socket.send(json!({ "type": "connection_init", "payload": { "authorization": authorization } })).await?;
        let ack = socket.next().await?;
        ensure!(ack["type"] == "connection_ack", "{ack}");
        let query = "subscription { accountEvents { number kind cursor } }";
        socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "query": query } })).await?;
        Ok(socket)
    }

    async fn send(&mut self, message: Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    async fn next(&mut self) -> Result<Value> {
        loop {
            if let Message::Text(text) = self.0.next().await.context("the socket has ended")?? {
                return Ok(serde_json::from_str(text.as_str())?);
            }
        }
    }

    /// The number of the next event.
    pub(crate) async fn event(&mut self) -> Result<i64> {
        let message = self.next().await?;
        message["payload"]["data"]["accountEvents"]["number"].as_i64().with_context(|| message.to_string())
    }
}
