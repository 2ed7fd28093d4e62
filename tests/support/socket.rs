//! A small client of `graphql-transport-ws`.

use anyhow::{Context as _, Result, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::app::App;

/// A socket. Answers pings while it is read.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket with the sub-protocol.
    pub(crate) async fn open(url: &str, headers: &[(&'static str, &str)]) -> Result<Self> {
        let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
        Ok(Self::open_with(url, &[headers, &[protocol]].concat()).await?)
    }

    /// Opens a socket with these headers only.
    pub(crate) async fn open_with(
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<tungstenite::Error>> {
        let mut request = format!("{}/graphql", url.replacen("http", "ws", 1)).into_client_request()?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(tungstenite::Error::from)?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        Ok(Self(connect_async(request).await?.0))
    }

    /// Opens a socket of somebody who is signed in, and has it acknowledged.
    pub(crate) async fn enter(app: &App, token: &str) -> Result<Self> {
        let mut socket = Self::open(&app.url, &[]).await?;
        socket.init(json!({ "authorization": format!("Bearer {token}") })).await?;
        let ack = socket.next().await?;
        anyhow::ensure!(ack == json!({ "type": "connection_ack" }), "{ack}");
        Ok(socket)
    }

    pub(crate) async fn init(&mut self, payload: Value) -> Result<()> {
        self.send(json!({ "type": "connection_init", "payload": payload })).await
    }

    pub(crate) async fn send(&mut self, message: Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str, variables: Value) -> Result<()> {
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload })).await
    }

    /// The next message of the protocol.
    pub(crate) async fn next(&mut self) -> Result<Value> {
        loop {
            match self.0.next().await.context("the socket has ended")?? {
                Message::Text(text) => return Ok(serde_json::from_str(text.as_str())?),
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("{other:?}"),
            }
        }
    }

    /// The next message of the protocol, or the code with which the socket is closed.
    pub(crate) async fn next_or_close(&mut self) -> Result<Result<Value, u16>> {
        loop {
            match self.0.next().await.context("the socket was cut off")?? {
                Message::Text(text) => return Ok(Ok(serde_json::from_str(text.as_str())?)),
                Message::Close(frame) => return Ok(Err(frame.context("no code")?.code.into())),
                _ => {}
            }
        }
    }

    /// The code with which the socket is closed, after whatever comes before.
    pub(crate) async fn closed(mut self) -> Result<u16> {
        loop {
            if let Message::Close(frame) = self.0.next().await.context("the socket was cut off")?? {
                return Ok(frame.context("no code")?.code.into());
            }
        }
    }

    /// Leaves in good order.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.0.close(None).await?;
        while let Some(Ok(_)) = self.0.next().await {}
        Ok(())
    }
}
