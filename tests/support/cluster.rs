//! A PostgreSQL and a Redis of a test's own, to be stopped, started and frozen by it.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guard::Guard;
use super::mail_server::Folder;
use super::server::{self, Postgres, family, free_port, signal};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that listens on a port of its own. It ends with this value.
pub(crate) struct Service {
    start: Box<dyn Fn() -> Result<Command> + Send + Sync>,
    /// Whether it does its work, once it takes connections.
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    process: Option<(Child, Guard)>,
    port: u16,
    /// The signal by which it ends at once.
    end: &'static str,
    _folder: Folder,
}

/// A database server; its address is a place to make databases at.
pub(crate) fn postgres() -> Result<(Service, String)> {
    let (folder, programs, port) = (Folder::new(), Postgres::find()?, free_port());
    let data = folder.path().join("data");
    programs.init(&data)?;
    let asking = programs.clone();
    let mut service = Service {
        start: Box::new(move || programs.serve(&data, port)),
        ready: Box::new(move || asking.is_ready(port)),
        process: None,
        port,
        end: "QUIT",
        _folder: folder,
    };
    service.start()?;
    Ok((service, format!("postgres://muster@127.0.0.1:{port}/postgres")))
}

/// A Redis that keeps nothing on disk: it comes back empty.
pub(crate) fn redis() -> Result<(Service, String)> {
    let (folder, port) = (Folder::new(), free_port());
    let dir = folder.path().to_owned();
    let start = Box::new(move || Ok(server::redis(&dir, port, false)));
    let mut service = Service { start, ready: Box::new(|| true), process: None, port, end: "KILL", _folder: folder };
    service.start()?;
    Ok((service, format!("redis://127.0.0.1:{port}")))
}

impl Service {
    /// Starts it, and waits until it works.
    pub(crate) fn start(&mut self) -> Result<()> {
        let process = (self.start)()?.spawn()?;
        let guard = Guard::over(process.id())?;
        self.process = Some((process, guard));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() || !(self.ready)() {
            if Instant::now() > deadline {
                bail!("it does not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it at once, without a word to its clients: nothing is finished or written that was not.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some((mut process, guard)) = self.process.take() else { return Ok(()) };
        signal(self.end, &[process.id()])?;
        process.wait()?;
        guard.dismiss();
        Ok(())
    }

    /// It goes on taking connections and says nothing any more.
    pub(crate) fn freeze(&self) -> Result<()> {
        signal("STOP", &self.family()?)
    }

    /// It goes on where it was frozen.
    pub(crate) fn thaw(&self) -> Result<()> {
        signal("CONT", &self.family()?)
    }

    fn family(&self) -> Result<Vec<u32>> {
        Ok(family(self.process.as_ref().context("it runs")?.0.id()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some((mut process, guard)) = self.process.take() {
            drop(guard);
            let _ = process.wait();
        }
    }
}
