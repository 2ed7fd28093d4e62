//! People and programs that mean harm: whatever they send is answered with a code, costs nobody else anything and leaves nothing.

mod alike;
mod fuzz;
mod links;
mod people;
mod slow;
mod sockets;
mod text;
mod tokens;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection on which any bytes can be sent.
struct Raw(TcpStream);

impl Raw {
    async fn open(url: &str) -> Result<Self> {
        Ok(Self(TcpStream::connect(address(url)?).await?))
    }

    /// A connection that takes up little of what it does not read.
    async fn narrow(url: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        Ok(Self(socket.connect(address(url)?).await?))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.write_all(bytes.as_ref()).await?)
    }

    /// Everything until the server closes; a reset is an end like any other.
    async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        let reading = async {
            while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.context("the server does not close")?;
        Ok(all)
    }

    /// Everything until the server closes, as text.
    async fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.rest().await?).into_owned())
    }

    /// What has come when `end` has.
    async fn until(&mut self, end: &str) -> Result<String> {
        let mut all = Vec::new();
        let reading = async {
            let mut byte = [0];
            while !all.ends_with(end.as_bytes()) && self.0.read(&mut byte).await? == 1 {
                all.push(byte[0]);
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, reading).await.context("nothing comes")??;
        let all = String::from_utf8_lossy(&all).into_owned();
        anyhow::ensure!(all.ends_with(end), "the server closes after {all:?}");
        Ok(all)
    }
}

fn address(url: &str) -> Result<std::net::SocketAddr> {
    Ok(url.trim_start_matches("http://").parse()?)
}

/// A seed that is new each time, or the one in `MUSTER_TEST_SEED`; printed.
fn seed(what: &str) -> u64 {
    let given = std::env::var("MUSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 1);
    eprintln!("{what}: MUSTER_TEST_SEED={seed}");
    seed
}

/// Numbers that follow from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % bound
    }
}
