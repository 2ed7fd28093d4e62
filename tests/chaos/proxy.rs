//! A TCP proxy that misbehaves: one per process and server, so that one process can be cut off while the others are not.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passes it on.
    Pass,
    /// Passes it on late.
    Delay(Duration),
    /// Accepts connections and bytes, and keeps them until the mode changes: then they arrive, however late that is.
    Hole,
    /// Passes a mail on with its final dot, and resets the connection instead of bringing the answer back.
    CutAfterDot,
}

/// Listens on a port of its own for as long as it lives.
pub(super) struct Proxy {
    pub(super) port: u16,
    mode: watch::Sender<Mode>,
    resets: watch::Sender<u32>,
    cuts: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

/// What a connection looks at.
#[derive(Clone)]
struct Link {
    mode: watch::Receiver<Mode>,
    resets: watch::Receiver<u32>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of a port of this host.
    pub(super) async fn start(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (mode, resets, cuts) =
            (watch::Sender::new(Mode::Pass), watch::Sender::new(0), Arc::<AtomicUsize>::default());
        let (modes, resetting, counting) = (mode.clone(), resets.clone(), Arc::clone(&cuts));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = Link { mode: modes.subscribe(), resets: resetting.subscribe(), cuts: Arc::clone(&counting) };
                tokio::spawn(link.carry(client, upstream));
            }
        });
        Ok(Self { port, mode, resets, cuts, listening })
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Resets every connection there is.
    pub(super) fn reset(&self) {
        self.resets.send_modify(|number| *number += 1);
    }

    /// Connections that were cut after the final dot of a mail.
    pub(super) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Link {
    async fn carry(mut self, mut client: TcpStream, upstream: u16) {
        let mut resets = self.resets.clone();
        let connected = tokio::select! {
            _ = resets.changed() => return reset(&client),
            connected = async {
                self.gate().await;
                TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await
            } => connected,
        };
        let Ok(mut server) = connected else { return reset(&client) };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let cut = AtomicBool::new(false);
        let orderly = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            let (up, down) = (self.clone(), self);
            tokio::select! {
                _ = resets.changed() => false,
                ended = async {
                    tokio::try_join!(up.send(from_client, to_server, &cut), down.answer(from_server, to_client, &cut))
                } => ended.is_ok(),
            }
        };
        if !orderly {
            reset(&client);
            reset(&server);
        }
    }

    /// From the client to the server.
    async fn send(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, cut: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        let mut tail = Vec::new();
        loop {
            let read = from.read(&mut buffer).await?;
            self.gate().await;
            if read == 0 {
                return to.shutdown().await;
            }
            tail.extend_from_slice(&buffer[..read]);
            tail.drain(..tail.len().saturating_sub(5));
            if *self.mode.borrow() == Mode::CutAfterDot && tail == b"\r\n.\r\n" {
                cut.store(true, Ordering::SeqCst);
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    /// From the server to the client.
    async fn answer(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, cut: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if cut.load(Ordering::SeqCst) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.gate().await;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    /// Waits as the mode says.
    async fn gate(&mut self) {
        let mode = *self.mode.borrow_and_update();
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if mode == Mode::Hole && self.mode.wait_for(|mode| *mode != Mode::Hole).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Makes the end of a connection a reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
