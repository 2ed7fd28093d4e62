//! A mail server that takes everything and remembers it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::mailbox::Letter;

/// A mail that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) at: Instant,
    pub(super) letter: Letter,
}

/// What conversations write down.
#[derive(Default)]
struct Desk {
    inbox: Mutex<Vec<Received>>,
    under_way: AtomicUsize,
}

/// A mail between its sender's name and the answer to its final dot.
struct UnderWay<'a>(&'a Desk);

impl<'a> UnderWay<'a> {
    fn begin(desk: &'a Desk) -> Self {
        desk.under_way.fetch_add(1, Ordering::SeqCst);
        Self(desk)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Listens for as long as it lives.
pub(super) struct MailServer {
    pub(super) port: u16,
    desk: Arc<Desk>,
    listening: JoinHandle<()>,
}

impl MailServer {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let desk = Arc::<Desk>::default();
        let shared = Arc::clone(&desk);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(converse(client, Arc::clone(&shared)));
            }
        });
        Ok(Self { port, desk, listening })
    }

    /// Everything so far, in order.
    pub(super) fn received(&self) -> Vec<Received> {
        self.desk.inbox.lock().unwrap().clone()
    }

    /// Mails that are being handed over right now.
    pub(super) fn under_way(&self) -> usize {
        self.desk.under_way.load(Ordering::SeqCst)
    }

    /// Those from a place on whose link leads to a page of this name.
    pub(super) fn links(&self, from: usize, page: &str) -> (usize, Vec<(String, String)>) {
        let inbox = self.desk.inbox.lock().unwrap();
        let part = format!("/{page}/");
        let leads = |mail: &&Received| mail.letter.first_link().is_some_and(|link| link.contains(&part));
        let new = inbox.iter().skip(from).filter(leads);
        (inbox.len(), new.map(|mail| (mail.letter.to.clone(), mail.letter.token())).collect())
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn converse(client: TcpStream, desk: Arc<Desk>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    client.write_all(b"220 mail.example.com\r\n").await?;
    let mut line = Vec::new();
    let mut under_way = None;
    loop {
        line.clear();
        if client.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let verb: String = line.iter().take(4).map(|byte| char::from(byte.to_ascii_uppercase())).collect();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-mail.example.com\r\n250 8BITMIME\r\n",
            "MAIL" => {
                drop(under_way.replace(UnderWay::begin(&desk)));
                b"250 2.1.0 Ok\r\n"
            }
            "DATA" => {
                client.write_all(b"354 Go on\r\n").await?;
                let raw = data(&mut client).await?;
                let letter = Letter::read(&raw).expect("the program writes readable mail");
                desk.inbox.lock().unwrap().push(Received { at: Instant::now(), letter });
                b"250 2.0.0 Ok\r\n"
            }
            "QUIT" => b"221 Bye\r\n",
            _ => b"250 2.1.0 Ok\r\n",
        };
        client.write_all(reply).await?;
        if verb == "DATA" {
            drop(under_way.take());
        }
        if verb == "QUIT" {
            return Ok(());
        }
    }
}

/// The lines up to the dot; a mail without one was not sent.
async fn data(client: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let start = raw.len();
        if client.read_until(b'\n', &mut raw).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &raw[start..] == b".\r\n" {
            raw.truncate(start);
            return Ok(raw);
        }
        if raw[start] == b'.' {
            raw.remove(start);
        }
    }
}
