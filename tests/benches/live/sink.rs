//! A mail server that takes everything and keeps nothing.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running sink; it ends with this value.
pub(crate) struct Sink {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Sink {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut content = false;
    write.write_all(b"220 sink\r\n").await?;
    loop {
        line.clear();
        if read.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match (content, line.get(..4).unwrap_or_default()) {
            (true, _) if line != b".\r\n" => continue,
            (true, _) => b"250 2.0.0 taken\r\n",
            (false, b"EHLO") => b"250-sink\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n",
            (false, b"DATA") => b"354 go on\r\n",
            (false, b"QUIT") => b"221 bye\r\n",
            (false, _) => b"250 ok\r\n",
        };
        content = answer.starts_with(b"354");
        write.write_all(answer).await?;
    }
}
