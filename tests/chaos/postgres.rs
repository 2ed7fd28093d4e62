//! A PostgreSQL server of our own, which writes to the disk as one in production does.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use super::cluster::{free_port, program};
use super::keeper::Keeper;
use crate::support::mail_server::Folder;

/// PostgreSQL refuses to run as root, so root runs it as nobody.
const NOBODY: u32 = 65_534;

/// The database's name.
const NAME: &str = "muster";

/// Where PostgreSQL's programs are.
pub(super) struct Binaries(PathBuf);

/// How a database on this port is reached.
pub(super) fn url(port: u16) -> String {
    format!("postgres://muster@127.0.0.1:{port}/{NAME}")
}

impl Binaries {
    /// The newest there are.
    pub(super) fn find() -> Result<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut found: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
            })
            .filter(|(_, folder)| folder.join("initdb").exists())
            .collect();
        found.sort();
        if let Some((_, folder)) = found.pop() {
            return Ok(Self(folder));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folder = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
        Ok(Self(folder.context("PostgreSQL's programs are not found: install the package postgresql")?))
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.0.join(program));
        if is_root()? {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Runs a server over a data folder.
    pub(super) fn keep(&self, data: &Path, port: u16) -> Keeper {
        let (binaries, data) = (Self(self.0.clone()), data.to_owned());
        let start = move || {
            let log = std::fs::File::options().append(true).create(true).open(data.with_extension("log"))?;
            let mut command = binaries.command("postgres")?;
            command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", "unix_socket_directories=", "-c", "max_connections=120"]).stderr(log);
            Ok(command)
        };
        Keeper::start("postgres", Box::new(start))
    }

    /// Makes a data folder with a migrated database: to be copied.
    pub(super) async fn template(&self) -> Result<Folder> {
        let folder = Folder::new();
        let data = folder.path().join("postgres");
        std::fs::create_dir(&data)?;
        if is_root()? {
            chown(&data, Some(NOBODY), Some(NOBODY))?;
        }
        let mut initdb = self.command("initdb")?;
        initdb.arg("-D").arg(&data).args(["-U", "muster", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"]);
        ensure!(initdb.status().await?.success(), "initdb fails");
        let port = free_port().await?;
        let server = self.keep(&data, port);
        let mut conn = connect(&format!("postgres://muster@127.0.0.1:{port}/postgres")).await?;
        conn.execute("CREATE DATABASE muster").await?;
        conn.close().await?;
        let migrated =
            Command::new(program()?).arg("migrate").env_clear().env("DATABASE_URL", url(port)).output().await?;
        ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        server.end("INT").await?;
        Ok(folder)
    }

    /// The whole database as text.
    pub(super) async fn dump(&self, url: &str) -> Result<Vec<u8>> {
        let output = self.command("pg_dump")?.args(["-d", url]).stdout(Stdio::piped()).output().await?;
        ensure!(output.status.success(), "pg_dump fails");
        Ok(output.stdout)
    }
}

/// A connection, as soon as there can be one.
pub(super) async fn connect(url: &str) -> Result<PgConnection> {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        match PgConnection::connect(url).await {
            Ok(conn) => return Ok(conn),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}
