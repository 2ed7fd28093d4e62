//! How a PostgreSQL and a Redis of a test's own are run.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// PostgreSQL refuses to run as root, so root runs it as nobody.
const NOBODY: u32 = 65_534;

/// PostgreSQL's programs.
#[derive(Clone)]
pub(crate) struct Postgres(PathBuf);

impl Postgres {
    /// The newest there are.
    pub(crate) fn find() -> Result<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
        let mut packaged: Vec<(u32, PathBuf)> = versions
            .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
            .collect();
        packaged.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = packaged.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&path));
        let found = folders.into_iter().find(|folder| folder.join("initdb").exists());
        Ok(Self(found.context("PostgreSQL's programs are not found: install the package postgresql")?))
    }

    /// One of its programs, silent, as a user whom it accepts.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.0.join(program));
        if is_root()? {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Makes a data folder, whose superuser is `muster`.
    pub(crate) fn init(&self, data: &Path) -> Result<()> {
        std::fs::create_dir(data)?;
        if is_root()? {
            chown(data, Some(NOBODY), Some(NOBODY))?;
        }
        let mut initdb = self.command("initdb")?;
        initdb.arg("-D").arg(data).args(["-U", "muster", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"]);
        ensure!(initdb.status()?.success(), "initdb fails");
        Ok(())
    }

    /// A server over a data folder, as careful as one in production. Its log is beside the folder.
    pub(crate) fn serve(&self, data: &Path, port: u16) -> Result<Command> {
        let log = File::options().append(true).create(true).open(data.with_extension("log"))?;
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=120"]).stderr(log);
        Ok(command)
    }

    /// Whether the server does its work.
    pub(crate) fn is_ready(&self, port: u16) -> bool {
        let asked = self
            .command("pg_isready")
            .and_then(|mut ask| Ok(ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status()?));
        asked.is_ok_and(|status| status.success())
    }
}

/// Redis. On disk it keeps all but the last second of what it has, or nothing.
pub(crate) fn redis(folder: &Path, port: u16, keeps: bool) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.args(["--appendonly", if keeps { "yes" } else { "no" }, "--appendfsync", "everysec", "--dir"]).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A free port that no outgoing connection is given.
pub(crate) fn free_port() -> u16 {
    loop {
        let [high, low, ..] = *uuid::Uuid::new_v4().as_bytes();
        let port = 15_000 + u16::from_be_bytes([high, low]) % 15_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Signals processes of ours. One that has ended meanwhile is no fault.
pub(crate) fn signal(name: &str, processes: &[u32]) -> Result<()> {
    if !processes.is_empty() {
        let ids = processes.iter().map(u32::to_string);
        Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status()?;
    }
    Ok(())
}

/// A process and its children: a process of PostgreSQL serves one connection.
pub(crate) fn family(parent: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    std::iter::once(parent).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}
