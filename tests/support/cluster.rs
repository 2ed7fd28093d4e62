//! A PostgreSQL and a Redis of a test's own, to be stopped, killed and frozen.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::mail_server::Folder;

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// PostgreSQL refuses to run as root, so root runs it as nobody.
const NOBODY: u32 = 65_534;

/// A server that listens on a port of its own. It ends with this value.
pub(crate) struct Service {
    start: Box<dyn Fn() -> Command + Send + Sync>,
    /// Whether it does its work, once it takes connections.
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    process: Option<Child>,
    port: u16,
    /// The signal by which it ends at once.
    end: &'static str,
    _folder: Folder,
}

/// A database server; its address is a place to make databases at.
pub(crate) fn postgres() -> Result<(Service, String)> {
    let (folder, programs, port) = (Folder::new(), postgres_programs()?, free_port()?);
    let asking = programs.clone();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    std::fs::create_dir(&data)?;
    let nobody = std::fs::metadata("/proc/self")?.uid() == 0;
    if nobody {
        chown(&data, Some(NOBODY), Some(NOBODY))?;
    }
    let command = move |program: &str| {
        let mut command = Command::new(programs.join(program));
        if nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").arg("-D").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let made = command("initdb").args(["-U", "muster", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"]).status()?;
    ensure!(made.success(), "initdb fails");
    let start = move || {
        let mut command = command("postgres");
        command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let log = std::fs::File::options().append(true).create(true).open(&log);
        command.stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    };
    let ready = move || {
        let mut ask = Command::new(asking.join("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
    };
    let service = Service::new(Box::new(start), Box::new(ready), port, "QUIT", folder)?;
    Ok((service, format!("postgres://muster@127.0.0.1:{port}/postgres")))
}

/// A Redis that keeps nothing on disk: it comes back empty.
pub(crate) fn redis() -> Result<(Service, String)> {
    let (folder, port) = (Folder::new(), free_port()?);
    let dir = folder.path().to_owned();
    let start = move || {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    Ok((Service::new(Box::new(start), Box::new(|| true), port, "KILL", folder)?, format!("redis://127.0.0.1:{port}")))
}

fn postgres_programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let packaged = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = packaged.chain(std::env::split_paths(&path)).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.into_iter().next().context("PostgreSQL's programs are not found: install the package postgresql")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Service {
    fn new(
        start: Box<dyn Fn() -> Command + Send + Sync>,
        ready: Box<dyn Fn() -> bool + Send + Sync>,
        port: u16,
        end: &'static str,
        folder: Folder,
    ) -> Result<Self> {
        let mut service = Self { start, ready, process: None, port, end, _folder: folder };
        service.start()?;
        Ok(service)
    }

    /// Starts it, and waits until it works.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.process = Some((self.start)().spawn()?);
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
        let Some(mut process) = self.process.take() else { return Ok(()) };
        signal(self.end, &[process.id()])?;
        process.wait()?;
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

    /// The process and its children: a process of PostgreSQL serves one connection.
    fn family(&self) -> Result<Vec<u32>> {
        let parent = self.process.as_ref().context("it runs")?.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        Ok(std::iter::once(parent).chain(children).collect())
    }
}

/// Signals processes of ours. One that has ended meanwhile is no fault.
fn signal(name: &str, processes: &[u32]) -> Result<()> {
    let ids = processes.iter().map(u32::to_string);
    Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status()?;
    Ok(())
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.process.is_some() {
            let _ = self.thaw();
        }
        let _ = self.stop();
    }
}
